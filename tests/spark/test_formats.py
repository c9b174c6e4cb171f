"""What the flusher writes in each format, Spark reads as the same records: text of keys and images to the byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from pyspark.sql import SparkSession

from lakebound.formats.registry import reader_of
from lakebound.record.envelope import record_of
from lakebound.transport.object_keys import partitioner
from lakebound_spark.platform.spark_compat import PRESERVES_JSON_TEXT
from lakebound_spark.reading.files import checked_records
from lakebound_spark.reading.schema import RECORD
from lakebound_spark.reading.source import data_files
from tests.support.batch_files import FORMATS, ITEMS, NOW, event, write

SOME = [name for name in ITEMS if name not in ("200,000 NULLs", "400 KB of NUL", "400 KB of é")]


def test_every_format_reads_back_as_the_same_rows(spark: SparkSession, tmp_path: Path) -> None:
    events = [event(ITEMS[name], number) for number, name in enumerate(SOME)]
    events.append(event({}, 900, event_name="REMOVE", new_image=None, ttl_expired=True))
    expected = sorted((_row(record_of(one, NOW)) for one in events), key=str)
    for file_format in FORMATS:
        file = write(events, file_format)
        path = tmp_path / file_format / file.key.rsplit("/", 1)[1]
        path.parent.mkdir()
        path.write_bytes(file.body)
        files = data_files([(f"file:{path}", f"file:{path}", 0)])
        checked = checked_records(spark, files, "cars")
        assert checked.bad_files == ()
        assert checked.count == len(events)
        assert checked.records is not None
        rows = checked.records.select(*RECORD.names).collect()
        found = sorted((tuple(row) for row in rows), key=str)
        if file_format == "ndjson.gz" and not PRESERVES_JSON_TEXT:
            assert sorted(map(_values, found), key=str) == sorted(map(_values, expected), key=str)
        else:
            assert found == expected
        assert len(list(reader_of(file_format)(file.body))) == len(events)


@pytest.mark.parametrize("template", ["{op}/dt=%Y-%m-%d/HH=%H", "ingest_dt=%Y-%m-%d/hour=%H/{op}"])
def test_op_in_the_template_gives_upserts_and_deletes_their_own_prefix(template: str) -> None:
    of = partitioner(template)
    assert "upserts" in of(NOW, False)
    assert "deletes" in of(NOW, True)


def _values(row: tuple[Any, ...]) -> list[Any]:
    return [orjson.loads(one) if type(one) is str and one.startswith("{") else one for one in row]


def _row(record: dict[str, Any]) -> tuple[Any, ...]:
    texts = ("keys", "new_image", "old_image")
    return tuple(
        orjson.dumps(record[name]).decode() if name in texts and record[name] is not None else record[name]
        for name in RECORD.names
    )
