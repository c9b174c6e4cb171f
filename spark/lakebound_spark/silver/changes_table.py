"""`<target>_changes`: typed changes that are in the lake before a MERGE has brought them into silver.

A micro-batch appends; a MERGE that comes later, for many of them at once, is all that rewrites silver. Both registers
are maxima, so a change may lie here and in silver at the same time, and may be merged twice.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import DataType, StructType

from lakebound.errors import Misconfigured
from lakebound_spark.platform.refusals import refusal_name
from lakebound_spark.platform.sql_text import literal, quoted, type_sql
from lakebound_spark.platform.tables import (
    append_rows,
    companion_table,
    create_table,
    exists,
    newest_commit,
    properties,
    read_table,
    retry_on_conflict,
    set_properties,
    table_detail,
    table_sql,
)
from lakebound_spark.reading.schema import LABEL_DIGITS
from lakebound_spark.silver.columns import DeclaredColumn, require_columns

CHANGES_ID: Final = "lakebound.changes_id"
"""Property of silver: the Delta id of the `_changes` that belongs to it, absent for a table that never had one."""
_PROVEN_AT: Final = "lakebound.changes_version"
"""Property of silver: a version of `_changes` up to which no commit took it back, since it was made or emptied."""
MERGED_APPENDS: Final = "lakebound.merged_appends"
"""Property of silver: the appends that its last merge of pending changes took, with commas; they are still kept."""
MERGED_AT: Final = "lakebound.merged_at_ms"
"""Property of silver: when that merge ended; before the first, when `_changes` was made."""
_SILVER_ID: Final = "lakebound.silver_id"
"""Property of `_changes`: the Delta id of the silver table that it belongs to."""

_OURS: Final = {
    "key": "STRING NOT NULL",
    "register": "STRING NOT NULL",
    "version": "STRING NOT NULL",
    "stream_time_ms": "BIGINT",
    "item": "STRING",
    "ttl_expired": "BOOLEAN",
    "rescued": "STRING",
    "append": "STRING",
}
"""The table's own columns. An attribute's column is a member of the struct `columns`, where no name of ours is."""


_LAST_APPENDS: Final[dict[tuple[str, str], str]] = {}
"""The last append of a run to a target, so that not every append begins with a query for the names in `_changes`."""

_SOUND: Final[dict[str, tuple[object, ...]]] = {}
"""For each target of this process, what `changes_fault` found nothing wrong with.

A driver of many tables starts each of them once a minute, and into most of them nothing has come.
"""


@dataclass(frozen=True, slots=True)
class AppendCounts:
    """What an append holds: keys, values that did not fit their column, attributes that no column took."""

    append: str
    keys: int
    inexact: int
    rescued: int


@dataclass(frozen=True, slots=True)
class Pending:
    """What waits for a merge: the appends, and their rows and bytes of Parquet."""

    appends: tuple[str, ...] = ()
    rows: int = 0
    bytes: int = 0


def changes_table(target: str) -> str:
    """Where the table of a target stands."""
    return companion_table(target, "_changes")


def has_changes(spark: SparkSession, target: str) -> bool:
    """Whether silver has a `_changes` of its own. Raises Misconfigured as `properties` does."""
    return CHANGES_ID in properties(spark, target)


def keeps_changes(spark: SparkSession, target: str) -> bool:
    """Whether silver has a `_changes`, or had one before somebody restored silver to a version without it."""
    if has_changes(spark, target):
        return True
    place = changes_table(target)
    return exists(spark, place) and properties(spark, place).get(_SILVER_ID) == _id(spark, target)


def changes_fault(spark: SparkSession, target: str) -> str:
    """Why changes may be missing from `_changes`, as the end of a sentence; "" where it is as the last run left it.

    Somebody has dropped it, or restored it or silver to an older version. Raises Misconfigured for a table that is not
    silver's own.
    """
    place, silver = changes_table(target), properties(spark, target)
    if not exists(spark, place):
        return "is missing" if CHANGES_ID in silver else ""
    # Asked before all that follows, so that a commit that comes meanwhile is looked at by the next start.
    newest = newest_commit(spark, place)
    found = *(silver.get(name) for name in (CHANGES_ID, _PROVEN_AT, MERGED_APPENDS)), *newest
    if _SOUND.get(target) == found:
        return ""
    if properties(spark, place).get(_SILVER_ID) != _id(spark, target):
        raise Misconfigured(_not_ours(place, target))
    if CHANGES_ID not in silver:
        return f"is there, and {target} knows nothing of it"
    if silver[CHANGES_ID] != _id(spark, place):
        return "is another table than the one that was made here"
    if _was_restored(spark, place, int(silver.get(_PROVEN_AT, "0")), newest.version):
        return "was restored to an older version"
    if fault := _lost_append(target, appends(spark, target), _names_merged(silver)):
        return fault
    _SOUND[target] = found
    return ""


def _lost_append(target: str, kept: Sequence[str], merged: Collection[str]) -> str:
    if not merged:
        return f"begins with its append {kept[0]}" if kept and append_number(kept[0]) != 1 else ""
    lost = sorted(set(merged) - set(kept))
    return f"lacks the append {lost[0]}, which {target} has merged last" if lost else ""


def refuse_leftover(spark: SparkSession, target: str) -> None:
    """Raise Misconfigured where silver is not there and a table has the place of its `_changes`.

    Somebody has dropped silver alone. The new silver would not know of that table, so what was appended to it would
    be in no view and in no merge.
    """
    if not exists(spark, target) and exists(spark, place := changes_table(target)):
        raise Misconfigured(f"{_not_ours(place, target)}. It may be left of a table of that name that was dropped")


def _not_ours(place: str, target: str) -> str:
    return f"{place} is a table that this job did not make for {target}; drop or rename it"


def _was_restored(spark: SparkSession, place: str, since: int, newest: int) -> bool:
    """Whether a commit after version ``since`` took the table back, of which ``newest`` was the last a moment ago.

    The appends that it took away are in no list: a merge that named them has not been. Its own properties went back
    with it, so only its history tells. An append every ten seconds makes 260,000 commits a month, each an object of the
    log to be read, so no more of them are asked than came since.
    """
    if newest <= since:
        return newest < since  # an older copy of its folder has taken its place
    commits = spark.sql(f"DESCRIBE HISTORY {table_sql(place)} LIMIT {newest - since + _MEANWHILE}")
    return bool(commits.where((F.col("operation") == "RESTORE") & (F.col("version") > since)).head())


_MEANWHILE: Final = 20
"""More commits than other drivers make between two statements."""


def open_changes(
    spark: SparkSession, target: str, columns: Sequence[DeclaredColumn], *, start_afresh: bool = False
) -> None:
    """Make `_changes` with silver's ``columns`` unless it is there, and give it those that it lacks.

    ``start_afresh`` empties it: every file is read again, so nothing of it is needed. Raises Misconfigured where the
    catalog refuses table properties.
    """
    place = changes_table(target)
    if start_afresh or not exists(spark, place):
        create_changes_table(spark, target, columns)
        retry_on_conflict(lambda: spark.sql(f"DELETE FROM {table_sql(place)}"))
        _claim_changes(spark, target)
    add_change_columns(spark, target, columns)


def _claim_changes(spark: SparkSession, target: str) -> None:
    _LAST_APPENDS.clear()
    # The first merge has its time to wait too: a first micro-batch that merged at once would hold up the second.
    now_ms = time.time_ns() // 1_000_000
    place = changes_table(target)
    opened = {
        CHANGES_ID: _id(spark, place),
        _PROVEN_AT: str(newest_commit(spark, place).version),
        MERGED_APPENDS: "",
        MERGED_AT: str(now_ms),
    }
    try:
        set_properties(spark, target, opened)
    except Exception as error:
        if (refusal := refusal_name(error)) is None:
            raise
        raise Misconfigured(
            f"the catalog of {target} refuses table properties ({refusal}), in which the job notes what is merged; "
            "leave out --merge-every there"
        ) from None


def _id(spark: SparkSession, place: str) -> str:
    return str(table_detail(spark, place)["id"])


def create_changes_table(spark: SparkSession, target: str, columns: Sequence[DeclaredColumn]) -> None:
    """Make an empty `_changes` of silver's ``columns``; silver knows it only once `open_changes` has named it there."""
    named = [f"{quoted(name)} {kind}" for name, kind in _OURS.items()]
    if columns:
        members = ", ".join(f"{quoted(column.name)}: {column.sql_type}" for column in columns)
        named.append(f"columns STRUCT<{members}>")
    # No change feed and no deletion vectors: whole partitions go, which writes nothing but the log. Names are mapped
    # always, since a column with a space in it may be declared later.
    features = {
        "delta.enableChangeDataFeed": "false",
        "delta.enableDeletionVectors": "false",
        "delta.columnMapping.mode": "name",
        # Statistics of the first four: no reader asks for those of the others.
        "delta.dataSkippingNumIndexedCols": "4",
        _SILVER_ID: _id(spark, target),
    }
    create_table(spark, changes_table(target), named, "PARTITIONED BY (append)", features)


def add_change_columns(spark: SparkSession, target: str, columns: Sequence[DeclaredColumn]) -> None:
    """Give `_changes` the columns that silver has got, and the types to which silver's were widened."""
    place, there = changes_table(target), _column_types(spark, target)
    missing = [column for column in columns if column.name not in there]
    if missing and not there:
        members = ", ".join(f"{quoted(column.name)}: {column.sql_type}" for column in missing)
        _alter(spark, place, f"ADD COLUMNS (columns STRUCT<{members}>)")
    elif missing:
        named = ", ".join(f"{quoted('columns', column.name)} {column.sql_type}" for column in missing)
        _alter(spark, place, f"ADD COLUMNS ({named})")
    silver = {field.name: field.dataType for field in read_table(spark, target).schema.fields}
    for name, kind in there.items():
        if name in silver and silver[name] != kind:
            set_properties(spark, place, {"delta.enableTypeWidening": "true"})
            _alter(spark, place, f"ALTER COLUMN {quoted('columns', name)} TYPE {silver[name].simpleString()}")


def _alter(spark: SparkSession, place: str, change: str) -> None:
    retry_on_conflict(lambda: spark.sql(f"ALTER TABLE {table_sql(place)} {change}"))


def _column_types(spark: SparkSession, target: str) -> dict[str, DataType]:
    schema = read_table(spark, changes_table(target)).schema
    kind = schema["columns"].dataType if "columns" in schema.fieldNames() else StructType()
    assert isinstance(kind, StructType)
    return {field.name: field.dataType for field in kind.fields}


def column_names(spark: SparkSession, target: str) -> list[str]:
    """The attributes' columns of `_changes`, in its order."""
    return list(_column_types(spark, target))


def append_changes(
    spark: SparkSession,
    target: str,
    typed: DataFrame,
    columns: Sequence[DeclaredColumn],
    registers: Collection[str],
    run: str,
    *,
    rescue: bool,
) -> AppendCounts:
    """Append the rows of `rows.typed_rows` in one commit, by which they are in the lake.

    typed                                              _changes
    | key | version | stream_image | base | base_image |    | key | register | version | item |
    |-----|---------|--------------|------|------------|    |-----|----------|---------|------|
    | k   | L|…09   | {…}          | 3000…| {…}        |    | k   | stream   | L|…09   | {…}  |
                                                            | k   | base     | 3000…   | {…}  |

    Neither Spark's number of the micro-batch nor Delta's idempotent writes (`txnVersion`) name the append: a new
    checkpoint begins at number 0 again, and Delta would take its first appends for repeats and leave them out. A
    repeated append is harmless. The name ends with the ``run``'s, so no two drivers ever give one name.

    ``rescue`` says that the configuration is `columns: auto`. Raises Misconfigured as `require_columns` does.
    """
    # Not kept where the append fails: whether it is there after all, only the table knows.
    last = _LAST_APPENDS.pop((target, run), None)
    name = next_append(appends(spark, target) if last is None else [last], run)
    there = _column_types(spark, target)
    if not rescue:  # with `columns: auto`, what the rows of this append show has its columns
        require_columns(changes_table(target), there, columns)
    if columns and not _has_columns(there, columns):
        # Another driver has given silver a column, or a wider type, and has not come to `_changes` yet.
        add_change_columns(spark, target, columns)
    shape = read_table(spark, changes_table(target)).drop("append").schema
    counted = Observation()
    counts = [F.count("*").alias("keys"), F.sum("inexact").alias("inexact")]
    counts.append(F.sum("rescued" if rescue else F.lit(0)).alias("rescued"))
    each = _register_rows(typed.observe(counted, *counts), registers, shape, columns, rescue)
    append_rows(each.withColumn("append", F.lit(name)), changes_table(target))
    _LAST_APPENDS[target, run] = name
    # A busy server of Spark Connect sends no counts, because it waits for them for a tenth of a second only.
    found = counted.get or typed.agg(*counts).head(1)[0].asDict()
    return AppendCounts(name, found["keys"], found["inexact"] or 0, found["rescued"] or 0)


def _register_rows(
    typed: DataFrame, registers: Collection[str], shape: StructType, columns: Sequence[DeclaredColumn], rescue: bool
) -> DataFrame:
    """A row for each register of a key that a record has fed."""
    rows = [_register_row(register, shape, columns, rescue) for register in registers]
    if len(rows) == 1:  # most micro-batches hold stream records only
        return typed.selectExpr(*rows[0]).where(F.col("version") != "")
    structs = ", ".join(f"struct({', '.join(row)})" for row in rows)
    return typed.selectExpr(f"explode(filter(array({structs}), row -> row.version <> '')) AS row").select("row.*")


def _has_columns(there: Mapping[str, DataType], columns: Sequence[DeclaredColumn]) -> bool:
    def same(kind: str) -> str:
        return kind.replace(" ", "").lower()

    return all(
        column.name in there and same(there[column.name].simpleString()) == same(column.sql_type) for column in columns
    )


def _register_row(register: str, shape: StructType, columns: Sequence[DeclaredColumn], rescue: bool) -> list[str]:
    """Each column of `_changes` as SQL text, in its order.

    With 500 columns, Python would else call Spark some 3,000 times for each micro-batch.
    """
    is_stream = register == "stream"
    values = {
        "key": "key",
        "register": literal(register),
        "version": "version" if is_stream else "base",
        "stream_time_ms": "stream_time_ms" if is_stream else "NULL",
        "item": f"{register}_image",
        "ttl_expired": "stream_ttl" if is_stream else "false",
        "rescued": f"{register}_rescued" if rescue else "NULL",
    }
    if columns:
        # The struct of the typed rows has members c0, c1, … in the order of the columns.
        by_name = {column.name: f"{register}_columns.c{at}" for at, column in enumerate(columns)}
        kind = shape["columns"].dataType
        assert isinstance(kind, StructType)
        values["columns"] = f"struct({', '.join(_as_fields(kind, by_name))})"
    return _as_fields(shape, values)


def _as_fields(shape: StructType, values: Mapping[str, str]) -> list[str]:
    return [
        f"CAST({values.get(field.name, 'NULL')} AS {type_sql(field.dataType)}) AS {quoted(field.name)}"
        for field in shape.fields
    ]


CHANGE_TIME_MS: Final = (
    f"CASE WHEN register = 'stream' THEN stream_time_ms ELSE try_cast(substring(version, 1, {LABEL_DIGITS}) AS BIGINT) "
    "END"
)
"""SQL for a change's own time, as `record_time_ms` says it of a record."""


def clear_appends(spark: SparkSession, target: str, names: Collection[str], floor_ms: int) -> None:
    """Remove from these appends what is older than a purge's floor. `_live` would bring back what was deleted since."""
    listed = ", ".join(map(literal, names))
    older = f"append IN ({listed}) AND {CHANGE_TIME_MS} < {floor_ms}"
    retry_on_conflict(lambda: spark.sql(f"DELETE FROM {table_sql(changes_table(target))} WHERE {older}"))


def appends(spark: SparkSession, target: str) -> list[str]:
    """The names of the appends that `_changes` holds, in their order."""
    rows = read_table(spark, changes_table(target)).select("append").distinct().collect()
    return sorted(row["append"] for row in rows)


def next_append(kept: Collection[str], run: str) -> str:
    """The name of the append after those that are kept."""
    return f"{1 + max(map(append_number, kept), default=0):010d}-{run[:8]}"


def waiting_appends(kept: Collection[str], merged: Collection[str]) -> list[str]:
    """The appends that a merge has to take, where the last one took ``merged``; in their order.

    An append that an earlier merge took may be among them, if that merge was killed before it dropped what it should.
    """
    return sorted(set(kept) - set(merged))


def append_number(append: str) -> int:
    """The number of an append, which is one more than that of the append before it."""
    return int(append.partition("-")[0])


def _merged_appends(spark: SparkSession, target: str) -> list[str]:
    return _names_merged(properties(spark, target))


def _names_merged(silver: Mapping[str, str]) -> list[str]:
    return [name for name in silver.get(MERGED_APPENDS, "").split(",") if name]


def changes_of(spark: SparkSession, target: str, names: Collection[str]) -> DataFrame:
    """The changes of these appends."""
    return read_table(spark, changes_table(target)).where(F.col("append").isin(list(names)))


def names_to_merge(spark: SparkSession, target: str) -> list[str]:
    """The appends that the last merge has not taken, in their order."""
    return waiting_appends(appends(spark, target), _merged_appends(spark, target))


def pending_changes(spark: SparkSession, target: str) -> DataFrame:
    """The changes that the last merge has not taken."""
    changes, merged = read_table(spark, changes_table(target)), _merged_appends(spark, target)
    return changes.where(~F.col("append").isin(merged)) if merged else changes


def pending(spark: SparkSession, target: str) -> Pending:
    """How much waits for a merge; nothing for a table without `_changes`."""
    if not has_changes(spark, target):
        return Pending()
    file = F.col("_metadata.file_path").alias("file")
    files = (
        pending_changes(spark, target)
        .groupBy("append", file)
        .agg(F.count("*").alias("rows"), F.max("_metadata.file_size").alias("bytes"))
        .collect()
    )
    names = tuple(sorted({row["append"] for row in files}))
    return Pending(names, sum(row["rows"] for row in files), sum(row["bytes"] for row in files))


def last_merge_ms(spark: SparkSession, target: str) -> int:
    """When pending changes were last merged, or `_changes` was made; 0 where there is no `_changes`."""
    return int(properties(spark, target).get(MERGED_AT, "0"))


def close_merge(spark: SparkSession, target: str, merged: Collection[str], now_ms: int) -> None:
    """Note that these appends are in silver, and drop those that the merge before it had taken.

    A reader's query fixes silver's version first and that of `_changes` later. What was merged just now is therefore
    kept until the next merge: dropped at once, it would be in neither of the two versions that such a query reads.
    """
    silver, place = properties(spark, target), changes_table(target)
    before, since, newest = _names_merged(silver), int(silver.get(_PROVEN_AT, "0")), newest_commit(spark, place).version
    # What somebody took back since the start is told by the next one, which looks from the version noted here.
    proven = since if _was_restored(spark, place, since, newest) else newest
    # A purge may have cleared an append of all that it held, and a start would miss it then.
    kept = sorted(set(merged).intersection(appends(spark, target)))
    noted = {MERGED_APPENDS: ",".join(kept)} if kept else {}
    set_properties(spark, target, noted | {MERGED_AT: str(now_ms), _PROVEN_AT: str(proven)})
    # Another driver's merge, without a lease between the two, may have taken what this one took as well.
    gone = sorted(set(before).difference(kept)) if kept else []
    if gone:
        _drop(spark, target, gone)


def _drop(spark: SparkSession, target: str, names: Sequence[str]) -> None:
    listed = ", ".join(map(literal, names))
    statement = f"DELETE FROM {table_sql(changes_table(target))} WHERE append IN ({listed})"
    retry_on_conflict(lambda: spark.sql(statement))
