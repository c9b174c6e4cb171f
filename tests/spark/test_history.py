"""The history is what happened, from any delivery: held against the writes themselves and against plain Python."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from lakebound_spark.bronze.bronze_table import prepare_bronze
from lakebound_spark.history.history_table import differences, prepare_history, update_history
from lakebound_spark.history.stretches import stretches
from lakebound_spark.jobs.build_history import main
from lakebound_spark.platform.tables import newest_version
from tests.spark.histories import MARGIN_MS, Change, Rule, deliver, history, two_registers
from tests.spark.jobs import append_to_bronze, bronze_frame, run_main
from tests.spark.reference_history import Stretch, reference_history, value_of
from tests.spark.silver import write_config
from tests.support.independent_writer import TABLE, Record, base, item, stream, version

HISTORIES = 150
DELIVERIES = 2


def by_creation_time(key: str, changes: list[Change], reads: list[tuple[int, int, str, Any]]) -> list[Record]:
    """A wrong rule: the version is the second of creation first, the sequence only within it."""
    timed = [replace(change, label=f"{change.stamp_ms:015d}") for change in changes]
    return two_registers(MARGIN_MS)(key, timed, reads)


RULES: dict[str, Rule] = {"right": two_registers(MARGIN_MS), "by-time": by_creation_time}


@dataclass(frozen=True, slots=True)
class BuiltHistory:
    """All histories of a run, side by side in one table."""

    spark: SparkSession
    bronze: Path
    target: Path
    stretches: dict[str, list[Stretch]]
    records: list[Record]
    written: dict[str, list[Change]]
    lossy: set[str]
    truth: dict[str, Any]

    def keys(self, rule: str) -> list[str]:
        return [key for key in self.written if key.startswith(f"id=S:{rule}-")]

    def wrong(self, rule: str) -> list[str]:
        """Keys without a lost change whose history is not the list of their writes."""
        wrong = []
        for key in self.keys(rule):
            built = [(value_of(s.image), s.is_exact) for s in self.stretches.get(key, [])]
            if key not in self.lossy and built != [(value_of(c.image), True) for c in self.written[key]]:
                wrong.append(key)
        return wrong


def rows_of(table: DataFrame) -> dict[str, list[Stretch]]:
    """Each key's stretches in order. Also checks what holds of every row."""
    found = table.selectExpr("*", "unix_millis(valid_from) AS starts", "unix_millis(valid_to) AS ends").collect()
    by_key: dict[str, list[Stretch]] = {}
    for row in sorted(found, key=lambda row: (row["starts"], row["_version"] > "1", row["_version"])):
        image = None if row["_item"] is None else json.loads(row["_item"])
        by_key.setdefault(row["_key"], []).append(
            Stretch(row["_version"], image, row["starts"], row["ends"], row["is_exact"])
        )
        assert row["is_current"] == (row["ends"] is None)
    for built in by_key.values():
        assert [s.ends for s in built] == [*(s.starts for s in built[1:]), None], "no hole, no overlap, one current"
    return by_key


def spelled_otherwise(record: Record) -> Record:
    """A scan writes the same item in another order and its numbers in another way than the stream."""
    image = record["new_image"]
    if record["origin"] == "stream" or image is None:
        return record
    spelled = {name: {"N": value["N"] + ".0"} if "N" in value else value for name, value in reversed(image.items())}
    return record | {"new_image": spelled}


def live(spark: SparkSession, folder: Path, histories: int, seed: int) -> BuiltHistory:
    records: list[Record] = []
    written: dict[str, list[Change]] = {}
    truth: dict[str, Any] = {}
    lossy: set[str] = set()
    for number in range(histories):
        for lived in history(seed * 1_000_000 + number, RULES).values():
            records += map(spelled_otherwise, lived.records)
            written |= lived.written
            truth |= lived.truth
            lossy |= set(lived.written) if lived.is_lossy else set()
    bronze, target = folder / "bronze", folder / "silver_history"
    prepare_bronze(spark, str(bronze), TABLE)
    prepare_history(spark, str(target), TABLE)
    for number, group in enumerate(deliver(records, random.Random(seed), DELIVERIES)):
        delivered = bronze_frame(spark, group)
        append_to_bronze(bronze, delivered, f"f{number}")
        update_history(spark, str(target), str(bronze), delivered, f"{target}_staging")
    table = spark.read.format("delta").load(str(target))
    return BuiltHistory(spark, bronze, target, rows_of(table), records, written, lossy, truth)


@pytest.fixture(scope="module")
def built(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> BuiltHistory:
    return live(spark, tmp_path_factory.mktemp("history"), HISTORIES, seed=5)


def test_where_nothing_was_lost_the_history_is_every_write_in_order(built: BuiltHistory) -> None:
    assert built.wrong("right") == []
    assert len(set(built.keys("right")) - built.lossy) > 250


def test_red_control_ordering_by_creation_time_fails(built: BuiltHistory) -> None:
    assert len(built.wrong("by-time")) >= 20


def test_it_equals_the_reference_in_plain_python(built: BuiltHistory) -> None:
    by_key: dict[str, list[Record]] = {}
    for record in built.records:
        by_key.setdefault(record["key"], []).append(record)
    wrong = [
        key
        for key, records in by_key.items()
        if [_comparable(s) for s in built.stretches.get(key, [])] != list(map(_comparable, reference_history(records)))
    ]
    assert wrong == []
    assert len(by_key) > 800


def _comparable(stretch: Stretch) -> tuple[Any, ...]:
    return (stretch.version, value_of(stretch.image), stretch.starts, stretch.ends, stretch.is_exact)


def test_the_current_stretch_is_what_the_source_holds(built: BuiltHistory) -> None:
    for key in built.keys("right"):
        current = built.stretches[key][-1].image if key in built.stretches else None
        assert value_of(current) == value_of(built.truth[key]), key


def test_an_exact_stretch_ends_with_the_very_next_write(built: BuiltHistory) -> None:
    """Unless what was lost cancelled itself out and left no trace: an item inserted and removed again, both lost."""
    followed = missed = 0
    for key in set(built.keys("right")) & built.lossy:
        writes = {version(c.sequence, c.label): number for number, c in enumerate(built.written[key])}
        for now, after in zip(built.stretches.get(key, []), built.stretches.get(key, [])[1:], strict=False):
            if not now.is_exact:
                missed += 1
                continue
            followed += 1
            last_lost = built.written[key][writes[after.version] - 1]
            assert value_of(last_lost.image) == value_of(now.image), key
    assert followed > 50
    assert missed > 50


def test_built_again_from_all_of_bronze_it_is_the_same(built: BuiltHistory) -> None:
    there, bronze = (built.spark.read.format("delta").load(str(path)) for path in (built.target, built.bronze))
    assert differences(there, stretches(bronze)).count() == 0
    assert differences(there.where("NOT is_current"), there).count() == there.where("is_current").count() > 500, "red"


def test_records_that_come_again_make_no_commit(built: BuiltHistory) -> None:
    """A replayed micro-batch; a quarter of all records was delivered twice anyway."""
    spark = built.spark
    before = _newest(spark, built.target)
    again = built.records[:300]
    done = update_history(
        spark, str(built.target), str(built.bronze), bronze_frame(spark, again), f"{built.target}_staging"
    )
    assert (done.rows, done.keys > 10) == (0, True)
    assert _newest(spark, built.target) == before


def _newest(spark: SparkSession, path: Path) -> int:
    return newest_version(spark, str(path))


V7, V8, X = ({"v": {"S": text}} for text in ("7", "8", "x"))
BRANCHES: dict[str, tuple[list[Record], list[tuple[Any, int, int | None, bool]]]] = {
    # records; (image, valid_from, valid_to, is_exact)
    "the story": (
        [
            stream("a", 7, V7, time_ms=1000, event_name="INSERT"),
            stream("a", 8, V8, time_ms=900, old_image=V7),
            base("a", 6000, X),
            stream("a", 9, None, time_ms=9000, old_image=X),
        ],
        [(V7, 1000, 1000, True), (V8, 1000, 6000, False), (X, 6000, 9000, False), (None, 9000, None, True)],
    ),
    "an item older than the stream": (
        [base("b", 5000, V7), stream("b", 8, V8, time_ms=500_000, old_image=V7)],
        [(V7, 5000, 500_000, False), (V8, 500_000, None, True)],
    ),
    "a lost change that no scan read": (
        [stream("c", 7, V7, event_name="INSERT"), stream("c", 9, None, time_ms=9000, old_image=X)],
        [(V7, 1000, 9000, False), (None, 9000, None, True)],
    ),
    "a stream of new images says nothing of old ones": (
        [stream("d", 7, V7), stream("d", 9, None, time_ms=9000)],
        [(V7, 1000, 9000, True), (None, 9000, None, True)],
    ),
    "a sweep that a late delete explains": (
        [
            stream("e", 7, V7, event_name="INSERT"),
            base("e", 5000, None, origin="sweep"),
            stream("e", 8, None, time_ms=900_000, old_image=V7),
        ],
        [(V7, 1000, 900_000, True), (None, 900_000, None, True)],
    ),
    "a sweep of a ghost": (
        [stream("f", 7, V7, event_name="INSERT"), base("f", 5000, None, origin="sweep")],
        [(V7, 1000, 5000, False), (None, 5000, None, False)],
    ),
    "two scans of one image": (
        [base("g", 5000, V7), base("g", 700_000, V7, run="run-2"), base("g", 900_000, V8, run="run-3")],
        [(V7, 5000, 900_000, False), (V8, 900_000, None, False)],
    ),
    "only absent": ([base("h", 5000, None)], []),
    "a scan that holds a change made while it read": (
        [base("i", 5000, V8), stream("i", 8, V8, time_ms=65_000, event_name="INSERT")],
        [(V8, 65_000, None, True)],
    ),
}


def test_each_branch_of_the_story(spark: SparkSession) -> None:
    records: Iterable[Record] = [record for case, _ in BRANCHES.values() for record in case]
    built = rows_of(stretches(bronze_frame(spark, records)))
    for name, (case, expected) in BRANCHES.items():
        found = built.get(case[0]["key"], [])
        assert [(s.image, s.starts, s.ends, s.is_exact) for s in found] == expected, name
        assert [_comparable(s) for s in found] == [_comparable(s) for s in reference_history(case)], name


@pytest.mark.soak
def test_the_job_follows_bronze(spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bronze, target, config = tmp_path / "bronze", tmp_path / "silver", write_config(tmp_path)
    arguments = ["--bronze", bronze, "--target", target, "--checkpoint", tmp_path / "c", "--config", config]
    assert run_main(main, *arguments).status == 2
    assert "set `history: scd2`" in capsys.readouterr().err
    config.write_text("source_table: flights\nhistory: scd2\n")
    prepare_bronze(spark, str(bronze), TABLE)
    append_to_bronze(bronze, bronze_frame(spark, [stream("k", 1, item("k"))]), "f1")
    append_to_bronze(bronze, bronze_frame(spark, [stream("k", 3, None, time_ms=3000)]), "f2")
    append_to_bronze(bronze, bronze_frame(spark, [stream("k", 2, V8, time_ms=2000)]), "f3")
    done = run_main(main, *arguments)
    assert ([batch["keys"] for batch in done.batches], done.last_line) == ([1], "rows=3")
    expected = [(1000, 2000), (2000, 3000), (3000, None)]
    table = spark.read.format("delta").load(f"{target}_history")
    assert [(s.starts, s.ends) for s in rows_of(table)["id=S:k"]] == expected
    spark.sql(f"DELETE FROM delta.`{target}_history` WHERE is_current")
    assert run_main(main, *arguments, "--rebuild").last_line == "rows=3"
    assert [(s.starts, s.ends) for s in rows_of(table)["id=S:k"]] == expected


@pytest.mark.soak
def test_thousands_of_histories(spark: SparkSession, tmp_path: Path) -> None:
    for seed in range(20, 25):
        run = live(spark, tmp_path / str(seed), histories=2000, seed=seed)
        assert run.wrong("right") == []
        test_it_equals_the_reference_in_plain_python(run)
        test_an_exact_stretch_ends_with_the_very_next_write(run)
