"""Redrives what did not get through: dead messages of the buffer, Lambda's failure objects, quarantined records.

Nothing is removed before it is durable at its next place. Carrying a record twice changes nothing: it keeps its own
sequence number, and the lake is a function of the set of records. Failure objects and quarantined records stay where
they are. A note in the bucket says that they were redriven, so a second run passes over them, and the next run
completes one that was interrupted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, Protocol

import orjson

from lakebound.counts import count_text
from lakebound.errors import LakeboundError, Misconfigured, ObjectMissing
from lakebound.live.ingest import IngestResult, IngestRules, ingest, poison_code
from lakebound.ports import Clock, ObjectStore, Queue, ReceivedMessage
from lakebound.record.stream_records import StreamDecoder
from lakebound.transport import messages
from lakebound.transport.dead_letters import (
    MAX_LETTERS,
    peek_dead_letters,
    put_back,
    verdict_of_message,
)
from lakebound.transport.object_keys import REDRIVEN
from lakebound.transport.undelivered import (
    MAX_FAILURE_BYTES,
    NO_DOCUMENT,
    FailureObject,
    Pending,
    QuarantinedRecord,
    read_quarantine,
)

DEFAULT_RATE: Final = 500
"""Messages or records a second: the most that SQS's own move task does."""

RECORDS_TOGETHER: Final = 500
_EMPTY_RECEIVES: Final = 2
_NO_HURRY: Final = 86_400.0


class MoveUnsupported(LakeboundError):
    """The queue's service has no move task of its own."""


@dataclass(frozen=True, slots=True)
class MoveState:
    """How far a move task is. `status` is SQS's own word; `why` its reason for a failure."""

    status: str
    moved: int
    expected: int
    why: str = ""

    @property
    def is_running(self) -> bool:
        return self.status in ("RUNNING", "CANCELLING")


class MoveTask(Protocol):
    """SQS's own redrive of a dead-letter queue to its source: one task per queue, at most 500 messages a second."""

    def start(self, per_second: int) -> None:
        """Start one. Raises MoveUnsupported, QueueUnavailable."""

    def state(self) -> MoveState | None:
        """The newest task of this queue, None when there never was one. Raises MoveUnsupported, QueueUnavailable."""


@dataclass(slots=True)
class RedriveResult:
    """What a run did. `kept` names what stays dead, with a stable code; `failed` what could not be sent now."""

    source: str
    way: str
    found: int = 0
    already: int = 0
    redriven: int = 0
    records: int = 0
    messages: int = 0
    kept: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        """Whether nothing was left behind."""
        return not self.kept and not self.failed


Progress = Callable[[int], None]
"""Called with how many more were redriven."""


class RedriveMethod(StrEnum):
    """How messages go back to the buffer queue."""

    AUTO = "auto"
    TASK = "task"
    COPY = "copy"


@dataclass(frozen=True, slots=True)
class BufferRedrive:
    """The buffer's dead-letter queue, and what brings its messages back.

    `count_visible` counts the queue's visible messages.
    """

    table: str
    dead: Queue
    buffer: Queue
    task: MoveTask
    store: ObjectStore
    clock: Clock
    count_visible: Callable[[], int]

    def redrive(
        self, method: RedriveMethod, *, rate: int, limit: int, dry_run: bool, progress: Progress
    ) -> RedriveResult:
        """Redrive by this method. AUTO copies where SQS has no move task, or where a move task would move too much.

        Raises QueueUnavailable, StoreUnavailable, and with TASK also MoveUnsupported.
        """
        letters = peek_dead_letters(self.table, self.dead, self.store, MAX_LETTERS)
        refused = {letter.message_id: letter.verdict for letter in letters if letter.verdict}
        # SQS's own task moves junk as well, which the flusher would bring back here: only a copy leaves it out.
        is_task = method is RedriveMethod.TASK or (method is RedriveMethod.AUTO and not limit and not refused)
        if dry_run:
            found = max(self.count_visible(), len(letters))
            if is_task:
                return RedriveResult("buffer", "move task", found=found, redriven=found)
            redriven = min(found - len(refused), limit or found)
            return RedriveResult("buffer", "copy", found=found, redriven=redriven, kept=refused)
        if is_task:
            try:
                return redrive_by_task(self.task, self.clock, rate=rate, progress=progress)
            except MoveUnsupported:
                if method is RedriveMethod.TASK:
                    raise
        ports = (self.table, self.dead, self.buffer, self.clock)
        return redrive_by_copy(*ports, rate=rate, limit=limit, progress=progress, store=self.store)


def redrive_by_task(
    task: MoveTask, clock: Clock, *, rate: int = DEFAULT_RATE, progress: Progress = lambda more: None
) -> RedriveResult:
    """Let SQS move everything back, and wait for it.

    Where a task runs already, as after an interrupted command, wait for that one instead of starting another. Raises
    MoveUnsupported where there is no such task, and LakeboundError when it fails.
    """
    result = RedriveResult("buffer", "move task")
    before = task.state()
    if before is None or not before.is_running:
        task.start(min(rate, DEFAULT_RATE))
    moved = 0
    while True:
        now = task.state()
        if now is not None:
            progress(now.moved - moved)
            moved = now.moved
            if not now.is_running:
                break
        clock.sleep(1.0)
    if now.status != "COMPLETED":
        raise LakeboundError(
            f"SQS's move task ended as {now.status} after {count_text(now.moved, 'message')} "
            f"({now.why or 'no reason given'})",
            hint="Run the command again, or with --by copy",
        )
    result.found, result.redriven, result.messages = now.expected, now.moved, now.moved
    return result


def redrive_by_copy(
    table: str,
    dead: Queue,
    buffer: Queue,
    clock: Clock,
    *,
    rate: int = DEFAULT_RATE,
    limit: int = 0,
    progress: Progress = lambda more: None,
    store: ObjectStore | None = None,
) -> RedriveResult:
    """Receive, send to the buffer, and only then delete. A message that no flusher can ever read stays where it is.

    With a `store`, a message whose claim is missing or damaged stays as well. The next run completes one that was
    interrupted. An interruption between send and delete leaves a duplicate, which is harmless.
    Raises QueueUnavailable.
    """
    result = RedriveResult("buffer", "copy")
    pace = _Pace(clock, rate)
    receipts_left: list[str] = []
    received_ids: set[str] = set()
    empty = 0
    try:
        while empty < _EMPTY_RECEIVES and not (limit and result.redriven >= limit):
            received = [message for message in dead.receive(1) if message.message_id not in received_ids]
            empty = 0 if received else empty + 1
            received_ids.update(message.message_id for message in received)
            good = []
            for message in received:
                result.found += 1
                why = verdict_of_message(table, message, store)
                if why:
                    result.kept[message.message_id] = why
                    receipts_left.append(message.receipt)
                else:
                    good.append(message)
            if limit:
                most = limit - result.redriven
                receipts_left += [message.receipt for message in good[most:]]
                good = good[:most]
            for batch in messages.split_batches(good):
                pace.wait_for(result.redriven)
                _send(batch, dead, buffer, result, progress)
    finally:
        # The next command sees at once what stays: `dlq discard` would else find nothing for half a minute.
        put_back(dead, receipts_left)
    return result


def _send(
    batch: Sequence[ReceivedMessage], dead: Queue, buffer: Queue, result: RedriveResult, progress: Progress
) -> None:
    refused = set(buffer.send([message.body for message in batch]))
    sent = [message for place, message in enumerate(batch) if place not in refused]
    result.failed.update({batch[place].message_id: "not accepted" for place in refused})
    if sent:
        undeleted = dead.delete([message.receipt for message in sent])
        result.failed.update({sent[place].message_id: "sent, not deleted" for place in undeleted})
    result.redriven += len(sent)
    result.messages += len(sent)
    progress(len(sent))


# ── Lambda's failure objects ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class IngestPipeline:
    """Carries stream records as `stream_ingest` does: its rules, and the ports that it works with."""

    rules: IngestRules
    decoder: StreamDecoder
    queue: Queue
    store: ObjectStore
    clock: Clock

    def carry(self, records: Sequence[object]) -> IngestResult:
        """Carry the records as one delivery."""
        return ingest(records, self.rules, self.decoder, self.queue, self.store, self.clock, lambda: _NO_HURRY)

    def for_quarantine(self, *, is_redacted: bool | None) -> IngestPipeline:
        """The pipeline for quarantined records; one that does not redact, where they are redacted already.

        Raises Misconfigured where the stack redacts and `is_redacted` is None.
        """
        if self.rules.redaction is not None and is_redacted is None:
            raise Misconfigured(
                "The stack drops or hashes attributes",
                hint="Give --redacted if it did so when the records came (a hash of a hash is another key), else --raw",
            )
        return replace(self, rules=replace(self.rules, redaction=None)) if is_redacted else self

    def poison_of(self, record: object) -> str | None:
        """The code of what would keep a record from being carried now; nothing is sent or written."""
        return poison_code(record, self.rules, self.decoder, self.clock.now_ms())


def redrive_failures(
    pipeline: IngestPipeline,
    pending: Pending,
    *,
    rate: int = DEFAULT_RATE,
    limit: int = 0,
    dry_run: bool = False,
    progress: Progress = lambda more: None,
) -> RedriveResult:
    """Carry the records of failure objects with their own sequence numbers. Poison goes to quarantine."""
    result = RedriveResult("stream", "ingest", found=len(pending.objects), already=pending.already)
    pace = _Pace(pipeline.clock, rate)
    for stored in pending.objects[: limit or None]:
        try:
            failure = FailureObject.decode(stored.key, pipeline.store.get(stored.key, MAX_FAILURE_BYTES))
        except ObjectMissing:
            result.kept[stored.key] = "expired"
            continue
        except LakeboundError:
            result.kept[stored.key] = "no_records"
            continue
        if dry_run:
            poison = Counter(filter(None, map(pipeline.poison_of, failure.records)))
            result.redriven += 1
            result.records += len(failure.records) - poison.total()
            _keep(result, stored.key, poison)
            continue
        pace.wait_for(result.records)
        carried = pipeline.carry(failure.records)
        if carried.unsent_from is not None:
            # The queue or the bucket is down: the objects after this one would fail as well.
            result.failed[stored.key] = carried.unsent_why
            break
        _note(pipeline, stored.key, carried)
        result.redriven += 1
        result.records += carried.sent
        result.messages += carried.messages
        _keep(result, stored.key, carried.quarantined)
        progress(1)
    return result


def _keep(result: RedriveResult, key: str, quarantined: Mapping[str, int]) -> None:
    for code, count in quarantined.items():
        result.kept[f"{key} ({count} to quarantine, {code})"] = code


# ── quarantine ──────────────────────────────────────────────────────────────────────────────────────────────


def redrive_quarantine(
    pipeline: IngestPipeline,
    pending: Pending,
    *,
    rate: int = DEFAULT_RATE,
    limit: int = 0,
    reason: str = "",
    dry_run: bool = False,
    progress: Progress = lambda more: None,
) -> RedriveResult:
    """Carry quarantined stream records from their original bytes. What is still poison is kept and named.

    What a backfill quarantined has no sequence number to come back with: the next backfill reads its item again.
    """
    result = RedriveResult("quarantine", "ingest", found=len(pending.objects), already=pending.already)
    pace = _Pace(pipeline.clock, rate)
    ready: list[tuple[str, object]] = []
    for quarantined in read_quarantine(pipeline.store, pending.objects):
        if reason and quarantined.reason != reason:
            continue
        if limit and result.redriven + len(ready) >= limit:
            break
        code, record = judge_quarantined(pipeline, quarantined)
        if code:
            result.kept[quarantined.key] = code
            continue
        ready.append((quarantined.key, record))
        if len(ready) == RECORDS_TOGETHER and not _send_ready(pipeline, ready, result, pace, dry_run, progress):
            return result
    _send_ready(pipeline, ready, result, pace, dry_run, progress)
    return result


def judge_quarantined(pipeline: IngestPipeline, quarantined: QuarantinedRecord) -> tuple[str, object]:
    """(the code of what keeps the record from being carried now or "", the record), as stream_ingest decides."""
    if quarantined.reason == NO_DOCUMENT:
        return NO_DOCUMENT, None
    if quarantined.stage != "stream_ingest":
        return f"stage_{quarantined.stage}", None
    try:
        # Not orjson: the payload may hold lone surrogates and nesting that only the standard parser reads back.
        record = json.loads(quarantined.payload)
    except (ValueError, RecursionError):
        return quarantined.reason, None
    return pipeline.poison_of(record) or "", record


def _send_ready(
    pipeline: IngestPipeline,
    ready: list[tuple[str, object]],
    result: RedriveResult,
    pace: _Pace,
    dry_run: bool,
    progress: Progress,
) -> bool:
    """Carry what was found good, note it, and empty the list; False when the queue or the bucket is down."""
    if not ready:
        return True
    if not dry_run:
        pace.wait_for(result.records)
        carried = pipeline.carry([record for _, record in ready])
        if carried.unsent_from is not None:
            result.failed.update({key: carried.unsent_why for key, _ in ready})
            return False
        result.messages += carried.messages
        for key, _ in ready:
            _note(pipeline, key, None)
    result.redriven += len(ready)
    result.records += len(ready)
    progress(len(ready))
    ready.clear()
    return True


def _note(pipeline: IngestPipeline, key: str, carried: IngestResult | None) -> None:
    body: dict[str, Any] = {"key": key, "redriven_at": pipeline.clock.now_ms()}
    if carried is not None:
        body |= {"records": carried.sent, "messages": carried.messages, "quarantined": carried.quarantined.total()}
    pipeline.store.put_if_absent(REDRIVEN.key_about(pipeline.rules.table, key), orjson.dumps(body), {})


class _Pace:
    """Keeps a run at its rate: work number n does not begin before n / rate seconds have passed."""

    def __init__(self, clock: Clock, rate: int) -> None:
        self._clock = clock
        self._rate = max(1, rate)
        self._started_ms = clock.now_ms()

    def wait_for(self, done: int) -> None:
        due_ms = self._started_ms + done * 1000 // self._rate
        early = due_ms - self._clock.now_ms()
        if early > 0:
            self._clock.sleep(early / 1000)
