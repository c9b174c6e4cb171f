"""What a `verify` reads of the source, in read units and dollars, before it reads anything."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final

from lakebound import prices
from lakebound.counts import count_text
from lakebound.operate.sample import Selection

_UNIT_BYTES: Final = 4_096
"""A strongly consistent read unit. A scan rounds up once a page, a read by key once an item."""
SPILL_BYTES: Final = 75
"""On the disk, for a key of 50 characters on one side."""


@dataclass(frozen=True, slots=True)
class ReadCost:
    """Read units of the two ways in which a run reads the source, and the keys of each."""

    scanned: int
    scan_units: int
    looked_up: int
    look_up_units: int

    @property
    def dollars(self) -> float:
        """On demand. A table with provisioned capacity pays nothing more, but shares these units with its users."""
        return (self.scan_units + self.look_up_units) * prices.ON_DEMAND_READ_UNIT

    @property
    def spill_bytes(self) -> int:
        """About how much disk both sides need."""
        return (self.scanned + self.looked_up) * 2 * SPILL_BYTES


def read_cost(items: int, table_bytes: int, selection: Selection, changed: int = 0) -> ReadCost:
    """The cost of a run over a table of that many items and bytes, as DynamoDB counts them every six hours.

    ``changed`` is how many keys of the lake changed since the selection's moment, where it has one. What differs is
    read again, which is not counted.
    """
    each = max(1, ceil(table_bytes / items / _UNIT_BYTES)) if items else 1
    if selection.since_ms is not None:
        return ReadCost(0, 0, changed, changed * each)
    shares = selection.stratum.of if selection.stratum else 1
    scanned, units = ceil(items / shares), ceil(table_bytes / shares / _UNIT_BYTES)
    if selection.stratum is None:
        return ReadCost(scanned, units, 0, 0)
    return ReadCost(scanned, units, scanned, scanned * each)


def cost_lines(cost: ReadCost) -> list[str]:
    """For a person."""
    lines = []
    if cost.scan_units:
        lines.append(f"would scan about {count_text(cost.scanned, 'item')}: {count_text(cost.scan_units, 'read unit')}")
    if cost.looked_up:
        lines.append(
            f"would look up about {count_text(cost.looked_up, 'key')} of the lake: "
            f"{count_text(cost.look_up_units, 'read unit')}"
        )
    return [
        *lines,
        f"${cost.dollars:,.2f} on demand ({prices.REGION}, prices of {prices.AS_OF}), and one unit or more for each "
        "key that differs and is read again",
        f"about {cost.spill_bytes / 1e6:,.0f} MB of disk while it runs",
    ]
