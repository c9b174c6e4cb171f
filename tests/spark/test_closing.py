"""`lakebound backfill close` over real silver: each way to heal closes its gap once it is merged, and not before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from lakebound.adapters.documents import S3Documents
from lakebound.adapters.s3 import S3Store
from lakebound.source.gaps import Gap, GapBook
from lakebound.transport.object_keys import RunFolder
from lakebound_spark.platform.tables import properties
from lakebound_spark.reading.bad_files import record_bad_files
from lakebound_spark.reading.files import BadFile
from lakebound_spark.silver.stale_mark import mark_stale
from lakebound_spark.silver.views import STALE_PROPERTY
from lakebound_spark.upkeep.run_merge_check import check_run_merge
from lakebound_spark.upkeep.sweep import sweep
from tests.spark.silver import Silver
from tests.spark.sweep_run import BEFORE, LABEL, NOW, RUN, job, keep, manifest_of
from tests.support.independent_writer import TABLE, base, item, stream, write_records
from tests.support.operator_stack import BUCKET, Lakebound, Operated

GAP = Gap(LABEL - 300_000, LABEL - 200_000, "mapping_behind", detected_at_ms=LABEL - 100_000)


class Healed:
    """A run of one kind, its files in a folder, its manifest and gap in the bucket."""

    def __init__(self, spark: SparkSession, folder: Path, stack: Operated, command: Lakebound) -> None:
        self.silver = Silver.create(spark, folder / "silver", {})
        self.folder = folder
        self._stack = stack
        self._command = command
        s3 = stack.client("s3")
        self.book = GapBook(TABLE, S3Store(BUCKET, s3), S3Documents(BUCKET, s3))
        self.book.record(GAP)

    def ran(self, mode: str, files: Sequence[Path]) -> None:
        manifest = manifest_of(files, mode=mode, heals=((GAP.from_ms, GAP.cause),))
        keep(self.folder, manifest)
        key = RunFolder.of(TABLE, RUN).manifest()
        self._stack.client("s3").put_object(Bucket=BUCKET, Key=key, Body=manifest.encode())

    def close(self, *more: str) -> tuple[int, Any]:
        self._command.printed()
        places = ("--source", str(self.folder / "source"), "--target", self.silver.path)
        status = self._command("backfill", "close", "--run", RUN, *places, "--json", *more)
        return status, self._command.document()

    def metric(self) -> list[float]:
        cloudwatch = self._stack.client("cloudwatch")
        query = {"Namespace": "Lakebound", "MetricName": "Gap", "Dimensions": [{"Name": "table", "Value": TABLE}]}
        found = cloudwatch.get_metric_statistics(
            **query, StartTime="2020-01-01", EndTime="2100-01-01", Period=86_400 * 3650, Statistics=["Maximum"]
        )
        return [point["Maximum"] for point in found["Datapoints"]]


@pytest.fixture
def healed(spark: SparkSession, tmp_path: Path, operated: Operated, lakebound: Lakebound) -> Healed:
    return Healed(spark, tmp_path, operated, lakebound)


@pytest.mark.soak
def test_a_heal_by_windows_is_closed_once_it_is_merged(healed: Healed) -> None:
    before = write_records(healed.folder / "source", [stream("k1", 1, item("k1")), stream("k2", 2, item("k2"))])
    healed.silver.merge(before)
    records = [
        base("k1", LABEL, None, origin="reread"),
        base("k2", LABEL, item("k2"), origin="incremental_export"),
        base("k3", LABEL + 10, item("k3"), origin="incremental_export"),
    ]
    run = write_records(healed.folder / "source", records)
    healed.ran("incremental_export", [run])

    status, told = healed.close()
    assert (status, told["closed"]) == (1, [])
    assert told["refused"] == [{"what": "the run has 3 keys not merged", "command": "lakebound-merge-changes"}]
    assert [gap.healed_by for gap in healed.book.all()] == [None]

    healed.silver.merge(run)
    spark, target = healed.silver.spark, healed.silver.path
    mark_stale(spark, target, healed.book.all())
    status, told = healed.close("--dry-run")
    assert (status, len(told["closed"]), len(told["still_open"])) == (0, 1, 1)
    assert [gap.healed_by for gap in healed.book.all()] == [None]
    assert healed.metric() == []
    assert STALE_PROPERTY in properties(spark, target)

    status, told = healed.close()
    assert (status, len(told["closed"]), told["still_open"]) == (0, 1, [])
    assert [(gap.healed_by, gap.to_ms) for gap in healed.book.all()] == [(RUN, GAP.to_ms)]
    assert healed.metric() == [0.0]
    assert STALE_PROPERTY in properties(spark, target), "the mark is the merge job's"
    mark_stale(spark, target, healed.book.all())
    assert STALE_PROPERTY not in properties(spark, target)

    status, told = healed.close()
    assert (status, told["closed"], told["refused"]) == (0, [], [])


@pytest.mark.soak
def test_a_heal_by_scan_is_closed_once_its_sweep_is_merged_too(healed: Healed) -> None:
    before = write_records(healed.folder / "source", BEFORE)
    run = write_records(
        healed.folder / "source", [base("kept", LABEL, item("kept")), base("new", LABEL + 10, item("new"))]
    )
    healed.ran("scan", [run])
    healed.silver.merge(before, run)
    status, told = healed.close()
    assert (status, told["closed"]) == (1, [])
    (refused,) = told["refused"]
    assert refused["what"].startswith("2 rows are still there")
    assert f"lakebound-sweep --run {RUN}" in refused["command"]

    swept = sweep(healed.silver.spark, job(healed.folder), NOW)
    assert healed.close()[0] == 1, "what the sweep wrote is not merged"
    healed.silver.merge(*(Path(path) for path in swept.files))
    status, told = healed.close()
    assert (status, len(told["closed"])) == (0, 1)
    assert healed.book.open() == []


@pytest.mark.soak
def test_files_that_are_gone_or_damaged_keep_the_gap_open(healed: Healed) -> None:
    whole = write_records(healed.folder / "source", [base("k1", LABEL, item("k1"), origin="incremental_export")])
    other = write_records(healed.folder / "source", [base("k2", LABEL, item("k2"), origin="incremental_export")])
    healed.ran("incremental_export", [whole, other])
    healed.silver.merge(whole, other)
    body = other.read_bytes()
    other.write_bytes(body[:-9])
    assert "not as written" in healed.close()[1]["refused"][0]["what"]
    other.unlink()
    assert "1 of 2 files are not there" in healed.close()[1]["refused"][0]["what"]
    other.write_bytes(body)
    assert healed.close()[0] == 0


@pytest.mark.soak
def test_a_file_that_the_merge_left_out_is_named(spark: SparkSession, tmp_path: Path) -> None:
    silver = Silver.create(spark, tmp_path / "silver", {})
    run = write_records(tmp_path / "source", [base("k1", LABEL, item("k1"))])
    manifest = manifest_of([run])
    assert check_run_merge(spark, str(tmp_path / "source"), silver.path, manifest).left_out == ()
    elsewhere = "/elsewhere/scan-20130101T000000000Z-1-00000000000000000000000000000000.ndjson.gz"
    record_bad_files(spark, silver.path, [BadFile(str(run), "damaged", 1), BadFile(elsewhere, "damaged", 1)])
    found = check_run_merge(spark, str(tmp_path / "source"), silver.path, manifest)
    assert (found.left_out, found.unmerged, found.ghosts) == ((run.name,), 1, None)
