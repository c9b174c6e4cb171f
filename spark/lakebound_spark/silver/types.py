"""The types that a column of silver can have, read from their Spark SQL text."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Final

from lakebound.errors import Misconfigured
from lakebound.record.column_names import folded
from lakebound_spark.platform.sql_text import quoted

INTEGERS: Final = ("bigint", "int", "smallint", "tinyint")
ALLOWED: Final = (
    "string, boolean, tinyint, smallint, int, bigint, decimal(p,s), float, double, binary, date, timestamp, json, "
    "array<…>, map<string,…>, struct<name:…>"
)

_ALIASES: Final = {
    "long": "bigint",
    "integer": "int",
    "short": "smallint",
    "byte": "tinyint",
    "bool": "boolean",
    "real": "float",
    "dec": "decimal",
    "numeric": "decimal",
}
_PLAIN: Final = frozenset((*INTEGERS, "string", "boolean", "float", "double", "binary", "date", "timestamp", "json"))
_MAX_DEPTH: Final = 32
_WIDE: Final = Context(prec=10_000)


@dataclass(frozen=True, slots=True)
class TextPart:
    """The part of a text that is read: what stands between ``after`` and ``before``, or member ``number`` (from 1) of
    the text split at ``separator``. A text without these signs has no such part."""

    after: str = ""
    before: str = ""
    separator: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value. `json` is a string with the attribute as DynamoDB-JSON, whatever its type.

    ``unit`` (`s`, `ms`, `us` of a timestamp, `d` of a date) makes the attribute a number since 1970; ``pattern``
    is a date format; ``zone`` (`Z` or `±hh:mm`) is the offset of what is written without one. ``truncates`` cuts a
    timestamp's digits beyond microseconds off. ``true`` and ``false`` are what a boolean is read from besides a BOOL:
    an S of exactly that text, an N of that value. ``part`` of an S is read as if it were the attribute, an S or an N.
    """

    name: str
    precision: int = 0
    scale: int = 0
    unit: str | None = None
    pattern: str | None = None
    zone: str | None = None
    truncates: bool = False
    true: tuple[str, ...] = ()
    false: tuple[str, ...] = ()
    part: TextPart | None = None


@dataclass(frozen=True, slots=True)
class ArrayOf:
    """A list in its order, or a set in ascending order."""

    element: Type


@dataclass(frozen=True, slots=True)
class MapOf:
    """A map of any names to values of one type."""

    value: Type


@dataclass(frozen=True, slots=True)
class StructOf:
    """The named members of a map; others are left to `_item`."""

    fields: tuple[tuple[str, Type], ...]


Type = Scalar | ArrayOf | MapOf | StructOf


def type_text(kind: Type, json: str = "string") -> str:
    """The column's Spark SQL type; with ``json="json"`` the type as the configuration writes it."""
    match kind:
        case ArrayOf(inner):
            return f"array<{type_text(inner, json)}>"
        case MapOf(inner):
            return f"map<string,{type_text(inner, json)}>"
        case StructOf(fields):
            return f"struct<{','.join(f'{quoted(name)}:{type_text(inner, json)}' for name, inner in fields)}>"
        case Scalar("decimal"):
            return f"decimal({kind.precision},{kind.scale})"
        case Scalar():
            return json if kind.name == "json" else kind.name


NUMBER: Final = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,9})?"
"""What DynamoDB's documentation calls a number. Spark's casts take more: `NaN`, `1d`, blanks around it."""


def parse_number(token: str) -> Decimal | None:
    """The token's value, None for text that is no number."""
    return Decimal(token).normalize(_WIDE) if re.fullmatch(NUMBER, token) else None


def scale_of(number: Decimal) -> int:
    """How many digits after the point the number, as `parse_number` gives it, needs."""
    exponent = number.as_tuple().exponent
    return max(-exponent, 0) if isinstance(exponent, int) else 0


def field_names(kind: Type) -> list[str]:
    """The names of all struct fields, at every depth."""
    match kind:
        case ArrayOf(inner) | MapOf(inner):
            return field_names(inner)
        case StructOf(fields):
            return [name for field, inner in fields for name in (field, *field_names(inner))]
        case _:
            return []


def scalars(kind: Type) -> list[Scalar]:
    """The single values that the type is made of, at every depth."""
    match kind:
        case ArrayOf(inner) | MapOf(inner):
            return scalars(inner)
        case StructOf(fields):
            return [scalar for _, inner in fields for scalar in scalars(inner)]
        case Scalar():
            return [kind]


def map_scalars(kind: Type, changed: Callable[[Scalar], Scalar]) -> Type:
    """The type with each of its single values changed."""
    match kind:
        case ArrayOf(inner):
            return ArrayOf(map_scalars(inner, changed))
        case MapOf(inner):
            return MapOf(map_scalars(inner, changed))
        case StructOf(fields):
            return StructOf(tuple((name, map_scalars(inner, changed)) for name, inner in fields))
        case Scalar():
            return changed(kind)


def parse_type(text: str) -> Type:
    """The type behind its text. Raises Misconfigured with what is wrong, to be put behind the column's name."""
    reader = _Reader(text)
    kind = reader.type(0)
    if reader.rest.strip():
        raise Misconfigured(f"the type {text!r} goes on after its end: {reader.rest.strip()!r}")
    return kind


class _Reader:
    """Recursive descent over a type's text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.rest = text

    def type(self, depth: int) -> Type:
        if depth > _MAX_DEPTH:
            raise Misconfigured(f"the type is deeper than DynamoDB's {_MAX_DEPTH} levels")
        word = self._take(r"\s*([A-Za-z_]+)\s*")
        name = _ALIASES.get(word.lower(), word.lower())
        if name == "decimal":
            return self._decimal()
        if name in _PLAIN:
            return Scalar(name)
        if name == "array":
            self._expect("<")
            element = self.type(depth + 1)
            self._expect(">")
            return ArrayOf(element)
        if name == "map":
            self._expect("<")
            if self.type(depth + 1) != Scalar("string"):
                raise Misconfigured(f"the type {self.text!r} has a map whose names are no strings; write map<string,…>")
            self._expect(",")
            value = self.type(depth + 1)
            self._expect(">")
            return MapOf(value)
        if name == "struct":
            return self._struct(depth)
        raise Misconfigured(f"the type {self.text!r} is none of {ALLOWED}")

    def _decimal(self) -> Scalar:
        digits = re.match(r"\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)\s*", self.rest)
        if digits is None:
            return Scalar("decimal", 10, 0)
        self.rest = self.rest[digits.end() :]
        precision, scale = int(digits[1]), int(digits[2] or 0)
        if not (1 <= precision <= 38 and scale <= precision):
            raise Misconfigured(
                f"the type {self.text!r}: a decimal has 1 to 38 digits and no more after the point than in all"
            )
        return Scalar("decimal", precision, scale)

    def _struct(self, depth: int) -> StructOf:
        self._expect("<")
        fields: dict[str, tuple[str, Type]] = {}
        while True:
            name = self._take(r"\s*(`(?:[^`]|``)+`|[^`:<>,\s]+)\s*")
            name = name[1:-1].replace("``", "`") if name[0] == "`" else name
            self._expect(":")
            kind = self.type(depth + 1)
            if folded(name) in fields:
                raise Misconfigured(f"the type {self.text!r} has two members {name!r} to Spark, which ignores case")
            fields[folded(name)] = (name, kind)
            if self._take(r"\s*([,>])\s*") == ">":
                return StructOf(tuple(fields.values()))

    def _take(self, pattern: str) -> str:
        found = re.match(pattern, self.rest)
        if found is None:
            raise Misconfigured(f"the type {self.text!r} is not like any of {ALLOWED}")
        self.rest = self.rest[found.end() :]
        return found[1]

    def _expect(self, sign: str) -> None:
        self._take(rf"\s*({re.escape(sign)})\s*")
