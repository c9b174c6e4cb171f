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
from pyspark.sql import DataFrame, SparkSession

from lakebound_spark.columns import DeclaredColumn
from lakebound_spark.config import MergeConfig
from lakebound_spark.errors import Misconfigured
from lakebound_spark.files import BadFile
from lakebound_spark.schema import BAD_FILES, LABEL_DIGITS, SILVER

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
        raise Misconfigured(f"cannot create the target {target}: {error.getCondition()}") from None


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
    merge = _guarded_merge(open_table(spark, target), rows, columns)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            counts = merge.execute().head()
        except DeltaConcurrentModificationException:
            if attempt == _ATTEMPTS:
                raise
            time.sleep(attempt)
        else:
            assert counts is not None
            return Merged(int(counts["num_inserted_rows"]), int(counts["num_updated_rows"]))
    raise AssertionError("unreachable")


def _guarded_merge(table: DeltaTable, rows: DataFrame, columns: Sequence[DeclaredColumn]) -> DeltaMergeBuilder:
    update = _visible("t._version", "t._stream_time_ms", "t._base")
    insert = _visible("''", "CAST(NULL AS BIGINT)", "''")

    def assignments(shown: _Visible, otherwise: str | None) -> dict[str, str]:
        item = shown.choose("s.stream_image", "s.base_image", otherwise and "t._item")
        values = {
            "_item": item,
            "_is_deleted": f"({item}) IS NULL",
            "_version": shown.version,
            "_stream_time_ms": shown.time,
            "_base": shown.base,
            "_ttl_expired": shown.choose("s.stream_ttl", "false", otherwise and "t._ttl_expired"),
        }
        for number, column in enumerate(columns):
            name = quoted(column.name)
            values[name] = shown.choose(
                f"s.stream_columns.c{number}", f"s.base_columns.c{number}", otherwise and f"t.{name}"
            )
        return values

    return (
        table.alias("t")
        .merge(rows.alias("s"), "t._key = s.key")
        .whenMatchedUpdate(
            "s.version > t._version OR s.base > t._base OR s.stream_time_ms > t._stream_time_ms",
            dict(assignments(update, "t")),
        )
        .whenNotMatchedInsert(values={"_key": "s.key", **assignments(insert, None)})
    )


@dataclass(frozen=True, slots=True)
class _Visible:
    """SQL for the registers after a row, and for which image is visible."""

    version: str
    time: str
    base: str
    takes_stream: str
    takes_base: str

    def choose(self, stream: str, base: str, otherwise: str | None) -> str:
        return (
            f"CASE WHEN {self.takes_stream} THEN {stream} WHEN {self.takes_base} THEN {base} "
            f"ELSE {otherwise or 'NULL'} END"
        )


def _visible(version: str, stream_time: str, base: str) -> _Visible:
    """The compacted form of the rule: `A >= L` shows the stream's image, ties included, else the base's.

    Silver keeps one image, not both. A row that raises only A therefore cannot bring back a stream image
    that an older base record has hidden; that image is in the base record itself by then (its label is
    MARGIN before its read), so both forms agree once deliveries quiesce.
    """
    greatest_time = f"greatest({stream_time}, s.stream_time_ms)"  # greatest() passes over NULLs
    greatest_base = f"greatest({base}, s.base)"
    label = f"CAST(substring({greatest_base}, 1, {LABEL_DIGITS}) AS BIGINT)"
    stream_is_visible = f"CASE WHEN {greatest_base} = '' THEN true ELSE coalesce({greatest_time} >= {label}, false) END"
    return _Visible(
        version=f"greatest({version}, s.version)",
        time=greatest_time,
        base=greatest_base,
        takes_stream=f"({stream_is_visible}) AND s.version > {version}",
        takes_base=f"NOT ({stream_is_visible}) AND s.base > {base}",
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
