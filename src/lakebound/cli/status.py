"""`lakebound status`: how does the pipeline stand?"""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from lakebound.adapters.clock import SystemClock
from lakebound.adapters.observer import Observer, put_gap
from lakebound.cli import stacks
from lakebound.cli.stacks import StackName, find_stack, store_of
from lakebound.cli.telling import AsJson, tell, tell_json
from lakebound.status import GAP, Status, judge


def command(
    stack: StackName = "",
    publish: Annotated[
        bool, typer.Option("--publish", help="Put the metric Gap (1 or 0), which the alarm StatusGap looks at.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """OK, LAGGING or GAP: since when, why, and the command that repairs it. Exit status 1 unless it is OK."""
    found = find_stack(stack)
    status = judge(Observer(found, stacks.clients, store_of(found)).look(SystemClock().now_ms()))
    if publish:
        put_gap(stacks.clients("cloudwatch"), found.table, status.state == GAP)
    if as_json:
        tell_json(document(status))
    else:
        _tell(status)
    if status.state != "OK":
        raise typer.Exit(1)


def document(status: Status) -> dict[str, object]:
    """The status for a program."""
    return {
        "state": status.state,
        "since": _time(status.since_ms),
        "findings": [asdict(one) | {"since": _time(one.since_ms)} for one in status.findings],
        "seen": asdict(status.seen),
    }


def _tell(status: Status) -> None:
    seen = status.seen
    since = f" since {_time(status.since_ms)}" if status.since_ms is not None else ""
    tell(f"{status.state}{since}   {seen.stack}: table {seen.table}")
    behind = "unknown" if seen.iterator_age_ms is None else f"{seen.iterator_age_ms / 1000:,.0f} s behind"
    newest = (
        "none in two hours"
        if seen.newest_file_ms is None
        else f"{(seen.now_ms - seen.newest_file_ms) / 1000:,.0f} s old"
    )
    tell(f"  stream {behind}; {seen.buffered:,} messages buffered; newest file {newest}")
    for one in status.findings:
        tell(f"  {one.level:<8} {one.what}{f' (since {_time(one.since_ms)})' if one.since_ms is not None else ''}")
        if one.command:
            tell(f"           run: {one.command}")
        tell(f"           see: {one.page}")


def _time(ms: int | None) -> str | None:
    return None if ms is None else f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
