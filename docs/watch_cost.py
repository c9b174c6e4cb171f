"""What the parameter Watch costs, for one table and for fifty: the table of docs/COST.md."""

from __future__ import annotations

from typing import Final

from lakebound.operate.cost import WATCHES, Bill, Workload, dollars, estimate, of_tables

_FLEET: Final = 50
_PARTS: Final = (
    "alarms",
    "composite alarms",
    "dashboards",
    "stream checks and backfills",
    "custom metrics",
)


def table() -> str:
    """Markdown: dollars a month of each part that a stack without a write pays for, and of a written one's metrics."""
    idle = {watch: estimate(Workload(0, 1, watch=watch)) for watch in WATCHES}
    heads = [f"{watch}, {count} table{'s' if count > 1 else ''}" for count in (1, _FLEET) for watch in WATCHES]
    rows = [_row(part, idle, part) for part in _PARTS]
    rows.append(_row("together, a table without writes", idle))
    written = {watch: estimate(Workload(1, 1, watch=watch)) for watch in WATCHES}
    rows.append(_row("custom metrics of a table that is written in every hour", written, "custom metrics"))
    return "\n".join([f"| a month | {' | '.join(heads)} |", "|---" + "|---:" * len(heads) + "|", *rows])


def _row(name: str, bills: dict[str, Bill], part: str = "") -> str:
    cells = []
    for count in (1, _FLEET):
        for bill in bills.values():
            many = of_tables(bill, count)
            value = many.dollars if not part else sum(line.dollars for line in many.lines if line.part == part)
            cells.append(dollars(value) if value else "–")
    return f"| {name} | {' | '.join(cells)} |"
