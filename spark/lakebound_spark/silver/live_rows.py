"""The rows of `<table>_live`: silver as it would be if every pending change were merged into it now."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import BinaryType, StringType

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


@dataclass(frozen=True, slots=True)
class LiveKeys:
    """The `key_columns` and the `told_columns` of a query, which follow from the rows of both tables."""

    keys: tuple[str, ...] = ()
    told: tuple[str, ...] = ()


def live_keys(spark: SparkSession, target: str) -> LiveKeys:
    """Those of both tables as they are now; asks either table for each column."""
    keys = key_columns(spark, target)
    return LiveKeys(tuple(keys), tuple(told_columns(spark, target, keys)))


def live_sql(spark: SparkSession, target: str, known: LiveKeys | None = None) -> str:
    """The query of `_live` over both tables as they are now, with the `live_keys` that are ``known``."""
    silver, pending = read_table(spark, target).columns, column_names(spark, target)
    found = known or live_keys(spark, target)
    return live_query(silver, pending, found.keys, table_sql(target), table_sql(changes_table(target)), found.told)


def live_query(
    silver: Sequence[str],
    pending: Collection[str],
    keys: Collection[str],
    table: str,
    changes: str,
    told: Collection[str] = (),
) -> str:
    """The query over ``table`` and ``changes``, which are SQL: silver's columns, in its order.

    ``silver`` names silver's columns, ``pending`` the attributes' columns of `_changes`, ``keys`` the `key_columns`,
    ``told`` the `told_columns`.

    A key's row is silver's, unless a pending change is the greater of its register and that register is the visible
    one: the rule of `merge.merge_rows`, for a reader.

    Pending keys are few, so they are sent to every executor. What silver lacks of them is found by a second scan of its
    keys alone, which compares 64 bits of a key before it compares the key.
    """
    there = ", ".join(f"{_shown(name, pending, keys)} AS {quoted(name)}" for name in silver)
    new = ", ".join(f"{_of_new_key(name, pending, told)} AS {quoted(name)}" for name in silver)
    members = "item, ttl_expired, rescued" + (", columns" if pending else "")
    # Silver may have a column of any name, so each side's names begin with a word of their own.
    old = ", ".join(f"t.{quoted(name)} AS {_side('silver', name)}" for name in silver)
    change = ", ".join(f"p.{name} AS {_side('change', name)}" for name in _OWN.values())
    own = "".join(f", columns.{quoted(name)} AS {_side('own', name)}" for name in told)
    group = "".join(f", columns.{quoted(name)}" for name in told)
    passed = "".join(f", p.{_side('own', name)}" for name in told)
    same = "".join(f" AND p.{_side('own', name)} = k.{quoted(name)}" for name in told)
    compared = "".join(f", t.{quoted(name)}" for name in told)
    no_row = _winner("''", "CAST(NULL AS BIGINT)", "''")
    # No table's name has a space in it: one called as a part of this query is would be read as that part.
    return f"""WITH
`live pending` AS (
  SELECT key{own}, coalesce(max({_IF_STREAM}), '') AS version, max(stream_time_ms) AS stream_time_ms,
    coalesce(max({_IF_BASE}), '') AS base,
    max_by(struct({members}), {_IF_STREAM}) AS stream_row, max_by(struct({members}), {_IF_BASE}) AS base_row
  FROM {changes} GROUP BY key{group}),
`live compared` AS (
  SELECT /*+ BROADCAST(p) */ {old}, {change}, {_winner("t._version", "t._stream_time_ms", "t._base")} AS newer
  FROM {table} AS t LEFT JOIN `live pending` AS p ON t._key = p.key),
`live known` AS (
  SELECT /*+ BROADCAST(c) */ t._key{compared} FROM {table} AS t LEFT SEMI JOIN {changes} AS c
  ON xxhash64(t._key) = xxhash64(c.key) AND t._key BETWEEN c.key AND c.key),
`live added` AS (
  SELECT /*+ BROADCAST(k) */ {change}{passed}, {no_row} AS newer
  FROM `live pending` AS p LEFT ANTI JOIN `live known` AS k ON p.key = k._key{same})
SELECT {there} FROM `live compared` UNION ALL SELECT {new} FROM `live added`"""


_IF_STREAM: Final = "CASE WHEN register = 'stream' THEN version END"
_IF_BASE: Final = "CASE WHEN register = 'base' THEN version END"


def _side(side: str, name: str) -> str:
    return quoted(f"{side} {name}")


def _winner(version: str, time: str, base: str) -> str:
    """SQL for the pending row that is to be shown instead of a row with these registers; NULL for none.

    The planner writes it out wherever a query filters by it, and plans anew after each stage, so it is kept short.
    """
    # Compared as text, in which '' is less than any moment. A cast of '' to a number is an exception thrown and caught,
    # and generated code computes it for every row, whatever condition stands before it.
    moment = f"coalesce(lpad(CAST(greatest({time}, p.stream_time_ms) AS STRING), {LABEL_DIGITS}, '0'), '')"
    return (
        f"CASE WHEN p.key IS NULL THEN NULL WHEN {moment} >= substring(greatest({base}, p.base), 1, {LABEL_DIGITS}) "
        f"THEN CASE WHEN p.version > {version} THEN p.stream_row END WHEN p.base > {base} THEN p.base_row END"
    )


_OWN: Final = {"_key": "key", "_version": "version", "_stream_time_ms": "stream_time_ms", "_base": "base"}
"""What a row of `live pending` calls the registers of silver."""
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
    silver, newer = _side("silver", name), _of_pending(name, pending)
    if name in _OWN and name != "_key":
        return f"greatest({silver}, {_side('change', _OWN[name])})"
    # Both sides have the same value of a key attribute. Taken from silver's row as it is, a filter on it reaches the
    # statistics of silver's files; out of a CASE it would not.
    if name == "_key" or name in keys or newer == "NULL":
        return silver
    return f"CASE WHEN newer IS NULL THEN {silver} ELSE {newer} END"


def _of_new_key(name: str, pending: Collection[str], told: Collection[str]) -> str:
    if name in told:
        return _side("own", name)
    return _side("change", _OWN[name]) if name in _OWN else _of_pending(name, pending)


def key_columns(spark: SparkSession, target: str) -> list[str]:
    """The columns that show a whole key attribute, as far as a row of either table tells the attributes' names.

    Those of which silver has a NULL are left out: the column was declared after the row was merged, and a pending
    change of that key has a value.
    """
    paths = [(name,) for name in _key_attributes(spark, target)]
    found = [name for name, path in _column_paths(spark, target).items() if path in paths]
    return [name for name in found if not _has_null(spark, target, quoted(name))]


def told_columns(spark: SparkSession, target: str, keys: Collection[str]) -> list[str]:
    """Those of the `key_columns` that two rows of one key never tell apart, so that keys may be compared by them too.

    A filter on such a column then reaches both tables. A number may be NULL where it does not fit its column, and NULL
    equals nothing. Text and bytes always fit theirs.
    """
    if not keys:
        return []
    tags, paths, schema = _key_attributes(spark, target), _column_paths(spark, target), read_table(spark, target).schema
    fitting = {"S": StringType(), "B": BinaryType()}
    alike = [name for name in keys if schema[name].dataType == fitting.get(tags[paths[name][0]])]
    return [name for name in alike if not _has_null(spark, changes_table(target), quoted("columns", name))]


def _has_null(spark: SparkSession, place: str, column: str) -> bool:
    return bool(read_table(spark, place).where(f"{column} IS NULL").limit(1).collect())


def _key_attributes(spark: SparkSession, target: str) -> dict[str, str]:
    """The names of the key attributes with their DynamoDB types; none while both tables are empty."""
    for place, key in ((target, "_key"), (changes_table(target), "key")):
        found = read_table(spark, place).select(F.expr(keys_sql(key))).limit(1).collect()
        if found:
            return {name: next(iter(value)) for name, value in json.loads(found[0][0]).items()}
    return {}


def _column_paths(spark: SparkSession, target: str) -> dict[str, tuple[str, ...]]:
    described = json.loads(properties(spark, target)[COLUMNS_PROPERTY])
    if not isinstance(described, dict):  # `columns: auto`, where each is called as its attribute
        return {name: (name,) for name in column_names(spark, target)}
    paths = {name: how.get("path") if isinstance(how, dict) else None for name, how in described.items()}
    return {name: parse_path(path or name) for name, path in paths.items()}
