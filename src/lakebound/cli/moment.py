"""A moment on the command line."""

from __future__ import annotations

from dataclasses import dataclass

import typer

from lakebound.times import parse_iso


@dataclass(frozen=True, slots=True)
class Moment:
    """A time in milliseconds, UTC."""

    ms: int

    @staticmethod
    def parse(text: str) -> Moment:
        """ISO 8601, UTC unless it says otherwise. Raises BadParameter, which is a usage error."""
        try:
            return Moment(parse_iso(text))
        except ValueError:
            raise typer.BadParameter(f"{text} is not a time like 2026-11-24T03:00:00Z") from None
