"""Batch files: members of one hour partition put together into one immutable object, named by its content."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from lakebound.layout import DataKey
from lakebound.messages import Member


@dataclass(frozen=True, slots=True)
class BatchFile:
    """An object to write: where, what, and the metadata that repeats its name."""

    key: str
    body: bytes
    metadata: dict[str, str]
    count: int
    hour_partition: tuple[str, str]


def assemble(prefix: str, origin: str, members: Iterable[Member]) -> list[BatchFile]:
    """One file per (hour partition, format) present. Pure: the same members in any order give the same files.

    Two equal members (a message delivered twice) are written once.
    """
    groups: dict[tuple[str, str], dict[bytes, Member]] = {}
    for member in members:
        groups.setdefault((member.partition, member.format), {})[member.digest()] = member
    return [
        _file(prefix, origin, partition, extension, [group[digest] for digest in sorted(group)])
        for (partition, extension), group in sorted(groups.items())
    ]


def _file(prefix: str, origin: str, partition: str, extension: str, members: list[Member]) -> BatchFile:
    body = b"".join([member.data for member in members])
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
    return BatchFile(key.format(prefix), body, metadata, count, (partition, extension))
