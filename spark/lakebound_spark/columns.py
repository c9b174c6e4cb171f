"""The columns a person declares for the silver table: a path into the item and a scalar Spark SQL type."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lakebound_spark.errors import Misconfigured

_ALIASES = {"long": "bigint", "integer": "int", "short": "smallint", "byte": "tinyint", "bool": "boolean"}
_PLAIN_TYPES = frozenset(
    ("string", "bigint", "int", "smallint", "tinyint", "double", "boolean", "binary", "date", "timestamp")
)
_DECIMAL = re.compile(r"(?:decimal|numeric|dec)(?:\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\))?")
_ALLOWED = "string, bigint, int, smallint, tinyint, decimal(p,s), double, boolean, binary, date, timestamp"


@dataclass(frozen=True, slots=True)
class DeclaredColumn:
    """One column of silver: its name (the path as written), the path into the item, and its type.

    ``sql_type`` is normalised, so ``Decimal(10)`` reads ``decimal(10,0)``. ``precision`` and ``scale`` are
    set for decimals only.
    """

    name: str
    path: tuple[str, ...]
    sql_type: str
    precision: int = 0
    scale: int = 0


def parse_path(written: str) -> tuple[str, ...]:
    r"""``a.b`` is the attribute ``b`` of the map ``a``; ``a\.b`` is the one attribute ``a.b``."""
    steps = tuple(step.replace(r"\.", ".") for step in re.split(r"(?<!\\)\.", written))
    if not all(steps):
        raise Misconfigured(rf"columns: the path {written!r} has an empty name; write \. for a dot in a name")
    return steps


def parse_column(written: str, declared_type: str) -> DeclaredColumn:
    """The column for one line of ``columns`` in the configuration. Raises Misconfigured."""
    path = parse_path(written)
    name = declared_type.strip().lower()
    name = _ALIASES.get(name, name)
    if name in _PLAIN_TYPES:
        return DeclaredColumn(written, path, name)
    decimal = _DECIMAL.fullmatch(name)
    if decimal is None:
        raise Misconfigured(
            f"columns: {written!r} has the type {declared_type!r}, which cannot be cast exactly yet; "
            f"use one of {_ALLOWED}"
        )
    precision = int(decimal[1] or 10)
    scale = int(decimal[2] or 0)
    if not (1 <= precision <= 38 and scale <= precision):
        raise Misconfigured(
            f"columns: {written!r} has the type {declared_type!r}; a decimal has 1 to 38 digits and no more "
            "after the point than in all"
        )
    return DeclaredColumn(written, path, f"decimal({precision},{scale})", precision, scale)
