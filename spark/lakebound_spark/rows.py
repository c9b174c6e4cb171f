"""Typed columns out of DynamoDB-JSON text: exact, or NULL and counted. Never rounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StringType, StructField, StructType

from lakebound_spark.columns import DeclaredColumn
from lakebound_spark.versions import try_cast

_INTEGERS = ("bigint", "int", "smallint", "tinyint")
_DATE = r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}\z"
_TIMESTAMP = r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})\z"


def typed_rows(latest: DataFrame, columns: Sequence[DeclaredColumn]) -> DataFrame:
    """Add to each row of `latest_per_key` its typed columns, for either register's image, and `inexact`.

    before                                               after, with `a: decimal(3,1)` and `id: string`
    | key | version | stream_image                  |    | key | stream_columns | inexact |
    |-----|---------|-------------------------------|    |-----|----------------|---------|
    | k   | L|…07   | {"id":{"S":"k"},"a":{"N":"1.5"}} | | k   | {1.5, k}       | 0       |
    | m   | L|…09   | {"id":{"S":"m"},"a":{"N":"1.55"}}| | m   | {NULL, m}      | 1       |

    Which image becomes visible is known only at the target, so both are cast; a register without a record
    in this micro-batch costs nothing. A tombstone's columns come from `keys`, which fills the key attributes
    and leaves the others NULL. The structs' fields are `c0`, `c1`, … in the order of ``columns``.
    """
    from_stream = F.when(F.col("version") != "", F.coalesce("stream_image", "keys"))
    from_base = F.when(F.col("base") != "", F.coalesce("base_image", "keys"))
    groups = _without_case_conflicts(columns)
    rows = latest
    for register, image in (("stream", from_stream), ("base", from_base)):
        for number, (schema, _) in enumerate(groups):
            rows = rows.withColumn(f"_{register}_{number}", F.from_json(image, schema, _JSON_OPTIONS))
    inexact: Column = F.lit(0)
    structs: dict[str, Column] = {}
    for register in ("stream", "base"):
        values: dict[DeclaredColumn, Column] = {}
        for number, (_, members) in enumerate(groups):
            for column in members:
                attribute = _attribute(F.col(f"_{register}_{number}"), column.path)
                values[column] = exact_value(attribute, column)
                unfit = attribute.isNotNull() & attribute["NULL"].isNull() & values[column].isNull()
                inexact = inexact + F.when(unfit, 1).otherwise(0)
        structs[register] = F.struct(*[values[column].alias(f"c{i}") for i, column in enumerate(columns)])
    typed = [struct.alias(f"{register}_columns") for register, struct in structs.items() if columns]
    return rows.select(*latest.columns, *typed, inexact.cast("long").alias("inexact"))


# An attribute may be called `_corrupt_record`, the name Spark reserves in `from_json` unless it is moved away.
_JSON_OPTIONS = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": "\u0001lakebound"}


def exact_value(attribute: Column, column: DeclaredColumn) -> Column:
    """The attribute's value in the declared type, or NULL when it does not fit exactly.

    | type                  | takes                                                                        |
    |-----------------------|------------------------------------------------------------------------------|
    | string                | an S; an N's token as it stands                                              |
    | decimal(p,s), bigint… | an N whose value the type holds without rounding (`1E2` and `1.0` are ints)    |
    | double                | an N, the nearest double                                                     |
    | boolean, binary       | a BOOL; a B                                                                  |
    | date                  | an S `YYYY-MM-DD` that is a day of the calendar                              |
    | timestamp             | an S `YYYY-MM-DDThh:mm:ss[.ffffff]` that ends in `Z` or `±hh:mm`; without an |
    |                       | offset it would mean another moment in another session, so it does not fit   |
    """
    match column.sql_type:
        case "string":
            return F.coalesce(attribute["S"], attribute["N"])
        case "double":
            return try_cast(attribute["N"], "double")
        case "boolean":
            return try_cast(attribute["BOOL"], "boolean")
        case "binary":
            return F.try_to_binary(attribute["B"], F.lit("base64"))
        case "date":
            return F.when(attribute["S"].rlike(_DATE), try_cast(attribute["S"], "date"))
        case "timestamp":
            return F.when(attribute["S"].rlike(_TIMESTAMP), try_cast(attribute["S"], "timestamp"))
        case integer if integer in _INTEGERS:
            return try_cast(exact_decimal(attribute["N"], 38, 0), integer)
        case _:
            return exact_decimal(attribute["N"], column.precision, column.scale)


def exact_decimal(token: Column, precision: int, scale: int) -> Column:
    """The number token as decimal(precision, scale), NULL where that would round or overflow.

    A cast alone rounds: 1.55 becomes 1.6, and 1E-130 becomes 0. So the digits that the value really needs
    after the point are counted in the token: those written, less the exponent, less zeros at the end.
    """
    mantissa = F.substring_index(F.upper(token), "E", 1)
    exponent = F.when(
        F.upper(token).contains("E"), try_cast(F.substring_index(F.upper(token), "E", -1), "int")
    ).otherwise(0)
    fraction = F.when(mantissa.contains("."), F.substring_index(mantissa, ".", -1)).otherwise("")
    digits = F.translate(mantissa, "+-.", "")
    significant = F.rtrim(digits, F.lit("0"))
    needed = F.length(fraction) - exponent - (F.length(digits) - F.length(significant))
    fits = (significant == "") | (needed <= scale)
    return F.when(fits, try_cast(token, f"decimal({precision},{scale})"))


def _attribute(item: Column, path: tuple[str, ...]) -> Column:
    attribute = item.getField(path[0])
    for name in path[1:]:
        attribute = attribute.getField("M").getField(name)
    return attribute


@dataclass(slots=True)
class _Node:
    """What to read of one attribute: its type tags, and its members where it is a map."""

    tags: set[str] = field(default_factory=set)
    members: dict[str, _Node] = field(default_factory=dict)

    def clashes(self, path: tuple[str, ...]) -> bool:
        name, rest = path[0], path[1:]
        if any(other != name and other.casefold() == name.casefold() for other in self.members):
            return True
        return bool(rest) and name in self.members and self.members[name].clashes(rest)

    def add(self, path: tuple[str, ...], tags: set[str]) -> None:
        node = self.members.setdefault(path[0], _Node())
        if path[1:]:
            node.add(path[1:], tags)
        else:
            node.tags |= tags

    def schema(self) -> StructType:
        return StructType([StructField(name, node._tags_schema()) for name, node in self.members.items()])

    def _tags_schema(self) -> StructType:
        tags = [StructField(tag, StringType()) for tag in sorted(self.tags)]
        return StructType([*tags, StructField("M", self.schema())] if self.members else tags)


_TAGS = {"string": {"S", "N"}, "boolean": {"BOOL"}, "binary": {"B"}, "date": {"S"}, "timestamp": {"S"}}


def _without_case_conflicts(
    columns: Sequence[DeclaredColumn],
) -> list[tuple[StructType, list[DeclaredColumn]]]:
    """Schemas for `from_json` and the columns each serves.

    DynamoDB keeps `Name` and `name` apart, Spark's field look-up does not, and `Name.a` beside `name.b` is a
    legal declaration: each such pair is read by a parse of its own. Without one, everything is one parse.
    """
    groups: list[tuple[_Node, list[DeclaredColumn]]] = []
    for column in columns:
        for root, members in groups:  # noqa: B007
            if not root.clashes(column.path):
                break
        else:
            root, members = _Node(), []
            groups.append((root, members))
        root.add(column.path, _TAGS.get(column.sql_type, {"N"}) | {"NULL"})
        members.append(column)
    return [(root.schema(), members) for root, members in groups]
