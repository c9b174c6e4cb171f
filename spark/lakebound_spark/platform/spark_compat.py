"""What Spark 3.5 with Delta 3.3 does not have of Spark 4.1 with Delta 4.2, each said once.

| what                             | 4.1 and 4.2                    | 3.5 and 3.3                                     |
|----------------------------------|--------------------------------|-------------------------------------------------|
| the counts of a MERGE            | what `execute()` returns       | the commit's metrics                            |
| the name of Spark's error        | `getCondition()`               | `getErrorClass()`                               |
| an object read as STRING by the  | its text as it stands          | the same value; spaces, escapes and numbers     |
| JSON reader                      |                                | without a tag are written anew                  |
| `ALTER COLUMN … TYPE` from bigint | the column is widened          | refused, so numbers start as the wide type      |
| to decimal                       |                                |                                                 |
| a member name of 50,000 letters  | the row is NULL, file left out | read like any other                             |
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple
from uuid import uuid4

import pyspark
from delta import exceptions
from delta.tables import DeltaMergeBuilder, DeltaTable
from pyspark.sql import SparkSession

IS_SPARK_35: Final = pyspark.__version__.startswith("3.5.")

CAN_WIDEN: Final = not IS_SPARK_35
"""Whether Delta turns a bigint column into a decimal one without rewriting files."""

PRESERVES_JSON_TEXT: Final = not IS_SPARK_35
"""Whether the JSON reader gives an object as the text that stands in the file, to the byte."""

_USER_METADATA = "spark.databricks.delta.commitInfo.userMetadata"
_HISTORY_LIMIT = 20


def settle_casts(spark: SparkSession) -> None:
    """Turn ANSI mode off on 3.5, where a column that does not fit would otherwise stop the query."""
    if IS_SPARK_35:
        spark.conf.set("spark.sql.ansi.enabled", "false")


class Counts(NamedTuple):
    """Rows of the target that a MERGE inserted, updated, and copied unchanged because their file was rewritten."""

    inserted: int
    updated: int
    copied: int


def execute_merge(spark: SparkSession, table: DeltaTable, merge: DeltaMergeBuilder) -> Counts:
    """Run the MERGE; what it did to the target's rows."""
    before = _newest_version(table) if IS_SPARK_35 else -1
    # Other writers may commit in between: the mark tells this MERGE's commit from theirs.
    mark, previous = uuid4().hex, spark.conf.get(_USER_METADATA, None)
    spark.conf.set(_USER_METADATA, mark)
    try:
        answer = merge.execute()
    finally:
        if previous is None:
            spark.conf.unset(_USER_METADATA)
        else:
            spark.conf.set(_USER_METADATA, previous)
    if IS_SPARK_35:
        commits = _newest_version(table) - before
    else:
        counts = answer.head()
        assert counts is not None
        commits = _HISTORY_LIMIT if counts["num_affected_rows"] else 0
    ours = table.history(commits).where(f"userMetadata = '{mark}'").head() if commits else None
    if ours is None:  # no row changed, no commit
        return Counts(0, 0, 0)
    metrics = ours["operationMetrics"]
    return Counts(*(int(metrics[f"numTargetRows{name}"]) for name in ("Inserted", "Updated", "Copied")))


def _newest_version(table: DeltaTable) -> int:
    newest = table.history(1).head()
    assert newest is not None
    return int(newest["version"])


def is_conflict(error: BaseException) -> bool:
    """Whether Delta refused a commit because another writer's came between.

    Delta 4 turns the Java exception into its Python class only where somebody has imported `delta.exceptions.captured`;
    elsewhere a conflict arrives as py4j's own error, so the Java class is looked at too. In Delta 3.3 the Python
    classes have no common base.
    """
    cause: Any = getattr(error, "java_exception", None) or getattr(error, "_origin", None)
    while cause is not None:
        if cause.getClass().getName() in _JAVA_CONFLICTS:
            return True
        cause = cause.getCause()
    return isinstance(error, _CONFLICTS)


_CONFLICTS: Final = (
    exceptions.DeltaConcurrentModificationException,
    exceptions.ConcurrentAppendException,
    exceptions.ConcurrentDeleteDeleteException,
    exceptions.ConcurrentDeleteReadException,
    exceptions.ConcurrentTransactionException,
    exceptions.ConcurrentWriteException,
    exceptions.MetadataChangedException,
    exceptions.ProtocolChangedException,
)
_JAVA_CONFLICTS: Final = frozenset(
    f"{package}.{conflict.__name__}"
    for package in ("io.delta.exceptions", "org.apache.spark.sql.delta")
    for conflict in _CONFLICTS
)


def condition_of(error: BaseException) -> str:
    """Spark's name for the error, else the exception's class: never its message, which can quote an item's values."""
    named = getattr(error, "getErrorClass" if IS_SPARK_35 else "getCondition", lambda: None)()
    return str(named) if named else type(error).__name__
