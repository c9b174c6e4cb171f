"""The differences between Spark 4.1 with Delta 4.2 and Spark 3.5 with Delta 3.3, each in one place.

| what                             | 4.1 and 4.2                    | 3.5 and 3.3                                     |
|----------------------------------|--------------------------------|-------------------------------------------------|
| the name of Spark's error        | `getCondition()`               | `getErrorClass()`                               |
| an object read as STRING by the  | its text as it stands          | the same value; spaces, escapes and numbers     |
| JSON reader                      |                                | without a tag are written anew                  |
| `ALTER COLUMN … TYPE` from bigint | the column is widened          | refused, so numbers start as the wide type      |
| to decimal                       |                                |                                                 |
| a member name of 50,000 letters  | the row is NULL, file left out | read like any other                             |
| a catalog that refuses views or  | conditions with names          | conditions with numbers                         |
| table properties                 |                                |                                                 |
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import pyspark
from pyspark.sql import SparkSession

IS_SPARK_35: Final = pyspark.__version__.startswith("3.5.")

CAN_WIDEN: Final = not IS_SPARK_35
"""Whether Delta turns a bigint column into a decimal one without rewriting files."""

PRESERVES_JSON_TEXT: Final = not IS_SPARK_35
"""Whether the JSON reader returns an object as its text in the file, to the byte."""

REFUSALS_OF_35: Final = ("_LEGACY_ERROR_TEMP_1184", "_LEGACY_ERROR_TEMP_1305")
"""What 3.5 calls MISSING_CATALOG_ABILITY and UNSUPPORTED_TABLE_CHANGE_IN_JDBC_CATALOG."""


def settle_casts(spark: SparkSession) -> None:
    """On 3.5, turn ANSI mode off, in which a value that does not fit a column stops the query, and write days before
    1582 to Parquet unchanged, as 4.1 does."""
    if IS_SPARK_35:
        spark.conf.set("spark.sql.ansi.enabled", "false")
        for kind in ("datetime", "int96"):
            spark.conf.set(f"spark.sql.parquet.{kind}RebaseModeInWrite", "CORRECTED")


class ServerError(NamedTuple):
    """An error of Spark's own process: its Java class or Spark's condition, and its message."""

    name: str
    message: str


def server_errors(error: BaseException) -> list[ServerError]:
    """The errors of Spark's own process behind ``error``, outermost first; empty where there is none.

    A classic session holds the Java objects. Spark Connect sends their stack trace as text.
    """
    found = []
    java: Any = getattr(error, "java_exception", None) or getattr(error, "_origin", None)
    try:
        while java is not None:
            found.append(ServerError(_java_name(java), str(java.getMessage() or "")))
            java = java.getCause()
    except Exception as lost:
        if not type(lost).__module__.startswith("py4j"):
            raise
        return found  # the Java process has ended, so nothing more can be asked of it
    return found or [_parse_trace(text, error) for text in _traces(error)]


def root_cause_text(error: BaseException) -> str:
    """Class, message and topmost frame of the innermost of `server_errors`; the message of any other error."""
    java: Any = getattr(error, "java_exception", None) or getattr(error, "_origin", None)
    if java is None:
        return _traces(error)[-1] if _traces(error) else str(error)
    while java.getCause() is not None:
        java = java.getCause()
    frames = java.getStackTrace()
    return f"{java.getClass().getName()}: {java.getMessage()} at {frames[0] if frames else ''}"


def _java_name(java: Any) -> str:
    name = str(java.getClass().getName())
    if name.startswith(_OF_SPARK):
        for getter in ("getCondition", "getErrorClass"):
            try:
                return str(getattr(java, getter)() or name)
            except Exception:  # noqa: S112  not every class has the method
                continue
    return name


def _traces(error: BaseException) -> list[str]:
    """Each error as Spark Connect sent it: `class: message`, and below it the topmost frame."""
    trace = getattr(error, "_stacktrace", None)
    if not trace:
        return []
    texts = [re.split(r"\n\tat ", text) for text in re.split(r"(?m)^Caused by: ", trace)]
    return ["\n".join(lines[:2]) for lines in texts]


def _parse_trace(text: str, error: BaseException) -> ServerError:
    name, _, message = text.rpartition("\n")[0].partition(": ")
    # The trace holds no message of the outermost error.
    message = message.strip() or str(getattr(error, "_message", ""))
    condition = re.match(r"\[([A-Z0-9_.]+)\] ", message)
    return ServerError(condition[1] if condition and name.startswith(_OF_SPARK) else name.strip(), message)


_OF_SPARK: Final = ("org.apache.spark.", "io.delta.")


def is_conflict(error: BaseException) -> bool:
    """Whether Delta refused a commit because another writer committed first.

    The error is Delta's own Python class, py4j's or Spark Connect's. In each the Java class tells.
    """
    names = [cls.__name__ for cls in type(error).__mro__]
    names += [one.name for one in server_errors(error)]
    return any(name.rpartition(".")[2] in _CONFLICTS or name.startswith("DELTA_CONCURRENT_") for name in names)


_CONFLICTS: Final = (
    "DeltaConcurrentModificationException",
    "ConcurrentAppendException",
    "ConcurrentDeleteDeleteException",
    "ConcurrentDeleteReadException",
    "ConcurrentTransactionException",
    "ConcurrentWriteException",
    "MetadataChangedException",
    "ProtocolChangedException",
    "DELTA_METADATA_CHANGED",
    "DELTA_PROTOCOL_CHANGED",
)


def condition_of(error: BaseException) -> str:
    """Spark's name for the error, else the exception's class. Never the message, which can quote an item's values."""
    named = getattr(error, "getErrorClass" if IS_SPARK_35 else "getCondition", lambda: None)()
    return str(named) if named else type(error).__name__
