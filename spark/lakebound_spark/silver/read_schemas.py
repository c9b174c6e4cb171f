"""By which schemas `from_json` reads an item so that every declared column gets its attribute."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql.types import ArrayType, DataType, MapType, StringType, StructField, StructType

from lakebound.record.column_names import folded
from lakebound_spark.platform.sql_text import quoted
from lakebound_spark.silver.casting import tag_schema
from lakebound_spark.silver.columns import DeclaredColumn

Parse = tuple[StructType, list[tuple[int, DeclaredColumn]]]
"""A schema and the columns that it serves, with their places among all columns."""


def plan_parses(columns: Sequence[DeclaredColumn]) -> list[Parse]:
    """As few schemas as read all columns, and the columns each serves.

    DynamoDB keeps `Name` and `name` apart, Spark's field look-up does not, and `Name.a` beside `name.b` is a
    legal declaration, as is `m: map<string,int>` beside `m.a: string`: what cannot be read by one schema is read
    by a parse of its own. Without such a pair, everything is one parse.
    """
    groups: list[Parse] = []
    for place, column in enumerate(columns):
        wanted = _schema(column.path, tag_schema(column.type))
        for number, (schema, members) in enumerate(groups):
            together = _merge_types(schema, wanted)
            if isinstance(together, StructType):
                groups[number] = (together, [*members, (place, column)])
                break
        else:
            groups.append((wanted, [(place, column)]))
    return groups


def type_at(schema: StructType, path: tuple[str, ...]) -> DataType:
    """The type in which a parse by ``schema`` gives the attribute at ``path``."""
    first, *rest = path
    read = schema[first].dataType
    for step in rest:
        assert isinstance(read, StructType)
        members = read["M"].dataType
        assert isinstance(members, StructType)
        read = members[step].dataType
    return read


def attribute(parsed: str, path: tuple[str, ...]) -> str:
    """SQL for the attribute at ``path`` in the struct ``parsed``."""
    return f"{parsed}." + ".M.".join(map(quoted, path))


def _schema(path: tuple[str, ...], tags: DataType) -> StructType:
    name, rest = path[0], path[1:]
    return StructType([StructField(name, StructType([StructField("M", _schema(rest, tags))]) if rest else tags)])


def _merge_types(one: DataType, other: DataType) -> DataType | None:
    """One schema that reads all that both read; None when there is none."""
    if isinstance(one, StructType) and isinstance(other, StructType):
        fields = {folded(field.name): field for field in one.fields}
        for field in other.fields:
            there = fields.get(folded(field.name))
            if there is None:
                fields[folded(field.name)] = field
                continue
            together = _merge_types(there.dataType, field.dataType) if there.name == field.name else None
            if together is None:
                return None
            fields[folded(field.name)] = StructField(field.name, together)
        return StructType(list(fields.values()))
    if isinstance(one, ArrayType) and isinstance(other, ArrayType):
        element = _merge_types(one.elementType, other.elementType)
        return None if element is None else ArrayType(element)
    if isinstance(one, MapType) and isinstance(other, MapType):
        value_type = _merge_types(one.valueType, other.valueType)
        return None if value_type is None else MapType(StringType(), value_type)
    return one if one == other else None
