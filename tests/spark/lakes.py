"""A lake of tables whose batch files hold random histories, and the YAML of `run` for them."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pyspark.sql import SparkSession

from lakebound_spark.silver.silver_reader import read_silver
from tests.spark.histories import MARGIN_MS, deliver, history, two_registers
from tests.support.independent_writer import TABLE, Record, write_records
from tests.support.registers import visible_items

CONFIG: dict[str, Any] = {"source_table": TABLE, "columns": {"id": "string", "v": "int"}, "history": "scd2"}


@dataclass(frozen=True, slots=True)
class Lake:
    """Tables below a folder: their files in `source`, their tables in `lake`."""

    folder: Path
    records: Mapping[str, list[Record]]

    @classmethod
    def of(cls, folder: Path, *tables: str, files: int = 2, **step: Any) -> Lake:
        """``step`` are settings of every entry."""
        found: dict[str, list[Record]] = {}
        for seed, name in enumerate(tables):
            records: list[Record] = []
            for number in range(6):
                records += history(seed * 1_000 + number, {"right": two_registers(MARGIN_MS)})["right"].records
            found[name] = records
            for number, group in enumerate(deliver(records, random.Random(seed), files)):
                write_records(folder / "source" / name, group, hour=f"dt=2013-01-01/HH={number:02d}")
        lake = cls(folder, found)
        lake.write([lake.entry(name, **step) for name in tables])
        return lake

    def entry(self, name: str, **step: Any) -> dict[str, Any]:
        """The entry of a table."""
        places = {"source": f"{self.folder}/source/{name}", "checkpoints": f"{self.folder}/c/{name}"}
        return {**places, "target": self.target(name), "config": CONFIG, **step}

    def write(self, entries: list[dict[str, Any]]) -> None:
        """Write the file of `run`."""
        self.yaml.write_text(yaml.safe_dump({"tables": entries}))

    @property
    def yaml(self) -> Path:
        return self.folder / "lake.yaml"

    def target(self, name: str) -> str:
        return f"{self.folder}/lake/{name}"

    def shown(self, spark: SparkSession, name: str) -> dict[str, Any]:
        """The visible items of silver by key."""
        rows = list(read_silver(spark, self.target(name)))
        assert len({row.key for row in rows}) == len(rows), "silver has two rows for one key"
        return {row.key: json.loads(row.item) for row in rows if row.item is not None}

    def expected(self, name: str) -> dict[str, Any]:
        """The same by the reference of tests/simulation."""
        return visible_items(self.records[name])
