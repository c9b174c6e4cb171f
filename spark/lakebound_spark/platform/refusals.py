"""Statements that a catalog refuses. The job reports each kind once, in a sentence, and goes on without it.

Catalogs differ. Some keep no views, some let no job alter a table, some run OPTIMIZE and VACUUM themselves. Spark's
condition or Java's class decides what a refusal is, never a message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from lakebound_spark.platform.spark_compat import REFUSALS_OF_35, condition_of, server_errors

T = TypeVar("T")

VIEWS: Final = "views"
PROPERTIES: Final = "table properties"
OPTIMIZE: Final = "OPTIMIZE"
VACUUM: Final = "VACUUM"

_CONDITIONS: Final = (
    "MISSING_CATALOG_ABILITY",
    "UNSUPPORTED_FEATURE.CATALOG_OPERATION",
    "UNSUPPORTED_FEATURE.TABLE_OPERATION",
    "UNSUPPORTED_TABLE_CHANGE_IN_JDBC_CATALOG",
    "NOT_SUPPORTED_COMMAND_FOR_V2_TABLE",
    "DELTA_ONLY_OPERATION",
    "DELTA_TABLE_ONLY_OPERATION",
    "UC_COMMAND_NOT_SUPPORTED",
    "INSUFFICIENT_PERMISSIONS",
    "PERMISSION_DENIED",
    *REFUSALS_OF_35,
)
"""Conditions of Spark, Delta and Databricks, each with its subconditions."""

_CLASSES: Final = (
    "java.lang.UnsupportedOperationException",
    "java.nio.file.AccessDeniedException",
    "org.apache.hadoop.security.AccessControlException",
)


def refusal_name(error: BaseException) -> str | None:
    """The condition or class that makes ``error`` a refusal; None for any other failure."""
    for name in (condition_of(error), *(one.name for one in server_errors(error))):
        if name in _CLASSES or any(name == one or name.startswith(f"{one}.") for one in _CONDITIONS):
            return name
    return None


class Refusals:
    """The kinds of statements that were refused in a run. Each kind is reported once, however often it is tried."""

    def __init__(self, tell: Callable[[str], None] = lambda sentence: None) -> None:
        self._tell = tell
        self._found: dict[str, str] = {}

    def attempt(self, what: str, table: str, instead: str, statement: Callable[[], T]) -> T | None:
        """What ``statement`` returns; None when the catalog of ``table`` refuses it. The report ends with ``instead``.

        Raises any other error of the statement.
        """
        try:
            return statement()
        except Exception as error:
            name = refusal_name(error)
            if name is None:
                raise
            if what not in self._found:
                self._found[what] = name
                self._tell(f"the catalog of {table} refuses {what} ({name}); {instead}")
            return None

    def __contains__(self, what: str) -> bool:
        return what in self._found

    def __str__(self) -> str:
        """The kinds that were refused, sorted and separated by commas."""
        return ", ".join(sorted(self._found))
