"""Delta tables by path or by name: the target, and the tables that stand beside it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from delta.tables import DeltaTable
from pyspark.sql import SparkSession
from pyspark.sql.types import StructType

from lakebound_spark.versions import is_conflict

ATTEMPTS: Final = 5

T = TypeVar("T")


def is_path(target: str) -> bool:
    """A target with `/` is a path, else a table's name."""
    return "/" in target


def beside(target: str, suffix: str) -> str:
    """The table or path that belongs to ``target``: `a.b.flights` and `_current` make `a.b.flights_current`."""
    if is_path(target):
        return target.rstrip("/") + suffix
    return target[:-1] + suffix + "`" if target.endswith("`") else target + suffix


def named(target: str) -> str:
    """The table for a SQL statement."""
    return "delta.`" + target.replace("`", "``") + "`" if is_path(target) else target


def exists(spark: SparkSession, target: str) -> bool:
    """Whether the Delta table is there."""
    return DeltaTable.isDeltaTable(spark, target) if is_path(target) else spark.catalog.tableExists(target)


def open_table(spark: SparkSession, target: str) -> DeltaTable:
    """The Delta table at a path or of a name."""
    return DeltaTable.forPath(spark, target) if is_path(target) else DeltaTable.forName(spark, target)


def properties(spark: SparkSession, target: str) -> dict[str, str]:
    """The table's properties, as they are now."""
    # `DESCRIBE DETAIL` counts the files too, which after a MERGE takes seconds; this reads the metadata only.
    return {row["key"]: row["value"] for row in spark.sql(f"SHOW TBLPROPERTIES {named(target)}").collect()}


def create_beside(spark: SparkSession, place: str, columns: StructType) -> None:
    """Make a table of these columns and `detected_at`, unless it is there."""
    table = DeltaTable.createIfNotExists(spark)
    table = table.location(place) if is_path(place) else table.tableName(place)
    table.addColumns(columns).addColumn("detected_at", "TIMESTAMP").execute()


def retried(commit: Callable[[], T]) -> T:
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
