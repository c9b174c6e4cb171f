"""A mapping of a YAML file, read key by key: every error names the entry, the section and the key."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lakebound.errors import Misconfigured
from lakebound.times import interval_seconds
from lakebound_spark.lake.schedule import Daily, Every


@dataclass(frozen=True, slots=True)
class Section:
    """The settings at a ``place`` (`entry 2 (lake.cars), bronze`); each method raises Misconfigured."""

    place: str
    values: Mapping[str, Any]

    @classmethod
    def of(cls, place: str, document: Any, known: Sequence[str]) -> Section:
        """The section that is written as ``document``, of which no other key may be set."""
        if not isinstance(document, dict):
            raise Misconfigured(f"{place}: needs settings, of {', '.join(known)}")
        unknown = [str(name) for name in document if name not in known]
        if unknown:
            raise Misconfigured(f"{place}: unknown setting {', '.join(unknown)}; known are {', '.join(known)}")
        return cls(place, document)

    def wrong(self, key: str, what: str) -> Misconfigured:
        """An error about a key."""
        return Misconfigured(f"{self.place}: {key} {what}")

    def part(self, key: str, known: Sequence[str]) -> Section | None:
        """A section inside, an empty one where nothing is written; None for `off`."""
        value = self.values.get(key)
        if value is False:
            return None
        return Section.of(f"{self.place}, {key}", {} if value in (None, True) else value, known)

    def required(self, key: str, meaning: str) -> str:
        """A text that has no default; ``meaning`` tells what it has to be."""
        value = self.text(key)
        if not value:
            raise self.wrong(key, f"is missing; give {meaning}")
        return value

    def text(self, key: str, default: str = "") -> str:
        """A text."""
        value = self.values.get(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, f"{value!r} is no text; write it in quotes")
        return value

    def number(self, key: str, default: int, least: int = 1) -> int:
        """A whole number."""
        value = self.values.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise self.wrong(key, f"{value!r} is no whole number from {least} on")
        return value

    def flag(self, key: str) -> bool:
        """True or false, which is the default."""
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            raise self.wrong(key, f"{value!r} is neither true nor false")
        return value

    def choice(self, key: str, known: Sequence[str], default: str) -> str:
        """One of these words."""
        value = self.text(key, default)
        if value not in known:
            raise self.wrong(key, f"{value} is not known; use {', '.join(known)}")
        return value

    def timing(self, default: Every | Daily) -> Every | Daily:
        """What `every` or `at` says, whichever is a setting of this section."""
        if isinstance(default, Every):
            return Every(self.interval("every", default.seconds))
        return Daily(self._minute("at", default.minute))

    def interval(self, key: str, default: int, *, least: int = 1) -> int:
        """Seconds of `30s`, `5m`, `2h` or `1d`, or of 0 where ``least`` lets it."""
        value = self.values.get(key)
        if value is None:
            return default
        seconds = interval_seconds(str(value))
        if seconds is None or seconds < least:
            raise self.wrong(key, f"{value} is no interval; write 30s, 5m, 2h or 1d{' or 0' if not least else ''}")
        return seconds

    def _minute(self, key: str, default: int) -> int:
        value = self.values.get(key)
        if value is None:
            return default
        found = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", value) if isinstance(value, str) else None
        if found is None:
            # YAML takes 13:00 without quotes for a number of base sixty.
            meant = f"{value // 60:02d}:{value % 60:02d}" if type(value) is int and 0 <= value < 1440 else "03:00"
            raise self.wrong(key, f'{value} is no time of the day; write it in quotes, "{meant}" (UTC)')
        return int(found[1]) * 60 + int(found[2])
