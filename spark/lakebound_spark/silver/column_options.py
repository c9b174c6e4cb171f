"""How a column reads what it is given: `unit`, `format`, `zone`, `fraction`, `true`, `false`, and parts of a text.

All but the parts reach into arrays, maps and structs: `{type: array<timestamp>, zone: Z}` reads each member so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from lakebound.errors import Misconfigured
from lakebound_spark.silver.time_formats import check_zone, compile_format
from lakebound_spark.silver.types import Scalar, TextPart, Type, map_scalars, parse_number, scalars, scale_of

_TIME_OPTIONS: Final = ("unit", "format", "zone", "fraction")
_BOOLEAN_OPTIONS: Final = ("true", "false")
PART_OPTIONS: Final = ("after", "before", "split", "part")
OPTIONS: Final = (*_TIME_OPTIONS, *_BOOLEAN_OPTIONS, *PART_OPTIONS)

_UNITS: Final = {"timestamp": ("s", "ms", "us"), "date": ("d",)}
_FINER_THAN_MICROS: Final = "S" * 7


def apply_options(kind: Type, settings: Mapping[str, Any]) -> Type:
    """The type with the options among ``settings`` put into it. Raises Misconfigured for those that do not belong."""
    given = {name: settings[name] for name in OPTIONS if name in settings}
    if not given:
        return kind
    names = {scalar.name for scalar in scalars(kind)}
    times = names & set(_UNITS)
    if set(given) & set(_TIME_OPTIONS) and not times:
        raise Misconfigured("unit, format, zone and fraction belong to the types timestamp and date only")
    if set(given) & set(_BOOLEAN_OPTIONS) and "boolean" not in names:
        raise Misconfigured("true and false belong to the type boolean only")
    if len(times) > 1:
        raise Misconfigured("the type has timestamps and dates, which are read in two ways; declare one by its path")
    kind = _with_part(kind, given)
    as_boolean = _boolean(given)
    as_time = _time(next(iter(times)), given) if times else Scalar("timestamp")

    def changed(scalar: Scalar) -> Scalar:
        if scalar.name == "boolean":
            return replace(scalar, true=as_boolean.true, false=as_boolean.false)
        return replace(as_time, part=scalar.part) if scalar.name in times else scalar

    return map_scalars(kind, changed)


def options_of(kind: Type) -> dict[str, Any]:
    """The options that the type was given, as `apply_options` takes them. A member's are the whole type's."""
    found: dict[str, Any] = {}
    for scalar in scalars(kind):
        options = {
            "unit": scalar.unit,
            "format": scalar.pattern,
            "zone": scalar.zone,
            "fraction": "truncate" if scalar.truncates else None,
            "true": list(scalar.true) or None,
            "false": list(scalar.false) or None,
            **_part_options(scalar.part),
        }
        found |= {name: value for name, value in options.items() if value is not None}
    return found


def _with_part(kind: Type, given: Mapping[str, Any]) -> Type:
    asked = {name: given[name] for name in PART_OPTIONS if name in given}
    if not asked:
        return kind
    if not isinstance(kind, Scalar) or kind.name in ("binary", "json"):
        raise Misconfigured("after, before and split take one value out of a text; the type cannot hold it")
    texts = {name: value for name, value in asked.items() if name != "part"}
    wrong = [name for name, value in texts.items() if not isinstance(value, str) or not value]
    if wrong:
        raise Misconfigured(f"{wrong[0]} must be text; put quotes around it")
    if ("split" in asked) != ("part" in asked) or ("split" in asked and len(asked) > 2):
        raise Misconfigured('split and part go together, and alone: {split: "#", part: 2} is what the second # ends')
    number = asked.get("part", 0)
    if "part" in asked and (not isinstance(number, int) or isinstance(number, bool) or number < 1):
        raise Misconfigured("part must be a whole number from 1 on")
    part = TextPart(asked.get("after", ""), asked.get("before", ""), asked.get("split", ""), number)
    return replace(kind, part=part)


def _part_options(part: TextPart | None) -> dict[str, Any]:
    if part is None:
        return {}
    settings = {"after": part.after, "before": part.before, "split": part.separator, "part": part.number}
    return {name: value or None for name, value in settings.items()}


def _time(name: str, given: Mapping[str, Any]) -> Scalar:
    wrong = [option for option in _TIME_OPTIONS if option in given and not _is_text(given[option])]
    if wrong:
        # YAML reads an unquoted `+10:00` as a number of minutes.
        raise Misconfigured(f"{wrong[0]} must be text; put quotes around it")
    unit, pattern, zone, fraction = (given.get(option) for option in _TIME_OPTIONS)
    truncates = fraction is not None
    if truncates and (fraction != "truncate" or name != "timestamp"):
        raise Misconfigured("fraction can be truncate, of a timestamp: what is beyond microseconds is cut off")
    if unit is not None:
        if pattern is not None or zone is not None:
            raise Misconfigured("a unit stands alone: the attribute is then a number since 1970")
        if unit not in _UNITS[name]:
            raise Misconfigured(f"the unit {unit!r} of a {name} must be one of {', '.join(_UNITS[name])}")
        return Scalar(name, unit=unit, truncates=truncates)
    if pattern is not None:
        compile_format(pattern, zone, is_date=name == "date")
        if truncates and _FINER_THAN_MICROS not in pattern:
            raise Misconfigured(f"the format {pattern!r} has no digits beyond microseconds that fraction could cut off")
    elif zone is not None:
        if name == "date":
            raise Misconfigured("zone belongs to a timestamp; a date has none")
        check_zone(zone)
    return Scalar(name, pattern=pattern, zone=zone, truncates=truncates)


def _boolean(given: Mapping[str, Any]) -> Scalar:
    true, false = (_words(name, given[name]) if name in given else () for name in _BOOLEAN_OPTIONS)
    for one in true:
        for other in false:
            if _is_same_value(one, other):
                raise Misconfigured(f"{one!r} is in both lists, true and false; take it out of one")
    return Scalar("boolean", true=true, false=false)


def _is_same_value(one: str, other: str) -> bool:
    number = parse_number(one)
    return one == other or (number is not None and number == parse_number(other))


def _words(name: str, listed: Any) -> tuple[str, ...]:
    if not isinstance(listed, list) or not listed:
        raise Misconfigured(f'{name} must be a list of what is {name}, such as ["1", "Y"]')
    return tuple(dict.fromkeys(_word(name, entry) for entry in listed))


def _word(name: str, entry: Any) -> str:
    # YAML reads an unquoted `yes` or `on` as true, and of a text with a dot it makes a binary fraction.
    if type(entry) is int:
        entry = str(entry)
    if not isinstance(entry, str):
        raise Misconfigured(f"{name}: put quotes around {entry!r}, each entry must be text or a whole number")
    number = parse_number(entry)
    if number is not None and not _is_comparable(number):
        raise Misconfigured(f"{name}: the number {entry[:50]} has more than 38 digits, with those after its point")
    return entry


def _is_comparable(number: Decimal) -> bool:
    return scale_of(number) <= 38 and number.adjusted() + 1 + scale_of(number) <= 38


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(re.search(r"\S", value))
