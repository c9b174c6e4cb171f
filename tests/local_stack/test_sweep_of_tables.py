"""A delete that was lost on its way, of an item in one of several silver tables: a backfill and a sweep find it.

The stack, its files in S3, the Delta tables and both Spark jobs are real. What is lost is the file with the delete.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.local_stack import ROOT, Deployment, LocalStack
from lakebound.adapters.delta_table import DeltaVersion
from lakebound.record.envelope import decode_line
from lakebound.transport.object_keys import DataKey
from lakebound_spark.platform.session import SETTINGS_OF_S3A, settings_in

pytestmark = [pytest.mark.stack, pytest.mark.soak]

RULES = {
    "users": {"where": {"id": "USER#*"}, "columns": {"name": "string"}},
    "orders": {"where": "rest", "columns": {"total": "decimal(12,2)"}},
}
ITEMS: dict[str, dict[str, Any]] = {
    **{f"USER#{n}": {"name": {"S": f"user {n}"}} for n in range(12)},
    **{f"ORDER#{n}": {"total": {"N": f"{n}.5"}} for n in range(20)},
}
LOST = "ORDER#7"


@pytest.fixture(scope="module")
def deployment(stack: LocalStack) -> Deployment:
    given = {"TableName": "app", "PartitionKeyName": "id", "SnapshotMarginSeconds": "1", "BackfillTimeout": "60"}
    return stack.deploy(given)


def files(stack: LocalStack, deployment: Deployment) -> dict[str, list[dict[str, Any]]]:
    """The records of each batch file, by its key."""
    s3, bucket, prefix = stack.client("s3"), deployment.outputs["BucketName"], deployment.outputs["DataPrefix"]
    found = {}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for key in [one["Key"] for one in page.get("Contents", ())]:
            if DataKey.parse(prefix, key) is not None:
                lines = gzip.decompress(s3.get_object(Bucket=bucket, Key=key)["Body"].read()).splitlines()
                found[key] = [decode_line(line) for line in lines]
    return found


def wait_for_keys(stack: LocalStack, deployment: Deployment, wanted: int) -> dict[str, list[dict[str, Any]]]:
    """The files once they hold so many records."""
    deadline = time.monotonic() + 60
    while True:
        found = files(stack, deployment)
        if sum(map(len, found.values())) >= wanted:
            return found
        assert time.monotonic() < deadline, stack.log.read_text()[-3000:]
        time.sleep(0.3)


def lose_the_delete(stack: LocalStack, deployment: Deployment) -> None:
    """Delete the item, and take away the file that tells of it, before any job has seen the file."""
    before = files(stack, deployment)
    stack.client("dynamodb").delete_item(TableName="app", Key={"id": {"S": LOST}})
    after = wait_for_keys(stack, deployment, sum(map(len, before.values())) + 1)
    ((key, (record,)),) = [(key, records) for key, records in after.items() if key not in before]
    assert (record["event_name"], record["keys"]) == ("REMOVE", {"id": {"S": LOST}})
    stack.client("s3").delete_object(Bucket=deployment.outputs["BucketName"], Key=key)


def backfill(stack: LocalStack, deployment: Deployment) -> str:
    """The run of a scan that has ended."""
    states = stack.client("stepfunctions")
    arn = states.start_execution(stateMachineArn=deployment.outputs["BackfillMachineArn"], input="{}")["executionArn"]
    deadline = time.monotonic() + 90
    while (told := states.describe_execution(executionArn=arn))["status"] == "RUNNING":
        assert time.monotonic() < deadline, stack.log.read_text()[-3000:]
        time.sleep(0.3)
    assert told["status"] == "SUCCEEDED", told
    return str(json.loads(told["output"])["run"])


def job(stack: LocalStack, name: str, *arguments: str) -> str:
    """What a Spark job printed, run as a person runs it."""
    at = {"endpoint": stack.endpoint, "endpoint.region": "us-east-1", "path.style.access": "true"}
    at |= {"access.key": "test", "secret.key": "test"}
    settings = settings_in(SETTINGS_OF_S3A) | {f"spark.hadoop.fs.s3a.{one}": value for one, value in at.items()}
    settings |= {"spark.sql.shuffle.partitions": "2", "spark.databricks.delta.snapshotPartitions": "2"}
    submit = [str(ROOT / ".venv" / "bin" / "spark-submit"), *(f"--conf={n}={v}" for n, v in settings.items())]
    done = subprocess.run(
        [*submit, str(ROOT / "spark" / "jobs" / f"{name}.py"), *arguments],
        env=os.environ | stack.env() | {"PYTHONPATH": f"{ROOT}:{ROOT}/src:{ROOT}/spark"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    return done.stdout


def verify(stack: LocalStack, config: Path) -> dict[str, Any]:
    code = "from lakebound.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "verify", "--table", "app", "--config", str(config), "--no-wait", "--json"],
        env=os.environ | stack.env(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def rows(table: Path) -> dict[str, bool]:
    """Each key of a silver table, and whether its row is a tombstone."""
    return dict(DeltaVersion(str(table)).query("SELECT _key, _is_deleted FROM delta"))


def test_a_lost_delete_of_one_of_several_tables_is_swept_from_that_table(
    stack: LocalStack, deployment: Deployment, tmp_path: Path
) -> None:
    lake, config = tmp_path / "lake", tmp_path / "app.yaml"
    tables = {str(lake / name): rule for name, rule in RULES.items()}
    config.write_text(yaml.safe_dump({"source_table": "app", "tables": tables}, sort_keys=False))
    for key, item in ITEMS.items():
        stack.client("dynamodb").put_item(TableName="app", Item={"id": {"S": key}} | item)
    wait_for_keys(stack, deployment, len(ITEMS))
    bucket, prefix = deployment.outputs["BucketName"], deployment.outputs["DataPrefix"]
    place = ["--source", f"s3a://{bucket}/{prefix}", "--target", str(lake / "app"), "--config", str(config)]
    merge = ("merge_changes", *place, "--checkpoint", str(tmp_path / "checkpoint"))
    job(stack, *merge)
    found = verify(stack, config)
    assert (found["equal"], found["keys"]) == (True, len(ITEMS)), found

    lose_the_delete(stack, deployment)
    run = backfill(stack, deployment)
    job(stack, *merge)
    # A backfill brings what there is. That the item is gone, only the sweep can say.
    found = verify(stack, config)
    assert (found["ghost"], found["missing"], found["different"]) == ([f"id=S:{LOST}"], [], []), found

    before = files(stack, deployment).keys()
    aside = f"s3a://{bucket}/{deployment.outputs['AsidePrefix']}"
    swept = job(stack, "sweep", *place, "--table", "app", "--run", run, "--aside", aside)
    assert f"wrote ABSENT records for 1 of {len(ITEMS)} rows of {lake / 'app'}" in swept, swept
    written = [record for key, records in files(stack, deployment).items() if key not in before for record in records]
    assert [(one["event_name"], one["keys"]) for one in written] == [("ABSENT", {"id": {"S": LOST}})]

    job(stack, *merge)
    found = verify(stack, config)
    assert (found["equal"], found["keys"]) == (True, len(ITEMS) - 1), found
    users, orders = rows(lake / "users"), rows(lake / "orders")
    assert [key for key, gone in orders.items() if gone] == [f"id=S:{LOST}"]
    assert (len(users), len(orders), any(users.values())) == (12, 20, False)
