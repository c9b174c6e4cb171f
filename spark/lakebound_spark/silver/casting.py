"""From a DynamoDB-JSON attribute to a typed value, as SQL text: exact, or not at all.

SQL text, and not Column methods, because `try_cast` and two-argument trims are methods only since Spark 4.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pyspark.sql.types import ArrayType, DataType, MapType, StringType, StructField, StructType

from lakebound_spark.platform.sql_text import literal, quoted
from lakebound_spark.silver.time_formats import MISSING_NUMBER, WITHOUT_OFFSET, compile_format, iso_rewrite
from lakebound_spark.silver.types import (
    INTEGERS,
    NUMBER,
    ArrayOf,
    MapOf,
    Scalar,
    StructOf,
    TextPart,
    Type,
    parse_number,
    scale_of,
)

_ONE_ELEMENT: Final = r"(?s)\A\[(.*)\]\z"
_DATE: Final = r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}\z"
_TIMESTAMP: Final = r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})\z"
_NUMBER: Final = rf"\A{NUMBER}\z"
# Years 1 to 9999, which every reader of Delta can show.
_FIRST_SECOND: Final = -62_135_596_800
_END_SECOND: Final = 253_402_300_800


def json_string(value: str) -> str:
    """SQL for the text as a JSON string, with its quotes."""
    return f"regexp_extract(to_json(array({value})), {literal(_ONE_ELEMENT)}, 1)"


def tag_schema(kind: Type) -> DataType:
    """The schema by which `from_json` reads an attribute of this type: only the tags that can fill it."""
    tags: dict[str, DataType]
    match kind:
        case Scalar("json"):
            return StringType()
        case Scalar():
            tags = dict.fromkeys(_tags(kind), _TEXT)
        case ArrayOf(element):
            inner = tag_schema(element)
            tags = {"L": ArrayType(inner), **{tag: ArrayType(StringType()) for tag in _set_tags(element)}}
        case MapOf(value):
            tags = {"M": MapType(StringType(), tag_schema(value))}
        case StructOf(fields):
            tags = {"M": StructType([StructField(name, tag_schema(inner)) for name, inner in fields])}
    return StructType([StructField(tag, read) for tag, read in sorted({**tags, "NULL": _TEXT}.items())])


_TEXT: Final[DataType] = StringType()
_TAGS: Final = {"string": ("S", "N"), "boolean": ("BOOL",), "binary": ("B",), "date": ("S",), "timestamp": ("S",)}


def _tags(kind: Scalar) -> tuple[str, ...]:
    if kind.part is not None:
        return ("S",)
    if kind.unit is not None:
        return ("N",)
    if kind.true or kind.false:
        return ("BOOL", "S", "N")
    return ("S", "N") if kind.pattern is not None else _TAGS.get(kind.name, ("N",))


def _set_tags(element: Type) -> tuple[str, ...]:
    """The sets that can be an array of this element."""
    if not isinstance(element, Scalar) or element.name == "json":
        return ()
    return tuple({"S": "SS", "N": "NS", "B": "BS"}[tag] for tag in _tags(element) if tag != "BOOL")


def is_misfit(attribute: str, kind: Type, depth: int = 0) -> str:
    """SQL for: the attribute is there, is not NULL, and does not fit the type exactly. Never NULL."""
    there = is_present(attribute)
    each = f"e{depth}"
    match kind:
        case Scalar("json"):
            return "false"
        case Scalar():
            return f"({there} AND {typed_value(attribute, kind, depth)} IS NULL)"
        case ArrayOf(element):
            members = _members(attribute, element)
            return (
                f"({there} AND CASE WHEN {members} IS NULL THEN true "
                f"ELSE exists({members}, {each} -> {is_misfit(each, element, depth + 1)}) END)"
            )
        case MapOf(inner):
            members = f"{attribute}.M"
            return (
                f"({there} AND CASE WHEN {members} IS NULL THEN true "
                f"ELSE exists(map_values({members}), {each} -> {is_misfit(each, inner, depth + 1)}) END)"
            )
        case StructOf(fields):
            wrong = " OR ".join(is_misfit(f"{attribute}.M.{quoted(name)}", inner, depth) for name, inner in fields)
            return f"({there} AND CASE WHEN {attribute}.M IS NULL THEN true ELSE {wrong} END)"


def is_present(attribute: str) -> str:
    """SQL for: the attribute is there and is no DynamoDB NULL. Never NULL.

    A NULL is `{"NULL":true}`; what else stands under that tag is a value that no type takes.
    """
    return f"{attribute} IS NOT NULL AND NOT ({attribute}.`NULL` <=> 'true')"


def typed_value(attribute: str, kind: Type, depth: int = 0) -> str:
    """SQL for the attribute's value in the type; for arrays, maps and structs only where it is no `is_misfit`.

    | type                  | takes                                                                        |
    |-----------------------|------------------------------------------------------------------------------|
    | string                | an S; an N's token as it stands                                              |
    | json                  | anything, as its DynamoDB-JSON text                                          |
    | decimal(p,s), bigint… | an N whose value the type holds without rounding (`1E2` and `1.0` are ints)    |
    | double, float         | an N, the nearest one; an N beyond the greatest does not fit                 |
    | boolean, binary       | a BOOL; a B                                                                  |
    | … with true, false    | also an S of a listed text, an N of a listed value                           |
    | date                  | an S `YYYY-MM-DD` that is a day of the calendar                              |
    | timestamp             | an S of ISO 8601 with an offset, in the years 1 to 9999; without an offset   |
    |                       | it would mean another moment in another session, so it needs a zone          |
    | … that truncates      | digits beyond microseconds are cut off, else only zeros may stand there      |
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
            typed = typed_value(each, element, depth + 1)
            listed = f"transform({attribute}.L, {each} -> {typed})"
            sets = _sets(attribute, element)
            if sets is None:
                return listed
            return f"coalesce({listed}, sort_array(transform({sets}, {each} -> {typed})))"
        case MapOf(inner):
            return f"transform_values({attribute}.M, (k{depth}, {each}) -> {typed_value(each, inner, depth + 1)})"
        case StructOf(fields):
            values = (typed_value(f"{attribute}.M.{quoted(name)}", inner, depth) for name, inner in fields)
            members = ", ".join(f"{literal(name)}, {one}" for (name, _), one in zip(fields, values, strict=True))
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
    if kind.part is not None:
        # A list of one gives the part a name, so that it stands in the plan once.
        part, none = part_of(f"{attribute}.S", kind.part), "CAST(NULL AS STRING)"
        found = f"transform(array({part}), p -> named_struct('S', p, 'N', p, 'BOOL', {none}))"
        return f"transform({found}, a -> {_scalar('a', replace(kind, part=None))})[0]"
    number, string = f"{attribute}.N", f"{attribute}.S"
    if kind.unit is not None:
        return _epoch_value(number, kind.unit, truncates=kind.truncates)
    if kind.pattern is not None:
        is_date = kind.name == "date"
        iso = compile_format(kind.pattern, kind.zone, is_date=is_date, truncates=kind.truncates)
        token = f"coalesce({string}, {number})"
        found = f"regexp_replace({token}, {literal(iso.pattern)}, {literal(iso.replacement)})"
        # A one-digit month or hour is legal in ISO text to Spark's cast.
        read = f"CASE WHEN {token} RLIKE {literal(iso.pattern)} THEN try_cast({found} AS {kind.name}) END"
        return _representable_date(read) if is_date else _representable_timestamp(read)
    match kind.name:
        case "json":
            return attribute
        case "string":
            return f"coalesce({string}, {number})"
        case "double":
            return f"CASE WHEN {number} RLIKE {literal(_NUMBER)} THEN try_cast({number} AS DOUBLE) END"
        case "float":
            nearest = f"try_cast({number} AS FLOAT)"
            return (
                f"CASE WHEN {number} RLIKE {literal(_NUMBER)} AND abs({nearest}) < CAST('Infinity' AS FLOAT) "
                f"THEN {nearest} END"
            )
        case "boolean":
            return _boolean(attribute, kind)
        case "binary":
            return f"try_to_binary({attribute}.B, 'base64')"
        case "date":
            return _representable_date(f"CASE WHEN {string} RLIKE {literal(_DATE)} THEN try_cast({string} AS DATE) END")
        case "timestamp":
            return _representable_timestamp(_iso_timestamp(string, kind.zone, truncates=kind.truncates))
        case integer if integer in INTEGERS:
            return f"try_cast({exact_decimal(number, 38, 0)} AS {integer})"
        case _:
            return exact_decimal(number, kind.precision, kind.scale)


def part_of(text: str, part: TextPart) -> str:
    """SQL for the part of the text; NULL where the text lacks one of its signs.

    | text                 | part                    |              |
    |----------------------|-------------------------|--------------|
    | `ORDER#2026-11-01#7` | after `#`               | 2026-11-01#7 |
    | `ORDER#2026-11-01#7` | after `#`, before `#`   | 2026-11-01   |
    | `ORDER#2026-11-01#7` | part 3, split at `#`    | 7            |
    """
    if part.separator:
        pattern = literal("\\Q" + part.separator.replace("\\E", "\\E\\\\E\\Q") + "\\E")
        return f"get(split({text}, {pattern}, -1), {part.number - 1})"
    found = text
    if part.after:
        sign = literal(part.after)
        found = (
            f"CASE WHEN instr({text}, {sign}) > 0 THEN substring({text}, instr({text}, {sign}) + length({sign})) END"
        )
    if part.before:
        sign = literal(part.before)
        before = f"CASE WHEN instr(t, {sign}) > 0 THEN substring(t, 1, instr(t, {sign}) - 1) END"
        found = f"transform(array({found}), t -> {before})[0]"
    return found


def _boolean(attribute: str, kind: Scalar) -> str:
    # Not a cast, to which `yes` and `1` are true as well.
    cases = [f"WHEN {attribute}.BOOL = '{word}' THEN {word}" for word in ("true", "false")]
    for word, written in (("true", kind.true), ("false", kind.false)):
        if written:
            cases.append(f"WHEN {attribute}.S IN ({', '.join(map(literal, written))}) THEN {word}")
        for token in written:
            if (number := parse_number(token)) is not None:
                scale = scale_of(number)
                same = f"{exact_decimal(f'{attribute}.N', 38, scale)} = CAST('{number:f}' AS DECIMAL(38,{scale}))"
                cases.append(f"WHEN {same} THEN {word}")
    return f"CASE {' '.join(cases)} END"


def _iso_timestamp(string: str, zone: str | None, *, truncates: bool) -> str:
    """A moment of ISO 8601 that Spark's cast reads in every version: all its parts there, and nothing finer.

    `2025-07-10 04:24+00` becomes `2025-07-10T04:24:00.00+00`. What most columns have goes to the cast as it stands.
    """
    iso = iso_rewrite(truncates=truncates)
    token = f"upper({string})"
    if zone is not None:
        token = f"regexp_replace({token}, {literal(WITHOUT_OFFSET)}, {literal('$1' + zone)})"
    parts = f"regexp_replace({token}, {literal(iso.pattern)}, {literal(iso.replacement)})"
    whole = f"regexp_replace({parts}, {literal(MISSING_NUMBER)}, '00')"
    return (
        f"CASE WHEN {string} RLIKE {literal(_TIMESTAMP)} THEN try_cast({string} AS TIMESTAMP) "
        f"WHEN {token} RLIKE {literal(iso.pattern)} THEN try_cast({whole} AS TIMESTAMP) END"
    )


def _representable_timestamp(moment: str) -> str:
    """NULL outside the years that every reader can show: `9999-12-31T23:00:00-05:00` lies in the year 10000."""
    first, end = (f"timestamp_seconds({second})" for second in (_FIRST_SECOND, _END_SECOND))
    # A list of one gives the expression a name, so that it stands in the plan once.
    return f"transform(array({moment}), v -> CASE WHEN v >= {first} AND v < {end} THEN v END)[0]"


def _representable_date(day: str) -> str:
    return f"transform(array({day}), v -> CASE WHEN v >= DATE'0001-01-01' THEN v END)[0]"


def exact_decimal(token: str, precision: int, scale: int) -> str:
    """SQL for the number token as decimal(precision, scale), NULL where that would round or overflow.

    A cast alone rounds: 1.55 becomes 1.6, and 1E-130 becomes 0. So the digits that the value really needs
    after the point are counted in the token: those written, less the exponent, less zeros at the end.
    """
    mantissa, exponent = _mantissa(token), _exponent(token)
    fraction = f"CASE WHEN {mantissa} LIKE '%.%' THEN length(substring_index({mantissa}, '.', -1)) ELSE 0 END"
    digits = f"translate({mantissa}, '+-.', '')"
    significant = f"trim(TRAILING '0' FROM {digits})"
    needed = f"{fraction} - {exponent} - (length({digits}) - length({significant}))"
    plain = literal(r"\A[+-]?[0-9]+" + (rf"(\.[0-9]{{1,{scale}}})?" if scale else "") + r"\z")
    return (
        f"CASE WHEN {token} RLIKE {plain} OR ({token} RLIKE {literal(_NUMBER)} AND ({significant} = '' OR {needed} <= "
        f"{scale})) THEN try_cast({token} AS DECIMAL({precision},{scale})) END"
    )


def _mantissa(token: str) -> str:
    return f"substring_index(upper({token}), 'E', 1)"


def _exponent(token: str) -> str:
    return (
        f"CASE WHEN upper({token}) LIKE '%E%' THEN try_cast(substring_index(upper({token}), 'E', -1) AS INT) ELSE 0 END"
    )


def _signs(token: str) -> str:
    return f"CASE WHEN {token} RLIKE '^[+-]' THEN 1 ELSE 0 END"


def _epoch_value(number: str, unit: str, *, truncates: bool) -> str:
    if unit == "d":
        days = f"try_cast({exact_decimal(number, 38, 0)} AS INT)"
        first, end = _FIRST_SECOND // 86_400, _END_SECOND // 86_400
        return f"CASE WHEN {days} >= {first} AND {days} < {end} THEN date_from_unix_date({days}) END"
    digits = {"s": 6, "ms": 3, "us": 0}[unit]
    if truncates:
        micros = f"try_cast({floor_of(number, digits)} AS BIGINT)"
        first, end = (second * 10**6 for second in (_FIRST_SECOND, _END_SECOND))
        return f"CASE WHEN {micros} >= {first} AND {micros} < {end} THEN timestamp_micros({micros}) END"
    exact = exact_decimal(number, 26 + 6 - digits, digits)
    first, end = (second * 10 ** (6 - digits) for second in (_FIRST_SECOND, _END_SECOND))
    micros = f"CAST(v * {10**digits} AS BIGINT)"
    return (
        f"transform(array({exact}), v -> CASE WHEN v >= {first} AND v < {end} THEN timestamp_micros({micros}) END)[0]"
    )


def floor_of(token: str, places: int) -> str:
    """SQL for the greatest whole number not above `token × 10^places`, NULL beyond 38 digits.

    In text, for a cast to decimal rounds what has more digits than it keeps: of `1720585472` with 28 nines after the
    point it makes the next second.
    """
    mantissa, exponent = _mantissa(token), _exponent(token)
    digits = f"translate({mantissa}, '+-.', '')"
    kept = f"(length(substring_index({mantissa}, '.', 1)) - {_signs(token)} + {exponent} + {places})"
    whole = f"CASE WHEN {kept} <= 0 THEN '0' ELSE rpad(substring({digits}, 1, {kept}), {kept}, '0') END"
    rest = f"substring({digits}, greatest({kept}, 0) + 1)"
    size = f"try_cast({whole} AS DECIMAL(38,0))"
    below = f"CASE WHEN translate({rest}, '0', '') = '' THEN 0 ELSE 1 END"
    return (
        f"CASE WHEN NOT {token} RLIKE {literal(_NUMBER)} OR {kept} > 60 THEN NULL "
        f"WHEN {token} LIKE '-%' THEN -{size} - {below} ELSE {size} END"
    )
