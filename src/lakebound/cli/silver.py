"""The lake's table through a local Spark session with Delta. Imported only by the verb that reads it."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from delta import configure_spark_with_delta_pip
from lakebound_spark.lake import read_silver
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import col

from lakebound.errors import LakeboundError, Misconfigured
from lakebound.verify import LakeRow

_KEYS_IN_A_FILTER = 500


class SilverTable:
    """Port LakeTable of `verify` over the silver table."""

    def __init__(self, spark: SparkSession, target: str) -> None:
        self._spark = spark
        self._target = target

    def rows(self) -> Iterator[LakeRow]:
        """Every row, tombstones too, of the version that is the newest now."""
        yield from _rows_of(self._read())

    def read(self, keys: Sequence[str]) -> Iterator[LakeRow]:
        """The rows of these keys in the newest version."""
        silver = self._read()
        if len(keys) <= _KEYS_IN_A_FILTER:
            yield from _rows_of(silver.where(col("_key").isin(list(keys))))
        else:
            wanted = self._spark.createDataFrame([(key,) for key in keys], "wanted string")
            yield from _rows_of(silver.join(wanted, silver["_key"] == wanted["wanted"], "left_semi"))

    def _read(self) -> DataFrame:
        try:
            return read_silver(self._spark, self._target)
        except AnalysisException as refused:
            raise Misconfigured(
                f"{self._target} is no table of the lake ({refused.getCondition() or 'it cannot be read'})",
                hint="Give the path or the name that merge_changes.py has as --target",
            ) from None


def _rows_of(silver: DataFrame) -> Iterator[LakeRow]:
    for key, item in silver.select("_key", "_item").toLocalIterator(prefetchPartitions=True):
        yield LakeRow(key, item)


@contextmanager
def open_silver(target: str) -> Iterator[SilverTable]:
    """The table, for as long as it is read. What Java writes while starting is shown only when it fails to."""
    with tempfile.TemporaryFile("w+b") as noise:
        try:
            with _stderr_into(noise.fileno()):
                spark = _session()
        except Exception as failure:
            noise.seek(0)
            sys.stderr.write(noise.read().decode(errors="replace")[-2000:])
            raise LakeboundError(
                f"Spark did not start: {type(failure).__name__}", hint="It needs Java 17 or later; see `make setup`"
            ) from None
        try:
            yield SilverTable(spark, target if "/" not in target else str(Path(target).absolute()))
        except PySparkException as failure:
            raise LakeboundError(f"Spark could not read {target}: {failure.getCondition() or failure}") from None
        finally:
            spark.stop()


def _session() -> SparkSession:
    builder = (
        SparkSession.builder.appName("lakebound verify")
        .master(os.environ.get("SPARK_MASTER", "local[*]"))
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.extraJavaOptions", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
        .config("spark.log.level", "ERROR")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.shuffle.partitions", "4")
        .config("spark.databricks.delta.snapshotPartitions", "2")
        .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
        .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
    )
    session: SparkSession = configure_spark_with_delta_pip(builder).getOrCreate()
    return session


@contextmanager
def _stderr_into(descriptor: int) -> Iterator[None]:
    """Send this process's stderr elsewhere, for the Java process that is started meanwhile keeps it for good."""
    kept = os.dup(2)
    try:
        sys.stderr.flush()
        os.dup2(descriptor, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
