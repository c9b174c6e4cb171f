"""The world of a use case in memory: a queue, a bucket, a clock, and what goes wrong with them."""

from __future__ import annotations

import gzip
import itertools
import json
import random
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any, Final

from lakebound.errors import QueueUnavailable, StoreUnavailable
from lakebound.formats.registry import reader_of
from lakebound.live.flush import FlushResult, FlushRules, flush
from lakebound.live.ingest import IngestRules, ingest
from lakebound.ports import ReceivedMessage, StoredObject
from lakebound.record.stream_records import StreamDecoder
from lakebound.transport.messages import ClaimCheck, Line, Member, Packer, decode, decode_claimed
from lakebound.transport.object_keys import QUARANTINE, DataKey, partitioner
from tests.support.local_ports import ManualClock, MemoryQueue, MemoryStore
from tests.support.stream_records import NOW_MS, TABLE

PREFIX: Final = f"ddb/{TABLE}"
HOUR: Final = "dt=2026-11-18/HH=11"
NEXT_HOUR: Final = "dt=2026-11-18/HH=12"
VISIBILITY_SECONDS: Final = 1_020
MAX_RECEIVES: Final = 10
Hook = Callable[[str], None]


class Killed(BaseException):
    """The process is gone: nothing in the use case may catch it."""


def noise(size: int, seed: int) -> str:
    """A text of that size that does not compress below three quarters of it."""
    return b64encode(random.Random(seed).randbytes(size * 3 // 4)).decode()


class FaultyStore:
    """Port ObjectStore over another; `before` and `after` see each call's name and key, and may raise."""

    def __init__(self, inner: MemoryStore) -> None:
        self.inner = inner
        self.before: Hook = lambda call: None
        self.after: Hook = lambda call: None
        self.asked: list[int] = []

    def put_if_absent(self, key: str, body: bytes, metadata: Mapping[str, str]) -> bool:
        self.before(f"put {key}")
        written = self.inner.put_if_absent(key, body, metadata)
        self.after(f"put {key}")
        return written

    def get(self, key: str, max_bytes: int) -> bytes:
        self.before(f"get {key}")
        self.asked.append(max_bytes)
        body = self.inner.get(key, max_bytes)
        self.after(f"get {key}")
        return body

    def list(self, prefix: str) -> Iterator[StoredObject]:
        return self.inner.list(prefix)


class FaultyQueue:
    """Port Queue over another. `refuse` names the positions of a batch of bodies or receipts that are not taken."""

    def __init__(self, inner: MemoryQueue) -> None:
        self.inner = inner
        self.before: Hook = lambda call: None
        self.after: Hook = lambda call: None
        self.refuse: Callable[[str, Sequence[str]], set[int]] = lambda call, entries: set()

    def send(self, bodies: Sequence[str]) -> list[int]:
        return self._batch("send", bodies, self.inner.send)

    def delete(self, receipts: Sequence[str]) -> list[int]:
        return self._batch("delete", receipts, self.inner.delete)

    def hide(self, receipts: Sequence[str], seconds: int) -> None:
        self.before("hide")
        self.inner.hide(receipts, seconds)
        self.after("hide")

    def receive(self, wait_seconds: int) -> list[ReceivedMessage]:
        self.before("receive")
        received = self.inner.receive(wait_seconds)
        self.after("receive")
        return received

    def _batch(self, call: str, entries: Sequence[str], act: Callable[[Sequence[str]], list[int]]) -> list[int]:
        self.before(call)
        refused = self.refuse(call, entries) & set(range(len(entries)))
        taken = [position for position in range(len(entries)) if position not in refused]
        failed = {taken[position] for position in act([entries[position] for position in taken])} if taken else set()
        self.after(call)
        return sorted(refused | failed)


class World:
    """A queue with its dead letters, a bucket and a clock; and a mapping that wakes the flusher as Lambda does."""

    def __init__(self, visibility_seconds: int = VISIBILITY_SECONDS) -> None:
        self.clock = ManualClock()
        self.dead = MemoryQueue(self.clock)
        self.buffer = MemoryQueue(
            self.clock, visibility_seconds=visibility_seconds, max_receives=MAX_RECEIVES, dead_letters=self.dead
        )
        self.bucket = MemoryStore(self.clock)
        self.queue = FaultyQueue(self.buffer)
        self.store = FaultyStore(self.bucket)

    def seconds_left(self, seconds: float) -> Callable[[], float]:
        """A deadline so many seconds from now."""
        until = self.clock.now_ms() + seconds * 1000
        return lambda: (until - self.clock.now_ms()) / 1000

    def repair(self) -> None:
        """From now on nothing goes wrong."""
        self.queue.before = self.queue.after = self.store.before = self.store.after = lambda call: None
        self.queue.refuse = lambda call, entries: set()

    def send(self, *bodies: str) -> None:
        for body in bodies:
            assert self.buffer.send([body]) == []

    def flush(self, received: Sequence[ReceivedMessage], seconds: float = 120, **rules: int) -> FlushResult:
        return flush(received, flush_rules(**rules), self.queue, self.store, self.clock, self.seconds_left(seconds))

    def invoke(self, at_most: int = 10, seconds: float = 120, **rules: int) -> FlushResult:
        """One round of the mapping with messages in the queue."""
        result = self.wake(at_most, seconds, **rules)
        assert result is not None
        return result

    def wake(self, at_most: int = 10, seconds: float = 120, **rules: int) -> FlushResult | None:
        """One round of the mapping: receive, call, delete what the answer does not name. None with an empty queue."""
        received = self.take(at_most)
        if not received:
            return None
        result = self.flush(received, seconds, **rules)
        for message in received:
            if message.message_id not in result.failed:
                self.buffer.delete([message.receipt])
        return result

    def take(self, at_most: int = 10) -> list[ReceivedMessage]:
        """What the mapping's poller receives; the rest of the ten stays visible."""
        received = self.buffer.receive(0)
        for spare in received[at_most:]:
            waiting = next(one for one in self.buffer.messages if one.message_id == spare.message_id)
            waiting.receives -= 1
            waiting.visible_ms = self.clock.now_ms()
        return received[:at_most]

    def files(self) -> dict[DataKey, bytes]:
        found = {}
        for key, kept in self.bucket.objects.items():
            parsed = DataKey.parse(PREFIX, key)
            if parsed is not None:
                found[parsed] = kept.body
        return found

    def lake_lines(self) -> list[bytes]:
        """Every line of every batch file, checked against the count that the file's name promises."""
        lines: list[bytes] = []
        for key, body in self.files().items():
            found = gzip.decompress(body).splitlines()
            assert len(found) == key.count
            lines += found
        return sorted(lines)

    def queue_members(self) -> list[Member]:
        """The members of every message in the buffer queue, visible or in flight."""
        return [member for waiting in self.buffer.messages for member in self.members_of(waiting.body)]

    def members_of(self, body: str) -> list[Member]:
        content = decode(TABLE, body)
        if isinstance(content, ClaimCheck):
            return decode_claimed(TABLE, content, self.bucket.get(content.key, content.bytes))
        return content

    def queue_lines(self) -> list[bytes]:
        return sorted(line for member in self.queue_members() for line in gzip.decompress(member.data).splitlines())

    def quarantined(self) -> list[dict[str, Any]]:
        """The quarantine's documents, payload decoded."""
        documents = []
        for one in self.bucket.list(QUARANTINE.prefix(TABLE)):
            document = json.loads(self.bucket.get(one.key, one.size))
            documents.append(document | {"payload": json.loads(b64decode(document["payload"]))})
        return documents


def flush_rules(max_records: int = 0, max_file_bytes: int = 67_108_864, max_seconds: int = 30) -> FlushRules:
    return FlushRules(TABLE, PREFIX, max_records, max_file_bytes, max_seconds)


def bodies(*lines: Sequence[bytes], at: int, hours: Sequence[str] = (HOUR,), limit: int = 262_144) -> list[str]:
    """Message bodies, one for each group of lines; the group's lines are dealt to the hours in turn."""
    found: list[str] = []
    for group in lines:
        packed = [
            Line(position, hours[position % len(hours)], None, data + b"\n") for position, data in enumerate(group)
        ]
        found += [message.body for message in Packer(TABLE, limit, at).pack(packed)]
    return found


def store_down(call: str) -> None:
    raise StoreUnavailable(f"Could not {call} (503)")


def queue_down(call: str) -> None:
    raise QueueUnavailable(f"{call} failed (503)")


def killed(call: str) -> None:
    raise Killed


def at_calls(places: Container[int], act: Hook) -> Hook:
    """A hook that acts at some of the calls it sees, by their number from 0 on."""
    calls = itertools.count()
    return lambda call: act(call) if next(calls) in places else None


def carry(
    records: list[Any], file_format: str, refused: Counter[str] | None = None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The records read back from the files, and the quarantine's documents, of one delivery.

    `refused` is told of the old images that did not travel.
    """
    world = World()
    world.clock.sleep((NOW_MS - world.clock.now_ms()) / 1000)
    rules = IngestRules(TABLE, partitioner("dt=%Y-%m-%d/HH=%H"), False, 262_144, file_format)
    left = world.seconds_left(600)
    result = ingest(records, rules, StreamDecoder(TABLE), world.queue, world.store, world.clock, left)
    assert result.unsent_from is None, f"not carried: {result.unsent_why}"
    if refused is None:
        assert not result.old_images_refused
    else:
        refused.update(result.old_images_refused)
    written = FlushRules(TABLE, PREFIX, 0, 67_108_864, 0, file_format=file_format)
    while received := world.buffer.receive(0):
        assert not flush(received, written, world.queue, world.store, world.clock, left).failed
        world.buffer.delete([message.receipt for message in received])
    read = [record for key, body in world.files().items() for record in reader_of(key.ext)(body)]
    kept = [json.loads(world.bucket.get(one.key, one.size)) for one in world.bucket.list(QUARANTINE.prefix(TABLE))]
    return read, kept
