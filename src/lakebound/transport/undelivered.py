"""What could not be delivered, where it waits: failure objects of Lambda and quarantined records, read back."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from lakebound.errors import LakeboundError, ObjectMissing
from lakebound.ports import ObjectStore, StoredObject
from lakebound.transport.object_keys import QUARANTINE, REDRIVEN, failures_folder

MAX_FAILURE_BYTES: Final = 64 * 1024 * 1024
"""Largest failure object read: a delivery is 6 MB of JSON, escaped once more inside the object's `payload`."""


MAX_QUARANTINE_BYTES: Final = 64 * 1024 * 1024


NO_DOCUMENT: Final = "no_document"
"""The reason of an object in the quarantine folder that is no quarantine document."""


@dataclass(frozen=True, slots=True)
class FailureObject:
    """What Lambda wrote when it gave up on a delivery: why, from where, and the records themselves."""

    key: str
    condition: str
    shard: str
    first: str
    last: str
    stream_arn: str
    failed_at: str
    records: tuple[object, ...]

    @staticmethod
    def decode(key: str, body: bytes) -> FailureObject:
        """Raises LakeboundError for an object without the records.

        The document is that of Lambda's on-failure destinations (`DDBStreamBatchInfo`); only one in S3 has `payload`,
        the whole event as text.
        """
        try:
            document: Any = orjson.loads(body)
            payload = document["payload"]
            event = orjson.loads(payload) if type(payload) is str else payload
            records = event["Records"]
            batch = document.get("DDBStreamBatchInfo") or {}
            if type(records) is not list or type(batch) is not dict:
                raise TypeError("records")
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            raise LakeboundError(
                f"{key} holds no stream records", hint="If Lambda wrote it, its delivery is a gap: heal it"
            ) from None
        context = document.get("requestContext")
        return FailureObject(
            key=key,
            condition=str(context.get("condition", "")) if type(context) is dict else "",
            shard=str(batch.get("shardId", "")),
            first=str(batch.get("startSequenceNumber", "")),
            last=str(batch.get("endSequenceNumber", "")),
            stream_arn=str(batch.get("streamArn", "")),
            failed_at=str(document.get("timestamp", "")),
            records=tuple(records),
        )


@dataclass(frozen=True, slots=True)
class Pending:
    """The objects of a folder that were not redriven yet, oldest first, and how many were."""

    objects: tuple[StoredObject, ...]
    already: int


def pending_failures(store: ObjectStore, table: str, mapping_id: str) -> Pending:
    """Failure objects of one stream mapping. Raises StoreUnavailable."""
    return _pending(store, table, store.list(failures_folder(mapping_id)))


def pending_quarantine(store: ObjectStore, table: str) -> Pending:
    """Quarantined records. Raises StoreUnavailable."""
    found = store.list(QUARANTINE.prefix(table))
    return _pending(store, table, (one for one in found if QUARANTINE.parse(table, one.key)))


def _pending(store: ObjectStore, table: str, found: Iterator[StoredObject]) -> Pending:
    notes = {note.key for note in store.list(REDRIVEN.prefix(table))}
    objects, already = [], 0
    for one in found:
        if REDRIVEN.key_about(table, one.key) in notes:
            already += 1
        else:
            objects.append(one)
    return Pending(tuple(sorted(objects, key=lambda one: (one.modified_ms, one.key))), already)


@dataclass(frozen=True, slots=True)
class QuarantinedRecord:
    """A quarantine object: where and why, and the payload's bytes."""

    key: str
    stage: str
    reason: str
    detail: str
    source: Mapping[str, Any]
    quarantined_at: int
    payload: bytes

    @staticmethod
    def decode(key: str, body: bytes) -> QuarantinedRecord:
        """Raises LakeboundError for an object that is no quarantine document."""
        try:
            document: Any = orjson.loads(body)
            return QuarantinedRecord(
                key,
                str(document["stage"]),
                str(document["reason"]),
                str(document["detail"]),
                dict(document["source"]),
                int(document["quarantined_at"]),
                b64decode(document["payload"], validate=True),
            )
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, binascii.Error):
            raise LakeboundError(f"{key} is no quarantine object", hint="Look at who wrote it") from None


def read_quarantine(store: ObjectStore, objects: Sequence[StoredObject]) -> Iterator[QuarantinedRecord]:
    """The documents behind a listing. Raises StoreUnavailable."""
    for stored in objects:
        try:
            body = store.get(stored.key, MAX_QUARANTINE_BYTES)
        except ObjectMissing:
            continue
        try:
            yield QuarantinedRecord.decode(stored.key, body)
        except LakeboundError:
            # Somebody else's object in the folder must not keep the records beside it from being seen and carried.
            yield QuarantinedRecord(stored.key, "unknown", NO_DOCUMENT, "", {}, stored.modified_ms, b"")


def count_reasons(quarantined: Iterator[QuarantinedRecord]) -> Counter[str]:
    """How often each reason."""
    return Counter(one.reason for one in quarantined)
