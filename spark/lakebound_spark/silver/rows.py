"""Typed columns out of DynamoDB-JSON text: exact, or NULL and counted. Never rounded."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import DataType, StringType, StructField, StructType

from lakebound_spark.platform.sql_text import literal, quoted
from lakebound_spark.reading.latest import REGISTERS
from lakebound_spark.silver.casting import is_misfit, is_present, json_string, typed_value
from lakebound_spark.silver.columns import DeclaredColumn
from lakebound_spark.silver.read_schemas import Parse, attribute, plan_parses, type_at
from lakebound_spark.silver.types import Scalar, Type

# An attribute may be called `_corrupt_record`, the name Spark reserves in `from_json` unless it is moved away.
_CORRUPT = "\u0001lakebound"
_FEW: Final = 40
"""Up to so many columns each is typed by an expression of its own, which Spark compiles."""
JSON_OPTIONS = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": _CORRUPT}


def typed_rows(
    latest: DataFrame,
    columns: Sequence[DeclaredColumn],
    registers: Collection[str] = REGISTERS,
    *,
    rescue: bool = False,
) -> DataFrame:
    """Add to each row of `latest_per_key` its typed columns, for either register's image, and the counts.

    before                                               after, with `a: decimal(3,1)` and `id: string`
    | key | version | stream_image                  |    | key | stream_columns | inexact |
    |-----|---------|-------------------------------|    |-----|----------------|---------|
    | k   | L|…07   | {"id":{"S":"k"},"a":{"N":"1.5"}} | | k   | {1.5, k}       | 0       |
    | m   | L|…09   | {"id":{"S":"m"},"a":{"N":"1.55"}}| | m   | {NULL, m}      | 1       |

    Which image becomes visible is known only at the target, so both are cast; ``registers`` leaves out the columns of
    one that no record of the micro-batch feeds. A tombstone's columns come from `keys`, which fills the key attributes
    and leaves the others NULL. The structs' fields are `c0`, `c1`, … in the order of ``columns``. With ``rescue``
    the columns are top-level attributes, and `stream_rescued` and `base_rescued` hold what no column could take,
    as one DynamoDB-JSON object (NULL where nothing is left over); `rescued` counts such attributes.
    """
    images = {register: image for register, image in visible_images().items() if register in registers}
    schemas = plan_parses(columns)
    groups = _groups(schemas)
    rows = latest.select(
        "*", *[made for register in images for made in _parsed_images(register, images[register], schemas)]
    )
    for step in (_attributes, _typed_arrays, _register_columns):
        rows = rows.select("*", *[made for register in images for made in step(register, groups)])
    results = [f"{register}_columns" for register in images if columns]
    counts = [_total(_cardinality(f"_{register}_unfit") for register in images).alias("inexact")]
    rescued: list[Column] = []
    if rescue:
        known = [column.path[0] for column in columns]
        rows = rows.select(
            "*", *[_attributes_without_column(register, image, known) for register, image in images.items()]
        )
        rescued = [F.expr(_object(f"_{register}_rest")).alias(f"{register}_rescued") for register in images]
        counts.append(_total(_cardinality(f"_{register}_rest") for register in images).alias("rescued"))
    return rows.select(*latest.columns, *results, *rescued, *counts)


@dataclass(frozen=True, slots=True)
class _Group:
    """Columns of one type whose attributes are read as one type: one array holds them all.

    One expression types the whole array where the table has many columns: with an expression for each, Spark needed
    21 s to plan 500 columns and 20 s to compile and type 2,000 rows of them. Spark does not compile that one, though,
    but interprets it for each value, so a table of few columns has an expression for each.
    """

    type: Type
    members: list[tuple[int, int, DeclaredColumn]]
    """(place among all columns, number of the parse, column)"""


def _groups(schemas: Sequence[Parse]) -> list[_Group]:
    found: dict[tuple[DataType, Type], _Group] = {}
    for number, (schema, served) in enumerate(schemas):
        for place, column in served:
            alike = (type_at(schema, column.path), column.type)
            found.setdefault(alike, _Group(column.type, [])).members.append((place, number, column))
    return list(found.values())


def _parsed_images(register: str, image: Column, schemas: Sequence[Parse]) -> list[Column]:
    return [
        F.from_json(image, StructType([*schema.fields, StructField(_CORRUPT, StringType())]), JSON_OPTIONS).alias(
            f"_{register}_{number}"
        )
        for number, (schema, _) in enumerate(schemas)
    ]


def _attributes(register: str, groups: Sequence[_Group]) -> list[Column]:
    """Each group's attributes as an array, and what is amiss in a row that Spark could not read as attributes.

    `{"a":5}` reads as if there were no `a`, so that nobody would count it. Spark keeps such a row's text, and only
    there is the image read once more, for the names of what is no object.
    """

    def read(group: _Group) -> str:
        members = ", ".join(attribute(f"_{register}_{number}", column.path) for _, number, column in group.members)
        # A row without a record for this register costs nothing more.
        return f"CASE WHEN _{register}_0 IS NOT NULL THEN array({members}) END"

    parsed = {number for group in groups for _, number, _ in group.members}
    spoilt = " OR ".join(f"_{register}_{number}.{quoted(_CORRUPT)} IS NOT NULL" for number in sorted(parsed)) or "false"
    no_objects = F.map_filter(attributes(visible_images()[register]), lambda _, tagged: ~tagged.startswith("{"))
    raw = F.when(F.expr(spoilt), F.map_keys(no_objects)).alias(f"_{register}_raw")
    return [raw, *(F.expr(read(group)).alias(f"_{register}_read_{n}") for n, group in enumerate(groups))]


def _typed_arrays(register: str, groups: Sequence[_Group]) -> list[Column]:
    def exact(attribute: str, kind: Type) -> str:
        typed = typed_value(attribute, kind, 1)
        # A scalar's value is NULL already where it does not fit.
        return typed if isinstance(kind, Scalar) else f"CASE WHEN NOT {is_misfit(attribute, kind, 1)} THEN {typed} END"

    def typed(read: str, group: _Group) -> str:
        if not _are_few(groups):
            return f"transform({read}, e -> {exact('e', group.type)})"
        each = ", ".join(exact(f"{read}[{at}]", group.type) for at in range(len(group.members)))
        return f"CASE WHEN {read} IS NOT NULL THEN array({each}) END"

    return [
        F.expr(typed(f"_{register}_read_{n}", group)).alias(f"_{register}_typed_{n}") for n, group in enumerate(groups)
    ]


def _are_few(groups: Sequence[_Group]) -> bool:
    return sum(len(group.members) for group in groups) <= _FEW


def _register_columns(register: str, groups: Sequence[_Group]) -> list[Column]:
    """The struct of the register's columns, and the names of the attributes that do not fit theirs."""
    fields: dict[int, str] = {}
    misfits = [f"coalesce(array_intersect(_{register}_raw, {_names(groups)}), {_NO_NAMES})"]
    amiss = [f"_{register}_raw IS NOT NULL"]
    for n, group in enumerate(groups):
        read, typed = f"_{register}_read_{n}", f"_{register}_typed_{n}"
        fields |= {place: f"{typed}[{at}] AS c{place}" for at, (place, _, _) in enumerate(group.members)}
        if group.type != Scalar("json"):  # which takes anything
            names = ", ".join(literal(column.path[0]) for _, _, column in group.members)
            unfit = f"{is_present(f'{read}[{{at}}]')} AND {typed}[{{at}}] IS NULL"
            misfits.append(f"filter(array({names}), (name, i) -> {unfit.format(at='i')})")
            amiss += [f"({unfit.format(at=at)})" for at in range(len(group.members))]
    named = f"transform(array(concat({', '.join(misfits)})), u -> {_NAMELESS.format(raw=f'_{register}_raw')})[0]"
    if _are_few(groups):  # the lists of names are made only for a row in which something is amiss
        named = f"CASE WHEN {' OR '.join(amiss)} THEN {named} ELSE {_NO_NAMES} END"
    shown = [F.expr(named).alias(f"_{register}_unfit")]
    if fields:
        struct = F.expr(f"struct({', '.join(fields[place] for place in range(len(fields)))})")
        shown.append(struct.alias(f"{register}_columns"))
    return shown


_NO_NAMES = "CAST(array() AS ARRAY<STRING>)"
# What is no object deep inside a struct has no column's name: it counts once.
_NAMELESS = "CASE WHEN {raw} IS NOT NULL AND cardinality(u) = 0 THEN array('') ELSE u END"


def _names(groups: Sequence[_Group]) -> str:
    """SQL for the names of the attributes that have a column, but for those of type json, which takes anything."""
    members = [column for group in groups if group.type != Scalar("json") for _, _, column in group.members]
    names = sorted({column.path[0] for column in members if len(column.path) == 1})
    return f"array({', '.join(map(literal, names))})" if names else _NO_NAMES


def _attributes_without_column(register: str, image: Column, known: Sequence[str]) -> Column:
    """The attributes without a column, and those that do not fit theirs, as a map."""
    # A NULL fits every column, and needs none.
    rest = F.map_filter(attributes(image), lambda _, tagged: tagged != F.lit('{"NULL":true}'))
    if known:
        rest = F.map_filter(
            rest, lambda name, _: ~name.isin(list(known)) | F.array_contains(f"_{register}_unfit", name)
        )
    return rest.alias(f"_{register}_rest")


def _cardinality(collection: str) -> str:
    # `cardinality` of NULL is NULL or -1, by a setting of the session.
    return f"CASE WHEN {collection} IS NULL THEN 0 ELSE cardinality({collection}) END"


def _total(terms: Iterable[str]) -> Column:
    return F.expr(" + ".join(terms)).cast("long")


def visible_images() -> dict[str, Column]:
    """For either register the image its columns come from: `keys` for a tombstone, NULL without a record."""
    return {
        "stream": F.when(F.col("version") != "", F.coalesce("stream_image", "keys")),
        "base": F.when(F.col("base") != "", F.coalesce("base_image", "keys")),
    }


def attributes(image: Column) -> Column:
    """The image as a map of attribute names to DynamoDB-JSON texts, whose look-up keeps case apart."""
    return F.from_json(image, "map<string,string>", JSON_OPTIONS)


def _object(attributes: str) -> str:
    """SQL for the map as one JSON object; NULL when it is empty."""
    members = (
        f"array_join(transform(map_entries({attributes}), e -> concat({json_string('e.key')}, ':', e.value)), ',')"
    )
    return f"CASE WHEN cardinality({attributes}) > 0 THEN concat('{{', {members}, '}}') END"
