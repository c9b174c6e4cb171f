"""`_live` equals what was received, between any two steps of appending, merging and dropping, on real Delta."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession

from tests.spark.histories import MARGIN_MS, deliver, history, two_registers
from tests.spark.silver import Silver
from tests.support.independent_writer import Record, write_records
from tests.support.registers import receive_all


def expected(records: list[Record]) -> dict[str, tuple[Any, ...]]:
    """Each key's item and registers, by the reference."""
    return {
        key: (one.visible, one.version, one.stream_time_ms, one.base_text) for key, one in receive_all(records).items()
    }


def shown(rows: dict[str, Row]) -> dict[str, tuple[Any, ...]]:
    return {
        key: (
            None if row["_item"] is None else json.loads(row["_item"]),
            row["_version"],
            row["_stream_time_ms"],
            row["_base"],
        )
        for key, row in rows.items()
    }


@pytest.mark.parametrize("seed", range(2))
def test_live_equals_the_received_records_after_every_step(spark: SparkSession, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    records: list[Record] = []
    for number in range(40):
        records += history(seed * 1000 + number, {"right": two_registers(MARGIN_MS)})["right"].records
    silver = Silver.create(spark, tmp_path / "silver", {"id": "string", "v": "int"}, appends=True)
    received: list[Record] = []
    for number, group in enumerate(deliver(records, chance, 6)):
        file = write_records(tmp_path / "source", group, hour=f"dt=2013-01-01/HH={number:02d}")
        received += group
        (silver.merge if number == 3 else silver.append)(file)
        live = silver.live_rows()
        assert shown(live) == expected(received)
        for key, row in live.items():
            gone = row["_item"] is None
            assert row["_is_deleted"] == gone
            assert row["id"] == key.removeprefix("id=S:")
            assert row["v"] == (None if gone else int(json.loads(row["_item"])["v"]["N"]))
        if number % 2:
            silver.merge_pending()
            assert shown(silver.live_rows()) == expected(received)
    silver.merge_pending()
    assert shown(silver.rows()) == shown(silver.live_rows()) == expected(records)
    assert silver.merge_pending() is None
