"""Batch files: members of one hour partition put together into one immutable object, named by its content."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from lakebound.errors import UnreadableMember
from lakebound.formats.registry import encoder_of
from lakebound.transport.messages import Member
from lakebound.transport.object_keys import DataKey

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
