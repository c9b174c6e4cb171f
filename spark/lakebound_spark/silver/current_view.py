"""`<table>_current`: the rows that are not deleted, and since when changes may be missing from them."""

from __future__ import annotations

from typing import Final

from pyspark.sql import SparkSession

from lakebound.record.column_names import STALE_SINCE
from lakebound_spark.platform.tables import companion_table, exists, is_path, properties, properties_sql, table_sql

STALE_PROPERTY: Final = "lakebound.stale_since"
"""Property of the silver table, and of the view once it shows it: an ISO time, absent while no gap is open."""


def create_current_view(spark: SparkSession, target: str, *, replace: bool = False) -> None:
    """Create the view of a table with a name, unless it is there and shows the table's mark.

    ``replace`` creates it again in any case, which is necessary after columns changed.

    The mark is a literal of the view, so that every query over it sees it and none pays for it.
    """
    if is_path(target):
        return
    view = companion_table(target, "_current")
    since = properties(spark, target).get(STALE_PROPERTY, "")
    if not replace and exists(spark, view) and properties(spark, view).get(STALE_PROPERTY) == since:
        return
    shown = f"TIMESTAMP '{since}'" if since else "CAST(NULL AS TIMESTAMP)"
    spark.sql(
        f"CREATE OR REPLACE VIEW {table_sql(view)} TBLPROPERTIES {properties_sql({STALE_PROPERTY: since})} AS "
        f"SELECT *, {shown} AS {STALE_SINCE} FROM {table_sql(target)} WHERE NOT _is_deleted"
    )
