"""Batch files of all formats, made by the encoders themselves of items that are hard to carry."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from lakebound.formats.registry import encoder_of
from lakebound.record.stream_records import ChangeEvent, StreamDecoder
from lakebound.transport import batch_files, messages
from lakebound.transport.messages import Line, Member

FORMATS = ("ndjson.gz", "avro", "parquet")
NOW = 1_795_000_005_000
ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/cars/stream/2026-11-01T08:00:00.000"
HOUR = "dt=2026-11-18/HH=11"

ITEMS: dict[str, dict[str, Any]] = {
    "38 digits": {"n": {"N": "12345678901234567890123456789012345678"}},
    "largest magnitude": {"n": {"N": "9.9999999999999999999999999999999999999E+125"}},
    "smallest magnitude": {"n": {"N": "1E-130"}},
    "minus zero and zeros at the end": {"a": {"N": "-0"}, "b": {"N": "1.0"}, "c": {"N": "1E2"}, "d": {"N": "81.50"}},
    "empty string": {"s": {"S": ""}},
    "control characters": {"s": {"S": "\x00\x01\x08\x1f\x7f"}},
    "no characters": {"s": {"S": "\ufffe\uffff"}},
    "line separators": {"s": {"S": "a\u2028b\u2029c\u0085d\r\ne\nf"}},
    "JSON look-alike": {"s": {"S": '{"N":"1"}\\"}]'}},
    "formula and SQL": {"s": {"S": "=cmd|' /C calc'!A0"}, "t": {"S": "'; DROP TABLE x; --"}, "u": {"S": "${jndi:x}"}},
    "400 KB of NUL": {"s": {"S": "\x00" * 400_000}},
    "400 KB of é": {"s": {"S": "é" * 200_000}},
    "empty binary": {"b": {"B": ""}},
    "all bytes": {"b": {"B": b64encode(bytes(range(256))).decode()}},
    "sets": {"ss": {"SS": ["b", "a"]}, "ns": {"NS": ["1", "1E125", "-3.5"]}, "bs": {"BS": ["AA==", "/w=="]}},
    "NULL and BOOL": {"n": {"NULL": True}, "t": {"BOOL": True}, "f": {"BOOL": False}},
    "empty list and map": {"l": {"L": []}, "m": {"M": {}}},
    "200,000 NULLs": {"l": {"L": [{"NULL": True}] * 200_000}},
    "names": {
        name: {"S": "x"}
        for name in (
            "a.b", "a b", "'q'", "`t`", '"', "x\ny", ",;{}()=", "$ref", "__proto__", "😀", "שלום", "é", "e\u0301",
            "Name", "name", "schema", "key", "dt", "HH", "", "new_image", "n" * 49_000,
        )
    },
}  # fmt: skip


def deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {"N": "1"}
    for level in range(levels):
        value = {"L": [value]} if level % 2 else {"M": {"d": value}}
    return {"deep": value}


ITEMS["32 levels"] = deep(32)


def event(item: dict[str, Any], number: int = 1, **changes: Any) -> ChangeEvent:
    """The change event of a MODIFY that put the item where nothing but its key was."""
    keys = {"vin": {"S": f"car {number}"}}
    record = {
        "eventID": f"{number:032x}",
        "eventName": "MODIFY",
        "eventSourceARN": ARN,
        "dynamodb": {
            "ApproximateCreationDateTime": 1_795_000_000,
            "Keys": keys,
            "NewImage": {**keys, **item},
            "OldImage": keys,
            "SequenceNumber": f"8204000000000000000{number:08d}",
            "SizeBytes": 96,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
    }
    return StreamDecoder("cars").decode(record, NOW)._replace(**changes)


def pack(events: list[ChangeEvent], file_format: str, message_bytes: int = 262_144) -> list[Member]:
    """The members that the flusher would find in the queue, claims included."""
    encode = encoder_of(file_format).encode
    lines = [Line(place, HOUR, one.version, encode(one, NOW)) for place, one in enumerate(events)]
    members: list[Member] = []
    for outgoing in messages.Packer("cars", message_bytes, NOW, file_format).pack(lines):
        content = messages.decode("cars", outgoing.body)
        if isinstance(content, messages.ClaimCheck):
            assert outgoing.claim is not None
            content = messages.decode_claimed("cars", content, outgoing.claim[1])
        members += content
    return members


def write(events: list[ChangeEvent], file_format: str) -> batch_files.BatchFile:
    (file,) = batch_files.assemble("ddb/cars", "stream", pack(events, file_format), file_format)
    return file
