"""How far silver is behind: what the job publishes while it works, while it has nothing to do, and when it may not."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from moto import mock_aws
from pyspark.sql import SparkSession

from lakebound.errors import LakeboundError, Misconfigured
from lakebound_spark.audits.chain_metric import publish_chain_breaks
from lakebound_spark.platform.metrics import MicroBatch
from lakebound_spark.platform.streams import parse_trigger
from lakebound_spark.platform.tables import read_table
from lakebound_spark.reading.source import DataFile
from lakebound_spark.silver.changes_table import Pending
from lakebound_spark.silver.config import load_any_config, of_table
from lakebound_spark.silver.due_merge import MergeSchedule
from lakebound_spark.silver.freshness import Freshness, Standing
from lakebound_spark.silver.merge_job import MergeJob, files_until_ms
from lakebound_spark.silver.merge_run import run_merge
from tests.spark.silver import run_job, write_config
from tests.support.independent_writer import TABLE, base, item, stream, write_records

NOW = 1_700_000_000_000
HOUR_MS = 3_600_000


def brought(*, file_age_ms: int | None, record_age_ms: int | None = None) -> MicroBatch:
    """A micro-batch that became visible at NOW."""
    oldest_file_ms = None if file_age_ms is None else NOW - file_age_ms
    counts = dict.fromkeys(("bad_files", "refused", "stale", "inserted", "updated", "rewritten", "inexact"), 0)
    return MicroBatch(
        **counts, batch=0, files=1, records=1, keys=1, rescued=0, oldest_ingest_ms=None, newest_ingest_ms=None,
        merged_at_ms=NOW, lag_ms=record_age_ms, seconds=1.0, oldest_file_ms=oldest_file_ms, files_until_ms=None,
    )  # fmt: skip


@dataclass(slots=True)
class Watch:
    """A Freshness with a clock of its own, what it put, and what it told."""

    now_ms: int = NOW
    standing: Standing = field(default_factory=lambda: Standing(NOW))
    refusal: Exception | None = None
    puts: list[dict[str, float]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    freshness: Freshness = field(init=False)

    def __post_init__(self) -> None:
        self.freshness = Freshness(TABLE, self.put, lambda: self.now_ms)

    def put(self, table: str, values: Mapping[str, tuple[float, str]]) -> None:
        assert table == TABLE
        if self.refusal is not None:
            raise self.refusal
        self.puts.append({name: value for name, (value, _) in values.items()})

    def publish(self, *, last: bool = False) -> None:
        self.freshness.publish(lambda: self.standing, self.told.append, last=last)

    def lags(self) -> list[float]:
        return [values["SilverLagSeconds"] for values in self.puts]


def test_the_lag_is_the_greatest_age_of_a_file_since_the_last_value() -> None:
    watch = Watch()
    watch.freshness.brought(brought(file_age_ms=5_000))
    watch.publish()
    for age in (9_000, 70_000, 3_000):
        watch.freshness.brought(brought(file_age_ms=age))
        watch.publish()
    assert watch.lags() == [5.0], "one value a minute"
    watch.now_ms += 60_000
    watch.freshness.caught_up()
    watch.publish()
    watch.now_ms += 60_000
    watch.freshness.caught_up()
    watch.publish()
    assert watch.lags() == [5.0, 70.0, 0.0]


def test_a_run_that_ends_leaves_nothing_unsaid() -> None:
    watch = Watch()
    watch.freshness.brought(brought(file_age_ms=5_000))
    watch.publish()
    watch.freshness.brought(brought(file_age_ms=8_000))
    watch.publish(last=True)
    assert watch.lags() == [5.0, 8.0]


def test_a_job_that_has_neither_brought_nor_looked_puts_nothing() -> None:
    watch = Watch()
    for _ in range(3):
        watch.now_ms += HOUR_MS
        watch.publish(last=True)
    assert watch.puts == []
    # A merge of what was pending makes nothing visible.
    watch.freshness.brought(brought(file_age_ms=None))
    watch.publish()
    assert watch.puts == []


def test_from_bronze_the_lag_begins_with_the_oldest_record() -> None:
    watch = Watch()
    watch.freshness.brought(brought(file_age_ms=None, record_age_ms=42_000))
    watch.publish()
    assert watch.lags() == [42.0]


def overdue_of(watch: Watch, standing: Standing) -> float:
    watch.now_ms, watch.standing = standing.now_ms, standing
    watch.freshness.caught_up()
    watch.publish(last=True)
    return watch.puts[-1]["SilverMergeOverdueSeconds"]


def test_a_merge_is_overdue_since_it_was_due() -> None:
    schedule, waiting, watch = MergeSchedule(600, rows=100), Pending(("1",), 1, 10), Watch()

    def at(seconds: int, pending: Pending, merged_s: int) -> float:
        now_ms, merged_ms = NOW + seconds * 1000, NOW + merged_s * 1000
        since = schedule.due_since_ms(pending, merged_ms, now_ms)
        return overdue_of(watch, Standing(now_ms, None, pending, merged_ms, since))

    assert at(599, waiting, 0) == 0, "none is due yet"
    assert at(700, waiting, 0) == 100, "by time the table tells since when"
    assert at(800, Pending(), 0) == 0, "nothing waits"
    full = Pending(("1",), 100, 10)
    assert at(900, full, 850) == 0, "by rows it is due since now, as far as anybody knows"
    assert at(960, full, 850) == 60
    assert at(970, full, 965) == 0, "merged since, and full again"
    assert (watch.puts[-1]["SilverPendingRows"], watch.puts[-1]["SilverPendingBytes"]) == (100, 10)


def test_a_refusal_is_told_once_and_what_was_noted_is_put_later() -> None:
    refusal = LakeboundError("metric refused: AccessDenied")
    watch = Watch(refusal=refusal)
    watch.freshness.brought(brought(file_age_ms=9_000))
    watch.publish()
    watch.now_ms += 60_000
    watch.publish()
    (told,) = watch.told
    assert "AccessDenied" in told
    assert told.endswith("a role that may do cloudwatch:PutMetricData, or no --publish")
    watch.refusal = None
    watch.now_ms += 60_000
    watch.freshness.caught_up()
    watch.publish()
    assert watch.lags() == [9.0]
    watch.refusal = refusal
    watch.now_ms += 60_000
    watch.freshness.caught_up()
    watch.publish()
    assert len(watch.told) == 2, "told again, since it worked in between"


def test_a_job_without_a_region_is_told_so_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    told, freshness = list[str](), Freshness(TABLE)
    freshness.caught_up()
    freshness.publish(lambda: Standing(NOW), told.append)
    assert len(told) == 1
    assert "region" in told[0].partition(")")[0]
    with pytest.raises(Misconfigured, match="the audit is done and kept, but its metric was not put"):
        publish_chain_breaks(TABLE, 0)


def test_a_part_of_a_micro_batch_has_not_taken_what_is_older_in_the_parts_behind_it() -> None:
    def files(*written: int) -> list[DataFile]:
        return [DataFile(f"f{ms}", f"f{ms}", 1, "avro", modified_ms=ms) for ms in written]

    assert files_until_ms(files(5, 9), files(12)) == 9
    assert files_until_ms(files(5, 9), files(7, 12)) == 6
    assert files_until_ms(files(5, 9), files(3)) == 2
    assert files_until_ms(files(5, 9), []) == 9


def values_of(name: str) -> list[float]:
    """Every value of the table's metric that CloudWatch has, the oldest first."""
    now = datetime.now(UTC)
    points = boto3.client("cloudwatch", region_name="us-east-1").get_metric_statistics(
        Namespace="Lakebound",
        MetricName=name,
        Dimensions=[{"Name": "table", "Value": TABLE}],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(minutes=1),
        Period=60,
        Statistics=["Maximum", "SampleCount"],
    )["Datapoints"]
    return [point["Maximum"] for point in sorted(points, key=lambda point: point["Timestamp"])]


@pytest.mark.soak
def test_the_job_puts_its_metrics_and_notes_until_when_files_are_taken(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    write_records(tmp_path / "source", [stream("a", 1, item("a")), base("a", 1_000, item("a"))])
    written_s = int(time.time()) - 7_200
    for path in (tmp_path / "source").rglob("*.gz"):
        os.utime(path, (written_s, written_s))
    places = (tmp_path / "source", tmp_path / "checkpoint", tmp_path / "silver")
    config = write_config(tmp_path, ["id: string"])
    with mock_aws():
        assert run_job(*places, config, "--merge-every", "1h", "--publish").status == 0
        (lag,) = values_of("SilverLagSeconds")
        assert 7_200 <= lag <= time.time() - written_s
        assert values_of("SilverPendingRows") == [2.0], "of one key a row for each of its two registers"
        assert values_of("SilverMergeOverdueSeconds") == [0.0]
        assert len(values_of("SilverRecordAgeSeconds")) == 1
    with mock_aws():
        assert run_job(*places, config, "--merge-every", "1h").status == 0
        assert values_of("SilverLagSeconds") == [], "nothing is put unless it is asked for"
        assert run_job(*places, config, "--merge-every", "1h", "--publish").status == 0
        assert values_of("SilverLagSeconds") == [0.0], "it has looked, and no file waits"
    (row,) = read_table(spark, f"{tmp_path}/silver_metrics").collect()
    assert (row["oldest_file_ms"], row["files_until_ms"]) == (written_s * 1000, written_s * 1000)


@pytest.mark.soak
def test_a_stream_that_has_nothing_to_do_puts_zero(spark: SparkSession, tmp_path: Path) -> None:
    write_records(tmp_path / "source", [stream("a", 1, item("a"))])
    path = str(write_config(tmp_path, ["id: string"]))
    config = of_table(load_any_config(path), path, "")
    stop, watch = threading.Event(), Watch()

    def put(table: str, values: Mapping[str, tuple[float, str]]) -> None:
        watch.put(table, values)
        watch.now_ms += 60_000
        if values["SilverLagSeconds"][0] == 0:
            stop.set()

    job = MergeJob(
        str(tmp_path / "source"),
        str(tmp_path / "checkpoint"),
        str(tmp_path / "silver"),
        config,
        parse_trigger("processing-time=1s"),
        "files",
        10,
    )
    freshness = Freshness(TABLE, put, lambda: watch.now_ms)
    run_merge(spark, job, report=lambda line: None, stop=stop, freshness=freshness)
    first, *_, end = watch.lags()
    assert first > 0
    assert end == 0
