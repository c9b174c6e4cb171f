"""`python -m tests.incidents` lives every incident and writes docs/INCIDENTS.md."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Final

from tests.incidents.incidents import INCIDENTS
from tests.incidents.oncall import Row

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "INCIDENTS.md"

_HEAD: Final = """# Incidents

What an evening on call can look like, and what ends it. Each row is a test that stages the incident, sees the condition
of the alarm as the template has it, follows the command as the page has it, and finds source and lake equal.

*Seconds* are those of the pipeline's own clock in that test, from the first command until everything is equal: waiting
for retries, looks and the margins of a heal are in them, your thinking and typing are not. They were written when this
page was last generated (`python -m tests.incidents`).

| incident | alarm | page | commands | seconds |
|---|---|---|---|---|
"""

_FOOT: Final = """
A heal's seconds are mostly waiting: until a look has seen that the stream is whole, and has given the gap its end. The
wrong type is repaired by a merge of all files into a new target, which takes as long as reading them does.

Where: `tests/incidents` on the ports (the real use cases, state machine and looks; queue, bucket and clock in memory),
`tests/spark/test_repairs.py` on Spark with Delta.
"""

SPARK_ROWS: Final = (
    Row(
        "wrong type breaks a silver column",
        "none: `inexact` above 0 in the merge job's lines",
        "unequal",
        ("spark/jobs/merge_changes.py",),
        None,
    ),
)
"""Incidents of real Spark; their test compares itself with the row."""


@lru_cache
def row_of(name: str) -> Row:
    """The incident's row, lived once a process."""
    return INCIDENTS[name]()


def document() -> str:
    """The page."""
    rows = [row_of(name) for name in INCIDENTS]
    rows[7:7] = SPARK_ROWS
    return _HEAD + "\n".join(map(_line, rows)) + "\n" + _FOOT


def _line(row: Row) -> str:
    commands = ", then ".join(f"`{command}`" for command in row.commands) or "–"
    seconds = "–" if row.seconds is None else f"{row.seconds:,.0f}"
    return f"| {row.incident} | {row.alarm} | [{row.page}](OPERATIONS.md#{row.page}) | {commands} | {seconds} |"


if __name__ == "__main__":
    DOCUMENT.write_text(document())
    print(f"wrote {DOCUMENT.name}: {len(INCIDENTS) + len(SPARK_ROWS)} incidents")
