"""The silver table: how it is made, and the one guarded MERGE that brings it forward."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass

from delta.exceptions import DeltaConcurrentModificationException
from delta.tables import DeltaMergeBuilder, DeltaTable
from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, SparkSession

from lakebound_spark.columns import DeclaredColumn
from lakebound_spark.config import MergeConfig
from lakebound_spark.errors import Misconfigured
from lakebound_spark.files import BadFile
from lakebound_spark.schema import BAD_FILES, LABEL_DIGITS, SILVER
from lakebound_spark.versions import condition_of, execute_merge

_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Merged:
    """Rows of silver that one MERGE inserted and updated."""

    inserted: int
    updated: int


def is_path(target: str) -> bool:
    """A target with `/` is a path, else a table's name."""
    return "/" in target


def beside(target: str, suffix: str) -> str:
    """The table or path that belongs to ``target``: `a.b.flights` and `_current` make `a.b.flights_current`."""
    if is_path(target):
        return target.rstrip("/") + suffix
    return target[:-1] + suffix + "`" if target.endswith("`") else target + suffix


def exists(spark: SparkSession, target: str) -> bool:
    """Whether the Delta table is there."""
    return DeltaTable.isDeltaTable(spark, target) if is_path(target) else spark.catalog.tableExists(target)


def open_table(spark: SparkSession, target: str) -> DeltaTable:
    """The Delta table at a path or of a name."""
    return DeltaTable.forPath(spark, target) if is_path(target) else DeltaTable.forName(spark, target)


def quoted(name: str) -> str:
    """A column name for SQL, whatever it contains."""
    return "`" + name.replace("`", "``") + "`"


def prepare_target(spark: SparkSession, target: str, config: MergeConfig) -> str:
    """Make the silver table (and its view, for a name) unless they are there. Returns the Delta table's id.

    Raises Misconfigured when the table there was not made from the same source table and columns: a column
    added to the configuration would be NULL in every row that does not happen to change again.
    """
    made_from = {
        "lakebound.source_table": config.source_table,
        "lakebound.columns": json.dumps({c.name: c.sql_type for c in config.columns}, sort_keys=True),
    }
    if not exists(spark, target):
        _create(spark, target, config.columns, made_from)
    detail = open_table(spark, target).detail().select("id", "properties").head()
    assert detail is not None
    for name, value in made_from.items():
        there = detail["properties"].get(name)
        if there != value:
            raise Misconfigured(
                f"{target} was made with {name.removeprefix('lakebound.')} {there}, the configuration says "
                f"{value}; merge into a new target with a new checkpoint"
                if there is not None
                else f"{target} is a Delta table that this job did not make; name another target"
            )
    lost = {"_key", *SILVER.fieldNames(), *(c.name for c in config.columns)} - set(
        open_table(spark, target).toDF().columns
    )
    if lost:
        raise Misconfigured(f"{target} has lost its columns {', '.join(sorted(lost))}; merge into a new target")
    if not is_path(target) and not spark.catalog.tableExists(beside(target, "_current")):
        spark.sql(
            f"CREATE VIEW IF NOT EXISTS {beside(target, '_current')} AS SELECT * FROM {target} WHERE NOT _is_deleted"
        )
    return str(detail["id"])


def _create(spark: SparkSession, target: str, columns: Sequence[DeclaredColumn], properties: dict[str, str]) -> None:
    builder = DeltaTable.createIfNotExists(spark)
    builder = builder.location(target) if is_path(target) else builder.tableName(target)
    builder = builder.addColumn("_key", "STRING", nullable=False)
    for column in columns:
        builder = builder.addColumn(column.name, column.sql_type)
    builder = builder.addColumns(SILVER).property("delta.enableChangeDataFeed", "true")
    # Without deletion vectors a MERGE copies every row of a file in which a key matched, even when the guard
    # then changes none: a replay would rewrite the table. With them it makes no commit at all.
    builder = builder.property("delta.enableDeletionVectors", "true")
    if any(re.search(r"[ ,;{}()\n\t=]", column.name) for column in columns):
        builder = builder.property("delta.columnMapping.mode", "name")
    for name, value in properties.items():
        builder = builder.property(name, value)
    try:
        builder.execute()
    except AnalysisException as error:
        raise Misconfigured(f"cannot create the target {target}: {condition_of(error)}") from None


def merge_rows(spark: SparkSession, target: str, rows: DataFrame, columns: Sequence[DeclaredColumn]) -> Merged:
    """Bring silver forward by the rows of `rows.typed_rows` (one per key, whatever was merged before).

    t, before                                        s
    | _key | _version | _stream_time_ms | _base |    | key | version | stream_time_ms | stream_image | base |
    |------|----------|-----------------|-------|    |-----|---------|----------------|--------------|------|
    | k    | L|…07    | 5000            | ''    |    | k   | L|…09   | 4000           | NULL         | ''   |

    t, after: version 9 is the greater, so the key is gone; the greatest time stays
    | _key | _item | _is_deleted | _version | _stream_time_ms | _base |
    |------|-------|-------------|----------|-----------------|-------|
    | k    | NULL  | true        | L|…09    | 5000            | ''    |

    Another writer's commit (OPTIMIZE, a second job) can make Delta refuse this one; it is then tried again,
    five times in all. Retrying is harmless, since the guard compares with what the table holds by then.
    """
    table = open_table(spark, target)
    merge = _guarded_merge(table, rows, columns)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return Merged(*execute_merge(spark, table, merge))
        except DeltaConcurrentModificationException:
            if attempt == _ATTEMPTS:
                raise
            time.sleep(attempt)
    raise AssertionError("unreachable")


def _guarded_merge(table: DeltaTable, rows: DataFrame, columns: Sequence[DeclaredColumn]) -> DeltaMergeBuilder:
    """The rule in its compacted form, one clause for each thing that can happen to a key.

    The three matched clauses together fire when `s.version > t._version OR s.base > t._base OR
    s.stream_time_ms > t._stream_time_ms` and never otherwise, so a replayed row touches nothing. Silver keeps
    one image, not both: a row that raises only the time cannot bring back a stream image that an older base
    record has hidden. It need not, for such a base record was read MARGIN after its label and has that change.
    """
    t = _Registers("t._version", "t._stream_time_ms", "t._base")
    none = _Registers("''", "CAST(NULL AS BIGINT)", "''")
    stream = _shown("s.stream_image", "s.stream_ttl", "s.stream_columns", columns)
    base = _shown("s.base_image", "false", "s.base_columns", columns)
    moved = "s.version > t._version OR s.base > t._base OR s.stream_time_ms > t._stream_time_ms"
    key = {"_key": "s.key"}
    return (
        table.alias("t")
        .merge(rows.alias("s"), "t._key = s.key")
        .whenMatchedUpdate(f"s.version > t._version AND {t.stream_is_visible}", {**t.greatest, **stream})
        .whenMatchedUpdate(f"s.base > t._base AND NOT ({t.stream_is_visible})", {**t.greatest, **base})
        .whenMatchedUpdate(moved, dict(t.greatest))
        .whenNotMatchedInsert(none.stream_is_visible, {**key, **none.greatest, **stream})
        .whenNotMatchedInsert(values={**key, **none.greatest, **base})
    )


def _shown(image: str, ttl: str, typed: str, columns: Sequence[DeclaredColumn]) -> dict[str, str | Column]:
    """Assignments that make one register's image the visible one."""
    shown: dict[str, str | Column] = {quoted(c.name): f"{typed}.c{number}" for number, c in enumerate(columns)}
    return shown | {"_item": image, "_is_deleted": f"{image} IS NULL", "_ttl_expired": ttl}


@dataclass(frozen=True, slots=True)
class _Registers:
    """SQL for a row's registers before the merge, and from them for what the merge decides."""

    version: str
    time: str
    base: str

    @property
    def greatest(self) -> dict[str, str | Column]:
        """Assignments of the registers after the merge; `greatest` passes over NULLs."""
        return {
            "_version": f"greatest({self.version}, s.version)",
            "_stream_time_ms": f"greatest({self.time}, s.stream_time_ms)",
            "_base": f"greatest({self.base}, s.base)",
        }

    @property
    def stream_is_visible(self) -> str:
        """`A >= L`, ties included, or no base record at all. Never NULL."""
        after = self.greatest
        label = f"CAST(substring({after['_base']}, 1, {LABEL_DIGITS}) AS BIGINT)"
        return (
            f"CASE WHEN {after['_base']} = '' THEN true ELSE coalesce({after['_stream_time_ms']} >= {label}, false) END"
        )


def record_bad_files(spark: SparkSession, target: str, bad_files: Iterable[BadFile]) -> None:
    """Note each file once in `<target>_bad_files`, so that a replayed micro-batch adds nothing."""
    place = beside(target, "_bad_files")
    table = DeltaTable.createIfNotExists(spark)
    table = table.location(place) if is_path(place) else table.tableName(place)
    table.addColumns(BAD_FILES).addColumn("detected_at", "TIMESTAMP").execute()
    rows = spark.createDataFrame([astuple(bad) for bad in bad_files], BAD_FILES)
    values = {name: f"s.{name}" for name in BAD_FILES.names} | {"detected_at": "current_timestamp()"}
    (
        open_table(spark, place)
        .alias("t")
        .merge(rows.alias("s"), "t.path = s.path AND t.reason = s.reason")
        .whenNotMatchedInsert(values=dict(values))
        .execute()
    )
