"""The use case of the flusher: messages become batch files, and are acknowledged only then.

Nothing is kept between invocations, and a record is in a complete object before its message is deleted (G2). An outage
must not turn messages into dead letters, so a message that could not be written is hidden for longer at each receive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from lakebound.errors import (
    LakeboundError,
    Misconfigured,
    ObjectDenied,
    ObjectMissing,
    Poison,
    QueueUnavailable,
    StoreUnavailable,
)
from lakebound.live.heartbeat import Beat, Hops, read_beats
from lakebound.ports import Clock, ObjectStore, Queue, ReceivedMessage, SecondsLeft
from lakebound.transport import batch_files, messages
from lakebound.transport.batch_files import BatchFile, MemberRefused
from lakebound.transport.messages import ClaimCheck, Member
from lakebound.transport.object_keys import heartbeat_prefix

PUT_SECONDS: Final = 10.0
DELETE_SECONDS: Final = 5.0
RESERVE_SECONDS: Final = 10.0
"""Kept back at the end of an invocation, beside the time for the put and the deletes."""

ALONE_FROM_RECEIVES: Final = 3
"""A message received so often is written alone. If it is the one that makes writing fail, its neighbours succeed."""

MAX_FAILED_CALLS: Final = 3
"""After so many failed calls to the store the invocation assumes an outage and tries no further message."""

UNREADABLE_HIDE_SECONDS: Final = 5
"""How long a message that no flusher can read stays out of sight before its next receive.

With the queue's visibility timeout (1,020 s) its ten receives would take 2.8 hours, and `verify` would wait all that
time for the queue to empty. After the last receive SQS itself moves the message to the dead-letter queue; the flusher
deletes nothing, so a kill loses nothing.
"""

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
    heartbeat_table: str = ""
    """Messages of this table are heartbeats; empty: there are none."""


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
    heartbeats: list[Hops] = field(default_factory=list)
    """Of each record of a heartbeat that is in a file; `records` and `files` count data only."""


def flush(
    received: Sequence[ReceivedMessage],
    rules: FlushRules,
    queue: Queue,
    store: ObjectStore,
    clock: Clock,
    seconds_left: SecondsLeft,
) -> FlushResult:
    """Write what the mapping delivered and what the queue still has, then acknowledge it.

    Raises Misconfigured when the bucket does not exist: then the mapping delivers everything again.
    """
    invocation = _Invocation(rules, queue, store, clock, seconds_left)
    for message in received:
        invocation.take(message, from_mapping=True)
    invocation.return_unreadable()
    invocation.top_up()
    invocation.close()
    invocation.return_unreadable()
    invocation.hide()
    return invocation.answer(received)


@dataclass(slots=True)
class _Message:
    """One message in hand: all receipts it was received under, and whether its records are in complete objects."""

    message_id: str
    receives: int
    receipts: list[str]
    from_mapping: bool
    members: list[Member] = field(default_factory=list)
    beats: list[Beat] = field(default_factory=list)
    durable: bool = False

    @property
    def mapping_deletes(self) -> bool:
        """Whether leaving the message out of the answer is enough to have it deleted under its only receipt."""
        return self.from_mapping and len(self.receipts) == 1


class _Invocation:
    """The messages of one invocation: taken in, written each time a file closes, then acknowledged or hidden."""

    def __init__(
        self, rules: FlushRules, queue: Queue, store: ObjectStore, clock: Clock, seconds_left: SecondsLeft
    ) -> None:
        self._rules = rules
        self._queue = queue
        self._store = store
        self._clock = clock
        self._seconds_left = seconds_left
        self._result = FlushResult()
        self._messages: dict[str, _Message] = {}
        self._open: list[_Message] = []
        self._heartbeats: list[_Message] = []
        self._unreadable: list[str] = []
        self._bytes = 0
        self._records = 0
        self._oldest_ms = clock.now_ms()
        self._behind = False
        self._failed_calls = 0
        self._stopped = False

    def take(self, message: ReceivedMessage, from_mapping: bool) -> None:
        """Add a message to the open file, and close the file when that fills it.

        Closing here and not after the delivery keeps memory at one file and one message: a thousand claim checks fit
        into one delivery, and the documents behind them are up to 16 MiB each.
        """
        twin = self._messages.get(message.message_id)
        if twin is not None:
            # Two copies of one message (SQS delivers at least once): written once, deleted under both receipts.
            twin.receipts.append(message.receipt)
            if twin.durable:
                self._delete([message.receipt])
            return
        one = _Message(message.message_id, message.receives, [message.receipt], from_mapping)
        if not self._stopped and not self._read(message, one):
            return
        self._messages[one.message_id] = one
        if one.beats:
            self._heartbeats.append(one)
        elif one.members:
            self._add(one)

    def _read(self, message: ReceivedMessage, one: _Message) -> bool:
        """Fill in the members; whether the message is one that may be written in the end."""
        try:
            one.members, one.beats = _content(message, self._rules, self._store, self._clock)
        except Poison as poison:
            # Not acknowledged: it comes back until maxReceiveCount and then waits in the DLQ with its body.
            self._result.refused[message.message_id] = poison.code
            self._unreadable.append(message.receipt)
            return False
        except ObjectMissing as missing:
            self._result.refused[message.message_id] = type(missing).__name__
            return False
        except ObjectDenied as denied:
            # Three claims whose objects somebody deleted, and a role that may not list: each is a 403, as if S3 were
            # closed. It is not, so the neighbours are written. Kept in hand as in an outage: should the role have lost
            # its right instead, the claims wait for it and use up few receives.
            self._result.refused[message.message_id] = type(denied).__name__
        except StoreUnavailable as unavailable:
            # Kept in hand without members: an outage must not use up the receives of claim checks either.
            self._result.refused[message.message_id] = type(unavailable).__name__
            self._count_failed_call()
        return True

    def _add(self, one: _Message) -> None:
        # A writer's clock may be ahead of ours: no record in hand is younger than the moment when it was taken.
        oldest = min(self._clock.now_ms(), *(member.max_ingest_ms for member in one.members))
        self._oldest_ms = min(self._oldest_ms, oldest) if self._open else oldest
        self._behind = self._behind or self._clock.now_ms() - oldest > self._rules.max_seconds * 1000
        self._open.append(one)
        self._bytes += sum(len(member.data) for member in one.members)
        self._records += sum(member.count for member in one.members)
        if self._bytes >= self._rules.max_file_bytes or 0 < self._rules.max_records <= self._records:
            self.close()

    def top_up(self) -> None:
        """Receive until no file is open, its oldest record is old enough, or the time left is needed for writing."""
        while self._open and not self._stopped and not self._failed_calls:
            spare = self._seconds_left() - (PUT_SECONDS + DELETE_SECONDS + RESERVE_SECONDS)
            if spare < 1:
                return
            age = (self._clock.now_ms() - self._oldest_ms) / 1000
            # Behind by more than MAX_SECONDS (a backlog, a redrive) the file closes now; but what the queue holds ready
            # is taken first, without waiting, or catching up would write one small file after the other. That ends
            # with the backlog: on a busy table there is always one more fresh message.
            wait = int(min(_LONG_POLL_SECONDS, spare, max(0.0, self._rules.max_seconds - age)))
            try:
                more = self._queue.receive(wait)
            except QueueUnavailable:
                return
            if not more and wait == 0:
                return
            self._behind = False
            for message in more:
                self.take(message, from_mapping=False)
            self.return_unreadable()
            if wait == 0 and not self._behind:
                return

    def close(self) -> None:
        """Write the open file, acknowledge what is durable with it, and let go of the members.

        Heartbeats go with it, and alone where no data is in hand: nobody waits for more of them, since on an idle table
        a flusher that topped up a file of heartbeats would cost more than everything else of the stack.
        """
        self._close_data()
        self._close_heartbeats()

    def _close_data(self) -> None:
        if not self._open:
            return
        opened, self._open, self._bytes, self._records = self._open, [], 0, 0
        together = [one for one in opened if one.receives < ALONE_FROM_RECEIVES]
        alone = sorted((one for one in opened if one.receives >= ALONE_FROM_RECEIVES), key=lambda one: one.receives)
        for group in [together, *([one] for one in alone)]:
            if self._seconds_left() <= DELETE_SECONDS + RESERVE_SECONDS:
                self._stopped = True
            if group and not self._stopped:
                self._write(group)
        for one in opened:
            one.members = []
        self._result.oldest_age_ms = max(self._result.oldest_age_ms, self._clock.now_ms() - self._oldest_ms)
        self._delete([receipt for one in opened if one.durable and not one.mapping_deletes for receipt in one.receipts])

    def _close_heartbeats(self) -> None:
        group, self._heartbeats = self._heartbeats, []
        if not group or self._stopped or self._seconds_left() <= DELETE_SECONDS + RESERVE_SECONDS:
            return
        # A failed put is no outage yet: no heartbeat may stop what data is in hand.
        self._put(group, heartbeat_prefix(self._rules.table))
        now_ms = self._clock.now_ms()
        for one in group:
            one.members = []
            self._result.heartbeats += [each.hops(now_ms) for each in one.beats if one.durable]
        self._delete([receipt for one in group if one.durable and not one.mapping_deletes for receipt in one.receipts])

    def _write(self, group: list[_Message]) -> None:
        there, is_whole = self._put(group, self._rules.prefix)
        for file, is_new in there:
            self._result.existing += not is_new
            self._result.files.append((file.key, len(file.body)))
            self._result.records += file.count
        if not is_whole:
            self._count_failed_call()

    def _put(self, group: list[_Message], prefix: str) -> tuple[list[tuple[BatchFile, bool]], bool]:
        """Write the group's files and mark what is durable then.

        The files that are there, each with whether it is new; and whether those are all.
        """
        there: list[tuple[BatchFile, bool]] = []
        is_whole = True
        for file in self._files(group, prefix):
            try:
                there.append((file, self._store.put_if_absent(file.key, file.body, file.metadata)))
            except StoreUnavailable:
                self._result.put_failed = True
                is_whole = False
                break
        written = {file.hour_partition for file, _ in there}
        for one in group:
            # A message may span an hour's edge: it is durable when every file that holds a member of it is.
            one.durable = all((member.partition, member.format) in written for member in one.members)
        return there, is_whole

    def _files(self, group: list[_Message], prefix: str) -> list[BatchFile]:
        """The group's files. A message with a block that cannot become rows is refused, and leaves the group."""
        while group:
            members = [member for one in group for member in one.members]
            try:
                return batch_files.assemble(prefix, "stream", members, self._rules.file_format)
            except MemberRefused as refused:
                for one in [one for one in group if any(member.digest() == refused.digest for member in one.members)]:
                    self._result.refused[one.message_id] = refused.code
                    self._unreadable += one.receipts[-1:]
                    del self._messages[one.message_id]
                    group.remove(one)
        return []

    def _count_failed_call(self) -> None:
        # One failure may be one message's own fault, and its neighbours are still tried; several are an outage.
        self._failed_calls += 1
        self._stopped = self._stopped or self._failed_calls >= MAX_FAILED_CALLS

    def _delete(self, receipts: list[str]) -> None:
        """Delete, and what was refused once more; what stays comes again and meets its own file or its version."""
        for batch in _tens(receipts):
            for _ in range(2):
                try:
                    batch = [batch[position] for position in self._queue.delete(batch)]
                except QueueUnavailable:
                    continue
                if not batch:
                    break
            self._result.undeleted += len(batch)

    def return_unreadable(self) -> None:
        """Give back at once what no flusher can read, so that its receives are used up in minutes.

        Not at the end of the invocation: one that waits for its file to fill would hold it for as long. A claim that
        is missing is not given back so: somebody may restore it.
        """
        receipts, self._unreadable = self._unreadable, []
        for batch in _tens(receipts):
            if self._seconds_left() < DELETE_SECONDS:
                return
            try:
                self._queue.hide(batch, UNREADABLE_HIDE_SECONDS)
            except QueueUnavailable:
                return  # it comes back when the queue's own visibility timeout ends

    def hide(self) -> None:
        """Keep what could not be written out of sight, longer each time: an outage must not use up the receives."""
        waits: dict[int, list[str]] = {}
        for one in self._messages.values():
            if not one.durable:
                wait = min(_MAX_HIDE_SECONDS, 30 * 2 ** min(one.receives, 10))
                waits.setdefault(wait, []).append(one.receipts[-1])
        for wait, receipts in waits.items():
            for batch in _tens(receipts):
                if self._seconds_left() < DELETE_SECONDS:
                    return
                try:
                    self._queue.hide(batch, wait)
                except QueueUnavailable:
                    # The queue's own visibility timeout stands in; it is longer than the first waits.
                    return

    def answer(self, received: Sequence[ReceivedMessage]) -> FlushResult:
        """The result; `failed` names what the mapping delivered and is not durable."""
        durable = {one.message_id for one in self._messages.values() if one.durable}
        self._result.messages = len(durable)
        self._result.failed = list(dict.fromkeys(m.message_id for m in received if m.message_id not in durable))
        return self._result


def _content(
    message: ReceivedMessage, rules: FlushRules, store: ObjectStore, clock: Clock
) -> tuple[list[Member], list[Beat]]:
    """A message's members, and the beats in them where it is a heartbeat's."""
    tables = (rules.table, rules.heartbeat_table) if rules.heartbeat_table else (rules.table,)
    table, content = messages.decode_of(tables, message.body)
    if table == rules.table:
        return _members(content, table, store), []
    if isinstance(content, ClaimCheck):
        raise Poison("heartbeat_shape", "a heartbeat has some hundred bytes, and is never claimed")
    return content, read_beats(content, clock.now_ms())


def _members(content: list[Member] | ClaimCheck, table: str, store: ObjectStore) -> list[Member]:
    if not isinstance(content, ClaimCheck):
        return content
    try:
        document = store.get(content.key, max_bytes=content.bytes)
    except (ObjectMissing, StoreUnavailable, Misconfigured):
        raise
    except LakeboundError:
        raise Poison("claim_digest", "the claimed object is larger than the claim says") from None
    return messages.decode_claimed(table, content, document)


def _tens(receipts: list[str]) -> list[list[str]]:
    return [receipts[start : start + 10] for start in range(0, len(receipts), 10)]
