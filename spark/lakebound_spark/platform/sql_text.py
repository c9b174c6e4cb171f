"""Names, strings and clauses as they stand in SQL."""

from __future__ import annotations

from collections.abc import Mapping


def quoted(*parts: str) -> str:
    """The identifier of these parts, each in backticks, whatever it contains."""
    return ".".join("`" + part.replace("`", "``") + "`" for part in parts)


def literal(value: str) -> str:
    """A string literal. Spark replaces `${spark.app.name}` in any statement, so the dollar is escaped too."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'").replace("$", "\\u0024") + "'"


def update_clause(values: Mapping[str, str]) -> str:
    """A MERGE's UPDATE of the target's columns of these names to these expressions."""
    return "UPDATE SET " + ", ".join(f"{quoted(name)} = {value}" for name, value in values.items())


def insert_clause(values: Mapping[str, str]) -> str:
    """A MERGE's INSERT of these columns; the others become NULL."""
    return f"INSERT ({', '.join(map(quoted, values))}) VALUES ({', '.join(values.values())})"
