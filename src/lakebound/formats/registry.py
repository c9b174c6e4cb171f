"""Which encoder a FILE_FORMAT travels by, and which one a file or member was written by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lakebound.formats import avro, ndjson
from lakebound.record.attributes import key_writer
from lakebound.record.envelope import encode_line, lines_like
from lakebound.record.stream_records import ChangeEvent

if TYPE_CHECKING:
    from lakebound.record.raw_items import RawItem

TRAVEL_FORMATS: Final = (ndjson.EXTENSION, avro.EXTENSION)
"""What a member can be. Parquet has no parts that could be concatenated: its records travel as Avro blocks."""


class Encoder(NamedTuple):
    """From change events to members: `encode` one, `compress` so many encoded ones into a member, `join` members.

    `like(event, ingest_time_ms)` encodes many at once that are like that event but for their items (`lines_like`).
    """

    extension: str
    encode: Callable[[ChangeEvent, int], bytes]
    compress: Callable[[Sequence[bytes], int], bytes]
    join: Callable[[Sequence[bytes]], bytes]
    like: Callable[[ChangeEvent, int], Callable[[str, int, Iterable[RawItem]], bytes]]


def _data_like(event: ChangeEvent, ingest_time_ms: int) -> Callable[[str, int, Iterable[RawItem]], bytes]:
    """As `envelope.lines_like`, in Avro."""
    key_of = key_writer(tuple(event.keys))

    def data(prefix: str, first: int, items: Iterable[RawItem]) -> bytes:
        return b"".join(
            avro.encode(
                event._replace(
                    event_id=f"{prefix}{number}",
                    key=key_of(item.keys),
                    keys=item.keys,
                    new_image=item.image(),
                    approx_creation_time_ms=item.created_ms,
                ),
                ingest_time_ms,
            )
            for number, item in enumerate(items, first)
        )

    return data


_NDJSON: Final = Encoder(
    ndjson.EXTENSION, encode_line, lambda lines, count: ndjson.compress(b"".join(lines)), ndjson.join, lines_like
)
_AVRO: Final = Encoder(avro.EXTENSION, avro.encode, avro.compress, avro.join, _data_like)


def encoder_of(file_format: str) -> Encoder:
    """The encoder that a FILE_FORMAT's records travel by."""
    return _NDJSON if file_format == ndjson.EXTENSION else _AVRO


def reader_of(extension: str) -> Callable[[bytes], Iterator[dict[str, Any]]]:
    """The function that reads the records of a file with this extension."""
    if extension == "parquet":
        from lakebound.formats import parquet

        return parquet.read
    return ndjson.read if extension == ndjson.EXTENSION else avro.read
