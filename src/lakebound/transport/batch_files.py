"""Batch files: members of one hour partition put together into one immutable object, named by its content."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from lakebound.errors import UnreadableMember
from lakebound.formats.registry import encoder_of
from lakebound.transport.messages import Member
from lakebound.transport.object_keys import DataKey

LINES_PER_MEMBER: Final = 4_000
MEMBER_BYTES: Final = 4 * 1024 * 1024

_PARQUET = "parquet"


@dataclass(frozen=True, slots=True)
class BatchFile:
    """An object to write: where, what, and the metadata that repeats its name."""

    key: str
    body: bytes
    metadata: dict[str, str]
    count: int
    hour_partition: tuple[str, str]


class MemberRefused(Exception):
    """A member that FILE_FORMAT `parquet` cannot be made of: its digest, and a stable code that says why."""

    def __init__(self, digest: bytes, code: str) -> None:
        super().__init__(code)
        self.digest = digest
        self.code = code


class FileBuilder:
    """Gathers encoded records and makes batch files of them, for a writer whose records travel in no message.

    Records are what `encoder_of(file_format).encode` made. They are compressed each time they fill a member, of
    LINES_PER_MEMBER records or MEMBER_BYTES; so many records, and the compressed members, are what is held.
    """

    def __init__(self, prefix: str, origin: str, file_format: str = "ndjson.gz") -> None:
        self._prefix = prefix
        self._origin = origin
        self._format = file_format
        self._encoder = encoder_of(file_format)
        self._begin()

    def _begin(self) -> None:
        self._members: list[Member] = []
        self._compressed_bytes = 0
        self._newest_ms = 0
        self.records = 0
        """How many records wait for `take_files`."""
        self.since_ms: int | None = None
        """When the first of them was added."""
        self._open()

    def _open(self) -> None:
        self._data: dict[str, list[bytes]] = {}
        self._counts: dict[str, int] = {}
        self._open_records = 0
        self._open_bytes = 0

    @property
    def size(self) -> int:
        """About how many bytes the files would have now: what is not compressed yet counts with a fifth, at worst."""
        return self._compressed_bytes + self._open_bytes // 5

    def add(self, partition: str, data: bytes, count: int, ingest_ms: int) -> None:
        """Add `count` encoded records of one hour partition; `ingest_ms` is the newest of their ingest times."""
        self._data.setdefault(partition, []).append(data)
        self._counts[partition] = self._counts.get(partition, 0) + count
        self._open_records += count
        self._open_bytes += len(data)
        self.records += count
        self._newest_ms = max(self._newest_ms, ingest_ms)
        if self.since_ms is None:
            self.since_ms = ingest_ms
        if self._open_records >= LINES_PER_MEMBER or self._open_bytes >= MEMBER_BYTES:
            self._seal()

    def take_files(self) -> list[BatchFile]:
        """The files of all that was added, one for each hour partition; then the builder begins anew."""
        self._seal()
        files = assemble(self._prefix, self._origin, self._members, self._format)
        self._begin()
        return files

    def _seal(self) -> None:
        for partition, data in self._data.items():
            count = self._counts[partition]
            compressed = self._encoder.compress(data, count)
            extension = self._encoder.extension
            self._members.append(Member(partition, extension, count, None, None, self._newest_ms, compressed))
            self._compressed_bytes += len(compressed)
        self._open()


def assemble(prefix: str, origin: str, members: Iterable[Member], file_format: str = "ndjson.gz") -> list[BatchFile]:
    """One file per (hour partition, format) present. Pure: the same members in any order give the same files.

    Two equal members (a message delivered twice) are written once. Members are concatenated as they are, whatever
    `file_format` says: after a change of the setting both formats are in the queue. Only `parquet` converts the Avro
    blocks that its records travel as; it alone raises MemberRefused, for a block that cannot be read.
    """
    groups: dict[tuple[str, str], dict[bytes, Member]] = {}
    for member in members:
        groups.setdefault((member.partition, member.format), {})[member.digest()] = member
    return [
        _file(prefix, origin, partition, extension, [group[digest] for digest in sorted(group)], file_format)
        for (partition, extension), group in sorted(groups.items())
    ]


def _file(
    prefix: str, origin: str, partition: str, travelled: str, members: list[Member], file_format: str
) -> BatchFile:
    extension = _PARQUET if file_format == _PARQUET and travelled == "avro" else travelled
    body = _to_parquet(members) if extension == _PARQUET else encoder_of(travelled).join([m.data for m in members])
    digest = sha256(body).hexdigest()[:32]
    count = sum(member.count for member in members)
    times = [member.max_ingest_ms for member in members]
    lows = [member.min_version for member in members if member.min_version is not None]
    highs = [member.max_version for member in members if member.max_version is not None]
    key = DataKey(partition, origin, max(times), count, digest, extension)
    metadata = {
        "records": str(count),
        "digest": digest,
        "min-version": min(lows, default=""),
        "max-version": max(highs, default=""),
        "min-time-ms": str(min(times)),
        "max-time-ms": str(max(times)),
    }
    return BatchFile(key.format(prefix), body, metadata, count, (partition, travelled))


def _to_parquet(members: list[Member]) -> bytes:
    from lakebound.formats import parquet

    try:
        return parquet.convert([(member.data, member.count) for member in members])
    except UnreadableMember as unreadable:
        raise MemberRefused(members[unreadable.place].digest(), unreadable.poison.code) from None
