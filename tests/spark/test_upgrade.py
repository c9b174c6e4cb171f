"""A silver table that the merge job of 0.1.0 made is taken over by the job of today: every row stays, what came since
is merged, and what the table did not have then (appends between merges, more metrics) begins with it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from lakebound.record import envelope
from lakebound.record.stream_records import StreamDecoder
from lakebound.transport import batch_files, messages
from lakebound_spark.jobs import merge_changes
from tests.spark.jobs import Ran, run_main

pytestmark = pytest.mark.soak

FORMER = Path(__file__).resolve().parents[1] / "upgrade" / "0.1.0"
NOW_MS = 1_795_000_200_000
ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/cars/stream/2026-11-01T08:00:00.000"


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """The files and the tables as 0.1.0 left them; two of three files are merged."""
    for name in ("files", "silver"):
        shutil.copytree(FORMER / name, tmp_path / name)
    return tmp_path


def merge(lake: Path, *more: str) -> Ran:
    """Today's job, with a checkpoint of its own: it reads every file again."""
    return run_main(
        merge_changes.main,
        *("--source", lake / "files", "--checkpoint", lake / "checkpoint", "--target", lake / "silver" / "cars"),
        *("--config", FORMER / "cars.yaml", *more),
    )


def rows(spark: SparkSession, lake: Path) -> dict[str, dict[str, Any]]:
    found = spark.read.format("delta").load(str(lake / "silver" / "cars")).collect()
    return {row["vin"]: row.asDict(recursive=True) for row in found}


def write_change(lake: Path) -> None:
    """WLB3 changes after the upgrade."""
    image = {"vin": {"S": "WLB3"}, "soc": {"N": "50.00"}}
    record = {
        "eventID": "f" * 32,
        "eventName": "MODIFY",
        "eventSourceARN": ARN,
        "dynamodb": {
            "ApproximateCreationDateTime": NOW_MS // 1000,
            "Keys": {"vin": {"S": "WLB3"}},
            "NewImage": image,
            "SequenceNumber": "820400000000000000000000009",
            "SizeBytes": 96,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
    }
    line = envelope.encode_line(StreamDecoder("cars").decode(record, NOW_MS), NOW_MS)
    (message,) = messages.Packer("cars", 262_144, NOW_MS).pack([messages.Line(0, "dt=2026-11-18/HH=11", None, line)])
    members = messages.decode("cars", message.body)
    assert isinstance(members, list)
    (file,) = batch_files.assemble("ddb/cars", "stream", members)
    (lake / "files" / file.key.removeprefix("ddb/cars/")).write_bytes(file.body)


def live(lake: Path) -> dict[str, str | None]:
    command = [sys.executable, "-c", "from lakebound.cli.entry import main; main()", "query", "--json"]
    asked = ["--target", str(lake / "silver" / "cars"), "SELECT vin, CAST(soc AS VARCHAR) AS soc FROM live"]
    done = subprocess.run([*command, *asked], capture_output=True, text=True, check=True)
    return {row["vin"]: row["soc"] for row in map(json.loads, done.stdout.splitlines())}


def test_a_table_of_0_1_0_goes_on(spark: SparkSession, lake: Path) -> None:
    before = rows(spark, lake)
    assert {vin: (row["_is_deleted"], str(row["soc"])) for vin, row in before.items()} == {
        "WLB1": (False, "80.25"),
        "WLB2": (True, "None"),
        "WLB3": (False, "80.25"),
        "WLB4": (False, "None"),
    }
    ran = merge(lake)
    assert (ran.status, "bad_files=0" in ran.last_line) == (0, True)
    after = rows(spark, lake)
    assert {vin: {name: row[name] for name in before[vin]} for vin, row in after.items() if vin in before} == before
    assert after.keys() - before.keys() == {"WLB5"}
    assert str(after["WLB5"]["soc"]) == "81.50"
    # What waits for a MERGE is shown, in a table that knew no waiting.
    write_change(lake)
    assert merge(lake, "--merge-every", "1h").status == 0
    assert str(rows(spark, lake)["WLB3"]["soc"]) == "80.25"
    assert live(lake) == {"WLB1": "80.25", "WLB3": "50.00", "WLB4": None, "WLB5": "81.50"}
    metrics = spark.read.format("delta").load(str(lake / "silver" / "cars_metrics"))
    assert metrics.where("appended > 0").count() == 1
    assert metrics.count() == 4
