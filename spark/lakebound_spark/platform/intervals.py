"""Intervals as options and settings write them: `30s`, `10m`, `2h`, `1d`."""

from __future__ import annotations

import re
from typing import Final

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def interval_seconds(text: str) -> int | None:
    """The seconds of an interval, 0 for `0`; None for any other text, also for `0s`."""
    if text == "0":
        return 0
    found = re.fullmatch(r"(\d+)([smhd])", text)
    return (int(found[1]) * _UNITS[found[2]] or None) if found else None
