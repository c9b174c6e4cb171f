"""`<table>_schedule`: when the daily steps of a table were done, so that a driver that starts again repeats none."""

from __future__ import annotations

from typing import Final

from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import LongType, StringType, StructField, StructType

from lakebound_spark.platform.tables import append_rows, companion_table, create_companion, exists, read_table

_COLUMNS: Final = StructType([StructField("step", StringType()), StructField("done_ms", LongType())])


def record_done(spark: SparkSession, target: str, step: str, done_ms: int) -> None:
    """Add a row for a daily step that has ended."""
    place = companion_table(target, "_schedule")
    create_companion(spark, place, _COLUMNS)
    row = spark.createDataFrame([(step, done_ms)], _COLUMNS)
    append_rows(row.withColumn("detected_at", F.current_timestamp()), place)


def read_done(spark: SparkSession, target: str) -> dict[str, int]:
    """When each daily step was last done, in ms; a step that never was is not in it."""
    place = companion_table(target, "_schedule")
    if not exists(spark, place):
        return {}
    rows = read_table(spark, place).groupBy("step").agg(F.max("done_ms").alias("done_ms"))
    return {str(row["step"]): int(row["done_ms"]) for row in rows.collect()}
