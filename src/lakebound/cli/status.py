"""`lakebound status`: how does the pipeline stand?"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from lakebound.adapters.clock import SystemClock
from lakebound.adapters.status_facts import observe_pipeline, put_gap
from lakebound.cli import deployed
from lakebound.cli.deployed import StackName, find_stack, store_of
from lakebound.cli.output import AsJson, echo, echo_json
from lakebound.operate.status import (
    BUFFER,
    DEAD,
    FAILURES,
    GAP,
    LAG,
    LOOKS,
    NEWEST_FILE,
    OK,
    QUARANTINE,
    PipelineFacts,
    Status,
    assess,
)
from lakebound.times import iso


def command(
    stack: StackName = "",
    publish: Annotated[
        bool, typer.Option("--publish", help="Put the metric Gap (1 or 0), which the alarm StatusGap looks at.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """OK, LAGGING, GAP or UNKNOWN: since when, why, and the command that repairs it. Exit status 1 unless it is OK.

    UNKNOWN: what OK rests on could not be seen, and nothing worse was.
    """
    found = find_stack(stack)
    status = assess(observe_pipeline(found, deployed.clients, store_of(found), SystemClock().now_ms()))
    if publish:
        put_gap(deployed.clients("cloudwatch"), found.table, status.state == GAP)
    if as_json:
        echo_json(document(status))
    else:
        _print(status)
    if status.state != OK:
        raise typer.Exit(1)


def document(status: Status) -> dict[str, object]:
    """The status for a program."""
    return {
        "state": status.state,
        "since": _time(status.since_ms),
        "findings": [asdict(one) | {"since": _time(one.since_ms)} for one in status.findings],
        "seen": asdict(status.seen),
    }


def _print(status: Status) -> None:
    seen = status.seen
    since = f" since {_time(status.since_ms)}" if status.since_ms is not None else ""
    echo(f"{status.state}{since}   stack {seen.stack}, table {seen.table}")
    for name, told in figures(seen):
        echo(f"  {name:<18} {told}")
    for one in status.findings:
        echo(f"  {one.level:<8} {one.what}{f' (since {_time(one.since_ms)})' if one.since_ms is not None else ''}")
        if one.command:
            echo(f"           run: {one.command}")
        echo(f"           see: {one.page}")


def figures(seen: PipelineFacts) -> list[tuple[str, str]]:
    """What was seen, for a person: (of what, the figure with its meaning)."""

    def known(part: str, told: str) -> str:
        return told if seen.is_known(part) else "not known"

    behind = "not known"
    if seen.iterator_age_ms is not None:
        behind = f"read {seen.iterator_age_ms / 1000:,.0f} s after the change, at most, in the newest five minutes"
    elif seen.is_known(LAG):
        behind = "no delivery in the last 15 minutes"
    waiting = f"{seen.buffered:,} messages"
    if seen.buffered and seen.oldest_message_s is not None:
        waiting += f", the oldest {seen.oldest_message_s:,} s old"
    file = "none in two hours"
    if seen.newest_file_ms is not None:
        file = f"written {(seen.now_ms - seen.newest_file_ms) / 1000:,.0f} s ago"
    delivered = "not proved yet"
    if seen.delivered_ms is not None:
        delivered = f"every change until {_time(seen.delivered_ms)}, or it is in a gap (the last look at the stream)"
    return [
        ("stream", behind),
        ("delivered", known(LOOKS, delivered)),
        ("buffer queue", known(BUFFER, waiting)),
        ("newest batch file", known(NEWEST_FILE, file)),
        ("dead-letter queue", known(DEAD, f"{seen.dead:,} messages")),
        ("failure objects", known(FAILURES, f"{seen.failure_objects:,} that nobody redrove")),
        ("quarantine", known(QUARANTINE, f"{seen.quarantined:,} records")),
    ]


def _time(ms: int | None) -> str | None:
    return None if ms is None else iso(ms)
