"""`<target>_status`: one row that says since when changes may be missing, on every platform, whatever it refuses."""

from __future__ import annotations

import time
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
    exists,
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
    """Make the table unless it is there, and replace its row when something changed or the last look is old.

    The row is read only where this process does not know it: a driver that goes on looks once a minute, or at each turn
    of its steps, and would read it for each of its tables.
    """
    place = companion_table(target, "_status")
    since_ms = min((gap.from_ms for gap in open_gaps), default=None)
    causes = ", ".join(sorted({gap.cause for gap in open_gaps})) or None
    known = since_ms, causes, len(open_gaps), refused
    is_there = exists(spark, place)  # somebody may have dropped it
    if is_there and _is_known(place, known):
        return
    if not is_there:
        create_table(spark, place, columns_sql(STATUS))
    now_ms = time.time_ns() // 1_000_000
    wanted = spark.range(0, 1, 1, 1).select(
        F.timestamp_millis(F.lit(since_ms).cast("long")).alias(STALE_SINCE),
        F.lit(causes).cast("string").alias("stale_because"),
        F.lit(len(open_gaps)).cast("long").alias("open_gaps"),
        F.lit(refused or None).cast("string").alias("refused"),
        F.current_timestamp().alias("looked_at"),
    )
    same = " AND ".join(f"t.{name} <=> s.{name}" for name in STATUS.names if name != "looked_at")
    recent = f"t.looked_at > s.looked_at - INTERVAL {LOOK_MINUTES} MINUTES"
    there = read_table(spark, place).alias("t").join(wanted.alias("s"), F.expr(f"{same} AND {recent}"))
    found = there.select(F.unix_millis("t.looked_at").alias("looked_ms")).head()
    if found is None:
        _LAST.pop(place, None)
        retry_on_conflict(lambda: wanted.writeTo(table_sql(place)).overwrite(F.lit(True)))
    _LAST[place] = known, now_ms if found is None else found["looked_ms"]


def _is_known(place: str, known: tuple[object, ...]) -> bool:
    last, looked_ms = _LAST.get(place, (None, 0))
    return last == known and time.time_ns() // 1_000_000 < looked_ms + LOOK_MINUTES * 60_000


_LAST: Final[dict[str, tuple[tuple[object, ...], int]]] = {}
"""For each table of this process what its row says, as it was read or written last, and when that was looked at (ms).

Only merge jobs write it, and all of them from the same gaps: what another one wrote meanwhile says the same.
"""
