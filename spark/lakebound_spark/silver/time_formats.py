"""Date formats such as `yyyy-MM-dd'T'HH:mm:ssX`, read strictly and alike in every version of Spark.

Spark's own `to_timestamp` depends on the session's time zone and, in 3.5, on a policy that can stop the stream over
one bad value. Here a format becomes a regular expression, and what it finds is put together as ISO text, which every
version casts the same way: to the one moment it means, or to NULL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from lakebound.errors import Misconfigured
from lakebound.record.moments import MOMENT, offset_minutes

_FIELDS: Final = {
    "yyyy": ("year", r"([0-9]{4})"),
    "MM": ("month", r"([0-9]{2})"),
    "M": ("month", r"([0-9]{1,2})"),
    "dd": ("day", r"([0-9]{2})"),
    "d": ("day", r"([0-9]{1,2})"),
    "HH": ("hour", r"([0-9]{2})"),
    "H": ("hour", r"([0-9]{1,2})"),
    "mm": ("minute", r"([0-9]{2})"),
    "ss": ("second", r"([0-9]{2})"),
    "X": ("offset", r"(Z|[+-][0-9]{2})"),
    "XX": ("offset", r"(Z|[+-][0-9]{4})"),
    "XXX": ("offset", r"(Z|[+-][0-9]{2}:[0-9]{2})"),
}
_TOKEN: Final = re.compile(r"'(?P<text>(?:[^']|'')*)'|(?P<letters>([A-Za-z])\3*)|(?P<sign>[^A-Za-z'])", re.DOTALL)
_KNOWN: Final = "yyyy, MM or M, dd or d, HH or H, mm, ss, S to SSSSSSSSS, X, XX or XXX, and text in single quotes"


@dataclass(frozen=True, slots=True)
class IsoRewrite:
    """How to read a format: a text that ``pattern`` finds becomes ISO by ``replacement`` (Java's `$1` groups)."""

    pattern: str
    replacement: str


def iso_rewrite(*, truncates: bool) -> IsoRewrite:
    """How to read an ISO 8601 moment with an offset, in capitals; what it lacks stays empty: `2025-07-10T04::.Z`.

    `filled` puts zeros there.
    """
    return IsoRewrite(rf"\A{MOMENT.replace('FINER', '[0-9]*' if truncates else '0*')}\z", "$1-$3-$4T$5:$7:$8.$9$10")


MISSING_NUMBER: Final = r"(?<=[:.])(?=[:.Z+-])"
"""The places of a moment's text where a number is missing."""

WITHOUT_OFFSET: Final = r"([T ][0-9:.,]+)\z"
"""The end of an ISO 8601 moment that has no offset."""


def compile_format(written: str, zone: str | None, *, is_date: bool, truncates: bool = False) -> IsoRewrite:
    """The regular expression of a format. Raises Misconfigured for one that could be read in two ways.

    `yyyy-MM-dd'T'HH:mm:ssX` gives `\\A([0-9]{4})\\-([0-9]{2})…\\z` and `$1-$2-$3T$4:$5:$6$7`.
    """
    pattern, groups, position = "", dict[str, int](), 0
    for token in _TOKEN.finditer(written):
        if token.start() != position:
            break
        position = token.end()
        if token["letters"] is None:
            # Two quotes are one, inside a text and alone.
            text = token["sign"] if token["text"] is None else token["text"].replace("''", "'") or "'"
            pattern += re.escape(text)
            continue
        name, expression = _field(token["letters"], truncates=truncates)
        if name in groups:
            raise Misconfigured(f"the format {written!r} has its {name} twice")
        groups[name] = len(groups) + 1
        pattern += expression
    if position != len(written):
        raise Misconfigured(f"the format {written!r} has a quote that does not end")
    _check_fields(written, groups, zone, is_date=is_date)
    day = "-".join(f"${groups[name]}" for name in ("year", "month", "day"))
    if is_date:
        return IsoRewrite(rf"\A{pattern}\z", day)
    hour, minute, second = (f"${groups[name]}" if name in groups else "00" for name in ("hour", "minute", "second"))
    fraction = f".${groups['fraction']}" if "fraction" in groups else ""
    offset = f"${groups['offset']}" if "offset" in groups else zone
    return IsoRewrite(rf"\A{pattern}\z", f"{day}T{hour}:{minute}:{second}{fraction}{offset}")


def _field(letters: str, *, truncates: bool) -> tuple[str, str]:
    if letters[0] == "S" and len(letters) <= 9:
        finer = len(letters) - 6
        if finer <= 0:
            return "fraction", f"([0-9]{{{len(letters)}}})"
        return "fraction", f"([0-9]{{6}}){'[0-9]' if truncates else '0'}{{{finer}}}"
    if letters not in _FIELDS:
        raise Misconfigured(f"{letters!r} in a format is not known; known are {_KNOWN}")
    return _FIELDS[letters]


def _check_fields(written: str, groups: dict[str, int], zone: str | None, *, is_date: bool) -> None:
    missing = [name for name in ("year", "month", "day") if name not in groups]
    if missing:
        raise Misconfigured(f"the format {written!r} has no {missing[0]}")
    needs = (("minute", "hour"), ("second", "minute"), ("fraction", "second"))
    for name, before in needs:
        if name in groups and before not in groups:
            raise Misconfigured(f"the format {written!r} has a {name} without {before}")
    if is_date and (zone is not None or set(groups) - {"year", "month", "day"}):
        raise Misconfigured(f"the format {written!r} of a date has a time or a zone; use the type timestamp")
    if is_date:
        return
    if zone is not None:
        check_zone(zone)
    if ("offset" in groups) == (zone is not None):
        raise Misconfigured(
            f"the format {written!r} has an offset of its own, so it takes no zone"
            if zone is not None
            else f"the format {written!r} has no offset (X), so it would mean another moment in another "
            "session; say which with zone: Z or zone: +01:00"
        )


def check_zone(zone: str) -> None:
    """Raises Misconfigured unless the zone is one offset, the same on every day of the year."""
    try:
        if re.fullmatch(r"Z|[+-][0-9]{2}:[0-9]{2}", zone):
            offset_minutes(zone)
            return
    except ValueError:
        pass
    raise Misconfigured(f"the zone {zone!r} must be Z or an offset such as +01:00, at most 18:00")
