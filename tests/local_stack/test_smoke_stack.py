"""`lakebound smoke` on the local stack, as far as that goes: function, mapping, stream, queue and bucket are real.

MiniStack has no failure destination: a thread here writes what Lambda would, from the stack's own stream. It exports
nothing and encrypts nothing, so those two steps have to fail here, each with its next step; the way they succeed is
tests/unit/test_smoke.py's.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from demo.local_stack import ROOT, Deployment, LocalStack
from tests.support.dead_letters import failure

pytestmark = pytest.mark.stack

COMMAND = [sys.executable, "-c", "from lakebound.cli.app import main; main()", "smoke"]


@pytest.fixture(scope="module")
def deployment(stack: LocalStack) -> Deployment:
    key = stack.client("kms").create_key(Description="the customer's")["KeyMetadata"]["Arn"]
    topic = stack.client("sns").create_topic(Name="oncall")["TopicArn"]
    given = {"TableName": "flights", "PartitionKeyName": "id", "KmsKeyArn": key, "AlarmTopicArn": topic}
    return stack.deploy(given)


class Place:
    """The deployed function and mapping, looked at from outside."""

    def __init__(self, stack: LocalStack, deployment: Deployment) -> None:
        self.stack = stack
        self.outputs = deployment.outputs
        self.environment = os.environ | stack.env() | {"LAKEBOUND_STACK": "lakebound"}

    def variables(self) -> dict[str, str]:
        name = self.outputs["StreamIngestName"]
        told = self.stack.client("lambda").get_function_configuration(FunctionName=name)
        return dict(told["Environment"]["Variables"])

    def retries(self) -> int:
        mapping = self.stack.client("lambda").get_event_source_mapping(UUID=self.outputs["StreamMappingId"])
        return int(mapping["MaximumRetryAttempts"])

    def is_broken(self) -> bool:
        return not self.variables()["MESSAGE_BYTES"].isdigit()

    def items(self) -> list[Any]:
        return list(self.stack.client("dynamodb").scan(TableName="flights")["Items"])

    def give_up(self) -> None:
        """What Lambda does with the deliveries that fail from now on: their records as one object."""
        assert eventually(self.is_broken)
        assert eventually(lambda: len(self.tested()) >= 3)
        key = f"aws/lambda/{self.outputs['StreamMappingId']}/shard/2026/11/26/x"
        self.stack.client("s3").put_object(Bucket=self.outputs["BucketName"], Key=key, Body=failure(self.tested()))

    def tested(self) -> list[dict[str, Any]]:
        """The newest test item's records in the stream, as Lambda delivers them."""
        streams, arn = self.stack.client("dynamodbstreams"), self.outputs["TableStreamArn"]
        found: dict[str, list[dict[str, Any]]] = {}
        for shard in streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]:
            iterator = streams.get_shard_iterator(
                StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )["ShardIterator"]
            for record in streams.get_records(ShardIterator=iterator)["Records"]:
                body = dict(record["dynamodb"])
                body["ApproximateCreationDateTime"] = int(body["ApproximateCreationDateTime"].timestamp())
                event = {"eventID": record["eventID"], "eventName": record["eventName"], "eventSourceARN": arn}
                found.setdefault(body["Keys"]["id"]["S"], []).append(event | {"dynamodb": body})
        return list(found.values())[-1] if found else []


@pytest.fixture
def place(stack: LocalStack, deployment: Deployment) -> Place:
    return Place(stack, deployment)


def run(place: Place, *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    done = subprocess.run(
        [*COMMAND, *arguments, "--json"], env=place.environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr
    return done.returncode, {one["name"]: one for one in json.loads(done.stdout)["steps"]}


def eventually(condition: Callable[[], bool], seconds: float = 40) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def test_a_delivery_is_made_to_fail_is_redriven_and_everything_is_as_it_was(place: Place) -> None:
    before = (place.variables(), place.retries())
    lambdas_part = threading.Thread(target=place.give_up)
    lambdas_part.start()
    status, told = run(place, "--only", "failure destination", "--limit", "60")
    lambdas_part.join()
    assert status == 0, told
    assert "1 failure object redriven" in told["failure destination"]["told"]
    assert (place.variables(), place.retries()) == before
    assert place.items() == []


def test_what_this_stack_lacks_fails_with_its_next_step_and_what_it_has_is_ok(place: Place) -> None:
    others = [word for name in ("item", "stopped export", "alarms", "customer key") for word in ("--only", name)]
    status, told = run(place, *others, "--limit", "60", "--export-limit", "60")
    assert status == 1
    assert {name: one["state"] for name, one in told.items()} == {
        "item": "ok",
        "stopped export": "failed",
        "alarms": "ok",
        "customer key": "failed",
    }
    assert "point-in-time recovery" in told["stopped export"]["told"]
    assert "lakebound backfill list" in told["stopped export"]["next"]
    assert "buffer queue" in told["customer key"]["told"]
    assert place.items() == []


def test_ctrl_c_puts_everything_back(place: Place) -> None:
    before = (place.variables(), place.retries())
    program = subprocess.Popen(
        [*COMMAND, "--only", "failure destination"],
        env=place.environment,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # A shell without job control starts what it puts into the background with SIGINT ignored; children inherit it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert eventually(place.is_broken)
    program.send_signal(signal.SIGINT)
    assert program.wait(60) != 0
    assert (place.variables(), place.retries()) == before
    assert place.items() == []
