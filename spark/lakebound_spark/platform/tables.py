"""Delta tables by path or by name: the target, and the tables that stand beside it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from delta.tables import DeltaTable, DeltaTableBuilder
from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql.types import StructType

from lakebound.errors import Misconfigured
from lakebound_spark.platform.spark_compat import is_conflict
from lakebound_spark.platform.sql_text import literal, quoted

ATTEMPTS: Final = 5

_URL_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")

T = TypeVar("T")


def is_path(target: str) -> bool:
    """A target with `/` is a path, else a table's name."""
    return "/" in target


def absolute_path(place: str) -> str:
    """A path in full, as Spark and Delta want it: from the folder in which the command was started.

    An address (`s3a://…`, `dbfs:/…`) stays as it stands. Delta takes a relative path for a name and refuses it after
    the first step, and a checkpoint would lie wherever the driver happened to run.
    """
    return place if _URL_SCHEME.match(place) else str(Path(place).absolute())


def absolute_table(target: str) -> str:
    """The same for a table; a name stays as it stands."""
    return absolute_path(target) if is_path(target) else target


def companion_table(target: str, suffix: str) -> str:
    """The table or path that belongs to ``target``: `a.b.flights` and `_current` make `a.b.flights_current`."""
    if is_path(target):
        return target.rstrip("/") + suffix
    return target[:-1] + suffix + "`" if target.endswith("`") else target + suffix


def table_sql(target: str) -> str:
    """The table for a SQL statement."""
    return f"delta.{quoted(target)}" if is_path(target) else target


def exists(spark: SparkSession, target: str) -> bool:
    """Whether the Delta table is there."""
    return DeltaTable.isDeltaTable(spark, target) if is_path(target) else spark.catalog.tableExists(target)


def location(spark: SparkSession, target: str) -> str:
    """Where a table lies, or will lie once it is made. Raises Misconfigured where its schema is missing."""
    if is_path(target):
        return target
    if exists(spark, target):
        (detail,) = spark.sql(f"DESCRIBE DETAIL {table_sql(target)}").collect()
        return str(detail["location"])
    schema, _, name = target.rpartition(".")
    try:
        rows = spark.sql(f"DESCRIBE SCHEMA {schema or spark.catalog.currentDatabase()}").collect()
    except AnalysisException:
        raise Misconfigured(f"there is no schema {schema} for the table {target}; create it first") from None
    (folder,) = (row["info_value"] for row in rows if row["info_name"] == "Location")
    return f"{folder}/{name}"


def open_table(spark: SparkSession, target: str) -> DeltaTable:
    """The Delta table at a path or of a name."""
    return DeltaTable.forPath(spark, target) if is_path(target) else DeltaTable.forName(spark, target)


def require_silver(spark: SparkSession, target: str) -> DataFrame:
    """The rows of the silver table. Raises Misconfigured when there is no Delta table."""
    if not exists(spark, target):
        raise Misconfigured(f"there is no Delta table at {target}; run merge_changes first")
    return open_table(spark, target).toDF()


def table_id(spark: SparkSession, target: str) -> str:
    """The Delta table's id, which no table made later in its place has."""
    detail = open_table(spark, target).detail().select("id").head()
    assert detail is not None
    return str(detail["id"])


def write_rows(rows: DataFrame, target: str, mode: str) -> None:
    """Write the rows into the table, with one of Spark's save modes."""
    writer = rows.write.format("delta").mode(mode)
    if is_path(target):
        writer.save(target)
    else:
        writer.saveAsTable(target)


def properties(spark: SparkSession, target: str) -> dict[str, str]:
    """The table's properties, as they are now. Raises Misconfigured when Spark hides one of ours."""
    # `DESCRIBE DETAIL` counts the files too, which after a MERGE takes seconds; this reads the metadata only.
    values = {row["key"]: row["value"] for row in spark.sql(f"SHOW TBLPROPERTIES {table_sql(target)}").collect()}
    hidden = sorted(name for name, value in values.items() if value == _REDACTED and name.startswith("lakebound."))
    if hidden:
        raise Misconfigured(
            f"Spark hides the property {hidden[0]} of {target}; set spark.redaction.regex and "
            "spark.sql.redaction.options.regex so that they do not match it"
        )
    return {name: value.replace(_SEPARATOR, "") for name, value in values.items()}


def set_properties(spark: SparkSession, target: str, values: Mapping[str, str]) -> None:
    """Set properties of the table, in one commit that is tried again when another writer's came between."""
    pairs = ", ".join(f"{literal(name)} = {literal(value)}" for name, value in values.items())
    retry_on_conflict(lambda: spark.sql(f"ALTER TABLE {table_sql(target)} SET TBLPROPERTIES ({pairs})"))


def encode_property(value: str) -> str:
    """The value of a property so written that Spark shows it; `properties` takes back what is put in.

    A column `image_url`, or a source table `access_tokens`: `SHOW TBLPROPERTIES` answers `*********(redacted)` for each
    value in which it finds one of these words, so that the job could not read what its own table was made from. The
    dot between two letters is in no name of a DynamoDB table, nor in JSON of ASCII characters.
    """
    return _REDACTED_WORDS.sub(lambda word: word[0][0] + _SEPARATOR + word[0][1:], value)


# The defaults of spark.redaction.regex and spark.sql.redaction.options.regex.
_REDACTED_WORDS: Final = re.compile(r"(?i)secret|password|token|access[.]?key|url")
_REDACTED: Final = "*********(redacted)"
_SEPARATOR: Final = "·"


def create_companion(spark: SparkSession, place: str, columns: StructType) -> None:
    """Make a table of these columns and `detected_at`, unless it is there."""
    new_table(spark, place).addColumns(columns).addColumn("detected_at", "TIMESTAMP").execute()


def add_missing_rows(place: str, columns: StructType, rows: DataFrame, key: Sequence[str]) -> None:
    """Insert the rows whose ``key`` the companion table does not hold yet, so that a replayed micro-batch adds nothing.

    Makes the table of these ``columns`` unless it is there. No two of ``rows`` may have one key.
    """
    spark = rows.sparkSession
    create_companion(spark, place, columns)
    same = " AND ".join(f"t.{name} <=> s.{name}" for name in key)
    values: dict[str, str | Column] = {name: f"s.{name}" for name in rows.columns}
    merge = open_table(spark, place).alias("t").merge(rows.alias("s"), same)
    retry_on_conflict(merge.whenNotMatchedInsert(values=values | {"detected_at": "current_timestamp()"}).execute)


def new_table(spark: SparkSession, place: str) -> DeltaTableBuilder:
    """The builder of a table at a path or of a name, which `execute` makes unless it is there."""
    builder = DeltaTable.createIfNotExists(spark)
    if not is_path(place):
        return builder.tableName(place)
    remove_empty_delta_log(spark, place)
    return builder.location(place)


def remove_empty_delta_log(spark: SparkSession, place: str) -> None:
    """Take away the log of a table that was never made.

    A job killed while it made the table leaves `_delta_log` without a commit. Delta sees no table there, refuses to
    make one (DELTA_TABLE_NOT_FOUND), and the same command would be refused for ever. Nothing is deleted with what it
    holds, so the commit of another job that makes the table at this moment stays.
    """
    gateway: Any = getattr(spark, "_jvm", None)
    if gateway is None:
        return
    log = gateway.org.apache.hadoop.fs.Path(f"{place.rstrip('/')}/_delta_log")
    files = log.getFileSystem(spark._jsparkSession.sessionState().newHadoopConf())
    if not files.exists(log):
        return
    left = [status.getPath() for status in files.listStatus(log)]
    if all(path.getName()[0] in "._" and path.getName() != "_last_checkpoint" for path in left):
        for path in [*left, log]:
            files.delete(path, False)


def retry_on_conflict(commit: Callable[[], T]) -> T:
    """What ``commit`` returns, tried again when another writer's commit came between: five times in all.

    OPTIMIZE, a purge or a second job can make Delta refuse a commit. ``commit`` has to read afresh what it depends
    on, and may then do part of it twice: every MERGE here is guarded, so that changes nothing.
    """
    for attempt in range(1, ATTEMPTS):
        try:
            return commit()
        except Exception as error:
            if not is_conflict(error):
                raise
            time.sleep(attempt)
    return commit()
