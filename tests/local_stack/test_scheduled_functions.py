"""What the stack does by a schedule, where a parameter asks for it: functions, tables, streams, queues and buckets are
real, and the lake is a Delta table in S3.

Nobody waits here for a schedule: the tests invoke the functions.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from demo.local_stack import Deployment, LocalStack
from lakebound.formats.registry import reader_of
from lakebound.transport.object_keys import DataKey, heartbeat_prefix

pytestmark = [pytest.mark.stack, pytest.mark.soak]

FOLDER = heartbeat_prefix("flights")
TARGET = "s3://lake/silver/flights"


@pytest.fixture(scope="module")
def deployment(stack: LocalStack) -> Deployment:
    stack.client("s3").create_bucket(Bucket="lake")
    given = {"TableName": "flights", "PartitionKeyName": "id", "HeartbeatMinutes": "5", "VerifyTarget": TARGET}
    return stack.deploy(given | {"VerifyShare": "1/2"})


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> bool:
    """Whether a condition came true in time."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.2)
    return condition()


def physical(stack: LocalStack, logical: str) -> str:
    found = stack.client("cloudformation").describe_stack_resources(StackName="lakebound")["StackResources"]
    return next(str(one["PhysicalResourceId"]) for one in found if one["LogicalResourceId"] == logical)


def files(stack: LocalStack, deployment: Deployment, prefix: str) -> dict[str, list[dict[str, Any]]]:
    """The records of each batch file under a prefix."""
    s3, bucket = stack.client("s3"), deployment.outputs["BucketName"]
    found = {}
    for one in s3.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/").get("Contents", ()):
        parsed = DataKey.parse(prefix, one["Key"])
        if parsed is not None:
            body = s3.get_object(Bucket=bucket, Key=one["Key"])["Body"].read()
            found[one["Key"]] = list(reader_of(parsed.ext)(body))
    return found


def status(stack: LocalStack) -> dict[str, Any]:
    command = [sys.executable, "-c", "from lakebound.cli.app import main; main()", "status", "--json"]
    environment = os.environ | stack.env() | {"LAKEBOUND_STACK": "lakebound"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_a_heartbeat_reaches_the_bucket_and_no_data(stack: LocalStack, deployment: Deployment) -> None:
    pages = [one["page"] for one in status(stack)["findings"]]
    assert "docs/OPERATIONS.md#heartbeat-missing" in pages
    stack.client("dynamodb").put_item(TableName="flights", Item={"id": {"S": "UA 1545"}})
    answer = stack.client("lambda").invoke(FunctionName=physical(stack, "Heartbeat"))
    assert "FunctionError" not in answer, answer["Payload"].read()

    def carried() -> list[str]:
        return [one["event_name"] for records in files(stack, deployment, FOLDER).values() for one in records]

    assert wait_for(lambda: len(carried()) == 3), stack.log.read_text()[-3000:]
    assert sorted(carried()) == ["INSERT", "MODIFY", "REMOVE"]
    data = deployment.outputs["DataPrefix"]
    assert wait_for(lambda: bool(files(stack, deployment, data))), stack.log.read_text()[-3000:]
    tables = {one["source_table"] for records in files(stack, deployment, data).values() for one in records}
    assert tables == {"flights"}
    told = status(stack)
    assert "docs/OPERATIONS.md#heartbeat-missing" not in [one["page"] for one in told["findings"]]
    seen = told["seen"]
    assert 0 <= seen["now_ms"] - seen["newest_heartbeat_ms"] < 120_000
    # What it left lies in its own table: nothing.
    assert stack.client("dynamodb").scan(TableName=physical(stack, "HeartbeatTable"))["Items"] == []


def test_a_night_compares_a_share_with_the_lake_in_s3(stack: LocalStack, deployment: Deployment) -> None:
    """No key differs, so nothing is waited for; what differs is a matter of the functional test."""
    keys = [f"n{number}" for number in range(40)]
    for key in keys:
        stack.client("dynamodb").put_item(TableName="flights", Item={"id": {"S": key}})
    held = [one["id"]["S"] for one in stack.client("dynamodb").scan(TableName="flights")["Items"]]
    columns: dict[str, list[Any]] = {
        "_key": [f"id=S:{key}" for key in held],
        "_item": [json.dumps({"id": {"S": key}}) for key in held],
        "_is_deleted": [False] * len(held),
        "_ttl_expired": [False] * len(held),
        "_version": ["1"] * len(held),
        "_base": [""] * len(held),
        "_stream_time_ms": [1] * len(held),
    }
    options = {
        "AWS_ENDPOINT_URL": stack.endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_S3_ALLOW_UNSAFE_RENAME": "true",
    }
    write_deltalake(TARGET, pa.table(columns), storage_options=options)
    answer = stack.client("lambda").invoke(FunctionName=physical(stack, "Verify"))
    told = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, told
    assert told["unequal"] == 0, told
    assert 0 < told["keys"] < 2 * len(held)
    assert told["compared"].endswith(" of 2")
