"""A share of all keys that both sides choose alike without a list, another share each day."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from hashlib import md5
from typing import Final

from lakebound.errors import Misconfigured
from lakebound.times import iso

_RANGE: Final = 2**32
MAX_SHARES: Final = 1_000_000
"""DynamoDB's largest TotalSegments."""


@dataclass(frozen=True, slots=True)
class Stratum:
    """One of `of` shares: the keys whose MD5, read as a number, lies in the `number`-th of `of` equal ranges.

    MD5 since Spark and DataFusion have it as a function of SQL; both compare its hexadecimal text with `bounds`.
    """

    number: int
    of: int

    @staticmethod
    def on(day: date, of: int) -> Stratum:
        """The share of that day. Each of `of` days on end has another, so together they are all keys."""
        return Stratum(day.toordinal() % of, of)

    @property
    def bounds(self) -> tuple[str, str]:
        """The least text of the range, and the least one above it; `g` is above all. Both sort as hexadecimal does."""
        low, high = (-(-number * _RANGE // self.of) for number in (self.number, self.number + 1))
        return f"{low:08x}", "g" if high == _RANGE else f"{high:08x}"

    def holds(self, key: str) -> bool:
        """Whether the key is one of this share."""
        low, high = self.bounds
        return low <= md5(key.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest() < high

    def __str__(self) -> str:
        return f"share {self.number + 1:,} of {self.of:,}"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which of the lake's keys are compared: those of a share, or those that changed since a moment."""

    stratum: Stratum | None = None
    since_ms: int | None = None

    def __str__(self) -> str:
        if self.since_ms is not None:
            return f"keys of the lake that changed since {iso(self.since_ms)}"
        return "every key" if self.stratum is None else str(self.stratum)


def parse_share(text: str) -> int:
    """How many shares make up the whole: 30 of `1/30`, 1,000 of `0.1%`, 33 of `3%`.

    Raises Misconfigured for a share above a half, under a millionth, and for what is none.
    """
    shares = 0
    if found := re.fullmatch(r"1/(\d{1,9})", text.replace(" ", "")):
        shares = int(found[1])
    elif found := re.fullmatch(r"(\d{1,2}(?:\.\d{1,6})?)%", text.replace(" ", "")):
        percent = float(found[1])
        shares = round(100 / percent) if percent else 0
    if not 2 <= shares <= MAX_SHARES:
        raise Misconfigured(
            f"{text} is no share of the keys", hint="Write 1/30, so that 30 days cover all, or a percentage: 0.1%"
        )
    return shares
