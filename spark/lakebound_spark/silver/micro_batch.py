"""Records of a micro-batch brought into the lake: stale ones aside, one row per key, typed, then merged or appended."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeVar

from pyspark.sql import Column, DataFrame, Observation, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from lakebound_spark.platform.tables import Counts, hold, properties, retry_on_conflict
from lakebound_spark.reading.files import CheckedRecords
from lakebound_spark.reading.latest import latest_per_key, show_expired
from lakebound_spark.reading.one_pass import Use
from lakebound_spark.silver.auto_columns import grow_table
from lakebound_spark.silver.changes_table import (
    add_change_columns,
    append_changes,
    clear_appends,
    has_changes,
    names_to_merge,
)
from lakebound_spark.silver.columns import COLUMNS_PROPERTY, DeclaredColumn, require_columns
from lakebound_spark.silver.config import MergeConfig
from lakebound_spark.silver.merge import merge_rows, row_bounds
from lakebound_spark.silver.purge_horizon import DAY_MS, StaleRecords, is_stale, purge_floor_ms, record_stale_records
from lakebound_spark.silver.rows import typed_rows
from lakebound_spark.silver.views import create_views

_NO_ROWS: Final = Counts(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Destination:
    """Where records go: a silver table, how it is made, and ``staging``, a folder of this writer's own.

    With ``append_as``, the id of a run, they are appended to `_changes`; without it they are merged at once.
    """

    target: str
    config: MergeConfig
    staging: str
    append_as: str = ""


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What the records came down to. ``append`` names the append that holds them, "" when they were merged."""

    keys: int = 0
    inexact: int = 0
    rescued: int = 0
    stale: StaleRecords | None = None
    counts: Counts = _NO_ROWS
    append: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """Rows of a micro-batch, one a key, in files that do not change; `_totals` of them where they were counted."""

    rows: DataFrame
    totals: Mapping[str, Any] | None = None


T = TypeVar("T")

Read = Callable[[Use[T]], tuple[CheckedRecords, T | None]]
"""Gives what it is called with the records of a micro-batch; what was counted, and the rows that were held."""


def bring_records(spark: SparkSession, read: Read[Held], to: Destination) -> tuple[CheckedRecords, MergeResult]:
    """Merge or append the records; those older than what has been purged go to `<target>_stale_records` instead.

    Tried again from the start when another writer's commit came between: a purge may have been the other writer.
    """
    return retry_on_conflict(lambda: _bring_fresh_records(spark, read, to))


def _bring_fresh_records(spark: SparkSession, read: Read[Held], to: Destination) -> tuple[CheckedRecords, MergeResult]:
    checked, held = read(partial(_reduce, to))
    if held is None or checked.records is None or not checked.count:
        return checked, MergeResult()
    oldest_ms, stale = checked.oldest_record_ms, None
    # No horizon is shorter than a day, so younger records cannot be stale and need no look at the properties.
    old = oldest_ms is not None and oldest_ms < time.time_ns() // 1_000_000 - DAY_MS
    floor = purge_floor_ms(spark, to.target) if old else None
    if floor is not None and oldest_ms is not None and oldest_ms < floor:
        stale = record_stale_records(to.target, checked.records.where(is_stale(floor)))
        held = _reduce(to, checked.records.where(~is_stale(floor)), checked.registers)
    brought = (_append_held if to.append_as else _merge_held)(spark, held, checked.registers, to)
    if old and (since := purge_floor_ms(spark, to.target)) is not None and since != floor:
        if brought.append and brought.append in names_to_merge(spark, to.target):
            # A purge has begun after the floor was read. A merge has taken nothing of the append yet; one that takes it
            # now clears it itself, and one that took it before the floor was noted keeps the tombstones it needs.
            clear_appends(spark, to.target, [brought.append], since)
        # It may have ended before the MERGE began: what is stale by now may have been merged onto nothing. It is kept
        # and told, so that a repair takes back what it may have done.
        stale = record_stale_records(to.target, checked.records.where(is_stale(since)))
    return checked, replace(brought, stale=stale)


def _reduce(to: Destination, records: DataFrame, registers: Collection[str]) -> Held:
    """One row a key, held: typed where the columns are declared; with `columns: auto` they depend on the rows."""
    latest = latest_per_key(show_expired(records) if to.config.keep_expired else records)
    if to.config.auto:
        return Held(hold(latest, f"{to.staging}/latest"))
    rows = typed_rows(latest, to.config.columns, registers)
    return Held(hold(rows, f"{to.staging}/rows")) if to.append_as else _hold_to_merge(rows, to)


def reduce_held(to: Destination, latest: DataFrame, registers: Collection[str]) -> Held:
    """What a `Read` has to give as its rows where those of ``latest``, one a key, are held already."""
    if to.config.auto:
        return Held(latest)
    rows = typed_rows(latest, to.config.columns, registers)
    # An append computes its rows once; a MERGE reads them several times.
    return Held(rows) if to.append_as else _hold_to_merge(rows, to)


def _hold_to_merge(rows: DataFrame, to: Destination) -> Held:
    """The typed rows held, and their `_totals`, which the MERGE has to know first: counted as they pass.

    A query for them took a job of Spark for each table of a micro-batch.
    """
    counted = Observation()
    held = hold(rows.observe(counted, *_totals(to)), f"{to.staging}/rows")
    # A busy server of Spark Connect sends no counts, because it waits for them for a tenth of a second only.
    return Held(held, counted.get or None)


def _totals(to: Destination) -> list[Column]:
    """Aggregates of typed rows: their `row_bounds`, and how much of them has no place in a column."""
    rescued = F.sum("rescued" if to.config.auto else F.lit(0)).alias("rescued")
    return [*row_bounds(), F.sum("inexact").alias("inexact"), rescued]


def _merge_held(spark: SparkSession, held: Held, registers: Collection[str], to: Destination) -> MergeResult:
    rows, columns = _typed(spark, held.rows, registers, to)
    if not to.config.auto:
        require_columns(to.target, json.loads(properties(spark, to.target)[COLUMNS_PROPERTY]), columns)
    else:
        held = _hold_to_merge(rows, to)
        rows = held.rows
    totals = held.totals or rows.agg(*_totals(to)).head(1)[0].asDict()
    if not totals["keys"]:
        return MergeResult()
    names = [column.name for column in columns]
    merged = merge_rows(spark, to.target, rows, names, registers, bounds=totals, is_held=True, rescue=to.config.auto)
    return MergeResult(totals["keys"], totals["inexact"], totals["rescued"], None, merged)


def _append_held(spark: SparkSession, held: Held, registers: Collection[str], to: Destination) -> MergeResult:
    rows, columns = _typed(spark, held.rows, registers, to)
    done = append_changes(spark, to.target, rows, columns, registers, to.append_as, rescue=to.config.auto)
    return MergeResult(done.keys, done.inexact, done.rescued, append=done.append)


def _typed(
    spark: SparkSession, held: DataFrame, registers: Collection[str], to: Destination
) -> tuple[DataFrame, Sequence[DeclaredColumn]]:
    """The typed rows, and the columns by which they are typed. The tables and their views have these by then."""
    if not to.config.auto:
        return held, to.config.columns
    columns, grew = grow_table(spark, to.target, held)
    if grew:
        if has_changes(spark, to.target):
            add_change_columns(spark, to.target, columns)
        create_views(spark, to.target)
    return typed_rows(held, columns, registers, rescue=True), columns
