"""What Spark 3.5 with Delta 3.3 does not have of Spark 4.1 with Delta 4.2, each said once.

| what                             | 4.1 and 4.2                    | 3.5 and 3.3                                     |
|----------------------------------|--------------------------------|-------------------------------------------------|
| a cast that gives NULL           | `Column.try_cast`              | `Column.cast` with ANSI mode off                |
| the counts of a MERGE            | what `execute()` returns       | the commit's metrics                            |
| the name of Spark's error        | `getCondition()`               | `getErrorClass()`                               |
| an object read as STRING by the  | its text as it stands          | the same value; spaces, escapes and numbers     |
| JSON reader                      |                                | without a tag are written anew                  |
| a member name of 50,000 letters  | the row is NULL, file left out | read like any other                             |
"""

from __future__ import annotations

from typing import Final
from uuid import uuid4

import pyspark
from delta.tables import DeltaMergeBuilder, DeltaTable
from pyspark.sql import Column, SparkSession

IS_SPARK_35: Final = pyspark.__version__.startswith("3.5.")

_USER_METADATA = "spark.databricks.delta.commitInfo.userMetadata"


def try_cast(column: Column, sql_type: str) -> Column:
    """The column in another type, NULL where it cannot be (on 3.5 only after :func:`settle_casts`)."""
    return column.cast(sql_type) if IS_SPARK_35 else column.try_cast(sql_type)


def settle_casts(spark: SparkSession) -> None:
    """Turn ANSI mode off on 3.5, where a column that does not fit would otherwise stop the query."""
    if IS_SPARK_35:
        spark.conf.set("spark.sql.ansi.enabled", "false")


def execute_merge(spark: SparkSession, table: DeltaTable, merge: DeltaMergeBuilder) -> tuple[int, int]:
    """Run the MERGE; how many rows it inserted and updated."""
    if not IS_SPARK_35:
        counts = merge.execute().head()
        assert counts is not None
        return int(counts["num_inserted_rows"]), int(counts["num_updated_rows"])
    before = _newest(table)
    # Other writers may commit in between: the mark tells this MERGE's commit from theirs.
    mark, told = uuid4().hex, spark.conf.get(_USER_METADATA, None)
    spark.conf.set(_USER_METADATA, mark)
    try:
        merge.execute()
    finally:
        if told is None:
            spark.conf.unset(_USER_METADATA)
        else:
            spark.conf.set(_USER_METADATA, told)
    commits = _newest(table) - before
    ours = table.history(commits).where(f"userMetadata = '{mark}'").head() if commits else None
    if ours is None:  # no row changed, no commit
        return 0, 0
    metrics = ours["operationMetrics"]
    return int(metrics["numTargetRowsInserted"]), int(metrics["numTargetRowsUpdated"])


def _newest(table: DeltaTable) -> int:
    newest = table.history(1).head()
    assert newest is not None
    return int(newest["version"])


def condition_of(error: BaseException) -> str:
    """Spark's name for the error, else the exception's class: never its message, which can quote an item's values."""
    named = getattr(error, "getErrorClass" if IS_SPARK_35 else "getCondition", lambda: None)()
    return str(named) if named else type(error).__name__
