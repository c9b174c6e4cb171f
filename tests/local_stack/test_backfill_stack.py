"""The deployed state machine on the local stack: real function, real bucket, real table, while writes go on."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
from isal import igzip

from demo.local_stack import Deployment, LocalStack
from lakebound.record.envelope import decode_line
from lakebound.transport.object_keys import DataKey
from tests.support.registers import visible_items

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def deployment(stack: LocalStack) -> Deployment:
    return stack.deploy(
        {"TableName": "cars", "PartitionKeyName": "id", "SnapshotMarginSeconds": "1", "BackfillTimeout": "60"}
    )


def run(stack: LocalStack, deployment: Deployment, value: dict[str, Any]) -> dict[str, Any]:
    states = stack.client("stepfunctions")
    arn = states.start_execution(stateMachineArn=deployment.outputs["BackfillMachineArn"], input=json.dumps(value))[
        "executionArn"
    ]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        told = states.describe_execution(executionArn=arn)
        if told["status"] != "RUNNING":
            return dict(told)
        time.sleep(0.2)
    raise AssertionError(stack.log.read_text()[-4000:])


def records(stack: LocalStack, deployment: Deployment) -> list[dict[str, Any]]:
    s3, bucket = stack.client("s3"), deployment.outputs["BucketName"]
    found = []
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for entry in page.get("Contents", ()):
            if DataKey.parse(deployment.outputs["DataPrefix"], entry["Key"]) is not None:
                body = s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
                found += [decode_line(line) for line in igzip.decompress(body).splitlines()]
    return found


@pytest.mark.soak
def test_a_backfill_beside_writes_ends_equal_to_the_table(stack: LocalStack, deployment: Deployment) -> None:
    table = stack.client("dynamodb")
    for number in range(300):
        table.put_item(TableName="cars", Item={"id": {"S": f"car-{number:03}"}, "v": {"N": str(number)}})
    stop = threading.Event()

    def write() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            key = {"id": {"S": f"car-{turn % 300:03}"}}
            if turn % 5 == 0:
                table.delete_item(TableName="cars", Key=key)
            else:
                table.put_item(TableName="cars", Item=key | {"v": {"N": str(1000 + turn)}})

    writer = threading.Thread(target=write)
    writer.start()
    try:
        told = run(stack, deployment, {})
    finally:
        stop.set()
        writer.join()
    assert told["status"] == "SUCCEEDED", (told, stack.log.read_text()[-4000:])
    result = json.loads(told["output"])
    assert result["segments"] == 4
    assert result["records"] > 0

    def source() -> dict[str, Any]:
        pages = table.get_paginator("scan").paginate(TableName="cars", ConsistentRead=True)
        return {f"id=S:{item['id']['S']}": item for page in pages for item in page["Items"]}

    wanted, deadline = source(), time.monotonic() + 60
    while True:
        lake = visible_items(records(stack, deployment))
        if lake == wanted or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    assert lake == wanted


def test_a_refused_input_fails_in_the_first_state_with_the_fields(stack: LocalStack, deployment: Deployment) -> None:
    told = run(stack, deployment, {"mode": "scan", "speed": 9})
    assert told["status"] == "FAILED"
    assert "unknown fields: speed" in told["cause"]
    assert "the fields are mode, segments, read_capacity, consistent, from, to" in told["cause"]
