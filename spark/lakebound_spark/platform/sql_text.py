"""Identifiers, string literals and clauses of SQL."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql.types import ArrayType, DataType, MapType, StructType


def quoted(*parts: str) -> str:
    """An identifier of these parts, each in backticks. A part may contain any character."""
    return ".".join("`" + part.replace("`", "``") + "`" for part in parts)


def literal(value: str) -> str:
    """A string literal. Spark replaces `${spark.app.name}` in every statement, so a dollar is escaped too."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'").replace("$", "\\u0024") + "'"


def type_sql(kind: DataType) -> str:
    """A type with the names of its members quoted, which `simpleString` writes as they stand."""
    match kind:
        case StructType():
            members = ", ".join(f"{quoted(field.name)}: {type_sql(field.dataType)}" for field in kind.fields)
            return f"STRUCT<{members}>"
        case ArrayType():
            return f"ARRAY<{type_sql(kind.elementType)}>"
        case MapType():
            return f"MAP<{type_sql(kind.keyType)}, {type_sql(kind.valueType)}>"
    return kind.simpleString()


def update_clause(values: Mapping[str, str]) -> str:
    """The UPDATE clause of a MERGE: column names to expressions."""
    return "UPDATE SET " + ", ".join(f"{quoted(name)} = {value}" for name, value in values.items())


def insert_clause(values: Mapping[str, str]) -> str:
    """The INSERT clause of a MERGE: column names to expressions. Other columns become NULL."""
    return f"INSERT ({', '.join(map(quoted, values))}) VALUES ({', '.join(values.values())})"
