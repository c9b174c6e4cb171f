"""Identifiers, string literals and clauses of SQL."""

from __future__ import annotations

from collections.abc import Mapping


def quoted(*parts: str) -> str:
    """An identifier of these parts, each in backticks. A part may contain any character."""
    return ".".join("`" + part.replace("`", "``") + "`" for part in parts)


def literal(value: str) -> str:
    """A string literal. Spark replaces `${spark.app.name}` in every statement, so a dollar is escaped too."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'").replace("$", "\\u0024") + "'"


def update_clause(values: Mapping[str, str]) -> str:
    """The UPDATE clause of a MERGE: column names to expressions."""
    return "UPDATE SET " + ", ".join(f"{quoted(name)} = {value}" for name, value in values.items())


def insert_clause(values: Mapping[str, str]) -> str:
    """The INSERT clause of a MERGE: column names to expressions. Other columns become NULL."""
    return f"INSERT ({', '.join(map(quoted, values))}) VALUES ({', '.join(values.values())})"
