"""The local stack's own promises: it deploys the real template, carries a change, and leaves nothing running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from demo.local_stack import ROOT, Deployment, LocalStack, LocalStackError
from lakebound.record.stream_records import StreamDecoder
from lakebound.transport.object_keys import DataKey

pytestmark = pytest.mark.stack

TABLE = {"TableName": "flights", "PartitionKeyName": "flight_id"}


@pytest.fixture(scope="module")
def deployment(stack: LocalStack) -> Deployment:
    return stack.deploy(TABLE | {"PartitionTemplate": "ingest_dt=%Y-%m-%d/hour=%H"})


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> bool:
    """Whether a condition came true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return condition()


def test_a_change_of_the_table_becomes_a_batch_file(stack: LocalStack, deployment: Deployment) -> None:
    stack.client("dynamodb").put_item(TableName="flights", Item={"flight_id": {"S": "UA 1545"}})
    outputs = deployment.outputs
    found: list[DataKey] = []

    def listed() -> bool:
        answer = stack.client("s3").list_objects_v2(Bucket=outputs["BucketName"])
        keys = (DataKey.parse(outputs["DataPrefix"], entry["Key"]) for entry in answer.get("Contents", ()))
        found[:] = [key for key in keys if key is not None]
        return bool(found)

    assert wait_for(listed), stack.log.read_text()[-3000:]
    assert [key.count for key in found] == [1]
    assert found[0].partition.startswith("ingest_dt=")


def delivered(stack: LocalStack, stream: str) -> list[dict[str, Any]]:
    """What the stream holds, as a function gets it: boto3 would drop the ARN, which GetRecords has no field for."""
    streams = stack.client("dynamodbstreams")
    (shard,) = streams.describe_stream(StreamArn=stream)["StreamDescription"]["Shards"]
    of_shard = {"StreamArn": stream, "ShardId": shard["ShardId"]}
    iterator = streams.get_shard_iterator(**of_shard, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
    asked = urllib.request.Request(
        stack.endpoint,
        json.dumps({"ShardIterator": iterator}).encode(),
        {"X-Amz-Target": "DynamoDBStreams_20120810.GetRecords", "Content-Type": "application/x-amz-json-1.0"},
    )
    with urllib.request.urlopen(asked, timeout=10) as answer:
        records: list[dict[str, Any]] = json.load(answer)["Records"]
    return records


@pytest.mark.parametrize("made", ["with a stream", "without, and the stream enabled later", "by CloudFormation"])
def test_the_records_of_a_stream_bear_its_one_label(stack: LocalStack, made: str) -> None:
    """Versions begin with the label: with one of each record's own, times would order the changes of an item."""
    client, table = stack.client("dynamodb"), "labels-" + made.split()[0].strip(",")
    stream = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    definition: dict[str, Any] = {
        "TableName": table,
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
        "BillingMode": "PAY_PER_REQUEST",
    }
    if made == "by CloudFormation":
        resources = {
            "Table": {"Type": "AWS::DynamoDB::Table", "Properties": definition | {"StreamSpecification": stream}}
        }
        formation = stack.client("cloudformation")
        formation.create_stack(StackName=table, TemplateBody=json.dumps({"Resources": resources}))
        formation.get_waiter("stack_create_complete").wait(StackName=table, WaiterConfig={"Delay": 1})
    elif made == "with a stream":
        client.create_table(**definition, StreamSpecification=stream)
    else:
        client.create_table(**definition)
        client.update_table(TableName=table, StreamSpecification=stream)
    for number in range(3):
        client.put_item(TableName=table, Item={"id": {"S": "one"}, "n": {"N": str(number)}})
        time.sleep(0.002)  # so that the labels of MiniStack's own, which have milliseconds, would differ
    told = client.describe_table(TableName=table)["Table"]
    decoder, now_ms = StreamDecoder(table), time.time_ns() // 1_000_000
    versions = [str(decoder.decode(record, now_ms).version) for record in delivered(stack, told["LatestStreamArn"])]
    assert len(versions) == 3
    assert {version.partition("|")[0] for version in versions} == {told["LatestStreamLabel"]}
    assert told["LatestStreamArn"].endswith("/stream/" + told["LatestStreamLabel"])
    assert versions == sorted(versions)


@pytest.mark.soak
def test_deploying_again_changes_nothing_and_builds_nothing(stack: LocalStack, deployment: Deployment) -> None:
    again = stack.deploy(TABLE | {"PartitionTemplate": "ingest_dt=%Y-%m-%d/hour=%H"})
    assert not again.built
    assert again.outputs == deployment.outputs


def test_a_parameter_that_the_template_does_not_have_is_refused(stack: LocalStack) -> None:
    with pytest.raises(LocalStackError, match=r"The template has no parameter MaxSecond$"):
        stack.deploy(TABLE | {"MaxSecond": "1"}, stack_name="refused")


@pytest.mark.soak
def test_a_deployment_that_fails_is_told_in_sams_own_words(stack: LocalStack) -> None:
    with pytest.raises(
        LocalStackError, match=r"sam deploy failed with status 1\n[\s\S]*FlusherTimeout[\s\S]*whole log: "
    ):
        stack.deploy(TABLE | {"FlusherTimeout": "7"}, stack_name="refused")


def test_a_port_in_use_is_an_error_that_says_so(stack: LocalStack) -> None:
    with pytest.raises(LocalStackError, match=f"Port {stack.port} of 127.0.0.1 is in use"):
        LocalStack(port=stack.port).start()


def test_two_stacks_do_not_meet(stack: LocalStack, deployment: Deployment) -> None:
    with LocalStack() as other:
        assert other.port != stack.port
        assert other.client("dynamodb").list_tables()["TableNames"] == []


PROGRAM = """
import time
from demo.local_stack import LocalStack
with LocalStack() as stack:
    print(stack.pid, stack.folder, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda one: one.name)
def test_nothing_runs_on_however_the_program_ends(number: signal.Signals) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # Of a suite that runs in the background (`nohup make test &`) a child inherits that SIGINT is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert program.stdout is not None
    pid, folder = program.stdout.readline().split()
    program.send_signal(number)
    program.wait(20)
    assert wait_for(lambda: not _group_is_alive(int(pid)), seconds=10)
    # No handler sees a kill -9; the temporary folder is all that it leaves.
    assert number == signal.SIGKILL or not Path(folder).exists()


def _group_is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
