"""The rows of `<table>_live`: silver as it would be if every pending change were merged into it now."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Final

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from lakebound_spark.platform.sql_text import quoted
from lakebound_spark.platform.tables import properties, read_table, table_sql
from lakebound_spark.reading.schema import LABEL_DIGITS, RESCUED
from lakebound_spark.silver.changes_table import changes_table, column_names, has_changes
from lakebound_spark.silver.columns import COLUMNS_PROPERTY, parse_path
from lakebound_spark.silver.key_sql import keys_sql


def live_rows(spark: SparkSession, target: str) -> DataFrame:
    """Every row of `_live`, tombstones too, with silver's columns; silver itself where nothing was ever appended.

    The versions of silver and of `_changes` are those that are the newest when the plan is made.
    """
    if not has_changes(spark, target):
        return read_table(spark, target)
    return spark.sql(live_sql(spark, target))


def live_sql(spark: SparkSession, target: str) -> str:
    """The query of `_live` over both tables as they are now."""
    silver, pending = read_table(spark, target).columns, column_names(spark, target)
    return live_query(silver, pending, key_columns(spark, target), table_sql(target), table_sql(changes_table(target)))


def live_query(silver: Sequence[str], pending: Collection[str], keys: Collection[str], table: str, changes: str) -> str:
    """The query over ``table`` and ``changes``, which are SQL: silver's columns, in its order.

    ``silver`` names silver's columns, ``pending`` the attributes' columns of `_changes`, ``keys`` the `key_columns`.

    A key's row is silver's, unless a pending change is the greater of its register and that register is the visible
    one: the rule of `merge.merge_rows`, for a reader.

    Pending keys are few, so they are sent to every executor. What silver lacks of them is found by a second scan of its
    keys alone.
    """
    there = ", ".join(f"{_shown(name, pending, keys)} AS {quoted(name)}" for name in silver)
    new = ", ".join(f"{_of_new_key(name, pending)} AS {quoted(name)}" for name in silver)
    members = "item, ttl_expired, rescued" + (", columns" if pending else "")
    winner = _winner("t._version", "t._stream_time_ms", "t._base")
    # The rows of either table are one column each, for silver may have a column of any name.
    return f"""WITH
pending AS (
  SELECT key, coalesce(max({_IF_STREAM}), '') AS version, max(stream_time_ms) AS stream_time_ms,
    coalesce(max({_IF_BASE}), '') AS base,
    max_by(struct({members}), {_IF_STREAM}) AS stream_row, max_by(struct({members}), {_IF_BASE}) AS base_row
  FROM {changes} GROUP BY key),
compared AS (
  SELECT /*+ BROADCAST(p) */ struct(t.*) AS silver, struct(p.*) AS change, {winner} AS newer
  FROM {table} AS t LEFT JOIN pending AS p ON t._key = p.key),
known AS (SELECT /*+ BROADCAST(p) */ t._key AS key FROM {table} AS t LEFT SEMI JOIN pending AS p ON t._key = p.key),
added AS (
  SELECT /*+ BROADCAST(k) */ struct(p.*) AS change, {_winner("''", "CAST(NULL AS BIGINT)", "''")} AS newer
  FROM pending AS p LEFT ANTI JOIN known AS k ON p.key = k.key)
SELECT {there} FROM compared UNION ALL SELECT {new} FROM added"""


_IF_STREAM: Final = "CASE WHEN register = 'stream' THEN version END"
_IF_BASE: Final = "CASE WHEN register = 'base' THEN version END"


def _winner(version: str, time: str, base: str) -> str:
    """SQL for the pending row that is to be shown instead of a row with these registers; NULL for none."""
    greatest = f"greatest({base}, p.base)"
    # Not behind `base = '' OR`: generated code computes a common part before the condition that guards it.
    label = f"try_cast(substring({greatest}, 1, {LABEL_DIGITS}) AS BIGINT)"
    visible = f"coalesce(greatest({time}, p.stream_time_ms) >= {label}, {greatest} = '')"
    return (
        f"CASE WHEN p.key IS NULL THEN NULL WHEN {visible} AND p.version > {version} THEN p.stream_row "
        f"WHEN NOT {visible} AND p.base > {base} THEN p.base_row END"
    )


_REGISTERS: Final = ("_version", "_stream_time_ms", "_base")
_IMAGE: Final = {
    "_item": "newer.item",
    "_is_deleted": "newer.item IS NULL",
    "_ttl_expired": "newer.ttl_expired",
    RESCUED: "newer.rescued",
}


def _of_pending(name: str, pending: Collection[str]) -> str:
    if name in _IMAGE:
        return _IMAGE[name]
    # A column that a person has added to silver is in no change.
    return f"newer.columns.{quoted(name)}" if name in pending else "NULL"


def _shown(name: str, pending: Collection[str], keys: Collection[str]) -> str:
    silver, newer = f"silver.{quoted(name)}", _of_pending(name, pending)
    if name in _REGISTERS:
        return f"greatest({silver}, {_of_new_key(name, pending)})"
    # Both sides have the same value of a key attribute. Taken from silver's row as it is, a filter on it reaches the
    # statistics of silver's files; out of a CASE it would not.
    if name == "_key" or name in keys or newer == "NULL":
        return silver
    return f"CASE WHEN newer IS NULL THEN {silver} ELSE {newer} END"


def _of_new_key(name: str, pending: Collection[str]) -> str:
    own = {"_key": "key", "_version": "version", "_stream_time_ms": "stream_time_ms", "_base": "base"}
    return f"change.{own[name]}" if name in own else _of_pending(name, pending)


def key_columns(spark: SparkSession, target: str) -> list[str]:
    """The columns that show a whole key attribute, as far as a row of either table tells the attributes' names."""
    for place, key in ((target, "_key"), (changes_table(target), "key")):
        found = read_table(spark, place).select(F.expr(keys_sql(key))).limit(1).collect()
        if found:
            return [name for name, path in _column_paths(spark, target).items() if path in _paths(found[0][0])]
    return []


def _column_paths(spark: SparkSession, target: str) -> dict[str, tuple[str, ...]]:
    described = json.loads(properties(spark, target)[COLUMNS_PROPERTY])
    if not isinstance(described, dict):  # `columns: auto`, where each is called as its attribute
        return {name: (name,) for name in column_names(spark, target)}
    paths = {name: how.get("path") if isinstance(how, dict) else None for name, how in described.items()}
    return {name: parse_path(path or name) for name, path in paths.items()}


def _paths(keys: str) -> list[tuple[str, ...]]:
    return [(name,) for name in json.loads(keys)]
