"""The columns a person declares for the silver table: a path into the item, a type, and how to read it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lakebound.errors import Misconfigured
from lakebound.record.column_names import RESERVED_COLUMNS, folded, unusable, unusable_member
from lakebound_spark.silver.column_options import OPTIONS, PART_OPTIONS, apply_options, options_of
from lakebound_spark.silver.types import Type, field_names, parse_type, type_text

COLUMNS_PROPERTY: Final = "lakebound.columns"
"""Property of silver: each column's `description`, or that they come as attributes do (`columns: auto`)."""

_TEXTS: Final = ("type", "path", "name")
_SETTINGS: Final = (*_TEXTS, *OPTIONS)
_YAML: Final[Mapping[Any, str]] = {True: "true", False: "false"}
_AWKWARD: Final = re.compile(r"[ ,;{}()\n\t=]")


@dataclass(frozen=True, slots=True)
class DeclaredColumn:
    """One column of silver: its name, the path into the item, and its type."""

    name: str
    path: tuple[str, ...]
    type: Type

    @property
    def sql_type(self) -> str:
        """The type in Delta's words: ``Decimal(10)`` reads ``decimal(10,0)``."""
        return type_text(self.type)

    @property
    def needs_mapping(self) -> bool:
        """Whether Delta refuses one of its names unless the table maps columns by name."""
        return any(map(_AWKWARD.search, (self.name, *field_names(self.type))))

    @property
    def description(self) -> Any:
        """What the table's properties keep of it: two equal descriptions fill a column alike."""
        how: dict[str, Any] = {"type": type_text(self.type, json="json"), **options_of(self.type)}
        if _steps(self.name) != self.path:
            how["path"] = ".".join(step.replace(".", r"\.") for step in self.path)
        return how if len(how) > 1 else how["type"]


def require_columns(table: str, there: Iterable[str], columns: Iterable[DeclaredColumn]) -> None:
    """Raises Misconfigured where ``table`` has columns that this run's configuration, ``columns``, lacks.

    No start gets so far: another driver has declared them since. What is written without them is NULL in them, or keeps
    another image's values, and nothing would ever fill them. `_live` compares keys by such a column, too.
    """
    lacked = sorted(set(there).difference(column.name for column in columns))
    if lacked:
        raise Misconfigured(
            f"{table} has columns that this run's configuration lacks ({', '.join(lacked)}): another driver has "
            "declared them since this run began; start it again with the other's configuration"
        )


def parse_path(written: str) -> tuple[str, ...]:
    r"""``a.b`` is the attribute ``b`` of the map ``a``; ``a\.b`` is the one attribute ``a.b``."""
    steps = _steps(written)
    if not all(steps):
        raise Misconfigured(rf"columns: the path {written!r} has an empty name; write \. for a dot in a name")
    return steps


def _steps(written: str) -> tuple[str, ...]:
    return tuple(step.replace(r"\.", ".") for step in re.split(r"(?<!\\)\.", written))


def parse_columns(declared: Any) -> tuple[DeclaredColumn, ...]:
    """The columns of the configuration's `columns`, which is not `auto`. Raises Misconfigured."""
    if declared is None:
        return ()
    if not isinstance(declared, dict):
        raise Misconfigured("columns must be lines of `attribute: type`, or the word auto")
    columns = []
    for written, how in declared.items():
        if not isinstance(written, str) or not isinstance(how, str | dict):
            # YAML reads an unquoted `on`, `no` or `12` as a boolean or a number.
            raise Misconfigured(f"columns: put quotes around {written!r} and its type, both must be text")
        columns.append(parse_column(written, how))
    _check_names(columns)
    return tuple(columns)


def _check_names(columns: Iterable[DeclaredColumn]) -> None:
    names: dict[str, str] = {folded(name): name for name in RESERVED_COLUMNS}
    for column in columns:
        other = names.get(folded(column.name))
        if other in RESERVED_COLUMNS:
            raise Misconfigured(
                f"columns: {column.name!r} is a name that silver or Delta's change feed uses itself; "
                "give the column another with `name:`"
            )
        if other is not None:
            raise Misconfigured(
                f"columns: {column.name!r} and {other!r} are one column name to Spark, which ignores case; "
                "give one of them another with `name:`"
            )
        names[folded(column.name)] = column.name
        if reason := unusable(column.name):
            raise Misconfigured(f"columns: {column.name[:60]!r} {reason}; give the column another with `name:`")
        for name in field_names(column.type):
            if reason := unusable_member(name):
                raise Misconfigured(
                    f"columns: {column.name!r} has a member {name[:60]!r} that {reason}; declare what it holds as a "
                    "column of its own, by its path and with another `name:`, or the whole as json"
                )


def parse_column(written: str, how: str | Mapping[str, Any]) -> DeclaredColumn:
    """The column for one line of ``columns`` in the configuration. Raises Misconfigured.

    | line                                         | column      | reads                              |
    |----------------------------------------------|-------------|------------------------------------|
    | `a.b: int`                                   | `a.b`       | `b` of the map `a`                 |
    | `a.b: {type: int, name: b}`                  | `b`         | the same                           |
    | `day: {path: at, type: date, unit: d}`       | `day`       | `at`, days since 1970              |
    | `at: {type: timestamp, format: yyyyMMdd, …}` | `at`        | `at`, text of that format          |
    | `paid: {type: boolean, true: ["Y"]}`         | `paid`      | `paid`, a BOOL or the text `Y`     |
    | `user: {path: pk, after: "USER#"}`           | `user`      | of `pk` what follows `USER#`       |
    """
    # YAML reads the unquoted words `true` and `false` as booleans.
    settings = {"type": how} if isinstance(how, str) else {_YAML.get(name, name): how[name] for name in how}
    if any(name in settings for name in PART_OPTIONS):
        settings = {"type": "string", **settings}
    where = f"columns: {written!r}"
    unknown = [str(name) for name in settings if name not in _SETTINGS]
    if unknown:
        raise Misconfigured(f"{where} has the unknown setting {', '.join(unknown)}; known are {', '.join(_SETTINGS)}")
    wrong = [n for n in _TEXTS if n in settings and not (isinstance(settings[n], str) and settings[n])]
    if wrong or "type" not in settings:
        raise Misconfigured(f"{where}: {wrong[0]} must be text" if wrong else f"{where} has no type")
    if "path" in settings and "name" in settings:
        raise Misconfigured(f"{where} has both path and name; with either, the line's own text is the other")
    path = parse_path(settings.get("path", written))
    name = settings.get("name", written)
    try:
        kind = apply_options(parse_type(settings["type"]), settings)
    except Misconfigured as error:
        raise Misconfigured(f"{where}: {error}") from None
    return DeclaredColumn(name, path, kind)
