"""Parquet: records travel as Avro blocks, and the flusher turns the blocks of a file into columns.

The only module that needs pyarrow, which comes in a layer of its own: nothing imports it unless FILE_FORMAT asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from lakebound.counts import count_text
from lakebound.errors import Poison, UnreadableMember
from lakebound.formats import avro
from lakebound.record.envelope import FIELDS

EXTENSION: Final = "parquet"
ROW_GROUP_BYTES: Final = 32 * 1024 * 1024
"""Text at which a row group closes: what the conversion holds beside the members and the file."""

MAX_ROW_GROUP_BYTES: Final = 512 * 1024 * 1024
"""A row group that says it is larger is not one of ours: it closes at ROW_GROUP_BYTES and at most one block later."""

_TYPES: Final = {
    "int": pa.int32(),
    "string": pa.string(),
    "json": pa.string(),
    "boolean": pa.bool_(),
    "long": pa.int64(),
}
ARROW_SCHEMA: Final = pa.schema([pa.field(name, _TYPES[kind], nullable) for name, kind, nullable in FIELDS])
"""The record's columns: `envelope.FIELDS`, images and keys as JSON text."""

_NAMES: Final = tuple(name for name, _, _ in FIELDS)


def convert(members: Sequence[tuple[bytes, int]]) -> bytes:
    """A Parquet file of the records of Avro blocks, each given with the count it must have.

    Raises UnreadableMember for a block that is damaged, forged or a bomb; what is held meanwhile is bounded by
    ROW_GROUP_BYTES and one block.
    """
    out = BytesIO()
    with pq.ParquetWriter(
        out,
        ARROW_SCHEMA,
        compression="zstd",
        compression_level=1,
        use_dictionary=_DICTIONARY,
        write_page_checksum=True,
    ) as writer:
        batches: list[pa.RecordBatch] = []
        size = 0
        for place, (block, count) in enumerate(members):
            try:
                records = avro.read_block(block)
                if len(records) != count:
                    raise Poison("member_count", f"{count_text(len(records), 'record')}, the member names {count}")
                batch = pa.RecordBatch.from_pydict(
                    {name: [record[name] for record in records] for name in _NAMES}, ARROW_SCHEMA
                )
            except Poison as poison:
                raise UnreadableMember(place, poison) from None
            batches.append(batch)
            size += batch.nbytes
            if size >= ROW_GROUP_BYTES:
                writer.write_table(pa.Table.from_batches(batches))
                batches, size = [], 0
        if batches:
            writer.write_table(pa.Table.from_batches(batches))
    return out.getvalue()


_DICTIONARY: Final = ["event_name", "origin", "source_table", "snapshot_run"]
"""Columns of few values; the others would only fill a dictionary and give it up again."""


def read(body: bytes) -> Iterator[dict[str, Any]]:
    """The records of a file, images as objects. Holds one row group at a time.

    Raises Poison (`parquet`, `undecodable`) for a file that is not as it was written.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(body), page_checksum_verification=True)
        if not file.schema_arrow.equals(ARROW_SCHEMA):
            raise Poison("parquet", "not a Parquet file of this schema")
        for group in range(file.num_row_groups):
            if file.metadata.row_group(group).total_byte_size > MAX_ROW_GROUP_BYTES:
                raise Poison("parquet", f"a row group of more than {MAX_ROW_GROUP_BYTES} bytes")
            for batch in file.iter_batches(1000, row_groups=[group]):
                yield from map(avro.with_objects, batch.to_pylist())
    except (pa.ArrowException, OSError):
        raise Poison("parquet", "a file that is damaged or cut off") from None
