"""Names and strings as they stand in SQL."""

from __future__ import annotations


def quoted(*parts: str) -> str:
    """The identifier of these parts, each in backticks, whatever it contains."""
    return ".".join("`" + part.replace("`", "``") + "`" for part in parts)


def literal(value: str) -> str:
    """A string literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
