"""The document that keeps a poison record: its bytes, the reason and the origin. One constructor for each stage."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from typing import NamedTuple

import orjson

from lakebound.errors import Poison
from lakebound.record.ascii_json import ascii_json, ascii_text
from lakebound.record.stream_records import sequence_number_of
from lakebound.transport.object_keys import QUARANTINE


class QuarantineObject(NamedTuple):
    """What to write, under which key, and the metadata people list by."""

    key: str
    body: bytes
    reason: str


def from_delivery(table: str, record: object, poison: Poison, now_ms: int) -> QuarantineObject:
    """The quarantine object of a record that `stream_ingest` cannot carry.

    The payload is the record as ASCII-escaped JSON, which keeps lone surrogates.
    """
    arn = record.get("eventSourceARN") if type(record) is dict else None
    source = {"event_source_arn": arn if type(arn) is str else None, "sequence_number": sequence_number_of(record)}
    return _document(table, "stream_ingest", poison, source, ascii_json(record), now_ms)


def from_backfill(table: str, run: str, unit: int, value: object, poison: Poison, now_ms: int) -> QuarantineObject:
    """The quarantine object of an item or export line that a backfill cannot carry; bytes where it is no JSON."""
    payload = value if type(value) is bytes else ascii_json(value)
    return _document(table, "backfill", poison, {"run": run, "unit": str(unit)}, payload, now_ms)


def _document(
    table: str, stage: str, poison: Poison, source: dict[str, str | None], payload: bytes, now_ms: int
) -> QuarantineObject:
    document = {
        "stage": stage,
        "reason": poison.code,
        "detail": poison.detail,
        "source": {name: ascii_text(text) for name, text in source.items()},
        "quarantined_at": now_ms,
        "payload": b64encode(payload).decode("ascii"),
    }
    key = QUARANTINE.key(table, sha256(payload).hexdigest())
    return QuarantineObject(key, orjson.dumps(document), poison.code)
