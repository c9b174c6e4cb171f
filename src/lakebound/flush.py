"""The use case of the flusher: messages become batch files, and only then are they acknowledged.

Nothing is held between invocations: a record is in a complete object before its message is deleted (G2). The loop
must not turn an outage into dead letters, so what could not be written is hidden for longer each time it comes back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from lakebound import batches, messages
from lakebound.batches import BatchFile, MemberRefused
from lakebound.errors import LakeboundError, ObjectMissing, Poison, QueueUnavailable, StoreUnavailable
from lakebound.messages import ClaimCheck, Member
from lakebound.ports import Clock, ObjectStore, Queue, ReceivedMessage, SecondsLeft

PUT_SECONDS: Final = 10.0
DELETE_SECONDS: Final = 5.0
RESERVE_SECONDS: Final = 10.0
"""Kept back at the end of an invocation, beside the time for the put and the deletes."""

ALONE_FROM_RECEIVES: Final = 3
"""A message received so often is written alone: should it be the one that fails, it fails without its neighbours."""

_LONG_POLL_SECONDS: Final = 20
_MAX_HIDE_SECONDS: Final = 900


@dataclass(frozen=True, slots=True)
class FlushRules:
    """What the settings decide: where files go and when one closes. Zero records means no limit."""

    table: str
    prefix: str
    max_records: int
    max_file_bytes: int
    max_seconds: int
    file_format: str = "ndjson.gz"


@dataclass(slots=True)
class FlushResult:
    """What became of the messages in hand. `failed` names the mapping's messages that are not durable."""

    failed: list[str] = field(default_factory=list)
    messages: int = 0
    records: int = 0
    files: list[tuple[str, int]] = field(default_factory=list)
    existing: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    put_failed: bool = False
    undeleted: int = 0
    oldest_age_ms: int = 0


@dataclass(slots=True)
class _Held:
    """One message in hand: all receipts it was received under, and whether its records are in complete objects."""

    message_id: str
    receives: int
    members: list[Member]
    receipts: list[str]
    from_mapping: bool
    durable: bool = False

    @property
    def mapping_deletes(self) -> bool:
        """Whether leaving the message out of the answer is enough to have it deleted under its only receipt."""
        return self.from_mapping and len(self.receipts) == 1


class _Hand:
    """The messages in hand, by id, with what decides when the file closes."""

    def __init__(self) -> None:
        self.held: dict[str, _Held] = {}
        self.bytes = 0
        self.records = 0
        self.oldest_ms: int | None = None

    def take(self, message: ReceivedMessage, members: list[Member], from_mapping: bool) -> None:
        self.held[message.message_id] = _Held(
            message.message_id, message.receives, members, [message.receipt], from_mapping
        )
        self.bytes += sum(len(member.data) for member in members)
        self.records += sum(member.count for member in members)
        oldest = min(member.max_ingest_ms for member in members)
        self.oldest_ms = oldest if self.oldest_ms is None else min(self.oldest_ms, oldest)


def flush(
    received: Sequence[ReceivedMessage],
    rules: FlushRules,
    queue: Queue,
    store: ObjectStore,
    clock: Clock,
    seconds_left: SecondsLeft,
) -> FlushResult:
    """Write what the mapping delivered and what the queue still has, then acknowledge it."""
    result = FlushResult()
    hand = _Hand()
    _take(received, hand, result, rules, store, from_mapping=True)
    if hand.held:
        _top_up(hand, result, rules, queue, store, clock, seconds_left)
    _write(hand.held.values(), result, rules, store, seconds_left)
    _acknowledge(hand.held.values(), result, queue)
    _hide([held for held in hand.held.values() if not held.durable], queue, seconds_left)
    if hand.oldest_ms is not None:
        result.oldest_age_ms = max(0, clock.now_ms() - hand.oldest_ms)
    durable = {held.message_id for held in hand.held.values() if held.durable}
    result.failed = list(dict.fromkeys(m.message_id for m in received if m.message_id not in durable))
    return result


def _take(
    received: Iterable[ReceivedMessage],
    hand: _Hand,
    result: FlushResult,
    rules: FlushRules,
    store: ObjectStore,
    from_mapping: bool,
) -> None:
    for message in received:
        twin = hand.held.get(message.message_id)
        if twin is not None:
            # Two copies of one message (SQS delivers at least once): written once, deleted under both receipts.
            twin.receipts.append(message.receipt)
            continue
        try:
            hand.take(message, _members(message, rules.table, store), from_mapping)
        except Poison as poison:
            # Not acknowledged: it comes back until maxReceiveCount and then waits in the DLQ with its body.
            result.refused[message.message_id] = poison.code
        except (ObjectMissing, StoreUnavailable) as unavailable:
            result.refused[message.message_id] = type(unavailable).__name__


def _members(message: ReceivedMessage, table: str, store: ObjectStore) -> list[Member]:
    content = messages.decode(table, message.body)
    if not isinstance(content, ClaimCheck):
        return content
    try:
        document = store.get(content.key, max_bytes=content.bytes)
    except (ObjectMissing, StoreUnavailable):
        raise
    except LakeboundError:
        raise Poison("claim_digest", "the claimed object is larger than the claim says") from None
    return messages.decode_claimed(table, content, document)


def _top_up(
    hand: _Hand,
    result: FlushResult,
    rules: FlushRules,
    queue: Queue,
    store: ObjectStore,
    clock: Clock,
    seconds_left: SecondsLeft,
) -> None:
    """Receive until the file is full, its oldest record is old enough, or the time left is needed for writing."""
    while not _full(hand, rules):
        assert hand.oldest_ms is not None
        spare = seconds_left() - (PUT_SECONDS + DELETE_SECONDS + RESERVE_SECONDS)
        if spare < 1:
            return
        age = (clock.now_ms() - hand.oldest_ms) / 1000
        # Behind by more than MAX_SECONDS (a backlog, a redrive) the file closes now; but what the queue holds ready is
        # taken first, without waiting, or catching up would write one small file after the other.
        wait = int(min(_LONG_POLL_SECONDS, spare, max(0.0, rules.max_seconds - age)))
        try:
            more = queue.receive(wait)
        except QueueUnavailable:
            return
        if not more and wait == 0:
            return
        _take(more, hand, result, rules, store, from_mapping=False)


def _full(hand: _Hand, rules: FlushRules) -> bool:
    return hand.bytes >= rules.max_file_bytes or (rules.max_records > 0 and hand.records >= rules.max_records)


def _write(
    held: Iterable[_Held],
    result: FlushResult,
    rules: FlushRules,
    store: ObjectStore,
    seconds_left: SecondsLeft,
) -> None:
    everyone = list(held)
    together = [one for one in everyone if one.receives < ALONE_FROM_RECEIVES]
    alone = [one for one in everyone if one.receives >= ALONE_FROM_RECEIVES]
    for group in [together, *([one] for one in alone)]:
        if group and not result.put_failed and seconds_left() > DELETE_SECONDS + RESERVE_SECONDS:
            _write_group(group, result, rules, store)


def _write_group(group: list[_Held], result: FlushResult, rules: FlushRules, store: ObjectStore) -> None:
    written: set[tuple[str, str]] = set()
    for file in _files(group, result, rules):
        try:
            if not store.put_if_absent(file.key, file.body, file.metadata):
                result.existing += 1
        except StoreUnavailable:
            result.put_failed = True
            break
        written.add(file.hour_partition)
        result.files.append((file.key, len(file.body)))
        result.records += file.count
    for one in group:
        # A message may span an hour's edge: it is durable when every file that holds a member of it is.
        one.durable = all((member.partition, member.format) in written for member in one.members)


def _files(group: list[_Held], result: FlushResult, rules: FlushRules) -> list[BatchFile]:
    """The group's files. A message with a block that cannot become rows is refused, and taken out of the group."""
    while group:
        members = [member for one in group for member in one.members]
        try:
            return batches.assemble(rules.prefix, "stream", members, rules.file_format)
        except MemberRefused as refused:
            for one in [one for one in group if any(member.digest() == refused.digest for member in one.members)]:
                # Not acknowledged: it comes back until maxReceiveCount and then waits in the DLQ with its body.
                result.refused[one.message_id] = refused.code
                group.remove(one)
    return []


def _acknowledge(held: Iterable[_Held], result: FlushResult, queue: Queue) -> None:
    """Delete what is durable, but for what the mapping deletes itself."""
    durable = [one for one in held if one.durable]
    result.messages = len(durable)
    receipts = [receipt for one in durable if not one.mapping_deletes for receipt in one.receipts]
    for batch in _tens(receipts):
        result.undeleted += len(_delete(batch, queue))


def _hide(undurable: list[_Held], queue: Queue, seconds_left: SecondsLeft) -> None:
    """Keep what could not be written out of sight, longer each time: an hour of outage must not use up the receives."""
    waits: dict[int, list[str]] = {}
    for one in undurable:
        wait = min(_MAX_HIDE_SECONDS, 30 * 2 ** min(one.receives, 10))
        waits.setdefault(wait, []).append(one.receipts[-1])
    for wait, receipts in waits.items():
        for batch in _tens(receipts):
            if seconds_left() < DELETE_SECONDS:
                return
            try:
                queue.hide(batch, wait)
            except QueueUnavailable:
                # The queue's own visibility timeout stands in; it is longer than the first waits.
                return


def _tens(receipts: list[str]) -> list[list[str]]:
    return [receipts[start : start + 10] for start in range(0, len(receipts), 10)]


def _delete(receipts: list[str], queue: Queue) -> list[str]:
    """Delete one batch, what was refused once more; what stays comes again and meets its own file or its version."""
    for _ in range(2):
        try:
            positions = queue.delete(receipts)
        except QueueUnavailable:
            continue
        receipts = [receipts[position] for position in positions]
        if not receipts:
            break
    return receipts
