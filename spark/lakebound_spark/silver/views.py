"""`<table>_current` and `<table>_live`: what is not deleted, and since when changes may be missing from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final

from pyspark.sql import SparkSession

from lakebound.record.column_names import STALE_SINCE
from lakebound_spark.platform.refusals import VIEWS, Refusals
from lakebound_spark.platform.tables import (
    companion_table,
    exists,
    is_path,
    properties,
    properties_sql,
    read_table,
    table_sql,
)
from lakebound_spark.silver.changes_table import CHANGES_ID, MERGED_AT, column_names
from lakebound_spark.silver.columns import COLUMNS_PROPERTY
from lakebound_spark.silver.live_rows import LiveKeys, live_keys, live_sql

STALE_PROPERTY: Final = "lakebound.stale_since"
"""Property of the silver table, and of its views once they show it: an ISO time, absent while no gap is open."""
_MADE_WITH: Final = "lakebound.made_with"
"""Property of both views: a digest of silver's columns and of the query that they were made with."""

_FOLLOWED: Final = (CHANGES_ID, MERGED_AT, COLUMNS_PROPERTY)
_ASKED: Final[dict[str, tuple[tuple[object, ...], LiveKeys]]] = {}
"""For each target of this process, the `live_keys` that were found last, and what they follow from as it was then."""


def create_views(spark: SparkSession, target: str, refusals: Refusals | None = None) -> None:
    """Create the views of a table with a name, unless they are there as they would be made now.

    They are made again after columns came, since a view keeps those that it was made with, and after its mark or its
    query changed. `_live` is made once something has been appended. A catalog without views has none of them, which
    ``refusals`` tells.

    The mark is a literal of the views, so that every query over them sees it and none pays for it.
    """
    if is_path(target):
        return
    (refusals or Refusals()).attempt(
        VIEWS,
        target,
        f"there is no {companion_table(target, '_current')}, so read {target} WHERE NOT _is_deleted",
        lambda: _create_both(spark, target),
    )


def _create_both(spark: SparkSession, target: str) -> None:
    silver = properties(spark, target)
    since = silver.get(STALE_PROPERTY, "")
    columns = read_table(spark, target).dtypes
    _create_view(spark, companion_table(target, "_current"), columns, f"SELECT * FROM {table_sql(target)}", since)
    if CHANGES_ID in silver:
        query = live_sql(spark, target, _live_keys(spark, target, silver, columns))
        _create_view(spark, companion_table(target, "_live"), columns, query, since)


def _live_keys(
    spark: SparkSession, target: str, silver: Mapping[str, str], columns: Sequence[tuple[str, str]]
) -> LiveKeys:
    """The `live_keys`, asked again once a merge, or a column, may have made them others.

    A NULL goes from silver by a merge or by filling a column that was declared, which `_FOLLOWED` tells, and from
    `_changes` when a merge drops what is merged. It comes with a column that only one of the two has yet.
    """
    followed = *(silver.get(name) for name in _FOLLOWED), *columns, *column_names(spark, target)
    asked = _ASKED.get(target)
    if asked is None or asked[0] != followed or not asked[1].keys:  # no key is known while both tables are empty
        asked = _ASKED[target] = followed, live_keys(spark, target)
    return asked[1]


def _create_view(spark: SparkSession, view: str, columns: list[tuple[str, str]], rows: str, since: str) -> None:
    made_with = sha256(f"{columns}\n{rows}".encode()).hexdigest()[:16]
    known = {STALE_PROPERTY: since, _MADE_WITH: made_with}
    if exists(spark, view):
        there = properties(spark, view)
        if all(there.get(name) == value for name, value in known.items()):
            return
    shown = f"TIMESTAMP '{since}'" if since else "CAST(NULL AS TIMESTAMP)"
    spark.sql(
        f"CREATE OR REPLACE VIEW {table_sql(view)} TBLPROPERTIES {properties_sql(known)} AS "
        f"SELECT *, {shown} AS {STALE_SINCE} FROM ({rows}) WHERE NOT _is_deleted"
    )
