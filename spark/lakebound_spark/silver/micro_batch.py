"""Records of a micro-batch brought into silver: stale ones aside, one row per key, typed, one MERGE."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from lakebound_spark.platform.tables import Counts, hold, retry_on_conflict
from lakebound_spark.reading.files import CheckedRecords
from lakebound_spark.reading.latest import latest_per_key, show_expired
from lakebound_spark.silver.auto_columns import grow_table
from lakebound_spark.silver.config import MergeConfig
from lakebound_spark.silver.current_view import create_current_view
from lakebound_spark.silver.merge import merge_rows
from lakebound_spark.silver.purge_horizon import DAY_MS, StaleRecords, is_stale, purge_floor_ms, record_stale_records
from lakebound_spark.silver.rows import typed_rows

_NO_ROWS: Final = Counts(0, 0, 0)

_TEXT_TO_BROADCAST: Final = 32 << 20
"""Characters of images up to which a micro-batch is sent to every executor for the MERGE's joins.

Spark's own limit (10 MiB) goes by the size of a cached row, which is far over that of its text, so the whole target was
shuffled and sorted for micro-batches of a few megabytes: 18 s instead of 14 s for 100,000 records into a million rows.
"""


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What the records came down to in silver."""

    keys: int = 0
    inexact: int = 0
    rescued: int = 0
    stale: StaleRecords | None = None
    counts: Counts = _NO_ROWS


def merge_records(
    spark: SparkSession, target: str, checked: CheckedRecords, config: MergeConfig, staging: str
) -> MergeResult:
    """Merge the records; those older than what has been purged go to `<target>_stale_records` instead.

    ``staging`` is a folder of this writer's own, where the rows of one micro-batch are held.

    Tried again from the start when another writer's commit came between: a purge may have been the other writer.
    """
    records = checked.records
    if records is None or not checked.count:
        return MergeResult()
    return retry_on_conflict(lambda: _merge_fresh_records(spark, target, checked, records, config, staging))


def _merge_fresh_records(
    spark: SparkSession,
    target: str,
    checked: CheckedRecords,
    records: DataFrame,
    config: MergeConfig,
    staging: str,
) -> MergeResult:
    oldest_ms = checked.oldest_record_ms
    # No horizon is shorter than a day, so younger records cannot be stale and need no look at the properties.
    old = oldest_ms is not None and oldest_ms < time.time_ns() // 1_000_000 - DAY_MS
    floor = purge_floor_ms(spark, target) if old else None
    fresh = records if floor is None else records.where(~is_stale(floor))
    stale = None if floor is None else record_stale_records(target, records.where(is_stale(floor)))
    brought = _merge_latest(spark, target, fresh, checked.registers, config, staging)
    if old and (since := purge_floor_ms(spark, target)) is not None and since != floor:
        # A purge has begun after the floor was read and may have ended before the MERGE began: what is stale by now
        # may have been merged onto nothing. It is kept and told, so that a repair takes back what it may have done.
        stale = record_stale_records(target, records.where(is_stale(since)))
    return MergeResult(brought.keys, brought.inexact, brought.rescued, stale, brought.counts)


def _merge_latest(
    spark: SparkSession,
    target: str,
    records: DataFrame,
    registers: Collection[str],
    config: MergeConfig,
    staging: str,
) -> MergeResult:
    latest = latest_per_key(show_expired(records) if config.keep_expired else records)
    columns = config.columns
    if config.auto:
        latest = hold(latest, f"{staging}/latest")
        columns, grew = grow_table(spark, target, latest)
        if grew:
            create_current_view(spark, target, replace=True)
    rows = hold(typed_rows(latest, columns, registers, rescue=config.auto), f"{staging}/rows")
    counts = rows.agg(
        F.count("*").alias("keys"),
        F.sum("inexact").alias("inexact"),
        F.sum("rescued" if config.auto else F.lit(0)).alias("rescued"),
        F.min("key").alias("first"),
        F.max("key").alias("last"),
        F.sum(F.expr("coalesce(length(stream_image), 0) + coalesce(length(base_image), 0)")).alias("text"),
    ).head()
    assert counts is not None
    if not counts["keys"]:
        return MergeResult()
    between = (counts["first"], counts["last"])
    source = F.broadcast(rows) if counts["text"] <= _TEXT_TO_BROADCAST else rows
    merged = merge_rows(spark, target, source, columns, registers, keys=between, rescue=config.auto)
    return MergeResult(counts["keys"], counts["inexact"], counts["rescued"], None, merged)
