"""Is every batch file whole? Each is read to its end and proven against its own name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from typing import Any, Final, Protocol

from lakebound.counts import count_text
from lakebound.errors import LakeboundError, ObjectMissing, Poison, StoreUnavailable
from lakebound.formats.registry import reader_of
from lakebound.ports import StoredObject
from lakebound.record.envelope import FIELDS
from lakebound.transport.object_keys import DataKey

MAX_FILE_BYTES: Final = 512 * 1024 * 1024
"""A larger object is not read: files close at 128 MiB at most, and one message later."""


class Files(Protocol):
    """What is read: a bucket (any ObjectStore) or a folder."""

    def get(self, key: str, max_bytes: int) -> bytes:
        """See ObjectStore."""

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """See ObjectStore."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A batch file that is not what its name says: a stable code, and a sentence without values."""

    key: str
    code: str
    detail: str


@dataclass(slots=True)
class CheckReport:
    """What was found. `others` counts objects below the prefix whose name is no batch file's."""

    files: int = 0
    records: int = 0
    bytes: int = 0
    others: int = 0
    damaged: list[Damage] = field(default_factory=list)


def records_before_damage(ext: str, body: bytes) -> Iterator[dict[str, Any]]:
    """The records of a batch file up to its first damage, which only `check_file` reports."""
    try:
        yield from whole_records(ext, body)
    except Poison:
        return  # what was read before that place is good


def whole_records(ext: str, body: bytes) -> Iterator[dict[str, Any]]:
    """Each record of a batch file. Raises Poison (`record_shape`, and what the format's reader raises)."""
    for number, record in enumerate(reader_of(ext)(body), 1):
        if not _is_record(record):
            raise Poison("record_shape", f"record {number} has not the fields of a record")
        yield record


def check_file(key: DataKey, body: bytes) -> None:
    """Prove one file whole: digest, every member, every record, their count, greatest time and origin.

    Raises Poison (`digest`, `record_shape`, `count`, `time`, `origin`, and what the format's reader raises).
    """
    if sha256(body).hexdigest()[: len(key.digest)] != key.digest:
        raise Poison("digest", "the content is not the one that the name was made from")
    count, newest = 0, 0
    for count, record in enumerate(whole_records(key.ext, body), 1):
        newest = max(newest, record["ingest_time_ms"])
        if record["origin"] != key.origin:
            raise Poison("origin", f"record {count} is of another origin than the name says")
    if count != key.count:
        raise Poison("count", f"{count_text(count, 'record')}, the name says {key.count}")
    if newest != key.time_ms:
        raise Poison("time", "the greatest ingest_time_ms is not the time in the name")


def _is_record(record: dict[str, Any]) -> bool:
    return len(record) == len(FIELDS) and all(
        type(record.get(name, _ABSENT)) is _TYPES[kind] or (nullable and record.get(name, _ABSENT) is None)
        for name, kind, nullable in FIELDS
    )


_TYPES: Final[dict[str, type]] = {"int": int, "long": int, "string": str, "boolean": bool, "json": dict}
_ABSENT: Final = object()


def check(
    files: Files,
    prefix: str,
    *,
    checked: Callable[[int, int], None] = lambda files, records: None,
    threads: int = 2,
) -> CheckReport:
    """Check every batch file below a prefix; `checked` is told of files and records as they are proven.

    Raises StoreUnavailable when the listing fails. Holds `threads` files at a time.
    """
    report = CheckReport()

    def one(stored: StoredObject) -> tuple[StoredObject, DataKey | None, Damage | None]:
        key = DataKey.parse(prefix, stored.key)
        return stored, key, None if key is None else _damage(files, stored, key)

    listing = files.list(prefix + "/")
    with ThreadPoolExecutor(threads) as pool:
        while some := list(islice(listing, 64)):
            for stored, key, damage in pool.map(one, some):
                if key is None:
                    report.others += 1
                    continue
                report.files += 1
                report.bytes += stored.size
                if damage is None:
                    report.records += key.count
                else:
                    report.damaged.append(damage)
                checked(1, key.count)
    return report


def _damage(files: Files, stored: StoredObject, key: DataKey) -> Damage | None:
    try:
        check_file(key, files.get(stored.key, MAX_FILE_BYTES))
    except Poison as poison:
        return Damage(stored.key, poison.code, poison.detail)
    except ObjectMissing:
        return Damage(stored.key, "missing", "listed, and gone when it was read")
    except (StoreUnavailable, OSError) as error:
        return Damage(stored.key, "unread", f"could not be read ({type(error).__name__})")
    except LakeboundError:
        return Damage(stored.key, "too_large", f"{count_text(stored.size, 'byte')}, at most {MAX_FILE_BYTES} are ours")
    return None
