"""Local twins of the ports: a folder or a dictionary for a bucket, a list for a queue, a clock that is set by hand.

They keep the semantics that the use cases rest on (no overwrite, visibility, receive counts, dead letters), under the
same contract suite as the boto3 adapters, and are stricter than the emulators where AWS is.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final
from uuid import uuid4

from lakebound.errors import LakeboundError, ObjectMissing, QueueUnavailable
from lakebound.ports import Clock, ReceivedMessage, StoredObject
from lakebound.source.facts import Concurrency, QueueCounts, Slice

ENTRIES_PER_BATCH: Final = 10
MAX_BATCH_BYTES: Final = 1024 * 1024
MAX_HIDE_SECONDS: Final = 43_200
MAX_WAIT_SECONDS: Final = 20
TOLD_RECEIVES: Final = 3
"""SQS's age of the oldest message passes over messages that were received more often."""

_ASIDE: Final = ".lakebound-store"
_SQS_TEXT = re.compile("[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+").fullmatch


class ManualClock:
    """Port Clock over a number: it stands still until somebody sets it or sleeps."""

    def __init__(self, now_ms: int = 1_795_000_000_000) -> None:
        self.ms = now_ms

    def now_ms(self) -> int:
        return self.ms

    def sleep(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)


@dataclass(frozen=True, slots=True)
class StoredBody:
    """One object of a MemoryStore."""

    body: bytes
    metadata: Mapping[str, str]
    modified_ms: int


class MemoryStore:
    """Port ObjectStore over a dictionary. `objects` is there to be looked at."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock: Clock = clock or ManualClock()
        self.objects: dict[str, StoredBody] = {}

    def put_if_absent(self, key: str, body: bytes, metadata: Mapping[str, str]) -> bool:
        """See ObjectStore. Never raises StoreUnavailable."""
        if key in self.objects:
            return False
        self.objects[key] = StoredBody(bytes(body), dict(metadata), self._clock.now_ms())
        return True

    def get(self, key: str, max_bytes: int) -> bytes:
        if key not in self.objects:
            raise ObjectMissing(f"{key} does not exist")
        return _bounded(key, self.objects[key].body, max_bytes)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        for key in sorted(self.objects, key=_utf8):
            if key.startswith(prefix):
                kept = self.objects[key]
                yield StoredObject(key, len(kept.body), kept.modified_ms)


class FolderStore:
    """Port ObjectStore over a folder: one file per object, at the place that its key names.

    Safe for several processes at once. Keys that no path can hold (`..`, `//`, a key that is another key's folder) are
    refused with LakeboundError, where S3 would take them.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / _ASIDE / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)

    def put_if_absent(self, key: str, body: bytes, metadata: Mapping[str, str]) -> bool:
        """See ObjectStore. Never raises StoreUnavailable; a full disk is an OSError."""
        path = self._path(key)
        self._write_once(self._metadata_path(key), json.dumps(dict(metadata)).encode())
        return self._write_once(path, body)

    def get(self, key: str, max_bytes: int) -> bytes:
        try:
            return _bounded(key, self._path(key).read_bytes(), max_bytes)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise ObjectMissing(f"{key} does not exist") from None

    def list(self, prefix: str) -> Iterator[StoredObject]:
        found: list[tuple[str, Path]] = []
        for folder, folders, names in os.walk(self._root):
            if folder == str(self._root) and _ASIDE in folders:
                folders.remove(_ASIDE)
            for name in names:
                path = Path(folder, name)
                key = path.relative_to(self._root).as_posix()
                if key.startswith(prefix):
                    found.append((key, path))
        # A walk visits folder `a/` before file `a-b`, a bucket's listing the other way round: `-` sorts before `/`.
        for key, path in sorted(found, key=lambda one: _utf8(one[0])):
            state = path.stat()
            yield StoredObject(key, state.st_size, state.st_mtime_ns // 1_000_000)

    def metadata(self, key: str) -> dict[str, str]:
        """The metadata that an object was written with. Raises ObjectMissing."""
        try:
            kept: dict[str, str] = json.loads(self._metadata_path(key).read_bytes())
        except FileNotFoundError:
            raise ObjectMissing(f"{key} does not exist") from None
        return kept

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if parts[0] == _ASIDE or any(part in ("", ".", "..") or "\0" in part for part in parts):
            raise LakeboundError(f"The key {key!r} cannot be a path in {self._root}", hint="Use plain folder names")
        return self._root.joinpath(*parts)

    def _metadata_path(self, key: str) -> Path:
        return self._root / _ASIDE / "metadata" / f"{key}.json"

    def _write_once(self, path: Path, body: bytes) -> bool:
        """Write beside, then link into place: a link never replaces, and nobody sees half a file."""
        beside = self._incoming / uuid4().hex
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(body)
            os.link(beside, path)
        except FileExistsError:
            if path.is_file():
                return False
            raise LakeboundError(f"{path} is a folder, or part of the path is a file", hint="Use other keys") from None
        except NotADirectoryError:
            raise LakeboundError(f"Part of the path {path} is a file", hint="Use other keys") from None
        finally:
            beside.unlink(missing_ok=True)
        return True


@dataclass(slots=True)
class Waiting:
    """One message of a MemoryQueue, visible or in flight."""

    message_id: str
    body: str
    visible_ms: int
    receives: int = 0
    receipts: list[str] = field(default_factory=list)
    sent_ms: int = 0


class MemoryQueue:
    """Port Queue over a list, with SQS's standard-queue semantics.

    A received message is out of sight for `visibility_seconds` and then comes again with one receive more. The receive
    after `max_receives` moves it to `dead_letters` instead. A receipt from before the latest receive is accepted and
    does nothing. Waiting moves a ManualClock to the moment when something becomes visible. `messages` is there to be
    looked at.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        visibility_seconds: int = 30,
        max_receives: int = 0,
        dead_letters: MemoryQueue | None = None,
    ) -> None:
        self._clock: Clock = clock or ManualClock()
        self._visibility_ms = visibility_seconds * 1000
        self._max_receives = max_receives
        self._dead_letters = dead_letters
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._gone: set[str] = set()
        self.messages: list[Waiting] = []

    def send(self, bodies: Sequence[str]) -> list[int]:
        """See Queue. Refuses characters outside the XML set, as AWS does and the emulators do not."""
        self._check_batch(len(bodies))
        if sum(len(body.encode("utf-8", "surrogatepass")) for body in bodies) > MAX_BATCH_BYTES:
            raise QueueUnavailable("The batch is larger than 1 MiB")
        refused = [position for position, body in enumerate(bodies) if not _SQS_TEXT(body)]
        with self._lock:
            for position, body in enumerate(bodies):
                if position not in refused:
                    now = self._clock.now_ms()
                    self.messages.append(Waiting(str(uuid4()), body, now, sent_ms=now))
        return refused

    def receive(self, wait_seconds: int) -> list[ReceivedMessage]:
        if not 0 <= wait_seconds <= MAX_WAIT_SECONDS:
            raise QueueUnavailable(f"A wait of {wait_seconds} seconds is outside 0 to {MAX_WAIT_SECONDS}")
        until = self._clock.now_ms() + wait_seconds * 1000
        while True:
            with self._lock:
                taken = self._take_visible()
                next_ms = min((waiting.visible_ms for waiting in self.messages), default=until)
            now = self._clock.now_ms()
            if taken or now >= until:
                return taken
            self._clock.sleep((min(max(next_ms, now + 1), until) - now) / 1000)

    def delete(self, receipts: Sequence[str]) -> list[int]:
        self._check_batch(len(receipts))
        unknown: list[int] = []
        with self._lock:
            for position, receipt in enumerate(receipts):
                waiting = self._find(receipt)
                if waiting is None:
                    if receipt not in self._gone:
                        unknown.append(position)
                elif waiting.receipts[-1] == receipt:
                    self.messages.remove(waiting)
                    self._gone.update(waiting.receipts)
        return unknown

    def hide(self, receipts: Sequence[str], seconds: int) -> None:
        self._check_batch(len(receipts))
        if not 0 <= seconds <= MAX_HIDE_SECONDS:
            raise QueueUnavailable(f"A visibility timeout of {seconds} seconds is outside 0 to {MAX_HIDE_SECONDS}")
        now = self._clock.now_ms()
        with self._lock:
            for receipt in receipts:
                waiting = self._find(receipt)
                # Only what is still in flight under this very receipt: AWS refuses the entry otherwise.
                if waiting is not None and waiting.receipts[-1] == receipt and waiting.visible_ms > now:
                    waiting.visible_ms = now + seconds * 1000

    def _take_visible(self) -> list[ReceivedMessage]:
        now = self._clock.now_ms()
        taken: list[ReceivedMessage] = []
        for waiting in list(self.messages):
            if len(taken) == ENTRIES_PER_BATCH:
                break
            if waiting.visible_ms > now:
                continue
            if self._max_receives and waiting.receives >= self._max_receives:
                self._bury(waiting, now)
                continue
            waiting.receives += 1
            waiting.visible_ms = now + self._visibility_ms
            waiting.receipts.append(f"{waiting.message_id}#{next(self._numbers)}")
            taken.append(ReceivedMessage(waiting.message_id, waiting.receipts[-1], waiting.body, waiting.receives))
        return taken

    def _bury(self, waiting: Waiting, now: int) -> None:
        self.messages.remove(waiting)
        self._gone.update(waiting.receipts)
        if self._dead_letters is not None:
            self._dead_letters.messages.append(Waiting(waiting.message_id, waiting.body, now, sent_ms=now))

    def _find(self, receipt: str) -> Waiting | None:
        return next((waiting for waiting in self.messages if receipt in waiting.receipts), None)

    @staticmethod
    def _check_batch(entries: int) -> None:
        if not 1 <= entries <= ENTRIES_PER_BATCH:
            raise QueueUnavailable(f"A batch of {entries} entries is outside 1 to {ENTRIES_PER_BATCH}")


class MemoryUpstream:
    """Port Upstream over two MemoryQueues: exact counts, and the age that CloudWatch would tell, without its delay."""

    def __init__(self, buffer: MemoryQueue, dead: MemoryQueue, clock: Clock) -> None:
        self._buffer = buffer
        self._dead = dead
        self._clock = clock

    def counts(self) -> QueueCounts:
        """See Upstream. Never raises."""
        dead, buffered = len(self._dead.messages), len(self._buffer.messages)
        told = [waiting.sent_ms for waiting in self._buffer.messages if waiting.receives <= TOLD_RECEIVES]
        if not told:
            return QueueCounts(dead, buffered)
        now = self._clock.now_ms()
        return QueueCounts(dead, buffered, now, now - min(told))


class MemoryMetrics:
    """Port DeliveryMetrics over a list. `kept` is there to be filled."""

    def __init__(self, kept: Sequence[Slice] = ()) -> None:
        self.kept = list(kept)

    def slices(self, from_ms: int, to_ms: int) -> list[Slice]:
        """See DeliveryMetrics. Never raises."""
        return sorted((one for one in self.kept if from_ms <= one.start_ms < to_ms), key=lambda one: one.start_ms)


class MemoryAccount:
    """Port Account over two numbers, there to be changed; no limit is an account that may not be asked."""

    def __init__(self, limit: int | None, used: int = 0) -> None:
        self.limit = limit
        self.used = used

    def concurrency(self) -> Concurrency | None:
        """See Account. Never raises."""
        return None if self.limit is None else Concurrency(self.limit, self.used)


def _bounded(key: str, body: bytes, max_bytes: int) -> bytes:
    if len(body) > max_bytes:
        raise LakeboundError(f"{key} has {len(body)} bytes, more than the {max_bytes} expected")
    return body


def _utf8(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")
