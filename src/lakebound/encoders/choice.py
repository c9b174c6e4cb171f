"""Which encoder a FILE_FORMAT travels by, and which one a file or member was written by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lakebound.encoders import avro, ndjson
from lakebound.envelope import encode_line
from lakebound.events import ChangeEvent

TRAVEL_FORMATS: Final = (ndjson.EXTENSION, avro.EXTENSION)
"""What a member can be. Parquet has no parts that could be concatenated: its records travel as Avro blocks."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """From change events to members: `encode` one, `compress` some hundred of them into a member, `join` members."""

    extension: str
    encode: Callable[[ChangeEvent, int], bytes]
    compress: Callable[[Sequence[bytes]], bytes]
    join: Callable[[Sequence[bytes]], bytes]


_NDJSON: Final = Encoder(ndjson.EXTENSION, encode_line, lambda lines: ndjson.compress(b"".join(lines)), ndjson.join)
_AVRO: Final = Encoder(avro.EXTENSION, avro.encode, avro.compress, avro.join)


def encoder_of(file_format: str) -> Encoder:
    """The encoder that a FILE_FORMAT's records travel by."""
    return _NDJSON if file_format == ndjson.EXTENSION else _AVRO


def reader_of(extension: str) -> Callable[[bytes], Iterator[dict[str, Any]]]:
    """The function that reads the records of a file with this extension."""
    if extension == "parquet":
        from lakebound.encoders import parquet

        return parquet.read
    return ndjson.read if extension == ndjson.EXTENSION else avro.read
