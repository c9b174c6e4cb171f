"""Delta tables by path or by name: the target, and the tables that stand beside it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple, TypeVar
from uuid import uuid4

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql.types import StructType

from lakebound.errors import Misconfigured
from lakebound_spark.platform.spark_compat import condition_of, is_conflict
from lakebound_spark.platform.sql_text import insert_clause, literal, quoted

ATTEMPTS: Final = 5
_HISTORY_LIMIT: Final = 20
_NO_PROPERTIES: Final[Mapping[str, str]] = MappingProxyType({})
_NAME_PART: Final = r"`(?:[^`]|``)+`|[^.`]+"

_URL_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")

T = TypeVar("T")


def is_path(target: str) -> bool:
    """A target with `/` is a path, else a table's name."""
    return "/" in target


def in_spark_catalog(target: str) -> bool:
    """Whether the table stands, or would stand, in Spark's own catalog: under a name of one or two parts as well."""
    parts = re.findall(_NAME_PART, target)
    return not is_path(target) and (len(parts) < 3 or parts[0].strip("`") == "spark_catalog")


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
    """The table for a SQL statement, each part of its name quoted. Raises Misconfigured for what is no name.

    | target             | SQL                      |
    |--------------------|--------------------------|
    | /lake/silver       | delta.`/lake/silver`     |
    | main.my-db.flights | `main`.`my-db`.`flights` |
    | db.`flights.v2`    | `db`.`flights.v2`        |
    """
    if is_path(target):
        return f"delta.{quoted(target)}"
    if not re.fullmatch(rf"(?:{_NAME_PART})(?:\.(?:{_NAME_PART}))*", target):
        raise Misconfigured(f"{target!r} is no table's name; give table, schema.table, catalog.schema.table or a path")
    parts = re.findall(_NAME_PART, target)
    if "DATABRICKS_RUNTIME_VERSION" in os.environ and any(re.search(r"[. ]", part) for part in parts):
        # "Securable object naming requirements" of its documentation. DynamoDB lets a table be called `prod.cars`.
        raise Misconfigured(f"{target} has a dot or a space in a name, which Unity Catalog takes none of; give another")
    return ".".join(part if part[0] == "`" else quoted(part) for part in parts)


def exists(spark: SparkSession, target: str) -> bool:
    """Whether the Delta table is there."""
    try:
        if is_path(target):  # of which Spark 3.5's catalog says that it is there as soon as there is a `_delta_log`
            return read_table(spark, target).schema is not None
        return spark.catalog.tableExists(table_sql(target))
    except AnalysisException as error:
        if condition_of(error) in _NO_TABLE:
            return False
        raise


_NO_TABLE: Final = ("PATH_NOT_FOUND", "DELTA_MISSING_DELTA_TABLE", "DELTA_TABLE_NOT_FOUND", "DELTA_PATH_DOES_NOT_EXIST")


def read_table(spark: SparkSession, target: str) -> DataFrame:
    """The rows of the Delta table at a path or of a name."""
    return spark.table(table_sql(target))


def read_snapshot(spark: SparkSession, target: str) -> DataFrame:
    """The rows of the table's newest version, which further commits do not change however often they are read."""
    return spark.sql(f"SELECT * FROM {table_sql(target)} VERSION AS OF {newest_version(spark, target)}")


class Commit(NamedTuple):
    """A commit of a Delta table: its number, and when it was made."""

    version: int
    made_at: datetime


def newest_commit(spark: SparkSession, target: str) -> Commit:
    """The table's last commit."""
    newest = spark.sql(f"DESCRIBE HISTORY {table_sql(target)} LIMIT 1").head()
    assert newest is not None
    return Commit(int(newest["version"]), newest["timestamp"])


def newest_version(spark: SparkSession, target: str) -> int:
    """The number of the table's last commit."""
    return newest_commit(spark, target).version


def location(spark: SparkSession, target: str) -> str:
    """Where a table lies, or will lie once it is made. Raises Misconfigured where its schema is missing."""
    if is_path(target):
        return target
    if exists(spark, target):
        return str(table_detail(spark, target)["location"])
    *parts, name = re.findall(_NAME_PART, target)
    schema = ".".join(parts)
    try:
        rows = spark.sql(f"DESCRIBE SCHEMA {table_sql(schema or spark.catalog.currentDatabase())}").collect()
    except AnalysisException:
        raise Misconfigured(f"there is no schema {schema} for the table {target}; create it first") from None
    (folder,) = (row["info_value"] for row in rows if row["info_name"] == "Location")
    return f"{folder}/{name.strip('`')}"


def require_silver(spark: SparkSession, target: str) -> DataFrame:
    """The rows of the silver table. Raises Misconfigured when there is no Delta table."""
    if not exists(spark, target):
        raise Misconfigured(f"there is no Delta table at {target}; run merge_changes first")
    return read_table(spark, target)


def table_detail(spark: SparkSession, target: str) -> Row:
    """What `DESCRIBE DETAIL` knows of the table: its `id`, which no table made later in its place has, and more."""
    detail = spark.sql(f"DESCRIBE DETAIL {table_sql(target)}").head()
    assert detail is not None
    return detail


def append_rows(rows: DataFrame, target: str) -> None:
    """Append rows, whose columns are found by name, in one commit."""
    rows.writeTo(table_sql(target)).append()


def properties(spark: SparkSession, target: str) -> dict[str, str]:
    """The table's properties, as they are now. Raises Misconfigured when Spark hides one of ours."""
    # `DESCRIBE DETAIL` counts the files too, which after a MERGE takes seconds; this reads the metadata only.
    values = {row["key"]: row["value"] for row in spark.sql(f"SHOW TBLPROPERTIES {table_sql(target)}").collect()}
    hidden = sorted(name for name, value in values.items() if value == REDACTED and name.startswith("lakebound."))
    if hidden:
        raise Misconfigured(
            f"Spark hides the property {hidden[0]} of {target}; set spark.redaction.regex and "
            "spark.sql.redaction.options.regex so that they do not match it"
        )
    return {name: decode_property(value) for name, value in values.items()}


def set_properties(spark: SparkSession, target: str, values: Mapping[str, str]) -> None:
    """Set properties of the table, in one commit that is tried again when another writer's came between."""
    retry_on_conflict(lambda: spark.sql(f"ALTER TABLE {table_sql(target)} SET TBLPROPERTIES {properties_sql(values)}"))


def properties_sql(values: Mapping[str, str]) -> str:
    """The properties with their parentheses, as they stand behind TBLPROPERTIES."""
    return f"({', '.join(f'{literal(name)} = {literal(value)}' for name, value in values.items())})"


def encode_property(value: str) -> str:
    """The value of a property so written that Spark shows it; `properties` takes back what is put in.

    A column `image_url`, or a source table `access_tokens`: `SHOW TBLPROPERTIES` answers `*********(redacted)` for each
    value in which it finds one of these words, so that the job could not read what its own table was made from. The
    dot between two letters is in no name of a DynamoDB table, nor in JSON of ASCII characters.
    """
    return _REDACTED_WORDS.sub(lambda word: word[0][0] + _SEPARATOR + word[0][1:], value)


def decode_property(value: str) -> str:
    """What was given to `encode_property`."""
    return value.replace(_SEPARATOR, "")


# The defaults of spark.redaction.regex and spark.sql.redaction.options.regex.
_REDACTED_WORDS: Final = re.compile(r"(?i)secret|password|token|access[.]?key|url")
REDACTED: Final = "*********(redacted)"
_SEPARATOR: Final = "·"


def column_sql(name: str, kind: str, comment: str = "") -> str:
    """A column of `create_table`."""
    return f"{quoted(name)} {kind}" + (f" COMMENT {literal(comment)}" if comment else "")


def columns_sql(columns: StructType) -> list[str]:
    """The columns of `create_table` from a schema."""
    return [
        column_sql(field.name, field.dataType.simpleString() + ("" if field.nullable else " NOT NULL"))
        for field in columns.fields
    ]


def create_table(
    spark: SparkSession,
    target: str,
    columns: Sequence[str],
    clause: str = "",
    properties: Mapping[str, str] = _NO_PROPERTIES,
) -> None:
    """Make a Delta table at a path or of a name, unless it is there. ``clause`` says how it is laid out.

    A job killed while it made the table leaves `_delta_log` without a commit. Delta reads no table there, and yet takes
    it for one that is there when asked to make it. Raises Misconfigured where this process cannot take that away.
    """
    if is_path(target) and not _URL_SCHEME.match(target):
        _remove_empty_delta_log(Path(target))
    settings = f" TBLPROPERTIES {properties_sql(properties)}" if properties else ""
    definition = f"{table_sql(target)} ({', '.join(columns)}) USING delta {clause}{settings}"
    spark.sql(f"CREATE TABLE IF NOT EXISTS {definition}")
    if is_path(target) and not exists(spark, target):
        raise Misconfigured(f"{target} has a _delta_log without a commit, left by a job that was killed; remove it")


def _remove_empty_delta_log(place: Path) -> None:
    """Nothing is removed with what it holds, so the commit of another job that makes the table at this moment stays."""
    log = place / "_delta_log"
    left = list(log.iterdir()) if log.is_dir() else []
    if log.is_dir() and all(_is_no_commit(path) for path in left):
        for path in left:
            # Delta 4 makes the folder `_staged_commits` before the first commit, for catalogs that commit themselves.
            path.rmdir() if path.is_dir() else path.unlink()
        log.rmdir()


def _is_no_commit(path: Path) -> bool:
    """Whether something in a `_delta_log` may go: a temporary file, a checksum, a folder with nothing in it."""
    if path.is_dir():
        return not any(path.iterdir())
    return path.name[0] in "._" and path.name != "_last_checkpoint"


def create_companion(spark: SparkSession, place: str, columns: StructType) -> None:
    """Make a table of these columns and `detected_at`, unless it is there."""
    create_table(spark, place, [*columns_sql(columns), "detected_at TIMESTAMP"])


def add_missing_rows(place: str, columns: StructType, rows: DataFrame, key: Sequence[str]) -> None:
    """Insert the rows whose ``key`` the companion table does not hold yet, so that a replayed micro-batch adds nothing.

    Makes the table of these ``columns`` unless it is there. No two of ``rows`` may have one key.
    """
    create_companion(rows.sparkSession, place, columns)
    same = " AND ".join(f"t.{name} <=> s.{name}" for name in key)
    values = {name: f"s.{quoted(name)}" for name in rows.columns} | {"detected_at": "current_timestamp()"}
    retry_on_conflict(lambda: merge_into(place, rows, same, f"WHEN NOT MATCHED THEN {insert_clause(values)}"))


def hold(rows: DataFrame, folder: str) -> DataFrame:
    """``rows`` computed once and read from ``folder``, where the next call's rows take their place.

    Not `persist`: serverless compute refuses it, and a row that is lost from a cache is computed again, which may give
    another one.
    """
    rows.write.mode("overwrite").parquet(folder)
    # A Spark Connect server keeps the plan of a read with the names of its files, and gives it to whoever asks the same
    # again: the files of the call before. An option that Spark does not know makes each call another one.
    read = rows.sparkSession.read.schema(rows.schema).option("lakeboundRead", uuid4().hex)
    return read.parquet(folder)


@contextmanager
def temporary_view(rows: DataFrame) -> Iterator[str]:
    """A name under which SQL knows ``rows`` for the length of the block."""
    name = f"lakebound_{uuid4().hex}"
    rows.createTempView(name)
    try:
        yield name
    finally:
        rows.sparkSession.catalog.dropTempView(name)


def merge_into(target: str, source: DataFrame, condition: str, *clauses: str) -> Row:
    """Run `MERGE INTO target AS t USING source AS s`; Delta's counts of the affected rows.

    ``clauses`` are all that stands after the condition, `WHEN MATCHED …` and so on.
    """
    with temporary_view(source) as name:
        statement = f"MERGE INTO {table_sql(target)} AS t USING {name} AS s ON {condition} {' '.join(clauses)}"
        counts = source.sparkSession.sql(statement).head()
    assert counts is not None
    return counts


class Counts(NamedTuple):
    """Rows of the target that a MERGE inserted, updated, and copied unchanged because their file was rewritten."""

    inserted: int
    updated: int
    copied: int


def count_copied(spark: SparkSession, target: str, merged: Row) -> Counts:
    """The counts of `merge_into`, with those that only the commit tells: it is the newest MERGE of these counts."""
    inserted, updated = int(merged["num_inserted_rows"]), int(merged["num_updated_rows"])
    if not merged["num_affected_rows"]:  # no row changed, no commit
        return Counts(0, 0, 0)
    # Each commit is an object of the log to be read. Nearly always the newest is the one.
    for limit in (1, _HISTORY_LIMIT):
        for commit in spark.sql(f"DESCRIBE HISTORY {table_sql(target)} LIMIT {limit}").collect():
            told = commit["operationMetrics"]
            rows = [int(told.get(f"numTargetRows{name}", -1)) for name in ("Inserted", "Updated", "Copied")]
            if commit["operation"] == "MERGE" and rows[:2] == [inserted, updated]:
                return Counts(*rows)
    return Counts(inserted, updated, 0)  # so many commits of other writers came after it


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
