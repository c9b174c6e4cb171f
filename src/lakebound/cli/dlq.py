"""`lakebound dlq`: what did not get through, where it waits, and back on its way."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from lakebound.adapters.clock import SystemClock
from lakebound.adapters.dead_letters import SqsMoveTask, count_messages
from lakebound.adapters.stack import Stack
from lakebound.cli.stacks import DryRun, StackName, buffer_of, dead_letters_of, find_stack, road_of, store_of
from lakebound.cli.telling import AsJson, aws_client, bars, tell, tell_json
from lakebound.errors import Misconfigured
from lakebound.layout import QuarantineKey
from lakebound.redrive import (
    DEFAULT_RATE,
    MAX_FAILURE_BYTES,
    MAX_QUARANTINE_BYTES,
    FailureObject,
    MoveUnsupported,
    QuarantinedRecord,
    Redriven,
    count_reasons,
    look_at_dead_letters,
    pending_failures,
    pending_quarantine,
    read_quarantine,
    redrive_by_copy,
    redrive_by_task,
    redrive_failures,
    redrive_quarantine,
)

app = typer.Typer(no_args_is_help=True, help="What did not get through: see it, and send it on its way again.")


class From(StrEnum):
    """Where it waits."""

    BUFFER = "buffer"
    STREAM = "stream"
    QUARANTINE = "quarantine"


class By(StrEnum):
    """How dead letters of the buffer are moved."""

    AUTO = "auto"
    TASK = "task"
    COPY = "copy"


FromOption = Annotated[
    From,
    typer.Option(
        "--from",
        help="buffer: the dead-letter queue. stream: what Lambda gave up on. quarantine: poison records.",
    ),
]
Limit = Annotated[int, typer.Option(min=0, help="At most so many; 0 means all.")]


@app.command("list")
def list_(
    source: FromOption,
    stack: StackName = "",
    limit: Annotated[int, typer.Option(min=1, help="Rows shown.")] = 20,
    as_json: AsJson = False,
) -> None:
    """What waits, and why. Exit status 1 when anything does."""
    found = find_stack(stack)
    document = {From.BUFFER: _list_buffer, From.STREAM: _list_stream, From.QUARANTINE: _list_quarantine}[source](
        found, limit
    )
    document = {"from": source.value, "stack": found.name} | document
    if as_json:
        tell_json(document)
    else:
        _tell_list(document)
    if document["waiting"]:
        raise typer.Exit(1)


def _list_buffer(stack: Stack, limit: int) -> dict[str, Any]:
    visible, hidden = count_messages(aws_client("sqs"), stack.output("DeadLetterQueueUrl"))
    rows = look_at_dead_letters(stack.table, dead_letters_of(stack), store_of(stack), limit) if visible else []
    return {
        "waiting": visible + hidden,
        "redriven": None,
        "rows": [
            {"id": one.message_id, "bytes": one.size, "records": one.records, "why": one.verdict or "can be written"}
            for one in rows
        ],
    }


def _list_stream(stack: Stack, limit: int) -> dict[str, Any]:
    store = store_of(stack)
    pending = pending_failures(store, stack.table, stack.stream_mapping)
    rows = []
    for stored in pending.objects[:limit]:
        failure = FailureObject.decode(stored.key, store.get(stored.key, MAX_FAILURE_BYTES))
        rows.append(
            {
                "id": stored.key,
                "at": _time(stored.modified_ms),
                "records": len(failure.records),
                "why": failure.condition,
            }
        )
    return {"waiting": len(pending.objects), "redriven": pending.already, "rows": rows}


def _list_quarantine(stack: Stack, limit: int) -> dict[str, Any]:
    store = store_of(stack)
    pending = pending_quarantine(store, stack.table)
    some = list(read_quarantine(store, pending.objects[:limit]))
    return {
        "waiting": len(pending.objects),
        "redriven": pending.already,
        "reasons": dict(count_reasons(iter(some))),
        "rows": [
            {
                "id": _digest(stack.table, one.key),
                "at": _time(one.quarantined_at),
                "why": one.reason,
                "stage": one.stage,
            }
            for one in some
        ],
    }


def _tell_list(document: dict[str, Any]) -> None:
    told = {"buffer": "dead messages", "stream": "failure objects", "quarantine": "quarantined records"}
    more = f", {document['redriven']:,} redriven earlier" if document["redriven"] else ""
    tell(f"{document['waiting']:,} {told[document['from']]} wait{more}")
    for row in document["rows"]:
        tell("  " + "  ".join(str(value) for value in row.values()))
    if document["waiting"]:
        tell(f"lakebound dlq redrive --from {document['from']} --stack {document['stack']}")


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="ID", help="As `dlq list` shows it.")],
    source: FromOption,
    stack: StackName = "",
    payload: Annotated[
        bool, typer.Option("--payload", help="Write the original bytes to stdout: they hold the item's values.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """One of them whole: why, from where, what it holds. Never a value, unless --payload asks for it."""
    found = find_stack(stack)
    store = store_of(found)
    if source is From.BUFFER:
        letters = look_at_dead_letters(found.table, dead_letters_of(found), store, 1_000)
        letter = next((one for one in letters if one.message_id == name), None)
        if letter is None:
            raise Misconfigured(
                f"No dead message {name} is to be seen now", hint="See `lakebound dlq list --from buffer`"
            )
        if payload:
            raise Misconfigured("A message's body is compressed", hint="Redrive it and read its file instead")
        _show(asdict(letter), as_json)
    elif source is From.STREAM:
        failure = FailureObject.decode(name, store.get(name, MAX_FAILURE_BYTES))
        if payload:
            sys.stdout.buffer.write(store.get(name, MAX_FAILURE_BYTES))
            return
        facts = {key: getattr(failure, key) for key in failure.__slots__ if key != "records"}
        _show(facts | {"records": len(failure.records)}, as_json)
    else:
        key = QuarantineKey(found.table, name.removesuffix(".json").rpartition("/")[2]).format()
        record = QuarantinedRecord.decode(key, store.get(key, MAX_QUARANTINE_BYTES))
        if payload:
            sys.stdout.buffer.write(record.payload + b"\n")
            return
        facts = {key: getattr(record, key) for key in record.__slots__ if key != "payload"}
        _show(facts | {"payload_bytes": len(record.payload)}, as_json)


def _show(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        tell_json(facts)
        return
    for key, value in facts.items():
        tell(f"{key:<15} {', '.join(value) if isinstance(value, tuple) else value}")


@app.command()
def redrive(
    source: FromOption,
    stack: StackName = "",
    rate: Annotated[
        int, typer.Option(min=1, max=10_000, help="Messages (buffer) or records (stream, quarantine) a second.")
    ] = DEFAULT_RATE,
    limit: Limit = 0,
    by: Annotated[
        By,
        typer.Option(
            help="buffer only. task: SQS's own redrive; copy: send, then delete; auto: task where there is one."
        ),
    ] = By.AUTO,
    reason: Annotated[str, typer.Option(help="quarantine only: records with this reason.")] = "",
    is_redacted: Annotated[
        bool | None,
        typer.Option(
            "--redacted/--raw",
            help="quarantine only, with DROP_ATTRIBUTES or HASH_ATTRIBUTES: were they set when the records came?",
        ),
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Send them on their way again. Nothing is removed before it is durable further on; twice changes nothing.

    Interrupted, the same command goes on. Exit status 1 when something was left behind.
    """
    found = find_stack(stack)
    with bars(quiet=as_json) as count:

        def progress(more: int) -> None:
            count("redriven", more)

        if source is From.BUFFER:
            result = _redrive_buffer(found, rate, limit, by, dry_run, progress)
        elif source is From.STREAM:
            road = road_of(found)
            pending = pending_failures(road.store, found.table, found.stream_mapping)
            result = redrive_failures(road, pending, rate=rate, limit=limit, dry_run=dry_run, progress=progress)
        else:
            road = road_of(found)
            if road.rules.redaction is not None and is_redacted is None:
                raise Misconfigured(
                    "The stack drops or hashes attributes",
                    hint="Say --redacted if it did so when they came (a hash of a hash is another key), else --raw",
                )
            if is_redacted:
                road = road.of_redacted()
            pending = pending_quarantine(road.store, found.table)
            result = redrive_quarantine(
                road, pending, rate=rate, limit=limit, reason=reason, dry_run=dry_run, progress=progress
            )
    if as_json:
        tell_json(asdict(result) | {"dry_run": dry_run, "done": result.is_done})
    else:
        _tell_result(result, dry_run)
    if not result.is_done:
        raise typer.Exit(1)


def _redrive_buffer(
    stack: Stack, rate: int, limit: int, by: By, dry_run: bool, progress: Callable[[int], None]
) -> Redriven:
    sqs = aws_client("sqs")
    dead_url = stack.output("DeadLetterQueueUrl")
    if dry_run:
        visible, _ = count_messages(sqs, dead_url)
        would = min(visible, limit) if limit else visible
        return Redriven("buffer", by.value, found=visible, redriven=would)
    clock = SystemClock()
    if by is not By.COPY and not limit:
        try:
            return redrive_by_task(SqsMoveTask(dead_url, sqs), clock, rate=rate, progress=progress)
        except MoveUnsupported:
            if by is By.TASK:
                raise
    return redrive_by_copy(
        stack.table, dead_letters_of(stack), buffer_of(stack), clock, rate=rate, limit=limit, progress=progress
    )


def _tell_result(result: Redriven, dry_run: bool) -> None:
    verb = "would redrive" if dry_run else "redrove"
    what = {"buffer": "messages", "stream": "failure objects", "quarantine": "records"}[result.source]
    detail = f" ({result.records:,} records)" if result.source == "stream" else ""
    tell(f"{verb} {result.redriven:,} of {result.found:,} {what}{detail}, by {result.way}; {result.already:,} earlier")
    for reason, number in Counter(result.kept.values()).most_common():
        tell(f"  {number:,} stay: {reason}")
    for reason, number in Counter(result.failed.values()).most_common():
        tell(f"  {number:,} could not be sent now: {reason}")
    if result.failed:
        tell("  repair what failed, then run the same command again")


def _time(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _digest(table: str, key: str) -> str:
    parsed = QuarantineKey.parse(table, key)
    return parsed.sha256 if parsed is not None else key
