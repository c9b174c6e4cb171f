"""`lakebound status`: whether the pipeline works, and what to do where it does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer

from lakebound.adapters.clock import SystemClock
from lakebound.adapters.probes import Clients
from lakebound.adapters.s3 import S3Store
from lakebound.adapters.stack import Stack
from lakebound.adapters.status_facts import observe_pipeline
from lakebound.adapters.table_metrics import put_metric
from lakebound.cli import deployed
from lakebound.cli.deployed import StackName, find_stack, store_of
from lakebound.cli.fleet import OfAll, echo_lines, end, leave, read_all, refuse_beside_all
from lakebound.cli.output import AsJson, echo, echo_json
from lakebound.cli.silver_table import table_facts
from lakebound.counts import count_text
from lakebound.operate.fleet import FleetLine, status_line, worst_first
from lakebound.operate.status import (
    BUFFER,
    DEAD,
    FAILURES,
    GAP,
    HEARTBEAT,
    LAG,
    NEWEST_FILE,
    OK,
    QUARANTINE,
    SILVER,
    STREAM_CHECK,
    WAITING,
    PipelineFacts,
    Status,
    assess,
)
from lakebound.times import iso


def command(
    context: typer.Context,
    stack: StackName = "",
    of_all: OfAll = False,
    publish: Annotated[
        bool, typer.Option("--publish", help="Also put the metric Gap (1 or 0), which the alarm StatusGap watches.")
    ] = False,
    target: Annotated[
        str,
        typer.Option(
            "--target",
            help="Also count the batch files that no run of the merge job has taken, by its TARGET_metrics, and tell "
            "silver's stale mark by TARGET_status: the silver table's folder, address or catalog.schema.table; of "
            "several tables from one source the name for all.",
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Print OK, LAGGING, GAP or UNKNOWN: since when, why, and the command that repairs it.

    UNKNOWN means that something OK depends on could not be observed, and that nothing worse was found. Exit status 1
    unless the state is OK, with --all unless it is OK of every stack.
    """
    if of_all:
        refuse_beside_all(context, "publish", "target")
        _of_all(as_json=as_json)
        return
    found = find_stack(stack)
    silver = table_facts(target) if target else None
    status = assess(observe_pipeline(found, deployed.clients, store_of(found), SystemClock().now_ms(), silver))
    if publish:
        put_metric(deployed.clients("cloudwatch"), found.table, "Gap", float(status.state == GAP))
    if as_json:
        echo_json(document(status))
    else:
        _print(status)
    if status.state != OK:
        raise typer.Exit(1)


def _of_all(*, as_json: bool) -> None:
    def read(stack: Stack, clients: Clients) -> Status:
        store = S3Store(stack.bucket, clients("s3"))
        return assess(observe_pipeline(stack, clients, store, SystemClock().now_ms()))

    readings = read_all(read)
    lines = worst_first(map(status_line, readings))
    if as_json:
        told = {one.stack: document(one.found) for one in readings if one.found is not None}
        echo_json({"stacks": [_stack_document(line, told.get(line.stack)) for line in lines]})
        leave(lines)
        return
    echo_lines(lines, since=True)
    end(lines, "are OK")


def _stack_document(line: FleetLine, told: dict[str, object] | None) -> dict[str, object]:
    unread = {"state": line.state, "since": None, "refused": line.told}
    return {"stack": line.stack, "table": line.table, **(unread if told is None else {**told, "refused": ""})}


def document(status: Status) -> dict[str, object]:
    """The status for a program."""
    return {
        "state": status.state,
        "since": _time(status.since_ms),
        "findings": [asdict(one) | {"since": _time(one.since_ms)} for one in status.findings],
        "seen": asdict(status.facts),
    }


def _print(status: Status) -> None:
    facts = status.facts
    since = f" since {_time(status.since_ms)}" if status.since_ms is not None else ""
    echo(f"{status.state}{since}   stack {facts.stack}, table {facts.table}")
    for name, figure in figures(facts):
        echo(f"  {name:<18} {figure}")
    for one in status.findings:
        echo(f"  {one.level:<8} {one.what}{f' (since {_time(one.since_ms)})' if one.since_ms is not None else ''}")
        if one.command:
            echo(f"           run: {one.command}")
        echo(f"           see: {one.page}")


def figures(facts: PipelineFacts) -> list[tuple[str, str]]:
    """The facts for a person: (a part of the pipeline, its figure in words)."""

    def known(part: str, figure: str) -> str:
        return figure if facts.is_known(part) else "not known"

    behind = "not known"
    if facts.iterator_age_ms is not None:
        behind = f"read {facts.iterator_age_ms / 1000:,.0f} s after the change, at most, in the newest five minutes"
    elif facts.is_known(LAG):
        behind = "no delivery in the last 15 minutes"
    waiting = count_text(facts.buffered, "message")
    if facts.buffered and facts.oldest_message_s is not None:
        waiting += f", the oldest {facts.oldest_message_s:,} s old"
    file = "none in two hours"
    if facts.newest_file_ms is not None:
        file = f"written {(facts.now_ms - facts.newest_file_ms) / 1000:,.0f} s ago"
    delivered = "not proved yet"
    if facts.delivered_ms is not None:
        delivered = f"every change until {_time(facts.delivered_ms)}, or it is in a gap (by the last stream check)"
    return [
        ("stream", behind),
        ("delivered", known(STREAM_CHECK, delivered)),
        ("buffer queue", known(BUFFER, waiting)),
        ("newest batch file", known(NEWEST_FILE, file)),
        ("dead-letter queue", known(DEAD, count_text(facts.dead, "message"))),
        ("failure objects", known(FAILURES, f"{facts.failure_objects:,} that nobody redrove")),
        ("quarantine", known(QUARANTINE, count_text(facts.quarantined, "record"))),
        *_heartbeat_figures(facts),
        *_silver_figures(facts),
    ]


def _heartbeat_figures(facts: PipelineFacts) -> Iterator[tuple[str, str]]:
    if facts.heartbeat_minutes:
        figure = "none has reached the bucket in two hours"
        if facts.newest_heartbeat_ms is not None:
            figure = f"the last reached the bucket {(facts.now_ms - facts.newest_heartbeat_ms) / 1000:,.0f} s ago"
        yield "heartbeat", figure if facts.is_known(HEARTBEAT) else "not known"


def _silver_figures(facts: PipelineFacts) -> Iterator[tuple[str, str]]:
    seen, waiting = facts.silver, facts.waiting
    figure = "not watched: no merge job has published within a day"
    if seen is not None:
        figure = (
            f"{seen.lag_s:,.0f} s behind the files, as published {(facts.now_ms - seen.published_ms) / 1000:,.0f} s ago"
        )
        if seen.pending_rows:
            figure += f"; {count_text(seen.pending_rows, 'row', 'waits', 'wait')} in _changes for a merge"
    yield "silver", figure if facts.is_known(SILVER) else "not known"
    if waiting is not None:
        figure = f"none; all written until {_time(waiting.until_ms)} are taken"
        if waiting.oldest_ms is not None:
            figure = f"{waiting.count:,}, the oldest {(facts.now_ms - waiting.oldest_ms) / 1000:,.0f} s old"
        yield "files for silver", figure
    elif not facts.is_known(WAITING):
        yield "files for silver", "not known"
    if facts.mark is not None:
        figure = f"none, as noted {_time(facts.mark.looked_ms)}"
        if facts.mark.since_ms is not None:
            figure = f"changes may be missing since {_time(facts.mark.since_ms)} ({facts.mark.causes})"
        yield "stale mark", figure


def _time(ms: int | None) -> str | None:
    return None if ms is None else iso(ms)
