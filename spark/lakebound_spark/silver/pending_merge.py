"""One MERGE of everything that `_changes` holds and silver lacks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pyspark.sql import Column, DataFrame, Observation, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from lakebound_spark.platform.tables import Counts, hold, read_table, retry_on_conflict
from lakebound_spark.reading.latest import REGISTERS
from lakebound_spark.reading.schema import RECORD, RESCUED
from lakebound_spark.silver.changes_table import (
    CHANGE_TIME_MS,
    changes_of,
    clear_appends,
    close_merge,
    column_names,
    has_changes,
    names_to_merge,
)
from lakebound_spark.silver.key_sql import keys_sql
from lakebound_spark.silver.merge import merge_rows, row_bounds
from lakebound_spark.silver.purge_horizon import StaleRecords, purge_floor_ms, record_stale_records

_VERSIONS: Final = {"stream": "version", "base": "base"}
"""The column of `rows_of_changes` that is not empty where a register has been fed."""


@dataclass(frozen=True, slots=True)
class PendingMerge:
    """What a merge of pending changes came to: the appends it took, their keys, and what it did to silver."""

    appends: tuple[str, ...]
    keys: int
    counts: Counts
    stale: StaleRecords | None = None
    """What it left out, for it is older than the floor of a purge, ``floor_ms``."""
    floor_ms: int = 0


def merge_pending(
    spark: SparkSession, target: str, source_table: str, staging: str | None = None
) -> PendingMerge | None:
    """Merge every pending change into silver; None when there is none.

    Killed anywhere, it leaves changes that the next call merges again, which changes nothing. ``staging`` is a folder
    of this writer's own in which the rows are held, since a MERGE reads them three times.
    """
    if not has_changes(spark, target):
        return None
    done = retry_on_conflict(lambda: _merge(spark, target, source_table, staging))
    if done is not None:
        if done.stale is not None:
            clear_appends(spark, target, done.appends, done.floor_ms)
        close_merge(spark, target, done.appends, time.time_ns() // 1_000_000)
    return done


def _merge(spark: SparkSession, target: str, source_table: str, staging: str | None) -> PendingMerge | None:
    names = tuple(names_to_merge(spark, target))
    if not names:
        return None
    # Appends that come in meanwhile are not in ``names``, and stay pending.
    changes = changes_of(spark, target, names)
    floor = purge_floor_ms(spark, target)
    stale = None
    if floor is not None:
        # A purge has begun since the append. The tombstone of an older change may be gone, which only `maintain` could
        # have done without merging first.
        stale = _record_stale_changes(target, source_table, changes, floor)
        changes = changes.where(f"NOT {CHANGE_TIME_MS} < {floor}")
    columns = column_names(spark, target)
    rows = rows_of_changes(changes, columns)
    fed = [F.max(F.col(version) != "").alias(register) for register, version in _VERSIONS.items()]
    aggregates, counted = [*row_bounds(), *fed], None
    if staging is not None:
        counted = Observation()
        rows = hold(rows.observe(counted, *aggregates), f"{staging}/pending")
    # A busy server of Spark Connect sends no counts, because it waits for them for a tenth of a second only.
    bounds = (counted and counted.get) or rows.agg(*aggregates).head(1)[0].asDict()
    if not bounds["keys"]:
        return PendingMerge(names, 0, Counts(0, 0, 0), stale, floor or 0)
    registers = [one for one in REGISTERS if bounds[one]]
    rescue = RESCUED in read_table(spark, target).columns
    is_held = staging is not None
    counts = merge_rows(spark, target, rows, columns, registers, bounds=bounds, is_held=is_held, rescue=rescue)
    return PendingMerge(names, bounds["keys"], counts, stale, floor or 0)


def clear_pending(spark: SparkSession, target: str, source_table: str) -> None:
    """Move what waits and is older than a purge's floor to `<target>_stale_records`.

    For a start: the micro-batch that appended it may have been killed before it looked whether the floor had moved. The
    micro-batch comes again, and tells what is stale.
    """
    floor = purge_floor_ms(spark, target)
    if floor is not None and (names := names_to_merge(spark, target)):
        changes = changes_of(spark, target, names)
        if _record_stale_changes(target, source_table, changes, floor) is not None:
            clear_appends(spark, target, names, floor)


def _record_stale_changes(target: str, source_table: str, changes: DataFrame, floor_ms: int) -> StaleRecords | None:
    old = changes.where(f"{CHANGE_TIME_MS} < {floor_ms}")
    return record_stale_records(target, _as_records(old, source_table))


def rows_of_changes(changes: DataFrame, columns: Sequence[str]) -> DataFrame:
    """One row a key, in the shape of `rows.typed_rows`: what the changes say to either register.

    | key | register | version | stream_time_ms |    | key | version | stream_time_ms | base |
    |-----|----------|---------|----------------|    |-----|---------|----------------|------|
    | k   | stream   | L|…07   | 5000           |    | k   | L|…09   | 5000           | 3000…|
    | k   | stream   | L|…09   | 4000           |
    | k   | base     | 3000…   |                |
    """
    is_stream = F.col("register") == "stream"
    order = {"stream": F.when(is_stream, F.col("version")), "base": F.when(~is_stream, F.col("version"))}
    shown = ["item", "ttl_expired", "rescued", *(["columns"] if columns else [])]
    by_key = changes.groupBy("key").agg(
        F.coalesce(F.max(order["stream"]), F.lit("")).alias("version"),
        F.max("stream_time_ms").alias("stream_time_ms"),
        F.coalesce(F.max(order["base"]), F.lit("")).alias("base"),
        *(F.max_by(F.struct(*shown), order[register]).alias(f"{register}_row") for register in REGISTERS),
    )
    typed = [
        column
        for register in REGISTERS
        for column in (
            F.col(f"{register}_row.item").alias(f"{register}_image"),
            F.col(f"{register}_row.rescued").alias(f"{register}_rescued"),
            *([_numbered(f"{register}_row.columns", columns).alias(f"{register}_columns")] if columns else []),
        )
    ]
    ttl = F.coalesce("stream_row.ttl_expired", F.lit(False)).alias("stream_ttl")
    return by_key.select("key", "version", "stream_time_ms", "base", ttl, *typed)


def _numbered(struct: str, columns: Sequence[str]) -> Column:
    return F.struct(*(F.col(struct)[name].alias(f"c{at}") for at, name in enumerate(columns)))


def _as_records(changes: DataFrame, source_table: str) -> DataFrame:
    """The changes as the records that they were, as far as `_changes` still knows them."""
    is_stream = F.col("register") == "stream"
    parts = F.split("version", r"\|")
    known = {
        "schema": F.lit(1),
        "origin": F.when(is_stream, "stream").otherwise("scan"),
        "source_table": F.lit(source_table),
        "key": F.col("key"),
        "keys": F.expr(keys_sql("key")),
        "new_image": F.col("item"),
        "is_deleted": F.col("item").isNull(),
        "ttl_expired": F.col("ttl_expired"),
        "version": F.when(is_stream, F.col("version")),
        "approx_creation_time_ms": F.col("stream_time_ms"),
        "snapshot_label_ms": F.when(~is_stream, parts[0].cast("long")),
        "snapshot_run": F.when(~is_stream, parts[1]),
    }
    return changes.select(
        *(known.get(field.name, F.lit(None)).cast(field.dataType).alias(field.name) for field in RECORD.fields)
    )
