"""The record of the contract: a change event in its versioned wrapper, one line of NDJSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

from lakebound.counts import count_text
from lakebound.errors import Poison
from lakebound.record.attributes import (
    MAX_NAME_LENGTH,
    Image,
    canonical_key,
    check_bare_numbers,
    check_names,
    encoding_poison,
    parse_image,
)
from lakebound.record.stream_records import ChangeEvent

if TYPE_CHECKING:
    from lakebound.record.raw_items import RawItem

SCHEMA: Final = 1

FIELDS: Final[tuple[tuple[str, str, bool], ...]] = (
    ("schema", "int", False),
    ("event_name", "string", False),
    ("event_id", "string", False),
    ("origin", "string", False),
    ("source_table", "string", False),
    ("key", "string", False),
    ("keys", "json", False),
    ("new_image", "json", True),
    ("old_image", "json", True),
    ("is_deleted", "boolean", False),
    ("ttl_expired", "boolean", False),
    ("sequence_number", "string", True),
    ("version", "string", True),
    ("snapshot_label_ms", "long", True),
    ("snapshot_run", "string", True),
    ("approx_creation_time_ms", "long", True),
    ("ingest_time_ms", "long", False),
    ("size_bytes", "long", True),
)
"""(name, type, may be null) of every field, in file order. `json` is an object in NDJSON, JSON text elsewhere."""


def record_of(event: ChangeEvent, ingest_time_ms: int) -> dict[str, Any]:
    """The record, fields in the order of FIELDS."""
    return {
        "schema": SCHEMA,
        "event_name": event.event_name,
        "event_id": event.event_id,
        "origin": event.origin,
        "source_table": event.source_table,
        "key": event.key,
        "keys": event.keys,
        "new_image": event.new_image,
        "old_image": event.old_image,
        "is_deleted": event.event_name in ("REMOVE", "ABSENT"),
        "ttl_expired": event.ttl_expired,
        "sequence_number": event.sequence_number,
        "version": event.version,
        "snapshot_label_ms": event.snapshot_label_ms,
        "snapshot_run": event.snapshot_run,
        "approx_creation_time_ms": event.approx_creation_time_ms,
        "ingest_time_ms": ingest_time_ms,
        "size_bytes": event.size_bytes,
    }


def encode_line(event: ChangeEvent, ingest_time_ms: int) -> bytes:
    """The record as one line of UTF-8 JSON that ends in a line feed, and has no other.

    Raises Poison (`lone_surrogate`, `too_deep`, `bare_number`) for what JSON in UTF-8 cannot hold.
    """
    record = record_of(event, ingest_time_ms)
    try:
        line = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError as refused:
        raise encoding_poison(refused) from None
    # More nulls than fields without a value: the word in a string, a forged null, or a NaN that was written as one.
    if line.count(b"null") > [*record.values()].count(None):
        for name in ("keys", "new_image", "old_image"):
            check_bare_numbers(record[name])
    return line


def encode_event(
    encode: Callable[[ChangeEvent, int], bytes], event: ChangeEvent, ingest_time_ms: int
) -> tuple[bytes, ChangeEvent]:
    """The event encoded, and as it travels: without its old image where that alone cannot.

    A change whose old image has half a surrogate pair is still the change; only the proof of the one before it is
    lost. Raises Poison for what cannot travel: what `encode` raises, and `name_too_long`.
    """
    try:
        data = encode(event, ingest_time_ms)
        if len(data) > MAX_NAME_LENGTH:
            check_names([event.keys, event.old_image, event.new_image and parse_image(event.new_image)])
        return data, event
    except Poison as poison:
        if event.old_image is None:
            raise
        without = event._replace(old_image=None, old_image_refused=poison.code)
    return encode_event(encode, without, ingest_time_ms)


def lines_like(event: ChangeEvent, ingest_time_ms: int) -> Callable[[str, int, Iterable[RawItem]], bytes]:
    """A function to the lines, in one, of events that are like this one in everything but id and item.

    It takes what the ids begin with, the number that the first ends with, and the items. What the records of a page
    share is encoded once; the lines are those of `encode_line`. The ids' beginning is ASCII without `"` and `\\`.
    Raises Poison (`keys`) for key attributes that are none.
    """
    hole = orjson.Fragment(b"\0")
    record = record_of(event, ingest_time_ms)
    # `key` and `keys` stand side by side and are written as one.
    del record["keys"]
    record |= dict.fromkeys(("event_id", "key", "new_image", "approx_creation_time_ms"), hole)
    begin, source, image, between, rest = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE).split(b"\0")
    source = b'"' + source.removesuffix(b'"key":')
    end = between + b"null" + rest
    key_fields = _key_fields(tuple(event.keys))

    def lines(prefix: str, first: int, items: Iterable[RawItem]) -> bytes:
        start = begin + b'"' + prefix.encode()
        pieces = [
            piece
            for number, item in enumerate(items, first)
            for piece in (
                start,
                b"%d" % number,
                source,
                key_fields(item.keys),
                image,
                item.text,
                end if item.created_ms is None else b"%b%d%b" % (between, item.created_ms, rest),
            )
        ]
        return b"".join(pieces)

    return lines


# What JSON and a canonical key both write as it is: no control character, quote, backslash, bar or lone surrogate.
_PLAIN: Final = re.compile(r'[^\x00-\x1f"\\|\ud800-\udfff]*').fullmatch


def _key_fields(names: Sequence[str]) -> Callable[[Image], bytes]:
    """A function to `"key":…,"keys":…` of key attributes of these names. It raises Poison (`keys`).

    A plain string as the only key attribute, the usual case of a whole page, is put between what its page shares.
    """

    def encoded(keys: Image) -> bytes:
        return orjson.dumps({"key": canonical_key(keys), "keys": keys})[1:-1]

    if len(names) != 1 or not _PLAIN(names[0]):
        return encoded
    (name,) = names
    begin, middle, end = encoded({name: {"S": "\0"}}).decode().split("\\u0000")

    def fields(keys: Image) -> bytes:
        value = keys[name]
        if len(value) == 1:
            text = value.get("S")
            if type(text) is str and _PLAIN(text):
                return f"{begin}{text}{middle}{text}{end}".encode()
        return encoded(keys)

    return fields


def decode_line(line: bytes) -> dict[str, Any]:
    """The record behind one line, images as DynamoDB-JSON objects. Raises Poison (`undecodable`)."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise Poison("undecodable", f"a line of {count_text(len(line), 'byte')} that is not JSON") from None
    if type(record) is not dict or record.get("schema") != SCHEMA:
        raise Poison("undecodable", "a line that is not a record of this schema")
    return record
