"""Silver is marked stale while a gap is open: the table's property, the view's column; records too late raise a gap."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from lakebound.record.column_names import STALE_SINCE
from lakebound.source.gaps import Gap
from lakebound.transport.object_keys import GapKey
from lakebound_spark.platform import streams
from lakebound_spark.platform.tables import newest_version, properties
from lakebound_spark.silver import status_table
from lakebound_spark.silver.merge_job import MergeJob, merge_micro_batch
from lakebound_spark.silver.merge_run import run_merge
from lakebound_spark.silver.micro_batch import Destination
from lakebound_spark.silver.purge_horizon import PURGED_BEFORE
from lakebound_spark.silver.stale_mark import default_control_folder, mark_stale, read_gaps, record_stale_gap
from lakebound_spark.silver.status_table import write_status
from lakebound_spark.silver.views import create_views
from tests.spark.silver import Silver, data_files_at, run_job, write_config
from tests.support.independent_writer import TABLE, item, stream, write_records

FROM = 1_762_000_000_000
GAP = Gap(FROM, FROM + 60_000, "mapping_behind", detected_at_ms=FROM + 90_000)
SINCE = "2025-11-01T12:26:40Z"


def keep(aside: Path, *gaps: Gap) -> None:
    (aside / "gaps").mkdir(parents=True, exist_ok=True)
    (aside / "gaps" / "seen.json").write_text("{}")
    for gap in gaps:
        name = GapKey(TABLE, gap.from_ms, gap.cause).format().rpartition("/")[2]
        (aside / "gaps" / name).write_bytes(gap.encode())


def told(spark: SparkSession, table: str) -> tuple[str | None, str | None]:
    """The two properties of the mark."""
    found = properties(spark, table)
    return found.get("lakebound.stale_since"), found.get("lakebound.stale_because")


def status(spark: SparkSession, table: str) -> tuple[str | None, str | None, int]:
    """The one row of `_status`: since when, why, how many gaps are open."""
    (row,) = spark.table(f"{table}_status").collect()
    assert (row["refused"], row["looked_at"] is None) == (None, False)
    since = row[STALE_SINCE] and row[STALE_SINCE].strftime("%Y-%m-%dT%H:%M:%SZ")
    return since, row["stale_because"], row["open_gaps"]


def test_an_open_gap_marks_the_table_and_its_view_until_it_is_healed(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_records(tmp_path / "source", [stream("k", 1, item("k"))])
    aside, config, table = tmp_path / "aside", write_config(tmp_path, ["id: string"]), "marked_silver"
    later = Gap(FROM + 5_000, None, "failures_lost", detected_at_ms=FROM)
    keep(aside, GAP, later)
    done = run_job(tmp_path / "source", tmp_path / "c", table, config, "--aside", str(aside))
    assert done.status == 0, "a stale table goes on being merged"
    assert f"GAP: {table} is marked stale since {SINCE}" in capsys.readouterr().err
    assert told(spark, table) == (SINCE, "failures_lost, mapping_behind")
    assert status(spark, table) == (SINCE, "failures_lost, mapping_behind", 2)
    (row,) = spark.table(f"{table}_current").collect()
    assert (row["id"], row["_stale_since"]) == ("k", datetime.fromisoformat(SINCE).replace(tzinfo=None))

    def look() -> tuple[str | None, str | None]:
        mark_stale(spark, table, read_gaps(spark, str(aside), TABLE))
        return told(spark, table)

    # One of two is healed: not yet whole. Red control of the mark: a rule "some gap is healed" would clear it here.
    keep(aside, replace(GAP, healed_by="heal-1"))
    assert look() == ("2025-11-01T12:26:45Z", "failures_lost")
    assert status(spark, table) == ("2025-11-01T12:26:45Z", "failures_lost", 1)
    # Columns that are added make the view anew: it must not forget.
    create_views(spark, table)
    assert spark.table(f"{table}_current").head()["_stale_since"] is not None  # type: ignore[index]
    keep(aside, replace(later, healed_by="heal-2"))
    assert look() == (None, None)
    assert status(spark, table) == (None, None, 0)
    assert spark.table(f"{table}_current").head()["_stale_since"] is None  # type: ignore[index]


def test_a_look_that_finds_nothing_new_is_noted_now_and_then(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = str(tmp_path / "silver")
    read: list[str] = []
    read_table = status_table.read_table
    monkeypatch.setattr(status_table, "read_table", lambda spark, place: read.append(place) or read_table(spark, place))

    def look(minutes: int, *gaps: Gap) -> tuple[int, int]:
        """The table's version after a look, and how often the row has been read so far."""
        monkeypatch.setattr(status_table, "LOOK_MINUTES", minutes)
        write_status(spark, target, gaps, "")
        return newest_version(spark, f"{target}_status"), len(read)

    assert look(15, GAP) == (1, 1)
    assert look(15, GAP) == (1, 1), "this process knows the row"
    status_table._LAST.clear()  # as in a new one
    assert look(15, GAP) == (1, 2)
    assert look(15, GAP) == (1, 2), "it knows the row that it read, too"
    assert look(0, GAP) == (2, 3)
    assert look(0, GAP) == (3, 4)
    assert look(15) == (4, 5), "something changed"
    shutil.rmtree(f"{target}_status")
    assert look(15) == (1, 6), "somebody dropped the table"


def test_a_stream_that_goes_on_looks_between_its_micro_batches(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing comes in, so there is no micro-batch, and the mark comes and goes all the same."""
    monkeypatch.setattr(streams, "HOUSEKEEPING_SECONDS", 1)
    silver = Silver.create(spark, tmp_path / "silver", {})
    (tmp_path / "source").mkdir()
    places = [str(tmp_path / name) for name in ("source", "c", "silver")]
    trigger = {"processingTime": "1 seconds"}
    job = MergeJob(*places, silver.config, trigger, "files", 10, control_folder=str(tmp_path / "aside"))
    stop, failures = threading.Event(), []

    def work() -> None:
        try:
            run_merge(spark, job, stop=stop)
        except Exception as error:
            failures.append(error)

    def wait_for(since: str | None) -> None:
        while told(spark, silver.path)[0] != since:
            assert going.is_alive(), failures
            going.join(0.2)

    going = threading.Thread(target=work, daemon=True)
    going.start()
    try:
        keep(tmp_path / "aside", GAP)
        wait_for(SINCE)
        keep(tmp_path / "aside", replace(GAP, healed_by="heal-1"))
        wait_for(None)
    finally:
        stop.set()
        going.join(120)
    assert (failures, going.is_alive()) == ([], False)


@pytest.mark.soak
def test_records_that_came_too_late_raise_a_gap(spark: SparkSession, tmp_path: Path) -> None:
    silver = Silver.create(spark, tmp_path / "silver", {}, deletes="hard", purge_after_days=40)
    spark.sql(f"ALTER TABLE delta.`{silver.path}` SET TBLPROPERTIES ('{PURGED_BEFORE}' = '5000')")
    late = [stream("a", 1, item("a"), time_ms=4_000), stream("b", 1, item("b"), time_ms=4_700)]
    files = data_files_at([write_records(tmp_path, [*late, stream("c", 1, item("c"), time_ms=5_000)])])
    aside = str(tmp_path / "aside")
    done = merge_micro_batch(spark, files, 0, Destination(silver.path, silver.config, f"{silver.path}_staging"), aside)
    assert (done.stale, done.records) == (2, 1)
    (gap,) = read_gaps(spark, aside, TABLE)
    assert (gap.from_ms, gap.to_ms, gap.cause, gap.healed_by) == (4_000, 4_700, "records_stale", None)
    assert mark_stale(spark, silver.path, [gap]) == "1970-01-01T00:00:04Z"
    assert told(spark, silver.path) == ("1970-01-01T00:00:04Z", "records_stale")


def test_a_gap_of_late_records_is_raised_once(spark: SparkSession, tmp_path: Path) -> None:
    def stretches() -> list[tuple[int, int | None]]:
        return [(gap.from_ms, gap.to_ms) for gap in read_gaps(spark, str(tmp_path), TABLE)]

    record_stale_gap(spark, str(tmp_path), TABLE, 4_000, 4_700, 9_000)
    record_stale_gap(spark, str(tmp_path), TABLE, 4_000, 4_700, 9_100)
    assert stretches() == [(4_000, 4_700)], "a replayed micro-batch tells nothing new"
    keep(tmp_path, replace(read_gaps(spark, str(tmp_path), TABLE)[0], healed_by="heal-1"))
    record_stale_gap(spark, str(tmp_path), TABLE, 4_100, 4_600, 9_200)
    assert stretches() == [(4_000, 4_700)], "the heal read the whole table after them"
    # What reaches further than the healed one is told, though a gap of the same start has its place.
    record_stale_gap(spark, str(tmp_path), TABLE, 4_000, 4_900, 9_300)
    assert stretches() == [(3_999, 4_900), (4_000, 4_700)]


def test_an_object_that_nobody_can_read_counts_as_an_open_gap(spark: SparkSession, tmp_path: Path) -> None:
    keep(tmp_path, replace(GAP, healed_by="heal-1"))
    name = GapKey(TABLE, FROM + 1_000, "mapping_disabled").format().rpartition("/")[2]
    (tmp_path / "gaps" / name).write_bytes(b"\xff{")
    # Locally by Python, in a bucket by Spark.
    for aside in (str(tmp_path), f"file://{tmp_path}"):
        healed, broken = read_gaps(spark, aside, TABLE)
        assert healed == replace(GAP, healed_by="heal-1")
        assert (broken.from_ms, broken.cause, broken.healed_by) == (FROM + 1_000, "mapping_disabled", None)
    assert read_gaps(spark, f"file://{tmp_path}/nowhere", TABLE) == []


@pytest.mark.parametrize(
    ("source", "aside"),
    [
        ("s3a://bucket/raw/ddb/flights", "s3a://bucket/_lakebound/flights"),
        ("s3://bucket", "s3://bucket/_lakebound/flights"),
        ("/data/ddb/flights", ""),
        ("main.lake.flights_bronze", ""),
    ],
)
def test_the_folder_beside_the_data_is_known_for_a_bucket(source: str, aside: str) -> None:
    assert default_control_folder(source, TABLE) == aside
