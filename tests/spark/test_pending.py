"""The job with `--merge-every`: what waits in `_changes` is in `_live`, and no story loses it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from lakebound_spark.platform.tables import newest_version
from lakebound_spark.silver import merge_run
from lakebound_spark.silver.changes_table import appends, pending
from lakebound_spark.silver.live_rows import live_rows
from tests.spark.silver import JobRun, run_job, write_config
from tests.support.independent_writer import Record, item, stream, write_records
from tests.support.registers import visible_items

HOURLY = ("--merge-every", "1h")


class Lake:
    """A folder with batch files, the job's tables and its checkpoints."""

    def __init__(self, spark: SparkSession, folder: Path, target: str = "") -> None:
        self.spark, self.folder, self.records = spark, folder, list[Record]()
        self.target = target or str(folder / "silver")
        self.config = write_config(folder, ["id: string", "v: int"])

    def deliver(self, *records: Record) -> None:
        """One more batch file."""
        hour = f"dt=2013-01-01/HH={len(list(self.folder.glob('source/*/*/*'))):02d}"
        write_records(self.folder / "source", records, hour=hour)
        self.records += records

    def run(self, *more: str, checkpoint: str = "checkpoint") -> JobRun:
        source, place = (self.folder / name for name in ("source", checkpoint))
        return run_job(source, place, self.target, self.config, "--max-files", "1", *more)

    def live(self) -> dict[str, Any]:
        rows = live_rows(self.spark, self.target).where("NOT _is_deleted").collect()
        return {row["_key"]: json.loads(row["_item"]) for row in rows}

    def silver(self) -> dict[str, Any]:
        rows = self.spark.read.format("delta").load(self.target).where("NOT _is_deleted").collect()
        return {row["_key"]: json.loads(row["_item"]) for row in rows}

    def received(self) -> dict[str, Any]:
        return visible_items(self.records)


def change(key: str, number: int) -> Record:
    return stream(key, number, item(key, v={"N": str(number)}))


@pytest.fixture
def lake(spark: SparkSession, tmp_path: Path) -> Lake:
    """Merged: `a`. Waiting: `b`, and a newer `a`."""
    lake = Lake(spark, tmp_path)
    lake.deliver(change("a", 1))
    assert lake.run(*HOURLY).status == 0
    assert lake.silver() == {}, "the first merge is due an hour after the start"
    assert lake.run().status == 0
    lake.deliver(change("b", 2), change("a", 3))
    assert lake.run(*HOURLY).status == 0
    return lake


def test_what_waits_is_live_until_a_run_without_an_interval_merges_it(lake: Lake) -> None:
    assert lake.live() == lake.received()
    assert lake.silver() == visible_items(lake.records[:1])
    assert pending(lake.spark, lake.target).rows == 2
    lake.deliver(stream("b", 4, None))
    done = lake.run()
    assert [(batch["keys"], batch["appended"]) for batch in done.batches] == [(2, 0), (1, 0)]
    assert lake.live() == lake.silver() == lake.received()
    assert pending(lake.spark, lake.target).rows == 0
    lake.deliver(change("b", 5))
    done = lake.run(*HOURLY)
    assert done.sentence.startswith(f"appended 1 record into {lake.target}_changes, 1 append, 0 merges")
    assert lake.live() == lake.received()


@pytest.mark.soak
def test_past_the_bound_nothing_is_appended_before_a_merge(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise MemoryError

    before = appends(lake.spark, lake.target)
    lake.deliver(change("c", 4), change("d", 5))
    assert lake.run(*HOURLY).status == 0
    lake.deliver(change("e", 6))
    with monkeypatch.context() as broken:
        broken.setattr(merge_run, "merge_pending", fail)
        assert lake.run(*HOURLY, "--merge-rows", "1").status == 1
    assert len(appends(lake.spark, lake.target)) == len(before) + 1, "e was appended before what waited was merged"
    assert lake.run(*HOURLY, "--merge-rows", "1").status == 0
    assert lake.silver() == lake.live() == lake.received()


@pytest.mark.soak
def test_the_appends_of_a_new_checkpoint_are_no_repeats(lake: Lake) -> None:
    before = len(appends(lake.spark, lake.target))
    lake.deliver(change("c", 6))
    assert lake.run(*HOURLY, checkpoint="new").status == 0
    assert len(appends(lake.spark, lake.target)) == before + 3
    assert lake.live() == lake.received()


def lose(lake: Lake) -> None:
    shutil.rmtree(f"{lake.target}_changes")


def restore(lake: Lake) -> None:
    lake.run()
    lake.deliver(change("a", 7))
    lake.run(*HOURLY)
    lake.run()
    lake.spark.sql(f"RESTORE TABLE delta.`{lake.target}` TO VERSION AS OF 3")


def restore_to_the_first(lake: Lake) -> None:
    """Silver knows of no `_changes` then, and `--merge-every 0` must not go on without what waits there either."""
    lake.spark.sql(f"RESTORE TABLE delta.`{lake.target}` TO VERSION AS OF 0")


def restore_changes(lake: Lake) -> None:
    """The append that goes is in no list of silver's: no merge has taken it."""
    place = f"{lake.target}_changes"
    before = newest_version(lake.spark, place)
    lake.deliver(change("c", 9))
    assert lake.run(*HOURLY).status == 0
    lake.spark.sql(f"RESTORE TABLE delta.`{place}` TO VERSION AS OF {before}")
    assert lake.live() != lake.received()


@pytest.mark.parametrize(
    ("harm", "fault"),
    [
        (lose, "is missing"),
        (restore, "lacks the append 0000000001"),
        (restore_changes, "was restored to an older version"),
        (restore_to_the_first, "is there, and "),
    ],
)
@pytest.mark.soak
def test_a_start_without_what_was_pending_is_refused_and_a_new_checkpoint_brings_it(
    lake: Lake, capsys: pytest.CaptureFixture[str], harm: Any, fault: str
) -> None:
    harm(lake)
    for interval in (HOURLY, ()):
        assert lake.run(*interval).status == 2
        refused = capsys.readouterr().err
        assert f"{lake.target}_changes {fault}" in refused
        assert "give a new checkpoint, and every file is read again" in refused
    assert lake.run(*HOURLY, checkpoint="new").status == 0
    assert lake.live() == lake.received()


@pytest.mark.soak
def test_a_table_of_somebody_else_is_left_alone(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = Lake(spark, tmp_path)
    lake.deliver(change("a", 1))
    spark.range(3).write.format("delta").save(f"{lake.target}_changes")
    assert lake.run().status == 0, "without an interval the job needs no such table"
    assert lake.run(*HOURLY).status == 2
    assert f"{lake.target}_changes is a table that this job did not make" in capsys.readouterr().err
    assert spark.read.format("delta").load(f"{lake.target}_changes").count() == 3


@pytest.mark.soak
def test_a_column_declared_while_changes_wait_is_filled_for_all(lake: Lake) -> None:
    lake.config = write_config(lake.folder, ["id: string", "v: int", "w: {type: string, path: v}"])
    lake.deliver(change("c", 8))
    assert lake.run(*HOURLY).status == 0
    rows = {row["id"]: (row["v"], row["w"]) for row in live_rows(lake.spark, lake.target).collect()}
    assert rows == {"a": (3, "3"), "b": (2, "2"), "c": (8, "8")}
    assert lake.silver().keys() == {"id=S:a", "id=S:b"}, "what waited with other columns was merged first"


@pytest.mark.soak
def test_a_column_declared_while_changes_wait_is_in_the_view(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake(spark, tmp_path, target="declared_later")
    lake.deliver(change("a", 1))
    assert lake.run(*HOURLY).status == 0
    lake.config = write_config(lake.folder, ["id: string", "v: int", "w: {type: string, path: v}"])
    lake.deliver(change("b", 2), change("a", 3))
    assert lake.run(*HOURLY).status == 0
    view = spark.table("declared_later_live")
    assert "w" in view.columns
    rows = {row["id"]: (row["v"], row["w"]) for row in view.collect()}
    assert rows == {"a": (3, "3"), "b": (2, "2")}
