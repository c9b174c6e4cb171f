"""What a start says of a `_changes` that is not as the last run left it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from lakebound.errors import Misconfigured
from lakebound_spark.platform.refusals import Refusals
from lakebound_spark.platform.streams import claim_checkpoint
from lakebound_spark.platform.tables import newest_version, table_sql
from lakebound_spark.silver import changes_table as changes_module
from lakebound_spark.silver.changes_table import append_number, appends, changes_table, create_changes_table
from lakebound_spark.silver.preparation import prepare_silver
from tests.spark.silver import Silver
from tests.support.independent_writer import item, stream, write_records


class Lake:
    """Silver with `_changes`, and a checkpoint that is tied to it."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark, self.folder, self.number = spark, folder, 0
        self.silver = Silver.create(spark, folder / "silver", {}, appends=True)
        self.place = changes_table(self.silver.path)
        self.start(appends=True)

    def start(self, *, appends: bool) -> None:
        checkpoint, silver = str(self.folder / "checkpoint"), self.silver
        table_id = prepare_silver(
            self.spark, silver.path, silver.config, checkpoint, silver.merge_pending, Refusals(), appends=appends
        )
        claim_checkpoint(self.spark, checkpoint, silver.path, table_id)

    def append(self) -> str:
        """The append's name."""
        self.number += 1
        record = stream("a", self.number, item("a"))
        self.silver.append(write_records(self.folder / "source", [record], hour=f"HH={self.number:02d}"))
        return appends(self.spark, self.silver.path)[-1]

    def remove(self, append: str) -> None:
        self.spark.sql(f"DELETE FROM {table_sql(self.place)} WHERE append = '{append}'")


def lose(lake: Lake) -> None:
    lake.append()
    shutil.rmtree(lake.place)


def make_another(lake: Lake) -> None:
    lose(lake)
    create_changes_table(lake.spark, lake.silver.path, ())


def restore(lake: Lake) -> None:
    before = newest_version(lake.spark, lake.place)
    lake.append()
    lake.spark.sql(f"RESTORE TABLE {table_sql(lake.place)} TO VERSION AS OF {before}")


def lose_the_first(lake: Lake) -> None:
    first = lake.append()
    lake.append()
    lake.remove(first)


def lose_what_was_merged_last(lake: Lake) -> None:
    merged = lake.append()
    lake.silver.merge_pending()
    lake.append()
    lake.remove(merged)


def restore_before_a_merge(lake: Lake) -> None:
    """While the job runs. What it appends later is merged, and nothing of the append that was taken away is left."""
    before = newest_version(lake.spark, lake.place)
    lake.append()
    lake.spark.sql(f"RESTORE TABLE {table_sql(lake.place)} TO VERSION AS OF {before}")
    lake.append()
    lake.silver.merge_pending()


def put_an_older_copy_there(lake: Lake) -> None:
    shutil.copytree(lake.place, copy := lake.folder / "copy")
    lake.append()
    lake.silver.merge_pending()
    shutil.rmtree(lake.place)
    shutil.move(copy, lake.place)
    # Delta keeps what it read of a table, which another driver has not.
    lake.spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()  # type: ignore[union-attr]


def restore_silver(lake: Lake) -> None:
    lake.append()
    lake.spark.sql(f"RESTORE TABLE {table_sql(lake.silver.path)} TO VERSION AS OF 0")


@pytest.mark.soak
@pytest.mark.parametrize(
    ("harm", "fault"),
    [
        (lose, "is missing"),
        (make_another, "is another table than the one that was made here"),
        (restore, "was restored to an older version"),
        (restore_before_a_merge, "was restored to an older version"),
        (put_an_older_copy_there, "was restored to an older version"),
        (lose_the_first, "begins with its append 0000000002"),
        (lose_what_was_merged_last, "lacks the append 0000000001"),
        (restore_silver, "is there, and "),
    ],
)
def test_a_start_is_refused_whether_it_appends_or_not(
    spark: SparkSession, tmp_path: Path, harm: Callable[[Lake], None], fault: str
) -> None:
    lake = Lake(spark, tmp_path)
    lake.start(appends=True)  # of which the next one remembers that nothing was wrong
    harm(lake)
    for appends_too in (True, False):
        with pytest.raises(Misconfigured, match=f"silver_changes {fault}"):
            lake.start(appends=appends_too)


@pytest.mark.soak
def test_a_start_asks_again_only_what_has_changed_since_the_last_one(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of months of appends it reads no commit that is older than the last merge."""
    lake = Lake(spark, tmp_path)
    asked: list[str] = []
    real = type(spark).sql

    def sql(session: SparkSession, query: str) -> DataFrame:
        asked.extend(re.findall(r"DESCRIBE HISTORY \S*_changes` LIMIT (\d+)", query))
        return real(session, query)

    def limits() -> list[int]:
        """Of the commits that a start asks for, beside the newest one."""
        asked.clear()
        lake.start(appends=True)
        return [number for number in map(int, asked) if number > 1]

    monkeypatch.setattr(type(spark), "sql", sql)
    assert limits() == [], "an unchanged table was looked at again"
    for _ in range(3):
        lake.append()
    assert limits() == [3 + 20]
    lake.silver.merge_pending()
    lake.append()
    assert limits() == [1 + 20]
    assert limits() == []


def test_a_silver_that_was_dropped_alone_is_not_made_again_beside_its_changes(
    spark: SparkSession, tmp_path: Path
) -> None:
    """The new silver knew nothing of that `_changes`, to which the job went on appending: in no view, in no merge."""
    lake = Lake(spark, tmp_path)
    lake.append()
    shutil.rmtree(lake.silver.path)
    with pytest.raises(Misconfigured, match="silver_changes is a table that this job did not make for"):
        lake.start(appends=True)
    shutil.rmtree(lake.place)
    shutil.rmtree(tmp_path / "checkpoint")
    lake.start(appends=True)
    lake.append()
    assert set(lake.silver.live_rows()) == {"id=S:a"}


def test_after_an_append_that_failed_the_next_one_has_the_number_after_those_that_are_there(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(spark, tmp_path)
    asked: list[str] = []
    real_appends, real_append = changes_module.appends, changes_module.append_rows

    def counted(session: SparkSession, target: str) -> list[str]:
        asked.append(target)
        return real_appends(session, target)

    def unanswered(rows: DataFrame, place: str) -> None:
        real_append(rows, place)
        raise OSError("the store does not answer")

    def refused(rows: DataFrame, place: str) -> None:
        del rows, place
        raise OSError("the store does not answer")

    monkeypatch.setattr(changes_module, "appends", counted)
    numbers = [append_number(lake.append()) for _ in range(2)]
    assert (numbers, len(asked)) == ([1, 2], 1), "the second append asked again"
    for failing, next_number in ((refused, 3), (unanswered, 5)):
        with monkeypatch.context() as broken:
            broken.setattr(changes_module, "append_rows", failing)
            with pytest.raises(OSError, match="does not answer"):
                lake.append()
        assert append_number(lake.append()) == next_number
