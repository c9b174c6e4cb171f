"""`<target>_status`: one row that says since when changes may be missing, on every platform, whatever it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import LongType, StringType, StructField, StructType, TimestampType

from lakebound.record.column_names import STALE_SINCE
from lakebound.source.gaps import Gap
from lakebound_spark.platform.tables import (
    columns_sql,
    companion_table,
    create_table,
    read_table,
    retry_on_conflict,
    table_sql,
)

STATUS: Final = StructType(
    [
        StructField(STALE_SINCE, TimestampType()),
        StructField("stale_because", StringType()),
        StructField("open_gaps", LongType()),
        StructField("refused", StringType()),
        StructField("looked_at", TimestampType()),
    ]
)
"""The time since when changes may be missing (NULL: none is), the causes, how many gaps are open, what the catalog
refuses, and when the merge job last noted all this."""

LOOK_MINUTES: Final = 15
"""How old `looked_at` may become while nothing else changes: a commit for each look would be 1,440 a day."""


def write_status(spark: SparkSession, target: str, open_gaps: Sequence[Gap], refused: str) -> None:
    """Make the table unless it is there, and replace its row when something changed or the last look is old."""
    place = companion_table(target, "_status")
    create_table(spark, place, columns_sql(STATUS))
    since_ms = min((gap.from_ms for gap in open_gaps), default=None)
    causes = ", ".join(sorted({gap.cause for gap in open_gaps})) or None
    wanted = spark.range(0, 1, 1, 1).select(
        F.timestamp_millis(F.lit(since_ms).cast("long")).alias(STALE_SINCE),
        F.lit(causes).cast("string").alias("stale_because"),
        F.lit(len(open_gaps)).cast("long").alias("open_gaps"),
        F.lit(refused or None).cast("string").alias("refused"),
        F.current_timestamp().alias("looked_at"),
    )
    same = " AND ".join(f"t.{name} <=> s.{name}" for name in STATUS.names if name != "looked_at")
    recent = f"t.looked_at > s.looked_at - INTERVAL {LOOK_MINUTES} MINUTES"
    there = read_table(spark, place).alias("t")
    if there.join(wanted.alias("s"), F.expr(f"{same} AND {recent}")).isEmpty():
        retry_on_conflict(lambda: wanted.writeTo(table_sql(place)).overwrite(F.lit(True)))
