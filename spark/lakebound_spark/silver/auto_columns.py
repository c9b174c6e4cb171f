"""`columns: auto`: top-level attributes become columns as they appear, and types only ever widen.

| attribute seen                          | column            | later                                                  |
|-----------------------------------------|-------------------|--------------------------------------------------------|
| N, whole, within 64 bits                | `bigint`          | `decimal(38,18)` once a number needs it and fits it    |
| N, up to 20 digits before the point and | `decimal(38,18)`  |                                                        |
| 18 after it                             |                   |                                                        |
| S                                       | `string`          | takes an N's token too, as declared columns do         |
| BOOL, B                                 | `boolean`, `binary` |                                                      |
| SS, NS, BS                              | `array<…>`        |                                                        |
| L, M, mixed, a number beyond all these  | `string` (json)   | takes anything, as DynamoDB-JSON text                  |

Where Delta cannot widen (3.3 on Spark 3.5), whole numbers start as `decimal(38,18)` too. Everything else goes to
`_rescued`. The table itself remembers the lattice's state: a column of ours bears a comment, and a json column
another, so a column that a person added is never written to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StructField, StructType

from lakebound.record.column_names import RESERVED_COLUMNS, folded, unusable
from lakebound_spark.platform import spark_compat
from lakebound_spark.platform.sql_text import literal, quoted
from lakebound_spark.platform.tables import column_sql, read_table, set_properties, table_sql
from lakebound_spark.silver.casting import exact_decimal
from lakebound_spark.silver.columns import DeclaredColumn
from lakebound_spark.silver.rows import attributes, visible_images
from lakebound_spark.silver.types import ArrayOf, Scalar, Type, parse_type

MAX_COLUMNS: Final = 500
"""So many attributes become columns, the most frequent first; what is beyond stays in `_item` and `_rescued`."""

COMMENT: Final = "lakebound: attribute"
JSON_COMMENT: Final = "lakebound: attribute as DynamoDB-JSON"

_MAX_NAMES: Final = 5_000
"""So many unknown names are looked at in one micro-batch, however many there are."""

_WHOLE, _EXACT, _BEYOND = "whole", "exact", "beyond"
_WIDE: Final = Scalar("decimal", 38, 18)
_KINDS: Final[dict[frozenset[str], Type]] = {
    frozenset((_WHOLE,)): Scalar("bigint"),
    frozenset((_EXACT,)): _WIDE,
    frozenset((_WHOLE, _EXACT)): _WIDE,
    frozenset(("S",)): Scalar("string"),
    frozenset(("BOOL",)): Scalar("boolean"),
    frozenset(("B",)): Scalar("binary"),
    frozenset(("SS",)): ArrayOf(Scalar("string")),
    frozenset(("NS",)): ArrayOf(_WIDE),
    frozenset(("BS",)): ArrayOf(Scalar("binary")),
}


@dataclass(frozen=True, slots=True)
class AttributeUsage:
    """An attribute of a micro-batch: how many images have it, and with which kinds of values (NULL aside)."""

    name: str
    images: int
    kinds: frozenset[str]


@dataclass(frozen=True, slots=True)
class Growth:
    """What a micro-batch needs of the table before it can be merged."""

    added: tuple[DeclaredColumn, ...]
    widened: tuple[DeclaredColumn, ...]


def attribute_columns(schema: StructType) -> tuple[DeclaredColumn, ...]:
    """The table's columns that are attributes, in its order."""
    found = []
    for field in schema.fields:
        comment = field.metadata.get("comment")
        if comment == JSON_COMMENT:
            found.append(DeclaredColumn(field.name, (field.name,), Scalar("json")))
        elif comment == COMMENT:
            found.append(DeclaredColumn(field.name, (field.name,), parse_type(field.dataType.simpleString())))
    return tuple(found)


def plan_growth(schema: StructType, seen: Iterable[AttributeUsage]) -> Growth:
    """Which columns to add and to widen. The same attributes seen in any order give the same plan."""
    present = {column.name: column for column in attribute_columns(schema)}
    taken = {folded(name) for name in (*schema.fieldNames(), *RESERVED_COLUMNS)}
    added: list[DeclaredColumn] = []
    widened = []
    for one in sorted(seen, key=lambda one: (-one.images, one.name)):
        there = present.get(one.name)
        if there is not None:
            if spark_compat.CAN_WIDEN and there.type == Scalar("bigint") and _EXACT in one.kinds:
                widened.append(DeclaredColumn(there.name, there.path, _WIDE))
        elif one.kinds and unusable(one.name) is None and folded(one.name) not in taken:
            if len(present) + len(added) == MAX_COLUMNS:
                continue
            taken.add(folded(one.name))
            added.append(DeclaredColumn(one.name, (one.name,), new_column_type(one.kinds)))
    return Growth(tuple(added), tuple(widened))


def new_column_type(kinds: frozenset[str]) -> Type:
    """The type for a new attribute with these kinds of values."""
    if kinds <= {"S", _WHOLE, _EXACT, _BEYOND} and "S" in kinds:
        return Scalar("string")
    found = _KINDS.get(kinds, Scalar("json"))
    return found if spark_compat.CAN_WIDEN or found != Scalar("bigint") else _WIDE


def attribute_usage(latest: DataFrame, columns: Sequence[DeclaredColumn]) -> list[AttributeUsage]:
    """What the rows of `latest_per_key` have that the columns do not take yet: new names, and numbers to widen for."""
    image = F.explode(F.array(*visible_images().values())).alias("image")
    each = latest.select(image).where("image IS NOT NULL").select(F.explode(attributes(F.col("image"))))
    number = f"regexp_extract(value, {literal(_NUMBER)}, 1)"
    kind = F.expr(
        f"CASE WHEN value NOT LIKE '{{\"N\":%' THEN regexp_extract(value, {literal(_TAG)}, 1) "
        f"WHEN try_cast({exact_decimal(number, 38, 0)} AS BIGINT) IS NOT NULL THEN '{_WHOLE}' "
        f"WHEN {exact_decimal(number, 38, 18)} IS NOT NULL THEN '{_EXACT}' ELSE '{_BEYOND}' END"
    )
    known = [column.name for column in columns]
    widening = [column.name for column in columns if column.type == Scalar("bigint")]
    wanted = F.lit(True)
    if known:
        wanted = ~F.col("key").isin(known)
    if widening:
        wanted = wanted | (F.col("key").isin(widening) & F.col("value").startswith('{"N":') & (kind == _EXACT))
    found = (
        each.where(wanted)
        .groupBy("key")
        .agg(F.count("*").alias("images"), F.collect_set(kind).alias("kinds"))
        .orderBy(F.desc("images"), "key")
        .limit(_MAX_NAMES)
        .collect()
    )
    return [AttributeUsage(row["key"], row["images"], frozenset(row["kinds"]) - {"NULL"}) for row in found]


_NUMBER: Final = r'^\{"N":"(.*)"\}$'
_TAG: Final = r'^\{"([A-Z]+)":'


def grow_table(spark: SparkSession, target: str, latest: DataFrame) -> tuple[tuple[DeclaredColumn, ...], bool]:
    """The columns by which the rows of ``latest`` are to be typed, after the table has been given what it lacked.

    The second value says whether the table was changed.

    Widening is Delta's own: no file is rewritten, and old values read as before. The table feature for it is only
    switched on when a column is first widened, since readers older than Delta 3.2 then refuse the table.
    """
    schema = read_table(spark, target).schema
    growth = plan_growth(schema, attribute_usage(latest, attribute_columns(schema)))
    if growth.widened:
        set_properties(spark, target, {"delta.enableTypeWidening": "true"})
        for column in growth.widened:
            spark.sql(f"ALTER TABLE {table_sql(target)} ALTER COLUMN {quoted(column.name)} TYPE {column.sql_type}")
    if growth.added:
        add_columns(spark, target, growth.added)
    if growth == Growth((), ()):
        return attribute_columns(schema), False
    return attribute_columns(read_table(spark, target).schema), True


def add_columns(spark: SparkSession, target: str, columns: Sequence[DeclaredColumn]) -> None:
    """Append columns to the table, each with the comment by which it is known as ours."""
    lines = ", ".join(column_sql(column.name, column.sql_type, column_comment(column)) for column in columns)
    if any(column.needs_mapping for column in columns):
        set_properties(spark, target, NAME_MAPPING)
    spark.sql(f"ALTER TABLE {table_sql(target)} ADD COLUMNS ({lines})")


def is_attribute_column(field: StructField) -> bool:
    """Whether a column of the table is made from an attribute."""
    return field.metadata.get("comment") in (COMMENT, JSON_COMMENT)


def column_comment(column: DeclaredColumn) -> str:
    """What marks a column of the table as made from an attribute."""
    return JSON_COMMENT if column.type == Scalar("json") else COMMENT


NAME_MAPPING: Final = {"delta.columnMapping.mode": "name"}
