"""The operator's command against a deployed stack: well, then dead letters, then well again; nothing of it mocked.

The stack has a customer's KMS key as parameter, whose rights every role then asks for. The local stack itself encrypts
nothing: which resources bear the key is tests/template's, and that a disabled one loses nothing tests/incidents'.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from demo.local_stack import ROOT, Deployment, LocalStack
from tests.support.dead_letters import a_body, failure
from tests.support.stream_records import stream_record

pytestmark = pytest.mark.stack

COMMAND = "from lakebound.cli.app import main; main()"
Run = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module")
def key(stack: LocalStack) -> str:
    return str(stack.client("kms").create_key(Description="the customer's")["KeyMetadata"]["Arn"])


@pytest.fixture(scope="module")
def deployment(stack: LocalStack, key: str) -> Deployment:
    return stack.deploy({"TableName": "flights", "PartitionKeyName": "id", "KmsKeyArn": key})


@pytest.fixture
def run(stack: LocalStack, deployment: Deployment) -> Run:
    environment = os.environ | stack.env() | {"LAKEBOUND_STACK": "lakebound"}

    def call(*arguments: str) -> tuple[int, Any]:
        command = [sys.executable, "-c", COMMAND, *arguments, "--json"]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    return call


def test_the_smoke_test_times_an_item_to_its_file_and_leaves_none(run: Run, stack: LocalStack) -> None:
    status, told = run("doctor", "--smoke", "--limit", "60")
    assert status == 0, told
    assert 0 < told["smoke"]["to_file"] < 60
    assert stack.client("dynamodb").scan(TableName="flights")["Items"] == []


def test_all_finds_the_stack_by_its_tag(run: Run, stack: LocalStack, deployment: Deployment) -> None:
    functions = stack.client("lambda")
    ingest = functions.get_function(FunctionName=deployment.outputs["StreamIngestName"])
    # MiniStack's CloudFormation drops a function's tags, so the test puts what the template does.
    functions.tag_resource(Resource=ingest["Configuration"]["FunctionArn"], Tags={"lakebound:stack": "lakebound"})
    _, one = run("status")
    _, told = run("status", "--all")
    assert [(each["stack"], each["table"], each["state"]) for each in told["stacks"]] == [
        ("lakebound", "flights", one["state"])
    ]


def test_a_disabled_key_is_named_with_its_page_until_it_is_enabled(run: Run, stack: LocalStack, key: str) -> None:
    def of_key() -> list[dict[str, str]]:
        return [one for one in run("doctor")[1]["checks"] if one["name"] == "key"]

    assert of_key() == []
    stack.client("kms").disable_key(KeyId=key)
    (told,) = of_key()
    assert "docs/OPERATIONS.md#key-disabled" in json.dumps(told)
    stack.client("kms").enable_key(KeyId=key)
    assert of_key() == []


def test_dead_letters_of_both_kinds_are_redriven_and_land(run: Run, stack: LocalStack, deployment: Deployment) -> None:
    outputs = deployment.outputs
    for number in range(12):
        stack.client("sqs").send_message(QueueUrl=outputs["DeadLetterQueueUrl"], MessageBody=a_body(number))
    key = f"aws/lambda/{outputs['StreamMappingId']}/shard/2026/11/24/x"
    stack.client("s3").put_object(Bucket=outputs["BucketName"], Key=key, Body=failure([stream_record(50)]))
    status, told = run("status")
    assert (status, told["state"]) == (1, "LAGGING")
    assert {one["page"].partition("#")[2] for one in told["findings"]} >= {"dead-letters", "failure-objects"}
    assert run("dlq", "redrive", "--from", "buffer")[1]["redriven"] == 12
    assert run("dlq", "redrive", "--from", "stream")[1]["records"] == 1
    for name in ("id=S:k3", "id=S:k50"):
        assert eventually(lambda name=name: run("trace", name)[0] == 0), name
    # The local stack has no metrics of Lambda: nothing shows that everything was delivered, so it is not OK.
    look(stack, deployment)
    status, told = run("status")
    assert (status, told["state"]) == (1, "UNKNOWN"), told["findings"]
    age = {"MetricName": "IteratorAge", "Value": 900, "Unit": "Milliseconds"}
    age |= {"Dimensions": [{"Name": "FunctionName", "Value": outputs["StreamIngestName"]}]}
    stack.client("cloudwatch").put_metric_data(Namespace="AWS/Lambda", MetricData=[age])
    assert eventually(lambda: run("status")[1]["state"] == "OK"), run("status")


def look(stack: LocalStack, deployment: Deployment) -> None:
    """What the template's schedule does every five minutes: without one, status cannot tell OK from a gap."""
    name, payload = deployment.outputs["BackfillName"], json.dumps({"action": "look"}).encode()
    answer = stack.client("lambda").invoke(FunctionName=name, Payload=payload)
    assert "FunctionError" not in answer, answer["Payload"].read()


def eventually(condition: Callable[[], bool], seconds: float = 40) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
    return True
