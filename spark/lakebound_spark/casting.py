"""From a DynamoDB-JSON attribute to a typed value, as SQL text: exact, or not at all.

SQL text, and not Column methods, because `try_cast` and two-argument trims are methods only since Spark 4.
"""

from __future__ import annotations

from typing import Final

from pyspark.sql.types import ArrayType, DataType, MapType, StringType, StructField, StructType

from lakebound_spark.timeformat import reading
from lakebound_spark.types import INTEGERS, ArrayOf, MapOf, Scalar, StructOf, Type, quoted

_ONE_ELEMENT: Final = r"(?s)\A\[(.*)\]\z"
_DATE: Final = r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}\z"
_TIMESTAMP: Final = r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})\z"
# Years 1 to 9999, which every reader of Delta can show.
_FIRST_SECOND: Final = -62_135_596_800
_END_SECOND: Final = 253_402_300_800


def text(value: str) -> str:
    """A string literal for SQL."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def json_string(value: str) -> str:
    """SQL for the text as a JSON string, with its quotes."""
    return f"regexp_extract(to_json(array({value})), {text(_ONE_ELEMENT)}, 1)"


def tags_read(kind: Type) -> DataType:
    """The schema by which `from_json` reads an attribute of this type: only the tags that can fill it."""
    tags: dict[str, DataType]
    match kind:
        case Scalar("json"):
            return StringType()
        case Scalar():
            tags = dict.fromkeys(_tags(kind), _TEXT)
        case ArrayOf(element):
            inner = tags_read(element)
            tags = {"L": ArrayType(inner), **{tag: ArrayType(StringType()) for tag in _set_tags(element)}}
        case MapOf(value):
            tags = {"M": MapType(StringType(), tags_read(value))}
        case StructOf(fields):
            tags = {"M": StructType([StructField(name, tags_read(inner)) for name, inner in fields])}
    return StructType([StructField(tag, read) for tag, read in sorted({**tags, "NULL": _TEXT}.items())])


_TEXT: Final[DataType] = StringType()
_TAGS: Final = {"string": ("S", "N"), "boolean": ("BOOL",), "binary": ("B",), "date": ("S",), "timestamp": ("S",)}


def _tags(kind: Scalar) -> tuple[str, ...]:
    if kind.unit is not None:
        return ("N",)
    return ("S", "N") if kind.pattern is not None else _TAGS.get(kind.name, ("N",))


def _set_tags(element: Type) -> tuple[str, ...]:
    """The sets that can be an array of this element."""
    if not isinstance(element, Scalar) or element.name == "json":
        return ()
    return tuple({"S": "SS", "N": "NS", "B": "BS"}[tag] for tag in _tags(element) if tag != "BOOL")


def unfit(attribute: str, kind: Type, depth: int = 0) -> str:
    """SQL for: the attribute is there, is not NULL, and does not fit the type exactly. Never NULL."""
    there = f"{attribute} IS NOT NULL AND {attribute}.`NULL` IS NULL"
    each = f"e{depth}"
    match kind:
        case Scalar("json"):
            return "false"
        case Scalar():
            return f"({there} AND {value(attribute, kind, depth)} IS NULL)"
        case ArrayOf(element):
            members = _members(attribute, element)
            return (
                f"({there} AND CASE WHEN {members} IS NULL THEN true "
                f"ELSE exists({members}, {each} -> {unfit(each, element, depth + 1)}) END)"
            )
        case MapOf(inner):
            members = f"{attribute}.M"
            return (
                f"({there} AND CASE WHEN {members} IS NULL THEN true "
                f"ELSE exists(map_values({members}), {each} -> {unfit(each, inner, depth + 1)}) END)"
            )
        case StructOf(fields):
            wrong = " OR ".join(unfit(f"{attribute}.M.{quoted(name)}", inner, depth) for name, inner in fields)
            return f"({there} AND CASE WHEN {attribute}.M IS NULL THEN true ELSE {wrong} END)"


def value(attribute: str, kind: Type, depth: int = 0) -> str:
    """SQL for the attribute's value in the type; for arrays, maps and structs only where it is not `unfit`.

    | type                  | takes                                                                        |
    |-----------------------|------------------------------------------------------------------------------|
    | string                | an S; an N's token as it stands                                              |
    | json                  | anything, as its DynamoDB-JSON text                                          |
    | decimal(p,s), bigint… | an N whose value the type holds without rounding (`1E2` and `1.0` are ints)    |
    | double, float         | an N, the nearest one; an N beyond the greatest does not fit                 |
    | boolean, binary       | a BOOL; a B                                                                  |
    | date                  | an S `YYYY-MM-DD` that is a day of the calendar                              |
    | timestamp             | an S `YYYY-MM-DDThh:mm:ss[.ffffff]` that ends in `Z` or `±hh:mm`; without an |
    |                       | offset it would mean another moment in another session, so it does not fit   |
    | … with a unit         | an N of whole microseconds (days) since 1970, in the years 1 to 9999         |
    | … with a format       | an S, or an N's token, of exactly that format                                |
    | array<…>              | an L whose members all fit, in its order; an SS, NS or BS, ascending         |
    | map<string,…>         | an M whose members all fit                                                   |
    | struct<…>             | an M whose named members all fit; those it lacks are NULL                    |
    """
    each = f"e{depth}"
    match kind:
        case Scalar():
            return _scalar(attribute, kind)
        case ArrayOf(element):
            typed = value(each, element, depth + 1)
            listed = f"transform({attribute}.L, {each} -> {typed})"
            sets = _sets(attribute, element)
            if sets is None:
                return listed
            return f"coalesce({listed}, array_sort(transform({sets}, {each} -> {typed})))"
        case MapOf(inner):
            return f"transform_values({attribute}.M, (k{depth}, {each}) -> {value(each, inner, depth + 1)})"
        case StructOf(fields):
            members = ", ".join(
                f"{text(name)}, {value(f'{attribute}.M.{quoted(name)}', inner, depth)}" for name, inner in fields
            )
            return f"CASE WHEN {attribute}.M IS NOT NULL THEN named_struct({members}) END"


def _members(attribute: str, element: Type) -> str:
    sets = _sets(attribute, element)
    return f"{attribute}.L" if sets is None else f"coalesce({attribute}.L, {sets})"


def _sets(attribute: str, element: Type) -> str | None:
    """A set's members as attributes of the kind that a list has, so that one rule casts both."""
    if not _set_tags(element):
        return None
    assert isinstance(element, Scalar)
    tags = sorted((*_tags(element), "NULL"))

    def as_list(set_tag: str, tag: str) -> str:
        parts = ", ".join(f"'{one}', {'m' if one == tag else 'CAST(NULL AS STRING)'}" for one in tags)
        return f"transform({attribute}.{set_tag}, m -> named_struct({parts}))"

    lists = [as_list(set_tag, set_tag[0]) for set_tag in _set_tags(element)]
    return lists[0] if len(lists) == 1 else f"coalesce({', '.join(lists)})"


def _scalar(attribute: str, kind: Scalar) -> str:
    number, string = f"{attribute}.N", f"{attribute}.S"
    if kind.unit is not None:
        return _since_1970(number, kind.unit)
    if kind.pattern is not None:
        iso = reading(kind.pattern, kind.zone, is_date=kind.name == "date")
        token = f"coalesce({string}, {number})"
        found = f"regexp_replace({token}, {text(iso.pattern)}, {text(iso.replacement)})"
        # A one-digit month or hour is legal in ISO text to Spark's cast.
        return f"CASE WHEN {token} RLIKE {text(iso.pattern)} THEN try_cast({found} AS {kind.name}) END"
    match kind.name:
        case "json":
            return attribute
        case "string":
            return f"coalesce({string}, {number})"
        case "double":
            return f"try_cast({number} AS DOUBLE)"
        case "float":
            nearest = f"try_cast({number} AS FLOAT)"
            return f"CASE WHEN abs({nearest}) < CAST('Infinity' AS FLOAT) THEN {nearest} END"
        case "boolean":
            return f"try_cast({attribute}.BOOL AS BOOLEAN)"
        case "binary":
            return f"try_to_binary({attribute}.B, 'base64')"
        case "date":
            return f"CASE WHEN {string} RLIKE {text(_DATE)} THEN try_cast({string} AS DATE) END"
        case "timestamp":
            return f"CASE WHEN {string} RLIKE {text(_TIMESTAMP)} THEN try_cast({string} AS TIMESTAMP) END"
        case integer if integer in INTEGERS:
            return f"try_cast({exact_decimal(number, 38, 0)} AS {integer})"
        case _:
            return exact_decimal(number, kind.precision, kind.scale)


def exact_decimal(token: str, precision: int, scale: int) -> str:
    """SQL for the number token as decimal(precision, scale), NULL where that would round or overflow.

    A cast alone rounds: 1.55 becomes 1.6, and 1E-130 becomes 0. So the digits that the value really needs
    after the point are counted in the token: those written, less the exponent, less zeros at the end.
    """
    mantissa = f"substring_index(upper({token}), 'E', 1)"
    exponent = (
        f"CASE WHEN upper({token}) LIKE '%E%' THEN try_cast(substring_index(upper({token}), 'E', -1) AS INT) ELSE 0 END"
    )
    fraction = f"CASE WHEN {mantissa} LIKE '%.%' THEN length(substring_index({mantissa}, '.', -1)) ELSE 0 END"
    digits = f"translate({mantissa}, '+-.', '')"
    significant = f"trim(TRAILING '0' FROM {digits})"
    needed = f"{fraction} - {exponent} - (length({digits}) - length({significant}))"
    plain = text(r"\A[+-]?[0-9]+" + (rf"(\.[0-9]{{1,{scale}}})?" if scale else "") + r"\z")
    return (
        f"CASE WHEN {token} RLIKE {plain} OR {significant} = '' OR {needed} <= {scale} "
        f"THEN try_cast({token} AS DECIMAL({precision},{scale})) END"
    )


def _since_1970(number: str, unit: str) -> str:
    if unit == "d":
        days = f"try_cast({exact_decimal(number, 38, 0)} AS INT)"
        first, end = _FIRST_SECOND // 86_400, _END_SECOND // 86_400
        return f"CASE WHEN {days} >= {first} AND {days} < {end} THEN date_from_unix_date({days}) END"
    digits = {"s": 6, "ms": 3, "us": 0}[unit]
    exact = exact_decimal(number, 26 + 6 - digits, digits)
    first, end = (second * 10 ** (6 - digits) for second in (_FIRST_SECOND, _END_SECOND))
    micros = f"CAST({exact} * {10**digits} AS BIGINT)"
    return f"CASE WHEN {exact} >= {first} AND {exact} < {end} THEN timestamp_micros({micros}) END"
