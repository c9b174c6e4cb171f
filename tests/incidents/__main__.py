"""`python -m tests.incidents` lives every incident and writes docs/INCIDENTS.md."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Final

from tests.incidents.incidents import INCIDENTS
from tests.incidents.oncall import Row

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "INCIDENTS.md"

_HEAD: Final = """# Incidents

For people who will be on call, and for those who decide whether they can be. After it you know which incidents have
been rehearsed, what ends each of them, and how long that takes.

Each row is a test. It stages the incident, sees the alarm's condition of the template become true, follows the commands
of the page, and finds source and lake equal.

*Seconds* are seconds of the pipeline's own clock in that test, from the first command until everything is equal. They
include the waits for retries, for checks of the stream and for the margins of a heal. They do not include your thinking
and typing. `python -m tests.incidents` writes this page and the seconds.

| incident | alarm | page | commands | seconds |
|---|---|---|---|---|
"""

_FOOT: Final = """
A purge of the buffer queue is seen by comparison alone. Lambda counts the deliveries as done and the queue is empty,
so `lakebound status` says OK, and no gap is recorded. The nightly verify sees a key that has not changed since in the
night of its share: with `VerifyShare` 1/30 after 30 nights at most. Where something may have been purged (AWS
CloudTrail records PurgeQueue with its time and who called it), `lakebound verify` without `--sample` tells at once. A
key that changed since is right again in silver, and its history lacks a change: the Spark job `audit` finds that.

A heal mostly waits: until a check of the stream has seen that the stream is whole, and has given the gap its end. The
wrong type is repaired by a merge of all files into a new target, which takes as long as reading them does.

`tests/incidents` runs the real use cases, the real state machine and the real checks of the stream, over a queue, a
bucket and a clock in memory. In the two incidents of the merge job, what Spark does is played; when a merge is due,
what is published and what `lakebound status` says are real. `tests/spark/test_repairs.py` runs on Spark with Delta.
"""

SPARK_ROWS: Final = (
    Row(
        "wrong type breaks a silver column",
        "none: `inexact` above 0 in the merge job's lines",
        "unequal",
        ("lakebound-merge-changes",),
        None,
    ),
)
"""Incidents of real Spark; their test compares itself with the row."""


@lru_cache
def row_of(name: str) -> Row:
    return INCIDENTS[name]()


def document() -> str:
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
