"""Names of silver's columns: what Spark takes for one name, and which names no attribute's column can bear."""

from __future__ import annotations

from typing import Final

SILVER_COLUMNS: Final = ("_key", "_item", "_is_deleted", "_version", "_stream_time_ms", "_base", "_ttl_expired")
STALE_SINCE: Final = "_stale_since"
"""A column of the view `<table>_current`: since when changes may be missing, NULL while no gap is open."""

RESERVED_COLUMNS: Final = frozenset(
    (*SILVER_COLUMNS, STALE_SINCE, "_rescued", "_change_type", "_commit_version", "_commit_timestamp")
)
"""Silver's own columns, its view's, and those of Delta's change feed."""

DELTA_COLUMNS: Final = frozenset(
    (
        "path",
        "deletionVectorId",
        "_metadata",
        "__delta_internal_is_row_deleted",
        "__is_cdc",
        "_row_dropped_",
        "_source_row_present_",
        "_target_row_present_",
    )
)
"""Names of columns that Delta's MERGE makes itself. With a column `path` the second MERGE is refused for ever, and one
called `__is_cdc` loses its values without a word.

Found by experiment, and kept so: `tests/spark/test_names_in_merge.py` merges twice with every name in the class files.
"""

LONGEST_NAME: Final = 255
"""Longest column name in characters: what catalogs accept."""


def folded(name: str) -> str:
    """One text for all names that Spark takes for the same column: it compares character by character, without case.

    `str.casefold` is another relation: it keeps `İ` and `i` apart, which Java's comparison takes for one.
    """
    return "".join(map(_folded, name))


def _folded(character: str) -> str:
    upper = character.upper()
    return (upper if len(upper) == 1 else character).lower()[0]


def unusable(name: str) -> str | None:
    """Why no column can bear the name, None for a usable one."""
    if folded(name) in _TAKEN_BY_DELTA:
        return "is a name that Delta's MERGE uses itself"
    return unusable_member(name)


def unusable_member(name: str) -> str | None:
    """Why no member of a struct can bear the name, None for a usable one."""
    if "`" in name:
        return "has a backtick, with which Delta's MERGE fails"
    return f"has more than {LONGEST_NAME} characters" if len(name) > LONGEST_NAME else None


_TAKEN_BY_DELTA: Final = frozenset(map(folded, DELTA_COLUMNS))
