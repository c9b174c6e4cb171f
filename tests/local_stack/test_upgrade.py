"""A stack of 0.1.0's template becomes one of today's by an update, while its table is written to: no write is lost, and
nothing that holds data is made anew. The functions are today's on both sides."""

from __future__ import annotations

import gzip
import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from demo.local_stack import ROOT, LocalStack

pytestmark = [pytest.mark.stack, pytest.mark.soak]

FORMER = ROOT / "tests" / "upgrade" / "0.1.0" / "template.yaml"
TABLE = {"TableName": "flights", "PartitionKeyName": "flight_id"}
LASTING = (
    "BufferQueue",
    "DeadLetterQueue",
    "Bucket",
    "Table",
    "StreamIngest",
    "Flusher",
    "StreamMapping",
    "QueueMapping",
)


@contextmanager
def writes(table: Any) -> Iterator[list[str]]:
    """An item each fifth of a second until the block ends; the list has those that DynamoDB has taken."""
    taken: list[str] = []
    ended = threading.Event()

    def write() -> None:
        while not ended.wait(0.2):
            key = f"UA {len(taken)}"
            table.put_item(TableName="flights", Item={"flight_id": {"S": key}})
            taken.append(key)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield taken
    finally:
        ended.set()
        writer.join()


def in_files(stack: LocalStack, bucket: str, prefix: str) -> list[str]:
    """The key of every record in every batch file."""
    s3 = stack.client("s3")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
    names = [one["Key"] for page in pages for one in page.get("Contents", ())]
    bodies = [s3.get_object(Bucket=bucket, Key=name)["Body"].read() for name in names]
    return [
        json.loads(line)["keys"]["flight_id"]["S"] for body in bodies for line in gzip.decompress(body).splitlines()
    ]


def physical(stack: LocalStack) -> dict[str, str]:
    found = stack.client("cloudformation").describe_stack_resources(StackName="lakebound")["StackResources"]
    return {one["LogicalResourceId"]: one["PhysicalResourceId"] for one in found}


def test_an_update_loses_no_write_and_replaces_nothing_that_holds_data(stack: LocalStack, tmp_path: Path) -> None:
    for name in ("src", "functions", "statemachines"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copyfile(FORMER, tmp_path / "template.yaml")
    former = stack.deploy(TABLE, root=tmp_path)
    before = physical(stack)
    assert set(LASTING) <= before.keys()
    with writes(stack.client("dynamodb")) as taken:
        updated = stack.deploy(TABLE | {"VerifyAlarms": "on"})
        written_during = len(taken)
    after = physical(stack)
    assert written_during > 1
    assert {name: after[name] for name in LASTING} == {name: before[name] for name in LASTING}
    assert former.outputs.items() <= updated.outputs.items()
    # The parameter that came since took effect: its alarms are there.
    assert {"Unequal", "VerifyMissing"} <= after.keys() - before.keys()
    deadline = time.monotonic() + 60
    place = (updated.outputs["BucketName"], updated.outputs["DataPrefix"])
    while set(in_files(stack, *place)) != set(taken) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert sorted(in_files(stack, *place)) == sorted(taken), stack.log.read_text()[-3000:]
