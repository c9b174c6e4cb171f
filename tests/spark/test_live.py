"""`_live` equals what was received, between any two steps of appending, merging and dropping, on real Delta."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from lakebound.adapters.silver_table import SilverTable
from lakebound.source.gaps import Gap
from lakebound_spark.platform.tables import newest_version
from lakebound_spark.silver import changes_table, pending_merge
from lakebound_spark.silver import live_rows as live_module
from lakebound_spark.silver.changes_table import changes_table as changes_of
from lakebound_spark.silver.changes_table import open_changes
from lakebound_spark.silver.config import parse_config
from lakebound_spark.silver.live_rows import key_columns, live_query, told_columns
from lakebound_spark.silver.silver_table import prepare_target
from lakebound_spark.silver.stale_mark import mark_stale
from lakebound_spark.silver.views import create_views
from tests.spark.filtered import filter_tables_of_any_size, is_filtered, newest_statement, plans_of_writes
from tests.spark.generated_code import generated_code
from tests.spark.histories import MARGIN_MS, deliver, history, two_registers
from tests.spark.shown_rows import Shown, expected, shown
from tests.spark.silver import Silver
from tests.support.independent_writer import TABLE, Record, item, stream, write_records


@dataclass(slots=True)
class Moment:
    """A moment between two commits: the newest version of either table, and how many groups had been received."""

    silver: int
    changes: int
    groups: int


@dataclass(slots=True)
class Story:
    """A table that lives through random histories, with every moment between two commits of it."""

    silver: Silver
    moments: list[Moment] = field(default_factory=list)
    groups: list[list[Record]] = field(default_factory=list)
    """What was received, in its order."""
    at_once: set[int] = field(default_factory=set)
    """Numbers of the groups that were merged without an append."""
    _reference: dict[frozenset[int], Shown] = field(default_factory=dict)

    def received(self, moment: Moment) -> Shown:
        """The table as it should be at a moment."""
        return self._expected(frozenset(range(moment.groups)))

    def _expected(self, numbers: frozenset[int]) -> Shown:
        if numbers not in self._reference:
            self._reference[numbers] = expected(record for number in numbers for record in self.groups[number])
        return self._reference[numbers]

    def read(self, first: Moment, second: Moment) -> Shown:
        """`_live` as a query reads it that fixes silver's version at one moment and that of `_changes` at the other."""
        silver = f"(SELECT * FROM delta.`{self.silver.path}` VERSION AS OF {first.silver})"
        changes = f"(SELECT * FROM delta.`{changes_of(self.silver.path)}` VERSION AS OF {second.changes})"
        names = self.silver.spark.read.format("delta").load(self.silver.path).columns
        query = live_query(names, ["id", "v"], ["id"], silver, changes, ["id"])
        return shown(self.silver.spark.sql(query).collect())

    def wrong_reads(self, farthest: int) -> list[tuple[int, int]]:
        """Reads over at most so many commits that equal the received records of no moment between their two."""
        wrong = []
        seen: dict[tuple[int, int], Shown] = {}
        for one, first in enumerate(self.moments):
            for other in range(max(0, one - farthest), min(len(self.moments), one + farthest + 1)):
                second = self.moments[other]
                # A commit moves one table, so many moments have both versions in common.
                at = first.silver, second.changes
                if at not in seen:
                    seen[at] = self.read(first, second)
                if seen[at] not in self._may_show(first, self.moments[min(one, other) : max(one, other) + 1]):
                    wrong.append((one, other))
        return wrong

    def _may_show(self, first: Moment, between: list[Moment]) -> list[Shown]:
        """The table at one of the moments.

        What is merged at once is in silver alone. A reader who fixed silver's version before it, and reads `_changes`
        after a run that appends again, sees that append without it.
        """
        appended = [
            frozenset(range(first.groups)) | {number for number in range(moment.groups) if number not in self.at_once}
            for moment in between
        ]
        return [self.received(moment) for moment in between] + [self._expected(numbers) for numbers in appended]


def live(spark: SparkSession, folder: Path, seed: int, monkeypatch: pytest.MonkeyPatch, deliveries: int = 4) -> Story:
    chance = random.Random(seed)
    records: list[Record] = []
    for number in range(20):
        records += history(seed * 1000 + number, {"right": two_registers(MARGIN_MS)})["right"].records
    story = Story(Silver.create(spark, folder / "silver", {"id": "string", "v": "int"}, appends=True))

    def note() -> None:
        at = newest_version(spark, story.silver.path), newest_version(spark, changes_of(story.silver.path))
        story.moments.append(Moment(*at, len(story.groups)))

    def noting(step: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*arguments: Any) -> Any:
            note()
            return step(*arguments)

        return stepped

    # The two commits that follow a merge's own.
    monkeypatch.setattr(changes_table, "set_properties", noting(changes_table.set_properties))
    monkeypatch.setattr(changes_table, "_drop", noting(changes_table._drop))
    for number, group in enumerate(deliver(records, chance, deliveries)):
        file = write_records(folder / "source", group, hour=f"dt=2013-01-01/HH={number:02d}")
        note()
        story.groups.append(group)
        if number == 1 and deliveries > 2:  # a run without an interval, which begins once nothing waits
            story.at_once.add(number)
            story.silver.merge(file)
            note()
        else:
            story.silver.append(file)
            note()
            if number != 2:  # the last merge of a long story takes two appends
                story.silver.merge_pending()
                note()
    return story


def test_live_equals_the_received_records_at_every_moment(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = live(spark, tmp_path, 0, monkeypatch, deliveries=2)
    assert story.wrong_reads(farthest=0) == []
    newest = story.received(story.moments[-1])
    assert shown(story.silver.rows().values()) == newest
    with generated_code(spark):
        assert shown(story.silver.live_rows().values()) == newest
    without_java = {row.key: row.item and json.loads(row.item) for row in SilverTable(story.silver.path).rows()}
    assert without_java == {key: item for key, (item, *_) in newest.items()}
    for row in story.silver.live_rows().values():
        gone = row["_item"] is None
        assert row["_is_deleted"] == gone
        assert row["id"] == row["_key"].removeprefix("id=S:")
        assert row["v"] == (None if gone else int(json.loads(row["_item"])["v"]["N"]))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(4))
def test_a_read_of_two_moments_equals_one_between(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Each odd seed has the filter that a MERGE gets in a large table."""
    if seed % 2:
        filter_tables_of_any_size(monkeypatch)
    before = newest_statement(spark)
    story = live(spark, tmp_path, seed, monkeypatch)
    plans = plans_of_writes(spark, before)
    assert len(plans) > 1
    assert {is_filtered(plan) for plan in plans} == {bool(seed % 2)}
    assert len(story.moments) > 12
    assert story.wrong_reads(farthest=4) == []


def drop_at_once(real: Callable[..., None]) -> Callable[..., None]:
    """`close_merge` that drops what it has merged just now."""

    def close(spark: SparkSession, target: str, merged: Iterable[str], now_ms: int) -> None:
        real(spark, target, list(merged), now_ms)
        changes_table._drop(spark, target, list(merged))

    return close


def drop_first(real: Callable[..., Any]) -> Callable[..., Any]:
    """`merge_rows` that begins after its rows have been dropped."""

    def merge(spark: SparkSession, target: str, *arguments: Any, **more: Any) -> Any:
        changes_table._drop(spark, target, changes_table.appends(spark, target))
        return real(spark, target, *arguments, **more)

    return merge


@pytest.mark.soak
@pytest.mark.parametrize(("step", "careless"), [("close_merge", drop_at_once), ("merge_rows", drop_first)])
@pytest.mark.parametrize("is_large", [False, True], ids=["small", "filtered"])
def test_red_control_a_careless_merge_is_found(
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    careless: Callable[[Any], Any],
    is_large: bool,
) -> None:
    if is_large:
        filter_tables_of_any_size(monkeypatch)
    monkeypatch.setattr(pending_merge, step, careless(getattr(pending_merge, step)))
    assert live(spark, tmp_path, 1, monkeypatch).wrong_reads(farthest=4)


@pytest.mark.soak
def test_the_view_has_the_columns_and_the_mark_of_current(spark: SparkSession, tmp_path: Path) -> None:
    config = parse_config({"source_table": TABLE, "columns": {"id": "string", "version": "int"}})
    silver = Silver(spark, "seconds", config, staging=str(tmp_path))
    prepare_target(spark, silver.path, config)
    open_changes(spark, silver.path, config.columns)
    create_views(spark, silver.path)
    for key in ("a", "b"):
        silver.append(write_records(tmp_path / key, [stream(key, 1, item(key, version={"N": "5"}))]))
    silver.append(write_records(tmp_path / "c", [stream("b", 2, None)]))
    mark_stale(spark, silver.path, [Gap(1_762_000_000_000, None, "mapping_behind", detected_at_ms=1)])

    def shown(view: str) -> list[tuple[str, int, bool]]:
        return [(row["id"], row["version"], row["_stale_since"] is None) for row in spark.table(view).collect()]

    assert spark.table("seconds_live").dtypes == spark.table("seconds_current").dtypes
    assert shown("seconds_live") == [("a", 5, False)]
    assert shown("seconds_current") == []
    assert key_columns(spark, silver.path) == told_columns(spark, silver.path, ["id"]) == ["id"]
    spark.sql("CREATE OR REPLACE VIEW seconds_live AS SELECT * FROM seconds_current")  # of another version of the job
    assert shown("seconds_live") == []
    mark_stale(spark, silver.path, [Gap(1_762_000_000_000, None, "mapping_behind", detected_at_ms=1)])
    assert shown("seconds_live") == [("a", 5, False)]
    silver.merge_pending()
    mark_stale(spark, silver.path, [])
    assert shown("seconds_live") == shown("seconds_current") == [("a", 5, True)]


@pytest.mark.soak
def test_a_view_asks_for_null_in_key_columns_once_a_merge_or_a_column(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def asking(session: SparkSession, place: str, column: str) -> bool:
        asked.append(place)
        return has_null(session, place, column)

    has_null = live_module._has_null
    monkeypatch.setattr(live_module, "_has_null", asking)
    config = parse_config({"source_table": TABLE, "columns": {"id": "string", "version": "int"}})
    silver = Silver(spark, "asked", config, staging=str(tmp_path))
    prepare_target(spark, silver.path, config)
    open_changes(spark, silver.path, config.columns)
    both = [silver.path, changes_of(silver.path)]

    def looks() -> list[str]:
        asked.clear()
        for _ in range(3):
            mark_stale(spark, silver.path, [])
        return list(asked)

    assert looks() == [], "no key is known while both tables are empty"
    silver.append(write_records(tmp_path / "a", [stream("a", 1, item("a", version={"N": "5"}))]))
    assert looks() == both
    silver.append(write_records(tmp_path / "b", [stream("b", 1, item("b", version={"N": "5"}))]))
    assert looks() == [], "an append makes no other answer"
    silver.merge_pending()
    assert looks() == both
    spark.sql("ALTER TABLE asked ADD COLUMNS (note STRING)")
    assert looks() == both
