"""Members and messages: how lines travel through the buffer queue.

A member is a self-contained compressed run of lines of one hour partition; a message is one SQS body that holds
members, or a claim check that points to such a document in S3.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64encode
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, NamedTuple, TypeVar
from zlib import crc32

import orjson

from lakebound.counts import count_text
from lakebound.errors import Poison
from lakebound.formats.ndjson import EXTENSION as NDJSON
from lakebound.formats.registry import TRAVEL_FORMATS, encoder_of
from lakebound.ports import ReceivedMessage
from lakebound.times import MAX_TIME_MS
from lakebound.transport.object_keys import CLAIMS, is_partition

VERSION: Final = 1
LINES_PER_MEMBER: Final = 500
MAX_MEMBER_BYTES: Final = 4 * 1024 * 1024
"""Bytes of lines at which a member closes at the latest; one line may be larger."""

MAX_BATCH_BYTES: Final = 1024 * 1024
"""Largest sum of bodies in one SendMessageBatch."""

ENTRIES_PER_BATCH: Final = 10

MAX_CLAIM_BYTES: Final = 16 * 1024 * 1024
"""Largest document behind a claim check: the largest legal record is 5.7 MB of JSON before compression."""

MAX_LINES: Final = 1_000_000
"""Most lines one member may claim: a forged count above 12 digits would give a file a name that nobody reads."""

_VERSION_TEXT = re.compile(r"[0-9T:.-]{10,40}\|[0-9]{40}").fullmatch


class Line(NamedTuple):
    """One record, encoded, on its way into a member. `position` is its place in the delivery."""

    position: int
    partition: str
    version: str | None
    data: bytes


@dataclass(frozen=True, slots=True)
class Member:
    """A self-contained compressed run of lines, with what the flusher must know of it without inflating it."""

    partition: str
    format: str
    count: int
    min_version: str | None
    max_version: str | None
    max_ingest_ms: int
    data: bytes

    def digest(self) -> bytes:
        """SHA-256 of the compressed bytes: the order of members in a file, whatever order they arrived in."""
        return sha256(self.data).digest()

    def _head(self) -> dict[str, Any]:
        return {
            "partition": self.partition,
            "format": self.format,
            "count": self.count,
            "bytes": len(self.data),
            "min_version": self.min_version,
            "max_version": self.max_version,
            "max_ingest_ms": self.max_ingest_ms,
        }

    def crc32(self) -> int:
        """CRC-32 over the other fields, as compact JSON in the order of `_head`, then the compressed bytes."""
        return crc32(self.data, crc32(orjson.dumps(self._head())))

    def encode(self) -> str:
        """The member's JSON object, pure ASCII."""
        head = orjson.dumps(self._head() | {"crc32": self.crc32()}).decode("ascii")
        return f'{head[:-1]},"data":"{b64encode(self.data).decode("ascii")}"}}'

    @staticmethod
    def decode(value: object) -> Member:
        """The member behind a parsed JSON object. Raises Poison (`member_shape`, `member_crc`)."""
        if type(value) is not dict:
            raise Poison("member_shape", "a member must be an object")
        text, count, size = value.get("data"), value.get("count"), value.get("bytes")
        newest, versions = value.get("max_ingest_ms"), (value.get("min_version"), value.get("max_version"))
        if not is_partition(value.get("partition")):
            raise Poison("member_shape", "the partition is not a folder path of ours")
        if value.get("format") not in TRAVEL_FORMATS:
            raise Poison("member_shape", "an unknown format")
        if type(count) is not int or not 1 <= count <= MAX_LINES:
            raise Poison("member_shape", "count out of range")
        if type(newest) is not int or not 0 <= newest <= MAX_TIME_MS:
            raise Poison("member_shape", "max_ingest_ms out of range")
        if not all(version is None or (type(version) is str and _VERSION_TEXT(version)) for version in versions):
            raise Poison("member_shape", "a version that is none")
        try:
            data = binascii.a2b_base64(str(text), strict_mode=True)
        except (binascii.Error, ValueError):
            raise Poison("member_shape", "data is not base64") from None
        member = Member(value["partition"], value["format"], count, *versions, newest, data)
        if not data or size != len(data) or value.get("crc32") != member.crc32():
            raise Poison("member_crc", "the member's bytes are not the ones that were sent")
        return member


@dataclass(frozen=True, slots=True)
class ClaimCheck:
    """A pointer to a document of members kept in S3: the object's key, digest and size."""

    key: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A message ready to send, and what its loss would mean: the least delivery position it holds.

    `claim` is set when the body is a claim check: the object's key and bytes, to be written before the message is sent.
    """

    body: str
    first_position: int
    count: int
    members: int
    claim: tuple[str, bytes] | None = None


AnyMessage = TypeVar("AnyMessage", OutgoingMessage, ReceivedMessage)


def split_batches(some: Iterable[AnyMessage]) -> Iterator[list[AnyMessage]]:
    """Batches within SendMessageBatch's limits: 10 entries, MAX_BATCH_BYTES of bodies in all."""
    batch: list[AnyMessage] = []
    size = 0
    for message in some:
        if batch and (len(batch) == ENTRIES_PER_BATCH or size + len(message.body) > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += len(message.body)
    if batch:
        yield batch


def decode(table: str, body: str) -> list[Member] | ClaimCheck:
    """What one SQS body holds. Raises Poison (`message_shape`, `member_shape`, `member_crc`)."""
    return decode_of((table,), body)[1]


def decode_of(tables: Collection[str], body: str) -> tuple[str, list[Member] | ClaimCheck]:
    """The one of these tables that an SQS body is of, and what it holds. Raises Poison as `decode` does."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Poison("message_shape", f"a body of {count_text(len(body), 'character')} that is not JSON") from None
    if type(document) is not dict or document.get("v") != VERSION or type(document.get("v")) is not int:
        raise Poison("message_shape", f"not a message of version {VERSION}")
    table = document.get("table")
    if type(table) is not str or table not in tables:
        raise Poison("message_shape", "a message of another table")
    if "claim" in document:
        return table, _decode_claim(table, document["claim"])
    members = document.get("members")
    if type(members) is not list or not members:
        raise Poison("message_shape", "no members")
    return table, [Member.decode(member) for member in members]


def decode_claimed(table: str, claim: ClaimCheck, document: bytes) -> list[Member]:
    """The members of the document behind a claim check. Raises Poison."""
    if len(document) != claim.bytes or sha256(document).hexdigest() != claim.sha256:
        raise Poison("claim_digest", "the claimed object is not the one that was sent")
    # A claim check inside a claimed document is refused: one hop, so a forged chain cannot hold the flusher.
    members = decode(table, document.decode("ascii", "replace"))
    if isinstance(members, ClaimCheck):
        raise Poison("message_shape", "a claim check inside a claimed document")
    return members


def _decode_claim(table: str, claim: object) -> ClaimCheck:
    if type(claim) is not dict:
        raise Poison("message_shape", "a claim must be an object")
    key, size = claim.get("key"), claim.get("bytes")
    digest = CLAIMS.parse(table, key) if type(key) is str else None
    if digest is None or digest != claim.get("sha256") or type(size) is not int or not 0 < size <= MAX_CLAIM_BYTES:
        raise Poison("message_shape", "the claim's key is not one of ours, or its size is out of range")
    return ClaimCheck(str(key), digest, size)


class Packer:
    """Packs lines into members of about LINES_PER_MEMBER, and members into messages of at most `message_bytes`.

    Lines are what `encoder_of(file_format).encode` made. Feed them in delivery order; messages come out as they fill,
    so that sending can begin before packing ends.
    """

    def __init__(self, table: str, message_bytes: int, ingest_time_ms: int, file_format: str = NDJSON) -> None:
        self._table = table
        self._encoder = encoder_of(file_format)
        self._limit = message_bytes
        self._ingest_ms = ingest_time_ms
        self._head = f'{{"v":{VERSION},"table":"{table}","members":['
        self._tail = "]}"
        # Lines compress 3 to 15 times. Each member tells how much the table's do, so that the next one just fits: one
        # that does not is split and compressed again. The first one is to fit with a large line on top.
        self._raw_limit = 2 * (message_bytes * 3 // 4)
        self._open: dict[str, list[Line]] = {}
        self._raw: dict[str, int] = {}
        self._sealed: list[tuple[str, int, int]] = []
        self._room = self._empty_room()

    def _empty_room(self) -> int:
        return self._limit - len(self._head) - len(self._tail)

    def pack(self, lines: Iterable[Line]) -> Iterator[OutgoingMessage]:
        """Messages in the order in which they fill; together they hold every line once."""
        for line in lines:
            run = self._open.setdefault(line.partition, [])
            raw = self._raw.get(line.partition, 0) + len(line.data)
            run.append(line)
            self._raw[line.partition] = raw
            if len(run) >= LINES_PER_MEMBER or raw >= self._raw_limit:
                yield from self._seal(line.partition)
        for partition in list(self._open):
            yield from self._seal(partition)
        yield from self._close()

    def _seal(self, partition: str) -> Iterator[OutgoingMessage]:
        runs = [self._open.pop(partition)]
        self._raw.pop(partition)
        while runs:
            run = runs.pop()
            member = self._member(partition, run)
            text = member.encode()
            raw = sum(len(line.data) for line in run)
            self._raw_limit = min(MAX_MEMBER_BYTES, int(0.9 * self._limit * raw / len(text)))
            if len(text) <= self._empty_room():
                if len(text) > self._room:
                    yield from self._close()
                self._sealed.append((text, min(line.position for line in run), member.count))
                self._room -= len(text) + 1
            elif len(run) > 1:
                middle = len(run) // 2
                runs += [run[middle:], run[:middle]]
            else:
                yield self._claim(text, run[0].position)

    def _member(self, partition: str, run: list[Line]) -> Member:
        versions = [line.version for line in run if line.version is not None]
        return Member(
            partition=partition,
            format=self._encoder.extension,
            count=len(run),
            min_version=min(versions, default=None),
            max_version=max(versions, default=None),
            max_ingest_ms=self._ingest_ms,
            data=self._encoder.compress([line.data for line in run], len(run)),
        )

    def _claim(self, member: str, position: int) -> OutgoingMessage:
        document = (self._head + member + self._tail).encode("ascii")
        digest = sha256(document).hexdigest()
        key = CLAIMS.key(self._table, digest)
        body = orjson.dumps(
            {"v": VERSION, "table": self._table, "claim": {"key": key, "sha256": digest, "bytes": len(document)}}
        ).decode("ascii")
        return OutgoingMessage(body, position, 1, 1, claim=(key, document))

    def _close(self) -> Iterator[OutgoingMessage]:
        if self._sealed:
            yield OutgoingMessage(
                body=self._head + ",".join([text for text, _, _ in self._sealed]) + self._tail,
                first_position=min(position for _, position, _ in self._sealed),
                count=sum(count for _, _, count in self._sealed),
                members=len(self._sealed),
            )
        self._sealed = []
        self._room = self._empty_room()
