"""What a catalog refuses: told once in a sentence, and the job goes on without it.

Catalogs differ. Some keep no views, some let no job alter a table, some run OPTIMIZE and VACUUM themselves. What a
refusal is says Spark's condition or Java's class, never a text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from lakebound_spark.platform.spark_compat import condition_of, server_errors

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
)
"""Spark's conditions, Delta's and Databricks', each with those below it."""

_CLASSES: Final = (
    "java.lang.UnsupportedOperationException",
    "java.nio.file.AccessDeniedException",
    "org.apache.hadoop.security.AccessControlException",
)


def refusal_name(error: BaseException) -> str | None:
    """The condition or class by which ``error`` is a refusal, None for any other failure."""
    for name in (condition_of(error), *(one.name for one in server_errors(error))):
        if name in _CLASSES or any(name == one or name.startswith(f"{one}.") for one in _CONDITIONS):
            return name
    return None


class Refusals:
    """What was refused in a run: each kind is told once, however often it is tried."""

    def __init__(self, tell: Callable[[str], None] = lambda sentence: None) -> None:
        self._tell = tell
        self._found: dict[str, str] = {}

    def attempt(self, what: str, table: str, instead: str, statement: Callable[[], T]) -> T | None:
        """What ``statement`` returns; None when the catalog of ``table`` refuses it, which is told with ``instead``.

        Raises what the statement raises for any other cause.
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
        """The kinds that were refused, sorted, with a comma between."""
        return ", ".join(sorted(self._found))
