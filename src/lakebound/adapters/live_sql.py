"""The rows of `<table>_live` in the SQL of DataFusion, for readers without Java.

The Spark job has the same rule in its own SQL (`lakebound_spark.silver.live_rows`). `tests/spark/test_two_engines.py`
holds both against each other.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

_REGISTERS: Final = ("_key", "_version", "_stream_time_ms", "_base")
_IMAGE: Final = {"_item": "item", "_ttl_expired": "ttl_expired", "_rescued": "rescued"}


def live_sql(silver: Sequence[str], pending: Collection[str]) -> str:
    """A query over the tables `delta`, which is silver, and `changes`: silver as if all that waits were merged.

    ``silver`` names silver's columns, ``pending`` the attributes' columns that `changes` has. The result has silver's
    columns in their order, and tombstones too. A key's row is silver's, unless the greater of its registers waits and
    is the visible one (docs/ORDERING.md).

    Each column is an expression of its own, so a query over the result reads only the columns that it names. Pending
    keys stand first in the join: they are few, and DataFusion keeps the first side in memory.
    """
    waiting = [name for name in silver if name not in _REGISTERS and _value(name, pending)]
    newest = "".join(f",\n    {_newest(name, side, pending)}" for name in waiting for side in ("stream", "base"))
    row = ", ".join(f"{quoted(name)} AS {quoted(f'silver {name}')}" for name in silver)
    columns = ",\n  ".join(f"{_shown(name, name in waiting)} AS {quoted(name)}" for name in silver)
    # Attributes may have any name, so each side's names begin with a word of their own.
    return f"""WITH pending AS (
  SELECT key AS "change key", max(stream_time_ms) AS "change time",
    coalesce(max(version) FILTER (WHERE register = 'stream'), '') AS "change version",
    coalesce(max(version) FILTER (WHERE register = 'base'), '') AS "change base"{newest}
  FROM changes GROUP BY key),
compared AS (
  SELECT *, coalesce("silver _version", '') AS "old version", coalesce("silver _base", '') AS "old base",
    greatest(coalesce("silver _base", ''), coalesce("change base", '')) AS "new base",
    nullif(greatest(coalesce("silver _stream_time_ms", -1), coalesce("change time", -1)), -1) AS "new time"
  FROM pending FULL JOIN (SELECT {row} FROM delta) ON "silver _key" = "change key"),
judged AS (
  SELECT *, coalesce("new time" >= try_cast(substr("new base", 1, 15) AS BIGINT), "new base" = '') AS "by stream"
  FROM compared),
chosen AS (
  SELECT *, CASE WHEN "by stream" AND "change version" > "old version" THEN 'stream'
    WHEN NOT "by stream" AND "change base" > "old base" THEN 'base' END AS "change shown"
  FROM judged)
SELECT
  {columns}
FROM chosen"""


def _value(name: str, pending: Collection[str]) -> str:
    """The column's value in a row of `changes`; "" for a column that a person has added to silver."""
    if name == "_is_deleted":
        return "item IS NULL"
    if name in _IMAGE:
        return _IMAGE[name]
    return f"get_field(columns, {literal(name)})" if name in pending else ""


def _newest(name: str, side: str, pending: Collection[str]) -> str:
    value = _value(name, pending)
    return f"last_value({value} ORDER BY version) FILTER (WHERE register = '{side}') AS {quoted(f'{side} {name}')}"


def _shown(name: str, waits: bool) -> str:
    silver, stream, base = (quoted(f"{side} {name}") for side in ("silver", "stream", "base"))
    match name:
        case "_key":
            return f'coalesce({silver}, "change key")'
        case "_version":
            return """greatest("old version", coalesce("change version", ''))"""
        case "_stream_time_ms":
            return '"new time"'
        case "_base":
            return '"new base"'
    if not waits:
        return silver
    return f"""CASE "change shown" WHEN 'stream' THEN {stream} WHEN 'base' THEN {base} ELSE {silver} END"""


def quoted(name: str) -> str:
    """The name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """The text as a value of SQL."""
    return "'" + text.replace("'", "''") + "'"
