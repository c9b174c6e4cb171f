"""Discards what no redrive can ever carry: a copy is kept, and it waits no longer.

Only what the pipeline itself refuses is discarded. What a redrive can carry is named, and stays. The copy under
`_lakebound/<table>/discarded/` is durable before anything is marked or deleted, so the next run completes one that was
killed. Quarantine objects and failure objects stay where they are, with a note as after a redrive.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from lakebound.errors import LakeboundError, Misconfigured, ObjectMissing
from lakebound.operate.redrive import IngestPipeline, judge_quarantined
from lakebound.ports import Clock, ObjectStore, Queue, ReceivedMessage
from lakebound.transport.dead_letters import DeadLetter, put_back, verdict_of_message
from lakebound.transport.object_keys import DISCARDED, REDRIVEN
from lakebound.transport.undelivered import (
    MAX_FAILURE_BYTES,
    MAX_QUARANTINE_BYTES,
    NO_DOCUMENT,
    FailureObject,
    Pending,
    QuarantinedRecord,
)

REDRIVE_HELPS: Final = ""
"""The verdict of what a redrive can carry."""

GAP: Final = "delivery_without_records"
"""A failure object of Lambda's own without the records: its delivery is a gap, which no discard may hide."""

LATER: Final = "creation_time"
CLAIM_MISSING: Final = "claim_missing"
NOT_LAMBDAS: Final = "no_records"


@dataclass(frozen=True, slots=True)
class Undelivered:
    """One thing that waits. `why` is the code of the reason, empty where a redrive can carry it."""

    id: str
    key: str
    why: str
    size: int

    @property
    def can_be_discarded(self) -> bool:
        """Whether a redrive never helps. A record from a clock that is ahead is carried once its time has come."""
        return self.why not in (REDRIVE_HELPS, GAP, LATER)

    @property
    def is_asked_for_by_name(self) -> bool:
        """Whether only its id or its reason discards it: somebody may yet put its claim back."""
        return self.why == CLAIM_MISSING


@dataclass(slots=True)
class DiscardResult:
    """What a run did: ids of what it discarded and of what it kept, each with the code of why."""

    source: str
    discarded: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DiscardPlan:
    """Of what waits, what would be discarded, and what would stay: ids with the code of why."""

    chosen: tuple[Undelivered, ...]
    kept: dict[str, str]


def plan_discard(
    source: str, waiting: Iterable[Undelivered], names: Collection[str] = (), reason: str = ""
) -> DiscardPlan:
    """Choose among what waits: what these names (ids or keys) and this reason name, or everything.

    Raises Misconfigured for a name of nothing that waits.
    """
    named = [
        one
        for one in waiting
        if (not names or one.id in names or one.key in names) and (not reason or one.why == reason)
    ]
    missing = sorted(set(names) - {one.id for one in named} - {one.key for one in named})
    if missing:
        raise Misconfigured(
            f"{missing[0]} does not wait there", hint=f"`lakebound dlq list --from {source}` names what does"
        )
    is_named = bool(names or reason)
    chosen = tuple(one for one in named if one.can_be_discarded and (is_named or not one.is_asked_for_by_name))
    return DiscardPlan(chosen, {one.id: one.why or "redrive_helps" for one in named if one not in chosen})


def undelivered_messages(letters: Iterable[DeadLetter]) -> Iterator[Undelivered]:
    """Dead messages with their verdicts."""
    for one in letters:
        # What could not be read this time may be good the next time.
        why = REDRIVE_HELPS if one.verdict == "claim_unreadable_now" else one.verdict
        yield Undelivered(one.message_id, one.message_id, why, one.size)


def undelivered_failures(store: ObjectStore, pending: Pending) -> Iterator[Undelivered]:
    """Failure objects with their verdicts. Raises StoreUnavailable."""
    for stored in pending.objects:
        try:
            body = store.get(stored.key, MAX_FAILURE_BYTES)
        except ObjectMissing:
            continue
        yield Undelivered(stored.key, stored.key, verdict_of_failure(stored.key, body), stored.size)


def verdict_of_failure(key: str, body: bytes) -> str:
    """The code of why the object holds nothing to redrive, or ""."""
    try:
        FailureObject.decode(key, body)
    except LakeboundError:
        return GAP if _is_lambdas(body) else NOT_LAMBDAS
    return REDRIVE_HELPS


def _is_lambdas(body: bytes) -> bool:
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        # Nobody can tell half a document of Lambda's from anything else. Whoever looks at it decides, by deleting it.
        return b"DDBStreamBatchInfo" in body
    return type(document) is dict and "DDBStreamBatchInfo" in document


def undelivered_quarantine(pipeline: IngestPipeline, pending: Pending) -> Iterator[Undelivered]:
    """Quarantined records with the pipeline's present verdicts. Raises StoreUnavailable."""
    for stored in pending.objects:
        name = stored.key.rpartition("/")[2].removesuffix(".json")
        try:
            body = pipeline.store.get(stored.key, MAX_QUARANTINE_BYTES)
        except ObjectMissing:
            continue
        try:
            why = judge_quarantined(pipeline, QuarantinedRecord.decode(stored.key, body))[0]
        except LakeboundError:
            why = NO_DOCUMENT
        yield Undelivered(name, stored.key, why, stored.size)


def discard_objects(
    source: str, found: Collection[Undelivered], store: ObjectStore, table: str, clock: Clock, max_bytes: int
) -> DiscardResult:
    """Copy each, then note that it waits no longer. Raises StoreUnavailable: run it again."""
    result = DiscardResult(source)
    for one in found:
        if not one.can_be_discarded:
            result.kept[one.id] = one.why or "redrive_helps"
            continue
        try:
            body = store.get(one.key, max_bytes)
        except ObjectMissing:
            continue
        now = clock.now_ms()
        _copy(store, DISCARDED.key_about(table, one.key), source, one.key, one.why, now, body)
        note = {"key": one.key, "discarded_at": now, "why": one.why}
        store.put_if_absent(REDRIVEN.key_about(table, one.key), orjson.dumps(note), {})
        result.discarded[one.id] = one.why
    return result


def discard_messages(table: str, ids: Collection[str], dead: Queue, store: ObjectStore, clock: Clock) -> DiscardResult:
    """Copy each of these dead messages, then delete it. Every other message is put back.

    Each is judged again, since somebody may have put a missing claim back meanwhile. Raises QueueUnavailable,
    StoreUnavailable: run it again.
    """
    result = DiscardResult("buffer")
    received_ids: set[str] = set()
    back: list[str] = []
    try:
        while len(result.discarded) + len(result.kept) < len(ids):
            received = [message for message in dead.receive(1) if message.message_id not in received_ids]
            if not received:
                break
            for message in received:
                received_ids.add(message.message_id)
                if message.message_id not in ids or not _discard_message(table, message, dead, store, clock, result):
                    back.append(message.receipt)
    finally:
        put_back(dead, back)
    return result


def _discard_message(
    table: str, message: ReceivedMessage, dead: Queue, store: ObjectStore, clock: Clock, result: DiscardResult
) -> bool:
    why = verdict_of_message(table, message, store)
    if not why:
        result.kept[message.message_id] = "redrive_helps"
        return False
    body = message.body.encode("utf-8", "surrogatepass")
    key = DISCARDED.key_about(table, f"message {message.message_id}")
    _copy(store, key, "buffer", message.message_id, why, clock.now_ms(), body)
    if dead.delete([message.receipt]):
        result.kept[message.message_id] = "not_deleted"
        return False
    result.discarded[message.message_id] = why
    return True


def _copy(store: ObjectStore, key: str, source: str, name: str, why: str, now_ms: int, body: bytes) -> None:
    document = {"from": source, "id": name, "why": why, "discarded_at": now_ms, "body": b64encode(body).decode("ascii")}
    store.put_if_absent(key, orjson.dumps(document), {})
