"""The first states of a run: its input is checked, its cost estimated, and the stream waited for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from math import ceil
from typing import Final

import orjson

from lakebound.backfill import estimate as estimates
from lakebound.backfill import exports
from lakebound.backfill.run_context import RunContext, batch_files, covered_from_ms
from lakebound.backfill.run_input import BackfillRequest
from lakebound.backfill.run_state import RunState
from lakebound.backfill.stream_check import failure_objects, last_check
from lakebound.counts import count_text
from lakebound.errors import Misconfigured
from lakebound.record.table_identity import TableArn
from lakebound.source.facts import QueueCounts, TableDescription, Upstream
from lakebound.source.gaps import RECORDS_STALE
from lakebound.times import TimeRange, iso

EXPORT_SETTLES_MS: Final = 5 * 60_000
"""Exports reach up to about five minutes ago (LatestRestorableDateTime)."""

LEAST_WAIT_SECONDS: Final = 60
MAX_WAIT_SECONDS: Final = 900
COUNTS_SETTLE_MS: Final = 2 * 60_000
"""SQS counts approximately, and right about a minute after the last change."""

_CHANGES_EXPAND: Final = 8
"""Bytes of items to a byte of compressed batch files, both images in them: a rough guess for the estimate."""


def validate(context: RunContext, value: object, execution: str) -> RunState:
    """Validate: the state of a run with this input. Raises Misconfigured for an input that cannot be run."""
    context.folder(execution)
    request = BackfillRequest.parse(value)
    described = _describe_followed_table(context)
    if described.is_foreign and request.mode not in ("scan", "heal"):
        raise Misconfigured(f"mode {request.mode} {estimates.FOREIGN}", hint="Use mode scan")
    started = iso(context.ports.clock.now_ms())
    return RunState(run=execution, mode=request.mode, request=request, started=started, wait_seconds=0)


def _describe_followed_table(context: RunContext) -> TableDescription:
    """The table that the run would read. Raises Misconfigured where the mapping reads another table's stream.

    Somebody points the mapping at the stream of another account's table of this name: the records keep coming, and a
    run that reads this account's table would write its items, and its deletes, over them.
    """
    described = context.ports.source.describe()
    if context.ports.mapping is None:
        return described
    stream = context.ports.mapping.mapping().stream_arn
    followed, read = TableArn.of_stream(stream), TableArn.parse(described.arn)
    if followed is not None and read is not None and followed != read:
        raise Misconfigured(
            f"the stream that is followed is of {followed}, and this run would read {read}",
            hint=f"Deploy the stack with TableName={followed.table} and TableStreamArn={stream}, or with the "
            f"LatestStreamArn of {read.table}; then start a new backfill",
        )
    return described


def estimate(context: RunContext, state: RunState) -> RunState:
    """Estimate: what the run will take; for a heal also its gaps, and the mode that it heals them in."""
    request = state.request
    described = context.ports.source.describe(recovery=True)
    heals: tuple[tuple[int, str], ...] = ()
    stretch: TimeRange | None = None
    if state.is_heal:
        stretch, heals = _open_gaps(context)
    elif request.from_ms is not None and request.to_ms is not None:
        stretch = TimeRange(request.from_ms, request.to_ms)
    barred = no_windows(context, described, stretch, heals) if state.is_heal and stretch else ""
    ways = estimates.estimate(described, request, _changed_bytes(context, stretch), barred)
    mode = ways.recommended if state.is_heal else request.mode
    option = ways.option(mode)
    if option.impossible:
        hint = "Use mode scan" if described.is_foreign else "Enable it, or use mode scan"
        raise Misconfigured(f"mode {mode} {option.impossible}", hint=hint)
    chosen = asdict(option) | {"recommended": ways.recommended, "reason": ways.reason}
    del chosen["impossible"]
    return replace(state, mode=mode, heals=heals, stretch=stretch, estimate=chosen)


def no_windows(
    context: RunContext, described: TableDescription, stretch: TimeRange, heals: Sequence[tuple[int, str]]
) -> str:
    """Why this gap cannot be healed by incremental exports and the re-read; empty when it can."""
    if any(cause == RECORDS_STALE for _, cause in heals):
        # A window's rows bear its end as label, which is older than the purged tombstones too.
        return "would give rows that the merge sets aside too: the tombstones of their time are purged"
    rules = context.rules
    if rules.redaction is not None and rules.redaction.hashes_any(described.key_names):
        return "cannot be followed by the re-read: HASH_ATTRIBUTES names a key attribute"
    # The windows begin W before the gap, on a whole second.
    begin = exports.windows(stretch.widened(rules.wait_ms))[0].from_ms
    if described.recovery_from_ms is not None and begin < described.recovery_from_ms:
        return "does not reach back to the gap's start: the recovery period begins later"
    return ""


def _open_gaps(context: RunContext) -> tuple[TimeRange, tuple[tuple[int, str], ...]]:
    """(the hours of all open gaps, (from, cause) of each). Raises Misconfigured without one, or where one goes on."""
    gaps = context.gaps.open()
    if not gaps:
        raise Misconfigured("there is no open gap", hint="Nothing needs healing; `lakebound status` lists gaps")
    ends = [gap.to_ms for gap in gaps if gap.to_ms is not None]
    if len(ends) < len(gaps):
        raise Misconfigured(
            "a gap is still open-ended: the stream is not whole yet",
            hint="Enable the stream and its mapping, wait until it has caught up (a look ends the gap about "
            "50 minutes after that), then redrive this execution",
        )
    begin = min(gap.from_ms for gap in gaps)
    return TimeRange(begin, max(ends)), tuple((gap.from_ms, gap.cause) for gap in gaps)


def _changed_bytes(context: RunContext, stretch: TimeRange | None) -> int | None:
    if stretch is None:
        return None
    hours = stretch.widened(context.rules.wait_ms)
    return _CHANGES_EXPAND * sum(stored.size for stored in batch_files(context, hours))


def wait_for_coverage(context: RunContext, state: RunState) -> RunState:
    """Look at the stream: `wait_seconds` until it covers the first page (ORDERING.md, condition 4); 0 when it does."""
    ports, wait_ms, stretch = context.ports, context.rules.wait_ms, state.stretch
    described = ports.source.describe()
    now = ports.clock.now_ms()
    ready = covered_from_ms(context, described) + wait_ms
    if state.mode == "incremental_export" and stretch:
        # The windows of a heal end W after the gap, and an export reaches up to some minutes ago.
        ready = max(ready, stretch.to_ms + (wait_ms if state.is_heal else 0) + EXPORT_SETTLES_MS)
    elif stretch:
        ready = max(ready, stretch.to_ms + wait_ms)
    wait = max(0, ceil((ready - now) / 1000))
    waiting_for = "the stream to cover the first page" if wait else ""
    if state.is_heal and ports.upstream is not None:
        assert stretch is not None
        undelivered = undelivered_before_heal(context, state.run, stretch, ports.upstream, now)
        if undelivered:
            wait, waiting_for = max(wait, LEAST_WAIT_SECONDS), undelivered
    wait = min(MAX_WAIT_SECONDS, wait)
    return replace(state, wait_seconds=wait, waiting_for=waiting_for, covered_from=iso(ready))


def undelivered_before_heal(context: RunContext, run: str, gap: TimeRange, upstream: Upstream, now: int) -> str:
    """What is still on its way from the stream to the files and has to land first; empty when nothing is.

    INSERT for k waits in the dead-letter queue, its DELETE is lost in the gap. A heal that lists keys now does not read
    k again, and a redrive after it brings k back for ever. So at one moment after the gap's end nothing may be dead,
    and the heal goes on once everything that was in the buffer at that moment has left it, with nothing dead at any
    check until then. Raises Misconfigured with the command that redrives what is dead.
    """
    documents = context.ports.documents
    key = context.folder(run).work("clear")
    stored = documents.load(key)
    clear: int | None = orjson.loads(stored[0])["clear"] if stored else None
    queues = upstream.counts()
    refusal = _refuse_dead_records(context, queues)
    if refusal is not None:
        # What is redriven now is in the buffer after this moment: the next check begins with another one.
        documents.save(key, orjson.dumps({"clear": None}), stored[1] if stored else None)
        raise refusal
    if clear is None:
        if now < gap.to_ms:
            return "the gap's end"
        clear = now
        documents.save(key, orjson.dumps({"clear": clear}), stored[1] if stored else None)
    return "" if has_left(queues, clear, now) else "the buffer queue to write what it holds"


def has_left(queues: QueueCounts, moment_ms: int, now_ms: int) -> bool:
    """Whether everything that was in the buffer queue at that moment has left it.

    Counts are right about a minute after the fact. Where the oldest message is younger than the time since the moment,
    it came after it. A message that was received more than three times is in the counts, not in that age.
    """
    if not queues.buffered:
        return now_ms - moment_ms >= COUNTS_SETTLE_MS
    if queues.measured_ms is None or queues.oldest_age_ms is None:
        return False
    return queues.measured_ms - queues.oldest_age_ms > moment_ms + COUNTS_SETTLE_MS


def _refuse_dead_records(context: RunContext, queues: QueueCounts) -> Misconfigured | None:
    """Why nothing may be read yet: records that a redrive would bring back after the heal."""
    after = "and a redrive after the heal would bring back what it removed"
    if queues.dead:
        return Misconfigured(
            f"{count_text(queues.dead, 'message', 'waits', 'wait')} in the dead-letter queue, {after}",
            hint="Run `lakebound dlq redrive --from buffer`, then redrive this execution",
        )
    if context.ports.mapping is None:
        return None
    failures, _ = failure_objects(context, last_check(context)[0], context.ports.mapping.mapping().mapping_id)
    if not failures:
        return None
    return Misconfigured(
        f"{count_text(len(failures), 'failure object', 'waits', 'wait')} of the stream, {after}",
        hint="Run `lakebound dlq redrive --from stream`, then redrive this execution. An object that holds no "
        "records cannot be redriven: delete it, and the next look records its gap",
    )
