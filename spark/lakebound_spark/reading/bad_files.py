"""`<target>_bad_files`: the files that were left out, each once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple

from pyspark.sql import SparkSession

from lakebound_spark.platform.tables import companion_table, create_companion, open_table, retry_on_conflict
from lakebound_spark.reading.files import BadFile
from lakebound_spark.reading.schema import BAD_FILES


def record_bad_files(spark: SparkSession, target: str, bad_files: Iterable[BadFile]) -> None:
    """Note each file once in `<target>_bad_files`, so that a replayed micro-batch adds nothing."""
    place = companion_table(target, "_bad_files")
    create_companion(spark, place, BAD_FILES)
    rows = spark.createDataFrame([astuple(bad) for bad in bad_files], BAD_FILES)
    values = {name: f"s.{name}" for name in BAD_FILES.names} | {"detected_at": "current_timestamp()"}
    merge = (
        open_table(spark, place)
        .alias("t")
        .merge(rows.alias("s"), "t.path = s.path AND t.reason = s.reason")
        .whenNotMatchedInsert(values=dict(values))
    )
    retry_on_conflict(merge.execute)
