"""Moments in an item's texts, as ISO 8601: one pattern for the merge job and for `config infer`.

Java and Python read the pattern alike. It takes the calendar date with the time of day, in the extended form
(`2025-07-10T04:24:32.5Z`) and the basic one (`20250710T042432Z`), as far as the hour, the minute, the second or any
fraction of it. A space may stand for the `T` (RFC 3339, 5.6). Week dates and ordinal dates are not taken.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

MOMENT: Final = (
    r"([0-9]{4})(-?)([0-9]{2})\2([0-9]{2})[T ]"
    r"([0-9]{2})(?:(:?)([0-9]{2})(?:\6([0-9]{2})(?:[.,]([0-9]{1,6})FINER)?)?)?"
    r"(Z|[+-][0-9]{2}(?::?[0-9]{2})?)"
)
"""Groups: 1 year, 3 month, 4 day, 5 hour, 7 minute, 8 second, 9 microseconds, 10 offset; in capitals.

``FINER`` stands for what may follow the microseconds: `0*` where only zeros may, `[0-9]*` where the rest is cut off.
"""

_SEEN: Final = re.compile(MOMENT.replace("FINER", "([0-9]*)") + "?")
_WIDEST_OFFSET: Final = 18 * 60


@dataclass(frozen=True, slots=True)
class MomentForm:
    """How a moment is written: whether with an offset, and whether it needs more than microseconds."""

    has_offset: bool
    is_finer: bool


def moment_form(text: str) -> MomentForm | None:
    """How the text writes a moment; None for a text that is no moment, such as the 30th of February."""
    found = _SEEN.fullmatch(text.upper()) if text.isascii() else None
    if found is None:
        return None
    year, _, month, day, hour, _, minute, second, _, finer, offset = found.groups()
    try:
        zone = timezone(timedelta(minutes=offset_minutes(offset or "Z")))
        at = [int(part or 0) for part in (year, month, day, hour, minute, second)]
        datetime(at[0], at[1], at[2], at[3], at[4], at[5], tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return MomentForm(offset is not None, bool((finer or "").strip("0")))


def offset_minutes(offset: str) -> int:
    """Minutes east of UTC. Raises ValueError beyond 18 hours, which is as far as Java's offsets reach."""
    if offset == "Z":
        return 0
    digits = offset[1:].replace(":", "")
    hours, minutes = int(digits[:2]), int(digits[2:] or 0)
    total = 60 * hours + minutes
    if minutes > 59 or total > _WIDEST_OFFSET:
        raise ValueError(f"{offset} is beyond 18 hours")
    return -total if offset[0] == "-" else total
