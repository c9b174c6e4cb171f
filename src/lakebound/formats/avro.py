"""Avro: a member is one block of an object container file, without its sync marker; a file is a header and blocks.

The block is encoded and compressed once, in stream_ingest. The sync marker comes from the blocks' content, so the same
members give the same file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from io import BytesIO
from typing import Any, Final

import orjson
from isal import igzip_lib

from lakebound.errors import Poison
from lakebound.record.attributes import check_bare_numbers, encoding_poison
from lakebound.record.envelope import FIELDS, SCHEMA, record_of
from lakebound.record.stream_records import ChangeEvent

EXTENSION: Final = "avro"
MAX_BLOCK_BYTES: Final = 32 * 1024 * 1024
"""No block of ours inflates to more: a member closes at 4 MB, and one record has at most 5.7 MB."""

_LEVEL: Final = 2
_DAMAGED: Final[type[Exception]] = igzip_lib.IsalError  # type: ignore[assignment]  # the stub takes the class for a value
_SYNC_BYTES: Final = 16
_TEXTS: Final = tuple(name for name, kind, _ in FIELDS if kind == "json")


def _field(name: str, kind: str, nullable: bool) -> dict[str, Any]:
    avro = "string" if kind == "json" else kind
    return {"name": name, "type": ["null", avro], "default": None} if nullable else {"name": name, "type": avro}


SCHEMA_JSON: Final[dict[str, Any]] = {
    "type": "record",
    "name": "Record",
    "namespace": "lakebound",
    "fields": [_field(*field) for field in FIELDS],
}
"""The record's Avro schema: `envelope.FIELDS`, images and keys as JSON text."""


class _Codec:
    """fastavro with our schema; made at first use, so that a function with another format never imports it."""

    def __init__(self) -> None:
        import fastavro

        self._schema = fastavro.parse_schema(dict(SCHEMA_JSON))
        self._write = fastavro.schemaless_writer
        self._read: Any = fastavro.schemaless_reader

    def write(self, out: BytesIO, record: dict[str, Any]) -> None:
        self._write(out, self._schema, record)

    def read(self, data: BytesIO) -> dict[str, Any]:
        record: dict[str, Any] = self._read(data, self._schema, None)
        return record


_codecs: list[_Codec] = []


def _codec() -> _Codec:
    if not _codecs:
        _codecs.append(_Codec())
    return _codecs[0]


def encode(event: ChangeEvent, ingest_time_ms: int) -> bytes:
    """The record as one Avro datum. Raises Poison as `encode_line` does."""
    record = record_of(event, ingest_time_ms)
    out = BytesIO()
    try:
        for name in _TEXTS:
            image = record[name]
            if image is not None:
                # In a list, as deep as it stands in a line of NDJSON: what is too deep there is too deep here.
                text = orjson.dumps([image])[1:-1]
                if b"null" in text:
                    check_bare_numbers(image)
                record[name] = text.decode()
        _codec().write(out, record)
    except orjson.JSONEncodeError as refused:
        raise encoding_poison(refused) from None
    except UnicodeEncodeError:
        raise Poison("lone_surrogate", "the record cannot be written as UTF-8") from None
    except (OverflowError, TypeError, ValueError):
        raise Poison("record_shape", "a field that the record's schema does not hold") from None
    return out.getvalue()


def compress(records: Sequence[bytes], count: int) -> bytes:
    """One block of `count` records: count, size, deflated data. Not yet its sync marker, which only the file knows."""
    deflated = bytes(igzip_lib.compress(b"".join(records), _LEVEL, igzip_lib.COMP_DEFLATE))
    return _long(count) + _long(len(deflated)) + deflated


def join(members: Sequence[bytes]) -> bytes:
    """A file of blocks."""
    whole = sha256()
    for member in members:
        whole.update(member)
    sync = whole.digest()[:_SYNC_BYTES]
    return b"".join([HEADER, sync, *(part for member in members for part in (member, sync))])


def read(body: bytes) -> Iterator[dict[str, Any]]:
    """The records of a file, images as objects. Holds one block at a time, refused above MAX_BLOCK_BYTES.

    Raises Poison (`avro`, `undecodable`) at the first place that is not as it was written.
    """
    return map(with_objects, read_texts(body))


def with_objects(record: dict[str, Any]) -> dict[str, Any]:
    """The record with keys and images as objects where they were JSON text. Raises Poison (`undecodable`)."""
    try:
        for name in _TEXTS:
            if record[name] is not None:
                record[name] = orjson.loads(record[name])
    except orjson.JSONDecodeError:
        raise Poison("undecodable", "an image that is not JSON") from None
    return record


def read_texts(body: bytes) -> Iterator[dict[str, Any]]:
    """As `read`, with keys and images as the JSON text that stands in the file."""
    if not body.startswith(HEADER):
        raise Poison("avro", "not an Avro file of this schema")
    data = memoryview(body)
    place = len(HEADER) + _SYNC_BYTES
    sync = bytes(data[len(HEADER) : place])
    while place < len(body):
        end = block_end(data, place)
        if end + _SYNC_BYTES > len(body) or data[end : end + _SYNC_BYTES] != sync:
            raise Poison("avro", "a block that is cut off, or without its sync marker")
        yield from read_block(bytes(data[place:end]))
        place = end + _SYNC_BYTES


def block_end(data: memoryview, place: int) -> int:
    """Where the block that starts at `place` ends. Raises Poison (`avro`)."""
    _, place = _read_long(data, place)
    size, place = _read_long(data, place)
    if size < 0 or place + size > len(data):
        raise Poison("avro", "a block that is cut off")
    return place + size


def read_block(block: bytes) -> list[dict[str, Any]]:
    """The records of one block, images as JSON text. Raises Poison (`avro`, `undecodable`)."""
    data = memoryview(block)
    count, place = _read_long(data, 0)
    size, place = _read_long(data, place)
    if count < 1 or size != len(block) - place:
        raise Poison("avro", "a block whose size is not the one it names")
    inflater = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_DEFLATE)
    try:
        text = inflater.decompress(bytes(data[place:]), MAX_BLOCK_BYTES + 1)
    except _DAMAGED:
        raise Poison("avro", "a block that is damaged") from None
    if not inflater.eof or inflater.unused_data or len(text) > MAX_BLOCK_BYTES:
        raise Poison("avro", f"a block that is cut off, or inflates to more than {MAX_BLOCK_BYTES} bytes")
    if count > len(text):
        raise Poison("avro", "a block with fewer records than it names")
    stream = BytesIO(text)
    codec = _codec()
    try:
        records = [codec.read(stream) for _ in range(count)]
    # fastavro raises what the damaged bytes happen to meet: EOFError, IndexError, UnicodeDecodeError, MemoryError …
    except Exception:
        raise Poison("undecodable", "a block whose bytes are not records of this schema") from None
    if stream.tell() != len(text):
        raise Poison("avro", "a block with more bytes than its records")
    if any(record["schema"] != SCHEMA for record in records):
        raise Poison("undecodable", "a record that is not of this schema")
    return records


def _long(number: int) -> bytes:
    """Avro's long: zigzag, seven bits a byte, least first."""
    zigzag = number << 1 if number >= 0 else (-number << 1) - 1
    out = bytearray()
    while zigzag > 127:
        out.append(zigzag & 127 | 128)
        zigzag >>= 7
    out.append(zigzag)
    return bytes(out)


def _read_long(data: memoryview, place: int) -> tuple[int, int]:
    zigzag = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            break
        byte = data[place]
        place += 1
        zigzag |= (byte & 127) << shift
        if byte < 128:
            return (zigzag >> 1) ^ -(zigzag & 1), place
    raise Poison("avro", "a number that is cut off")


def _header() -> bytes:
    """Magic, then the file's metadata as a map of two entries; the sync marker follows."""
    metadata = {b"avro.codec": b"deflate", b"avro.schema": orjson.dumps(SCHEMA_JSON)}
    entries = b"".join(_long(len(name)) + name + _long(len(text)) + text for name, text in metadata.items())
    return b"Obj\x01" + _long(len(metadata)) + entries + _long(0)


HEADER: Final = _header()
"""What every Avro file of this schema begins with."""
