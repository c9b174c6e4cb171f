"""Silver equals the source after any delivery, on real Delta; and the check finds every rule that is known to fail."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from tests.spark.filtered import filter_tables_of_any_size, is_filtered, newest_statement, plans_of_writes
from tests.spark.histories import MARGIN_MS, Rule, deliver, history, lexicographic, two_registers
from tests.spark.silver import Silver
from tests.support.independent_writer import Record, write_records
from tests.support.registers import Registers, receive_all

RULES: dict[str, Rule] = {
    "right": two_registers(MARGIN_MS),
    "margin-of-1s": two_registers(1_000),
    "time-then-sequence": lexicographic,
}
DELIVERIES = 5


@dataclass(frozen=True, slots=True)
class Lived:
    """All histories of a run, side by side in one table."""

    silver: Silver
    rows: dict[str, Row]
    truth: dict[str, dict[str, Any]]
    registers: dict[str, Registers]
    records: list[Record]

    def wrong(self, rule: str) -> list[str]:
        """Keys whose item in silver is not the source's."""
        return [key for key, item in self.truth[rule].items() if visible(self.rows.get(key)) != item]


def visible(row: Row | None) -> Any:
    return None if row is None or row["_item"] is None else json.loads(row["_item"])


def live(spark: SparkSession, folder: Path, histories: int, seed: int) -> Lived:
    chance = random.Random(seed)
    records: list[Record] = []
    truth: dict[str, dict[str, Any]] = {name: {} for name in RULES}
    for number in range(histories):
        for name, lived in history(seed * 1_000_000 + number, RULES).items():
            records += lived.records
            truth[name] |= lived.truth
    silver = Silver.create(spark, folder / "silver", {"id": "string", "v": "int"})
    for number, group in enumerate(deliver(records, chance, DELIVERIES)):
        half = len(group) // 2
        hour = f"dt=2013-01-01/HH={number:02d}"
        silver.merge(*(write_records(folder / "source", part, hour=hour) for part in (group[:half], group[half:])))
    return Lived(silver, silver.rows(), truth, receive_all(records), records)


@pytest.fixture(scope="module")
def lived(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lived:
    return live(spark, tmp_path_factory.mktemp("histories"), histories=400, seed=3)


def test_silver_equals_the_source(lived: Lived) -> None:
    assert lived.wrong("right") == []
    assert len(lived.truth["right"]) == 1200


def test_silver_holds_both_registers_of_the_reference(lived: Lived) -> None:
    assert lived.rows.keys() == lived.registers.keys()
    wrong = [
        key
        for key, expected in lived.registers.items()
        if (expected.version, expected.stream_time_ms, expected.base_text)
        != (lived.rows[key]["_version"], lived.rows[key]["_stream_time_ms"], lived.rows[key]["_base"])
    ]
    assert wrong == []


def test_the_reference_agrees_with_the_source(lived: Lived) -> None:
    right = lived.truth["right"]
    assert {key: lived.registers[key].visible for key in right if key in lived.registers} == {
        key: item for key, item in right.items() if key in lived.registers
    }


def test_columns_and_flags_follow_the_item(lived: Lived) -> None:
    for key, row in lived.rows.items():
        item = visible(row)
        assert row["_is_deleted"] == (item is None)
        assert row["id"] == key.removeprefix("id=S:"), "a key attribute is filled on tombstones too"
        assert row["v"] == (None if item is None else int(item["v"]["N"]))


def test_the_deliveries_hold_what_the_rule_is_for(lived: Lived) -> None:
    """Each of these must be there many times over, or the other tests prove little."""
    right = [r for key, r in lived.registers.items() if key.startswith("id=S:right-")]
    shown_by_base = [r for r in right if r.base and (r.stream_time_ms or 0) < r.label_ms]
    assert len(shown_by_base) > 50
    assert len([r for r in right if r.base and (r.stream_time_ms or 0) >= r.label_ms]) > 50
    assert len([r for r in right if r.base_text.endswith("|0")]) > 50
    assert len([r for r in right if r.version and r.visible is None]) > 50
    assert len([r for r in shown_by_base if r.visible != r.stream_image]) > 20, "repairs of lost changes"


@pytest.mark.parametrize("rule", ["margin-of-1s", "time-then-sequence"])
def test_red_control_a_wrong_rule_is_found(lived: Lived, rule: str) -> None:
    assert len(lived.wrong(rule)) >= 5


def test_no_key_ever_went_back(lived: Lived) -> None:
    feed = lived.silver.spark.read.format("delta").option("readChangeFeed", "true").option("startingVersion", 0)
    changes = feed.load(lived.silver.path)
    registers = ("_version", "_base", "_stream_time_ms")
    before = changes.where("_change_type = 'update_preimage'").select("_key", "_commit_version", *registers)
    after = changes.where("_change_type = 'update_postimage'").select(
        "_key", "_commit_version", *[F.col(name).alias(f"new{name}") for name in registers]
    )
    updates = before.join(after, ["_key", "_commit_version"])
    backwards = "new_version < _version OR new_base < _base OR new_stream_time_ms < _stream_time_ms"
    assert updates.count() > 1000
    assert updates.where(backwards).count() == 0


def test_delivering_everything_again_in_another_grouping_changes_nothing(lived: Lived, tmp_path: Path) -> None:
    before = lived.silver.version()
    records = list(lived.records)
    random.Random(9).shuffle(records)
    done = lived.silver.merge(write_records(tmp_path, records))
    assert (done.records, done.inserted, done.updated) == (len(records), 0, 0)
    assert lived.silver.changes(before) == []


@pytest.mark.soak
@pytest.mark.classic("reads Spark's own plans, which a server does not tell")
def test_silver_equals_the_source_with_the_bloom_filter_of_a_large_table(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filter_tables_of_any_size(monkeypatch)
    before = newest_statement(spark)
    run = live(spark, tmp_path, histories=100, seed=4)
    plans = plans_of_writes(spark, before)
    assert len(plans) > 1
    assert all(map(is_filtered, plans))
    assert run.wrong("right") == []
    assert run.wrong("time-then-sequence"), "red control"


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(11, 36))
def test_fifty_thousand_histories(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Two thousand at a time, side by side in one table; each odd seed with the filter of a large one."""
    if seed % 2:
        filter_tables_of_any_size(monkeypatch)
    run = live(spark, tmp_path, histories=2000, seed=seed)
    assert run.wrong("right") == []
    assert len(run.wrong("margin-of-1s")) > 20
    assert len(run.wrong("time-then-sequence")) > 20
