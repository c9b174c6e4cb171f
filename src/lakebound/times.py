"""Moments: UTC in milliseconds since the epoch, and every text that stands for one or for an interval."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

MAX_TIME_MS: Final = 253_402_300_799_999
"""9999-12-31T23:59:59.999Z: the last time that a four-digit year can name."""

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class TimeRange:
    """From one moment to another. Whether the end is part of it, who takes one says."""

    from_ms: int
    to_ms: int

    def widened(self, ms: int) -> TimeRange:
        """The range with so many milliseconds more on either side."""
        return TimeRange(self.from_ms - ms, self.to_ms + ms)


def utc(ms: int) -> datetime:
    """The moment as an aware datetime, exact to the millisecond. Raises OverflowError outside the years 1 to 9999."""
    return _EPOCH + timedelta(milliseconds=ms)


def epoch_ms(moment: datetime) -> int:
    """Milliseconds of an aware datetime; what is finer is cut off."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def iso(ms: int) -> str:
    """`2026-11-01T00:00:00Z`, cut to the second."""
    return f"{utc(ms):%Y-%m-%dT%H:%M:%SZ}"


def iso_millis(ms: int) -> str:
    """`2026-11-01T00:00:00.123Z`."""
    return f"{utc(ms):%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"


def parse_iso(text: str) -> int:
    """Milliseconds of an ISO 8601 time; UTC where it names no zone. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return epoch_ms(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def format_time(ms: int) -> str:
    """`20261124T030534123Z`, as it stands in object keys: such texts sort as their times do."""
    return f"{utc(ms):%Y%m%dT%H%M%S}{ms % 1000:03d}Z"


def parse_time(text: str) -> int:
    """Milliseconds of `format_time`'s text. Raises ValueError."""
    moment = datetime.strptime(text[:15], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    return epoch_ms(moment) + int(text[15:18])


def interval_seconds(text: str) -> int | None:
    """The seconds of `30s`, `10m`, `2h` or `1d`, 0 for `0`; None for any other text, also for `0s`."""
    if text == "0":
        return 0
    found = re.fullmatch(r"(\d+)([smhd])", text)
    return (int(found[1]) * _UNITS[found[2]] or None) if found else None
