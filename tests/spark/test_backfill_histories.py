"""The real backfill's files on real Delta: the histories of tests/functional, side by side in one silver table.

Each world has its own table, stream and bucket in memory and is backfilled by the real stages; its keys bear its name,
so that all worlds' records are merged together, in random groups, a quarter of them twice.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from lakebound.backfill.key_reread import KeyReread
from lakebound.record.base_records import SnapshotDecoder
from lakebound_spark.silver.config import parse_config
from lakebound_spark.silver.silver_table import prepare_target
from lakebound_spark.upkeep.sweep import SweepJob, sweep
from tests.spark.histories import deliver
from tests.spark.silver import Silver
from tests.support import backfill_histories
from tests.support.backfill_world import PREFIX, World
from tests.support.independent_writer import Record, write_records
from tests.support.state_machine import start

pytestmark = pytest.mark.soak

SEEDS = range(12)
Scenario = Callable[[int], World]


def zombie(seed: int) -> World:
    """A function whose execution was aborted reads segment 0 on, while the redriven one reads it too."""
    chance = random.Random(seed)
    made = backfill_histories.exporting(page_items=1)
    made.table.page_ms = 2_000
    backfill_histories.before_the_stream(made, chance)
    now = made.clock.ms
    backfill_histories.writes(made, chance, now, now + 400_000, 60)
    backfill_histories.writes(made, chance, now + 175_000, now + 200_000, 40)
    carried: list[dict[str, Any]] = []
    again = {"action": "carry", "run": "run-1", "unit": 0}
    made.clock.at(now + 182_000, lambda: carried.append(made.function(again)))
    start(made.function, {"segments": 1}, sleep=made.clock.sleep).run()
    made.clock.pass_ms(600_000)
    assert len(carried) == 1
    assert len({one["event_id"] for one in made.bucket.records()}) > len({one["key"] for one in made.bucket.records()})
    return made


def own_write_time_as_label(seed: int) -> World:
    right = SnapshotDecoder.change_line

    def wrong(self: SnapshotDecoder, line: Any, label_ms: int, event_id: str) -> Any:
        event = right(self, line, label_ms, event_id)
        assert event.approx_creation_time_ms is not None
        return event._replace(snapshot_label_ms=event.approx_creation_time_ms - 60_000)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SnapshotDecoder, "change_line", wrong)
        patch.setattr(KeyReread, "_collect", lambda self, text, keys: None)
        return backfill_histories.healed_by_windows(seed)


def no_reread(seed: int) -> World:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KeyReread, "_collect", lambda self, text, keys: None)
        return backfill_histories.healed_by_windows(seed)


RIGHT: dict[str, Scenario] = {
    "scan": partial(backfill_histories.beside_writes, "scan"),
    "export": partial(backfill_histories.beside_writes, "export"),
    "two-at-once": backfill_histories.two_at_once,
    "zombie": zombie,
    "healed-by-windows": backfill_histories.healed_by_windows,
}
WRONG: dict[str, Scenario] = {"own-write-time-as-label": own_write_time_as_label, "no-reread": no_reread}


@dataclass(slots=True)
class Merged:
    """What all worlds' tables hold, by scenario, and what silver shows."""

    truth: dict[str, dict[str, Any]] = field(default_factory=dict)
    records: dict[str, list[Record]] = field(default_factory=dict)
    visible: dict[str, Any] = field(default_factory=dict)

    def wrong(self, scenario: str) -> set[str]:
        told = self.truth[scenario]
        keys = told.keys() | {record["keys"]["id"]["S"] for record in self.records[scenario]}
        return {key for key in keys if told.get(key) != self.visible.get(key)}


def silver_of_cars(spark: SparkSession, path: Path) -> Silver:
    config = parse_config({"source_table": "cars", "columns": {"id": "string", "v": "int"}})
    prepare_target(spark, str(path), config)
    return Silver(spark, str(path), config)


def visible(silver: Silver) -> dict[str, Any]:
    rows = silver.rows().values()
    return {row["id"]: json.loads(row["_item"]) for row in rows if row["_item"] is not None}


@pytest.fixture(scope="module")
def merged(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Merged:
    folder = tmp_path_factory.mktemp("backfills")
    result = Merged()
    for name, scenario in (RIGHT | WRONG).items():
        truth, records = result.truth.setdefault(name, {}), result.records.setdefault(name, [])
        for seed in SEEDS:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(backfill_histories, "KEYS", [f"{name}-{seed}-{number}" for number in range(8)])
                made = scenario(seed)
            truth |= made.table.items
            # Healing lets the stream's files be written too; here every delivered record is taken once.
            records += made.table.delivered()
            records += [record for record in made.bucket.records() if record["origin"] != "stream"]
    silver = silver_of_cars(spark, folder / "silver")
    everything = [record for records in result.records.values() for record in records]
    for number, group in enumerate(deliver(everything, random.Random(5), 3)):
        silver.merge(write_records(folder / "source", group, hour=f"dt=2026-11-18/HH={number:02d}"))
    result.visible = visible(silver)
    return result


@pytest.mark.parametrize("scenario", RIGHT)
def test_silver_equals_the_table(merged: Merged, scenario: str) -> None:
    assert merged.wrong(scenario) == set()
    origins = {record["origin"] for record in merged.records[scenario]}
    assert "stream" in origins
    assert len(origins) > 1, "without base records the backfill proves nothing here"


@pytest.mark.parametrize("scenario", WRONG)
def test_red_control_a_wrong_label_or_no_reread_is_found(merged: Merged, scenario: str) -> None:
    assert merged.wrong(scenario)


def test_a_gap_is_healed_by_a_scan_and_the_real_sweep(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill_histories, "KEYS", [f"k{number}" for number in range(40)])
    made, chance = backfill_histories.with_a_gap(7)
    backfill_histories.heal(made, chance, "scan", monkeypatch)
    made.table.flush(made.bucket)
    for key, body in made.bucket.objects.items():
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(body)
    silver = silver_of_cars(spark, tmp_path / "silver")
    silver.merge(*(tmp_path / PREFIX).rglob("*.ndjson.gz"))
    assert set(visible(silver)) - set(made.table.items), "no ghost, so the sweep would prove nothing"
    job = SweepJob("run-1", "cars", str(tmp_path / PREFIX), str(tmp_path / "_lakebound" / "cars"), silver.path)
    done = sweep(spark, job, made.clock.ms)
    silver.merge(*map(Path, done.files))
    assert visible(silver) == made.table.items
