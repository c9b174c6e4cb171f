"""`<table>_current` and `<table>_live`: what is not deleted, and since when changes may be missing from it."""

from __future__ import annotations

from typing import Final

from pyspark.sql import SparkSession

from lakebound.record.column_names import STALE_SINCE
from lakebound_spark.platform.refusals import VIEWS, Refusals
from lakebound_spark.platform.tables import companion_table, exists, is_path, properties, properties_sql, table_sql
from lakebound_spark.silver.changes_table import has_changes
from lakebound_spark.silver.live_rows import key_columns, live_sql

STALE_PROPERTY: Final = "lakebound.stale_since"
"""Property of the silver table, and of its views once they show it: an ISO time, absent while no gap is open."""
_KEY_COLUMNS: Final = "lakebound.key_columns"
"""Property of `_live`: the columns that it takes from silver's row as they are."""


def create_views(spark: SparkSession, target: str, refusals: Refusals | None = None, *, replace: bool = False) -> None:
    """Create the views of a table with a name, unless they are there and show the table's mark.

    ``replace`` creates them again in any case, which is necessary after columns changed. `_live` is made once something
    has been appended. A catalog without views has none of them, which ``refusals`` tells.

    The mark is a literal of the views, so that every query over them sees it and none pays for it.
    """
    if is_path(target):
        return
    (refusals or Refusals()).attempt(
        VIEWS,
        target,
        f"there is no {companion_table(target, '_current')}, so read {target} WHERE NOT _is_deleted",
        lambda: _create_both(spark, target, replace=replace),
    )


def _create_both(spark: SparkSession, target: str, *, replace: bool) -> None:
    since = properties(spark, target).get(STALE_PROPERTY, "")
    silver = f"SELECT * FROM {table_sql(target)}"
    _create_view(spark, companion_table(target, "_current"), silver, {STALE_PROPERTY: since}, replace=replace)
    if has_changes(spark, target):
        known = {STALE_PROPERTY: since, _KEY_COLUMNS: ",".join(key_columns(spark, target))}
        _create_view(spark, companion_table(target, "_live"), live_sql(spark, target), known, replace=replace)


def _create_view(spark: SparkSession, view: str, rows: str, known: dict[str, str], *, replace: bool) -> None:
    if not replace and exists(spark, view):
        there = properties(spark, view)
        if all(there.get(name) == value for name, value in known.items()):
            return
    since = known[STALE_PROPERTY]
    shown = f"TIMESTAMP '{since}'" if since else "CAST(NULL AS TIMESTAMP)"
    spark.sql(
        f"CREATE OR REPLACE VIEW {table_sql(view)} TBLPROPERTIES {properties_sql(known)} AS "
        f"SELECT *, {shown} AS {STALE_SINCE} FROM ({rows}) WHERE NOT _is_deleted"
    )
