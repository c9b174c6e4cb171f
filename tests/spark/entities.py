"""Several tables from one source table, under test: their configuration, what they hold, and what they should hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pyspark.sql import DataFrame, Row, SparkSession

from lakebound_spark.silver.config import EntitiesConfig, MergeConfig, parse_any_config
from lakebound_spark.silver.entity_batch import Destinations
from lakebound_spark.silver.merge_job import reader_of_files
from lakebound_spark.silver.micro_batch import Destination, Read
from lakebound_spark.silver.silver_table import prepare_target
from tests.spark.histories import MARGIN_MS, history, two_registers
from tests.spark.silver import data_files_at
from tests.support.independent_writer import TABLE, Record
from tests.support.registers import receive_all

Tables = Mapping[str, Mapping[str, Any]]
"""The items of each table by key, None for a tombstone."""


def write_tables(folder: Path, tables: dict[str, dict[str, Any]], source_table: str = TABLE) -> Path:
    config = folder / "app.yaml"
    named = {str(folder / name): settings for name, settings in tables.items()}
    config.write_text(yaml.safe_dump({"source_table": source_table, "tables": named}, sort_keys=False))
    return config


def rows_of(spark: SparkSession, folder: Path, name: str) -> dict[str, Row]:
    return {row["_key"]: row for row in spark.read.format("delta").load(str(folder / name)).collect()}


def items_of(rows: Mapping[str, Row]) -> dict[str, Any]:
    return {key: None if row["_item"] is None else json.loads(row["_item"]) for key, row in rows.items()}


def wrong_keys(tables: Tables, owners: Mapping[str, str], records: list[Record]) -> set[str]:
    """Keys that are in a table which is not theirs, or whose item there is not the one that the oracle has."""
    expected: dict[str, dict[str, Any]] = {name: {} for name in tables}
    for key, registers in receive_all(records).items():
        expected[owners[key]][key] = registers.visible
    return {
        key
        for name, items in tables.items()
        for key in items.keys() | expected[name].keys()
        if key not in items or key not in expected[name] or items[key] != expected[name][key]
    }


def kinds_of_history(kinds: list[str], histories: int) -> tuple[list[Record], dict[str, str]]:
    """Random histories with lost changes, deletes, re-inserts, scans and sweeps; and the kind of each key."""
    records: list[Record] = []
    owners: dict[str, str] = {}
    for number in range(histories):
        for kind, lived in history(number, dict.fromkeys(kinds, two_registers(MARGIN_MS))).items():
            records += lived.records
            owners |= dict.fromkeys((record["key"] for record in lived.records), kind)
    return records, owners


def destinations(
    spark: SparkSession, folder: Path, tables: dict[str, dict[str, Any]]
) -> tuple[Destinations, EntitiesConfig]:
    """The empty tables, without a job around them."""
    config = parse_any_config(yaml.safe_load(write_tables(folder, tables).read_text()))
    assert isinstance(config, EntitiesConfig)
    for target, own in config.tables.items():
        prepare_target(spark, target, own)
    own_places = tuple(Destination(target, own, f"{target}_staging") for target, own in config.tables.items())
    return Destinations(TABLE, config.rules, own_places, str(folder / "staging")), config


def reader_of(spark: SparkSession, folder: Path, *files: Path, keep_expired: bool = False) -> Read[DataFrame]:
    config = MergeConfig(TABLE, keep_expired=keep_expired)
    return reader_of_files(spark, data_files_at(files), str(folder / "app"), config)
