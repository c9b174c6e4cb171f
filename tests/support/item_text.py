"""Items as JSON text, written in two ways, and the records of the batch file that they become."""

from __future__ import annotations

import json
from typing import Any

from lakebound.backfill.segment_worker import EncodedRecords, EventIds, Page, RefusedValue, encode_page
from lakebound.formats.registry import encoder_of, reader_of
from lakebound.record.base_records import SnapshotDecoder
from lakebound.record.redaction import Redaction
from lakebound.transport.batch_files import assemble
from lakebound.transport.messages import Member

NOW = 1_795_000_000_000
FOLDER = "dt=2026-11-18/HH=11"
FORMATS = ("ndjson.gz", "avro", "parquet")
PLACE = EventIds("run|1|1795000000000|", 0)


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def spaced(value: Any) -> bytes:
    """A serialiser that escapes what it need not and puts spaces between tokens."""
    return json.dumps(value).encode()


def carried(values: list[Any], decoder: SnapshotDecoder, file_format: str, redaction: Redaction | None = None) -> Any:
    """(the records of the file that the values become, what was refused)."""
    encoder = encoder_of(file_format)
    told = list(encode_page(Page(NOW, NOW - 60_000, values, 1.0, None), decoder.item, encoder, redaction, PLACE, NOW))
    encoded = [one for one in told if isinstance(one, EncodedRecords)]
    count = sum(one.count for one in encoded)
    refused = [one for one in told if isinstance(one, RefusedValue)]
    if not count:
        return [], refused
    data = encoder.compress([one.data for one in encoded], count)
    member = Member(FOLDER, encoder.extension, count, None, None, NOW, data)
    (file,) = assemble("ddb/cars", "scan", [member], file_format)
    return list(reader_of(file_format)(file.body)), refused
