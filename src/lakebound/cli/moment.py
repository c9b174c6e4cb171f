"""A moment on the command line."""

from __future__ import annotations

import time
from dataclasses import dataclass

import typer

from lakebound.times import interval_seconds, parse_iso


@dataclass(frozen=True, slots=True)
class Moment:
    """A time in milliseconds, UTC."""

    ms: int

    @staticmethod
    def parse(text: str) -> Moment:
        """ISO 8601, UTC unless it says otherwise, or so long ago: `30m`. Raises BadParameter, a usage error."""
        if seconds := interval_seconds(text):
            return Moment(max(0, time.time_ns() // 1_000_000 - seconds * 1000))
        try:
            return Moment(parse_iso(text))
        except ValueError:
            raise typer.BadParameter(
                f"{text} is neither a time like 2026-11-24T03:00:00Z nor so long ago, like 30m, 2h or 1d"
            ) from None
