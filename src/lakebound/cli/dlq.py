"""`lakebound dlq`: lists, shows, redrives and discards what did not get through."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from lakebound.adapters.clock import SystemClock
from lakebound.adapters.dead_letters import SqsMoveTask, count_messages
from lakebound.adapters.stack import Stack
from lakebound.cli.deployed import DryRun, StackName, buffer_of, dead_letters_of, find_stack, ingest_pipeline, store_of
from lakebound.cli.given_options import refuse_without
from lakebound.cli.output import AsJson, aws_client, bars, echo, echo_json
from lakebound.cli.tables import Column, listing
from lakebound.counts import count_text
from lakebound.errors import Misconfigured, ObjectMissing
from lakebound.operate.discard import (
    DiscardResult,
    Undelivered,
    discard_messages,
    discard_objects,
    plan_discard,
    undelivered_failures,
    undelivered_messages,
    undelivered_quarantine,
    verdict_of_failure,
)
from lakebound.operate.redrive import (
    DEFAULT_RATE,
    BufferRedrive,
    RedriveMethod,
    RedriveResult,
    redrive_failures,
    redrive_quarantine,
)
from lakebound.ports import ObjectStore
from lakebound.times import iso
from lakebound.transport.dead_letters import MAX_LETTERS, peek_dead_letters
from lakebound.transport.object_keys import QUARANTINE
from lakebound.transport.undelivered import (
    MAX_FAILURE_BYTES,
    MAX_QUARANTINE_BYTES,
    FailureObject,
    QuarantinedRecord,
    count_reasons,
    pending_failures,
    pending_quarantine,
    read_quarantine,
)

app = typer.Typer(no_args_is_help=True, help="List, redrive and discard what did not get through.")


class WaitingPlace(StrEnum):
    """Where it waits."""

    BUFFER = "buffer"
    STREAM = "stream"
    QUARANTINE = "quarantine"


FromOption = Annotated[
    WaitingPlace,
    typer.Option(
        "--from",
        help="buffer: the dead-letter queue. stream: what Lambda gave up on. quarantine: poison records.",
    ),
]
Limit = Annotated[int, typer.Option(min=0, help="Redrive at most this many; 0 means all.")]


@app.command("list")
def list_(
    source: FromOption,
    stack: StackName = "",
    limit: Annotated[int, typer.Option(min=1, help="Rows shown.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List what waits, and why. Exit status 1 when anything waits."""
    found = find_stack(stack)
    list_source = {"buffer": _list_buffer, "stream": _list_stream, "quarantine": _list_quarantine}[source]
    document = {"from": source.value, "stack": found.name} | list_source(found, limit)
    if as_json:
        echo_json(document)
    else:
        _print_list(document)
    if document["waiting"]:
        raise typer.Exit(1)


def _list_buffer(stack: Stack, limit: int) -> dict[str, Any]:
    visible, hidden = count_messages(aws_client("sqs"), stack.output("DeadLetterQueueUrl"))
    rows = peek_dead_letters(stack.table, dead_letters_of(stack), store_of(stack), limit) if visible else []
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
        body = store.get(stored.key, MAX_FAILURE_BYTES)
        why = verdict_of_failure(stored.key, body)
        failure = None if why else FailureObject.decode(stored.key, body)
        rows.append(
            {
                "id": stored.key,
                "at": iso(stored.modified_ms),
                "records": len(failure.records) if failure else 0,
                "why": failure.condition if failure else why,
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
                "id": QUARANTINE.parse(stack.table, one.key) or one.key,
                "at": iso(one.quarantined_at),
                "why": one.reason,
                "stage": one.stage,
            }
            for one in some
        ],
    }


def _print_list(document: dict[str, Any]) -> None:
    more = f", {document['redriven']:,} redriven or discarded before" if document["redriven"] else ""
    echo(f"{count_text(document['waiting'], _WHAT[document['from']], 'waits', 'wait')}{more}")
    _print_rows(document["rows"])
    for code in dict.fromkeys(str(row["why"]) for row in document["rows"]):
        if code in _MEANINGS:
            echo(f"{code}: {_MEANINGS[code]}")
    if document["waiting"]:
        place = f"--from {document['from']} --stack {document['stack']}"
        echo(f"lakebound dlq redrive --dry-run {place} says what a redrive can carry")
        echo(f"lakebound dlq discard --all --dry-run {place} says what none can")


_WHAT: Final = {"buffer": "dead message", "stream": "failure object", "quarantine": "quarantined record"}
_HEADS: Final = {"id": "ID", "at": "SINCE", "bytes": "BYTES", "records": "RECORDS", "why": "WHY", "stage": "STAGE"}
_MEANINGS: Final = {
    "message_shape": "not a message of this stack; a redrive brings it back here, discard it",
    "member_crc": "a member was changed on its way; a redrive brings it back here, discard it",
    "claim_missing": "the object that it points to is gone; put it back and redrive, or discard it by its ID or "
    "with --reason claim_missing",
    "claim_unreadable_now": "the object that it points to could not be read now; look again",
    "can be written": "a redrive carries it",
    "no_records": "no failure object of Lambda's; there is nothing in it to redrive, discard it",
    "delivery_without_records": "Lambda wrote it without its records: delete the object, and heal the gap "
    "that the next look records",
    "no_document": "no quarantine object of this stack; discard it",
    "stage_backfill": "a backfill's item; the next backfill reads it anew, so discard it",
    "redrive_helps": "a redrive carries it",
    "creation_time": "a redrive carries it once that time has come",
    "view_type": "the stream has no new images; no redrive carries it",
    "foreign_table": "a record of another table; no redrive carries it",
}
"""What a code means to somebody who has to choose between a redrive and a discard."""


def _meaning(code: str) -> str:
    return f"{code} ({_MEANINGS[code]})" if code in _MEANINGS else f"{code} (no redrive carries it as it is)"


def _print_rows(rows: Sequence[dict[str, Any]]) -> None:
    """Print columns with heads, each as wide as its widest value. Nothing is cut, since people copy the ids."""
    if not rows:
        return
    heads = [Column(_HEADS[name]) for name in rows[0]]
    for line in listing(heads, [[str(value) for value in row.values()] for row in rows]):
        echo(f"  {line}")


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
    """Print one of them as JSON: why it waits, where it came from, what it holds. No item's value without --payload."""
    del as_json  # the same with or without: one thing has no better table than its document
    found = find_stack(stack)
    store = store_of(found)
    if source is WaitingPlace.BUFFER:
        letters = peek_dead_letters(found.table, dead_letters_of(found), store, MAX_LETTERS)
        letter = next((one for one in letters if one.message_id == name), None)
        if letter is None:
            raise Misconfigured(
                f"No dead message {name} is to be seen now", hint="See `lakebound dlq list --from buffer`"
            )
        if payload:
            raise Misconfigured("A message's body is compressed", hint="Redrive it and read its file instead")
        echo_json(asdict(letter))
    elif source is WaitingPlace.STREAM:
        failure = FailureObject.decode(name, _waiting(store, name, MAX_FAILURE_BYTES, source))
        if payload:
            sys.stdout.buffer.write(_waiting(store, name, MAX_FAILURE_BYTES, source))
            return
        facts = {key: getattr(failure, key) for key in failure.__slots__ if key != "records"}
        echo_json(facts | {"records": len(failure.records)})
    else:
        key = QUARANTINE.key(found.table, name.removesuffix(".json").rpartition("/")[2])
        record = QuarantinedRecord.decode(key, _waiting(store, key, MAX_QUARANTINE_BYTES, source))
        if payload:
            sys.stdout.buffer.write(record.payload + b"\n")
            return
        facts = {key: getattr(record, key) for key in record.__slots__ if key != "payload"}
        echo_json(facts | {"payload_bytes": len(record.payload)})


def _waiting(store: ObjectStore, key: str, max_bytes: int, source: WaitingPlace) -> bytes:
    try:
        return store.get(key, max_bytes)
    except ObjectMissing as missing:
        raise Misconfigured(missing.what, hint=f"`lakebound dlq list --from {source}` names what waits") from None


@app.command()
def redrive(
    context: typer.Context,
    source: FromOption,
    stack: StackName = "",
    rate: Annotated[
        int, typer.Option(min=1, max=10_000, help="Messages (buffer) or records (stream, quarantine) a second.")
    ] = DEFAULT_RATE,
    limit: Limit = 0,
    by: Annotated[
        RedriveMethod,
        typer.Option(
            help="buffer only. task: SQS's own redrive; copy: send, then delete; auto: task where there is one."
        ),
    ] = RedriveMethod.AUTO,
    reason: Annotated[str, typer.Option(help="quarantine only: redrive only records with this reason.")] = "",
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
    """Send what waits on its way again.

    Nothing is removed before it is durable at its next place, and a second run changes nothing. After an interruption
    the same command goes on where it stopped. Exit status 1 when something stays behind.
    """
    if source is not WaitingPlace.BUFFER:
        refuse_without(context, "--from buffer", "by")
    if source is not WaitingPlace.QUARANTINE:
        refuse_without(context, "--from quarantine", "reason", "is_redacted")
    found = find_stack(stack)
    with bars(quiet=as_json) as count:

        def progress(more: int) -> None:
            count("redriven", more)

        if source is WaitingPlace.BUFFER:
            sqs, dead_url = aws_client("sqs"), found.output("DeadLetterQueueUrl")
            redrive_of_buffer = BufferRedrive(
                found.table,
                dead_letters_of(found),
                buffer_of(found),
                SqsMoveTask(dead_url, sqs),
                store_of(found),
                SystemClock(),
                lambda: count_messages(sqs, dead_url)[0],
            )
            result = redrive_of_buffer.redrive(by, rate=rate, limit=limit, dry_run=dry_run, progress=progress)
        elif source is WaitingPlace.STREAM:
            pipeline = ingest_pipeline(found)
            pending = pending_failures(pipeline.store, found.table, found.stream_mapping)
            result = redrive_failures(pipeline, pending, rate=rate, limit=limit, dry_run=dry_run, progress=progress)
        else:
            pipeline = ingest_pipeline(found).for_quarantine(is_redacted=is_redacted)
            pending = pending_quarantine(pipeline.store, found.table)
            result = redrive_quarantine(
                pipeline, pending, rate=rate, limit=limit, reason=reason, dry_run=dry_run, progress=progress
            )
    if as_json:
        echo_json(asdict(result) | {"dry_run": dry_run, "done": result.is_done})
    else:
        _print_result(result, dry_run)
    if not result.is_done:
        raise typer.Exit(1)


_WAYS: Final = {"move task": " with SQS's own move task", "copy": ", each sent to the buffer queue and then deleted"}


@app.command()
def discard(
    source: FromOption,
    names: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="As `dlq list` shows them.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Discard everything that no redrive can carry.")] = False,
    reason: Annotated[str, typer.Option(help="Discard only what waits for this reason, as `dlq list` names it.")] = "",
    stack: StackName = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Discard what no redrive can carry. What a redrive can carry stays.

    A copy of each is kept under `_lakebound/<table>/discarded/` first. Exit status 1 when something that was named
    stays.
    """
    if not names and not every and not reason:
        raise Misconfigured(
            "Nothing is named", hint="Give IDs as `lakebound dlq list` shows them, or --all, or --reason"
        )
    found = find_stack(stack)
    plan = plan_discard(source.value, _undelivered(found, source), names or (), reason)
    chosen = plan.chosen
    count = len(chosen) + len(plan.kept)
    if not as_json:
        _print_rows([{"id": one.id, "bytes": one.size, "why": one.why} for one in chosen])
    result = DiscardResult(source.value, discarded={one.id: one.why for one in chosen})
    if chosen and not dry_run:
        if not yes:
            _ask(len(chosen), source, as_json=as_json)
        result = _discard(found, source, chosen)
    result.kept |= plan.kept
    if as_json:
        echo_json(asdict(result) | {"dry_run": dry_run, "found": count})
    else:
        verb = "would discard" if dry_run else "discarded"
        echo(f"{verb} {len(result.discarded):,} of {count_text(count, _WHAT[source.value])}")
        for code, number in Counter(result.kept.values()).most_common():
            echo(f"  {number:,} {'stays' if number == 1 else 'stay'}: {_meaning(code)}")
        if result.discarded and not dry_run:
            echo(f"copies are kept in s3://{found.bucket}/_lakebound/{found.table}/discarded/")
    if result.kept and (names or set(result.kept) - set(plan.kept)):
        raise typer.Exit(1)


def _ask(count: int, source: WaitingPlace, *, as_json: bool) -> None:
    if as_json or not sys.stdin.isatty():
        raise Misconfigured("Nobody can be asked here", hint="Give --yes, or --dry-run to see what would go")
    if not typer.confirm(f"Discard {count_text(count, _WHAT[source.value])}? A copy of each is kept", err=True):
        raise Misconfigured("Nothing was discarded", hint="Answer y, or give --yes")


def _undelivered(stack: Stack, source: WaitingPlace) -> Iterable[Undelivered]:
    if source is WaitingPlace.BUFFER:
        letters = peek_dead_letters(stack.table, dead_letters_of(stack), store_of(stack), MAX_LETTERS)
        return undelivered_messages(letters)
    if source is WaitingPlace.STREAM:
        store = store_of(stack)
        return undelivered_failures(store, pending_failures(store, stack.table, stack.stream_mapping))
    pipeline = ingest_pipeline(stack)
    return undelivered_quarantine(pipeline, pending_quarantine(pipeline.store, stack.table))


def _discard(stack: Stack, source: WaitingPlace, chosen: Sequence[Undelivered]) -> DiscardResult:
    clock = SystemClock()
    store = store_of(stack)
    if source is WaitingPlace.BUFFER:
        return discard_messages(stack.table, {one.id for one in chosen}, dead_letters_of(stack), store, clock)
    most = MAX_FAILURE_BYTES if source is WaitingPlace.STREAM else MAX_QUARANTINE_BYTES
    return discard_objects(source.value, chosen, store, stack.table, clock, most)


def _print_result(result: RedriveResult, dry_run: bool) -> None:
    verb = "would redrive" if dry_run else "redrove"
    what = {"buffer": "message", "stream": "failure object", "quarantine": "record"}[result.source]
    detail = f" ({count_text(result.records, 'record')})" if result.source == "stream" else ""
    before = (
        f"; {result.already:,} {'was' if result.already == 1 else 'were'} redriven or discarded before"
        if result.already
        else ""
    )
    echo(f"{verb} {result.redriven:,} of {count_text(result.found, what)}{detail}{_WAYS.get(result.way, '')}{before}")
    for reason, number in Counter(result.kept.values()).most_common():
        echo(f"  {number:,} {'stays' if number == 1 else 'stay'}: {_meaning(reason)}")
    if result.kept:
        echo(f"  lakebound dlq discard --from {result.source} --all puts aside what no redrive can carry")
    for reason, number in Counter(result.failed.values()).most_common():
        echo(f"  {number:,} could not be sent now: {reason}")
    if result.failed:
        echo("  repair what failed, then run the same command again")
