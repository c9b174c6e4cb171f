"""What the use cases need of the world. The adapters and the doubles of the tests pass one contract suite."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from lakebound.errors import LakeboundError


class Clock(Protocol):
    """The time of the machine that runs the use case."""

    def now_ms(self) -> int:
        """UTC in milliseconds since the epoch."""

    def sleep(self, seconds: float) -> None:
        """Wait. A simulated clock moves on at once."""


SecondsLeft = Callable[[], float]
"""Seconds until the platform ends this invocation."""


class StoredObject(NamedTuple):
    """One object of a listing: its key, size in bytes and the store's own time of writing."""

    key: str
    size: int
    modified_ms: int


class ObjectStore(Protocol):
    """One bucket."""

    def put_if_absent(self, key: str, body: bytes, metadata: Mapping[str, str]) -> bool:
        """Write an object whole, never over another. True when written now, False when the key already exists.

        Raises StoreUnavailable when the outcome is unknown; the call may then be repeated.
        """

    def get(self, key: str, max_bytes: int) -> bytes:
        """The object's bytes. Raises ObjectMissing, StoreUnavailable, and LakeboundError above `max_bytes`.

        Where the store does not tell a missing object from an unreadable one, the StoreUnavailable is ObjectDenied.
        """

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Every object under a prefix, in key order. Raises StoreUnavailable."""


class ReceivedMessage(NamedTuple):
    """One received message. `receives` counts this receive too; `receipt` is valid for this receive only."""

    message_id: str
    receipt: str
    body: str
    receives: int


class Secrets(Protocol):
    """Where the key of HASH_ATTRIBUTES is kept."""

    def fetch(self, name: str) -> bytes:
        """The secret's bytes. Raises Misconfigured for a secret that does not exist or may not be read."""


class Queue(Protocol):
    """One queue. The caller keeps each batch to 10 entries and 1 MiB of bodies.

    A message has a body and nothing else: SQS encrypts no message attribute (docs/adr/0011-members-in-the-body.md).
    """

    def send(self, bodies: Sequence[str]) -> list[int]:
        """Send one batch; the positions that were not accepted. Raises QueueUnavailable: assume that none was."""

    def receive(self, wait_seconds: int) -> list[ReceivedMessage]:
        """Up to 10 messages, waiting at most so many seconds (0 to 20) for the first. Raises QueueUnavailable."""

    def delete(self, receipts: Sequence[str]) -> list[int]:
        """Delete one batch; the positions that were not deleted. Raises QueueUnavailable."""

    def hide(self, receipts: Sequence[str], seconds: int) -> None:
        """Hide received messages for so many seconds from now. Raises QueueUnavailable."""


class Overtaken(LakeboundError):
    """Another writer changed the document since it was read."""


class Documents(Protocol):
    """Documents by key, each with a tag that changes with its content."""

    def load(self, key: str) -> tuple[bytes, str] | None:
        """The document and its tag, or None. Raises StoreUnavailable."""

    def save(self, key: str, body: bytes, tag: str | None) -> str:
        """Write over the version with this tag (None: over nothing); the new tag.

        Raises Overtaken when another version is there, StoreUnavailable when the outcome is unknown.
        """
