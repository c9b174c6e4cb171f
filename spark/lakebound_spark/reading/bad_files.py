"""The table `<target>_bad_files`: each file that was left out, once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple

from pyspark.sql import SparkSession

from lakebound_spark.platform.tables import add_missing_rows, companion_table
from lakebound_spark.reading.files import BadFile
from lakebound_spark.reading.schema import BAD_FILES


def record_bad_files(spark: SparkSession, target: str, bad_files: Iterable[BadFile]) -> None:
    """Record each file once in `<target>_bad_files`, so that a replayed micro-batch adds nothing."""
    rows = spark.createDataFrame([astuple(bad) for bad in bad_files], BAD_FILES)
    add_missing_rows(companion_table(target, "_bad_files"), BAD_FILES, rows, ("path", "reason"))
