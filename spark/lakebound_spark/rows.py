"""Typed columns out of DynamoDB-JSON text: exact, or NULL and counted. Never rounded."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import ArrayType, DataType, MapType, StringType, StructField, StructType

from lakebound.names import folded
from lakebound_spark.casting import json_string, tags_read, text, unfit, value
from lakebound_spark.columns import DeclaredColumn
from lakebound_spark.types import Scalar, quoted

# An attribute may be called `_corrupt_record`, the name Spark reserves in `from_json` unless it is moved away.
JSON_OPTIONS = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": "\u0001lakebound"}


def typed_rows(latest: DataFrame, columns: Sequence[DeclaredColumn], *, rescue: bool = False) -> DataFrame:
    """Add to each row of `latest_per_key` its typed columns, for either register's image, and the counts.

    before                                               after, with `a: decimal(3,1)` and `id: string`
    | key | version | stream_image                  |    | key | stream_columns | inexact |
    |-----|---------|-------------------------------|    |-----|----------------|---------|
    | k   | L|…07   | {"id":{"S":"k"},"a":{"N":"1.5"}} | | k   | {1.5, k}       | 0       |
    | m   | L|…09   | {"id":{"S":"m"},"a":{"N":"1.55"}}| | m   | {NULL, m}      | 1       |

    Which image becomes visible is known only at the target, so both are cast; a register without a record
    in this micro-batch costs nothing. A tombstone's columns come from `keys`, which fills the key attributes
    and leaves the others NULL. The structs' fields are `c0`, `c1`, … in the order of ``columns``. With ``rescue``
    the columns are top-level attributes, and `stream_rescued` and `base_rescued` hold what no column could take,
    as one DynamoDB-JSON object (NULL where nothing is left over); `rescued` counts such attributes.
    """
    images = visible_images()
    groups = _parses(columns)
    parses = [
        F.from_json(image, schema, JSON_OPTIONS).alias(f"_{register}_{number}")
        for register, image in images.items()
        for number, (schema, _) in enumerate(groups)
    ]
    parsed = {column: number for number, (_, members) in enumerate(groups) for column in members}
    structs: list[Column] = []
    rests: list[Column] = []
    terms: list[str] = []
    for register, image in images.items():
        at = {column: _attribute(f"_{register}_{parsed[column]}", column.path) for column in columns}
        if columns:
            fields = [F.expr(_exact(at[column], column)).alias(f"c{number}") for number, column in enumerate(columns)]
            structs.append(F.struct(*fields).alias(f"{register}_columns"))
        wrong = [_unfit(at[column], column, f"{register}_columns.c{number}") for number, column in enumerate(columns)]
        terms += [f"CASE WHEN {one} THEN 1 ELSE 0 END" for one in wrong if one != "false"]
        if rescue:
            rests.append(_left_over(image, columns, wrong).alias(f"_{register}_rest"))
    rows = latest.select("*", *parses).select("*", *structs)
    counts = [F.expr(_sum(terms)).cast("long").alias("inexact")]
    rescued: list[Column] = []
    if rescue:
        rows = rows.select("*", *rests)
        rescued = [F.expr(_object(f"_{register}_rest")).alias(f"{register}_rescued") for register in images]
        sizes = [f"coalesce(nullif(cardinality(_{register}_rest), -1), 0)" for register in images]
        counts.append(F.expr(_sum(sizes)).cast("long").alias("rescued"))
    typed = [f"{register}_columns" for register in images if columns]
    return rows.select(*latest.columns, *typed, *rescued, *counts)


def _sum(terms: Sequence[str]) -> str:
    """SQL for the sum as a balanced tree: a chain of a thousand additions overflows Spark's stack."""
    if len(terms) < 2:
        return terms[0] if terms else "0"
    half = len(terms) // 2
    return f"({_sum(terms[:half])} + {_sum(terms[half:])})"


def visible_images() -> dict[str, Column]:
    """For either register the image its columns come from: `keys` for a tombstone, NULL without a record."""
    return {
        "stream": F.when(F.col("version") != "", F.coalesce("stream_image", "keys")),
        "base": F.when(F.col("base") != "", F.coalesce("base_image", "keys")),
    }


def attributes(image: Column) -> Column:
    """The image as a map of attribute names to DynamoDB-JSON texts, whose look-up keeps case apart."""
    return F.from_json(image, "map<string,string>", JSON_OPTIONS)


def _exact(attribute: str, column: DeclaredColumn) -> str:
    typed = value(attribute, column.type)
    # A scalar's value is NULL already where it does not fit.
    return (
        typed if isinstance(column.type, Scalar) else f"CASE WHEN NOT {unfit(attribute, column.type)} THEN {typed} END"
    )


def _unfit(attribute: str, column: DeclaredColumn, typed: str) -> str:
    if not isinstance(column.type, Scalar) or column.type.name == "json":
        return unfit(attribute, column.type)
    # The same as `unfit`, with the value that is there already.
    return f"({attribute} IS NOT NULL AND {attribute}.`NULL` IS NULL AND {typed} IS NULL)"


def _attribute(parsed: str, path: tuple[str, ...]) -> str:
    return f"{parsed}." + ".M.".join(map(quoted, path))


def _left_over(image: Column, columns: Sequence[DeclaredColumn], wrong: Sequence[str]) -> Column:
    """The attributes without a column, and those that do not fit theirs, as a map."""
    known = [column.path[0] for column in columns]
    # A NULL fits every column, and needs none.
    rest = F.map_filter(attributes(image), lambda _, tagged: tagged != F.lit('{"NULL":true}'))
    if not known:
        return rest
    misfits = ", ".join(f"CASE WHEN {one} THEN {text(name)} END" for name, one in zip(known, wrong, strict=True))
    unfit_names = F.expr(f"array({misfits})")
    return F.map_filter(
        rest,
        lambda name, _: ~name.isin(known) | F.coalesce(F.array_contains(unfit_names, name), F.lit(False)),
    )


def _object(attributes: str) -> str:
    """SQL for the map as one JSON object; NULL when it is empty."""
    members = (
        f"array_join(transform(map_entries({attributes}), e -> concat({json_string('e.key')}, ':', e.value)), ',')"
    )
    return f"CASE WHEN cardinality({attributes}) > 0 THEN concat('{{', {members}, '}}') END"


def _parses(columns: Sequence[DeclaredColumn]) -> list[tuple[StructType, list[DeclaredColumn]]]:
    """Schemas for `from_json` and the columns each serves.

    DynamoDB keeps `Name` and `name` apart, Spark's field look-up does not, and `Name.a` beside `name.b` is a
    legal declaration, as is `m: map<string,int>` beside `m.a: string`: what cannot be read by one schema is read
    by a parse of its own. Without such a pair, everything is one parse.
    """
    groups: list[tuple[StructType, list[DeclaredColumn]]] = []
    for column in columns:
        wanted = _schema(column.path, tags_read(column.type))
        for number, (schema, members) in enumerate(groups):
            together = _merged(schema, wanted)
            if isinstance(together, StructType):
                groups[number] = (together, [*members, column])
                break
        else:
            groups.append((wanted, [column]))
    return groups


def _schema(path: tuple[str, ...], tags: DataType) -> StructType:
    name, rest = path[0], path[1:]
    return StructType([StructField(name, StructType([StructField("M", _schema(rest, tags))]) if rest else tags)])


def _merged(one: DataType, other: DataType) -> DataType | None:
    """One schema that reads all that both read; None when there is none."""
    if isinstance(one, StructType) and isinstance(other, StructType):
        fields = {folded(field.name): field for field in one.fields}
        for field in other.fields:
            there = fields.get(folded(field.name))
            if there is None:
                fields[folded(field.name)] = field
                continue
            together = _merged(there.dataType, field.dataType) if there.name == field.name else None
            if together is None:
                return None
            fields[folded(field.name)] = StructField(field.name, together)
        return StructType(list(fields.values()))
    if isinstance(one, ArrayType) and isinstance(other, ArrayType):
        element = _merged(one.elementType, other.elementType)
        return None if element is None else ArrayType(element)
    if isinstance(one, MapType) and isinstance(other, MapType):
        value_type = _merged(one.valueType, other.valueType)
        return None if value_type is None else MapType(StringType(), value_type)
    return one if one == other else None
