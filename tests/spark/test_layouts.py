"""From stream_ingest through the flusher and the merge job into silver: every layout, every format, one run."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from pyspark.sql import SparkSession

from lakebound.formats.registry import reader_of
from lakebound.live.flush import FlushRules, flush
from lakebound.live.ingest import IngestRules, ingest
from lakebound.record.stream_records import StreamDecoder
from lakebound.transport.object_keys import DataKey, partitioner
from tests.spark.silver import Silver, run_job, write_config
from tests.support.local_ports import FolderStore, ManualClock, MemoryQueue
from tests.support.stream_records import NOW_MS, TABLE, Record, stream_record

FORMATS: Final = ("ndjson.gz", "avro", "parquet")
PREFIX: Final = f"ddb/{TABLE}"
HOUR_S: Final = 3_600


@dataclass(frozen=True)
class Layout:
    """PARTITION_TEMPLATE, and whether PARTITION_BY is `event`."""

    template: str
    by_event_time: bool

    def hour(self, record: dict[str, Any]) -> str:
        """Where the record belongs, said without the code under test."""
        by = "approx_creation_time_ms" if self.by_event_time else "ingest_time_ms"
        moment = datetime.fromtimestamp(record[by] / 1000, UTC)
        op = "deletes" if record["event_name"] == "REMOVE" else "upserts"
        return f"{moment:{self.template.replace('{op}', op)}}"


LAYOUTS: Final = {
    "HH": Layout("dt=%Y-%m-%d/HH=%H", by_event_time=False),
    "hour": Layout("ingest_dt=%Y-%m-%d/hour=%H", by_event_time=False),
    "event": Layout("by_event/dt=%Y-%m-%d/HH=%H", by_event_time=True),
    "op": Layout("{op}/ingest_dt=%Y-%m-%d/hour=%H", by_event_time=True),
}


@dataclass
class Source:
    """A table that is written to: the items it has, and the records of its stream in the order of their commits."""

    name: str
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    records: list[Record] = field(default_factory=list)

    def live(self, writes: int) -> None:
        chance = random.Random(self.name)
        for number in range(writes):
            key = {"id": {"S": f"{self.name} {chance.randrange(writes // 4)}"}}
            text = key["id"]["S"]
            old = self.items.pop(text, None)
            new = None if old is not None and chance.random() < 0.4 else key | {"v": {"N": f"{number}.50"}}
            name = "REMOVE" if new is None else "INSERT" if old is None else "MODIFY"
            # Three hours of writes, delivered in the hour that follows them.
            created = NOW_MS // 1000 - 3 * HOUR_S + 3 * HOUR_S * number // writes
            self.records.append(stream_record(number, name=name, keys=key, new=new, old=old, created=created))
            if new is None:
                self.gone.add(text)
            else:
                self.items[text] = new
                self.gone.discard(text)


def carry(source: Source, layout: Layout, bucket: FolderStore) -> None:
    """A delivery in each format, the later ones first, so that each file holds what another makes stale."""
    clock = ManualClock(NOW_MS)
    queue = MemoryQueue(clock)
    size = len(source.records) // len(FORMATS)
    deliveries = [source.records[start : start + size] for start in range(0, len(source.records), size)]
    for number, records in enumerate(reversed(deliveries)):
        file_format = FORMATS[number]
        rules = IngestRules(TABLE, partitioner(layout.template), layout.by_event_time, 262_144, file_format)
        done = ingest(records, rules, StreamDecoder(TABLE), queue, bucket, clock, lambda: 600)
        assert done.sent == len(records)
        received = queue.receive(0)
        written = flush(
            received, FlushRules(TABLE, PREFIX, 0, 67_108_864, 0, file_format), queue, bucket, clock, lambda: 600
        )
        assert written.records == len(records)
        queue.delete([message.receipt for message in received])
        clock.sleep(60)


def files(bucket: FolderStore) -> Iterator[tuple[DataKey, list[dict[str, Any]]]]:
    for one in bucket.list(PREFIX):
        key = DataKey.parse(PREFIX, one.key)
        assert key is not None
        yield key, list(reader_of(key.ext)(bucket.get(one.key, one.size)))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Source]]:
    """A bucket with the files of one table a layout; the keys begin with the layout's name."""
    folder = tmp_path_factory.mktemp("layouts")
    found = {name: Source(name) for name in LAYOUTS}
    for name, source in found.items():
        source.live(150)
        assert source.gone
        assert source.items
        carry(source, LAYOUTS[name], FolderStore(folder / "bucket"))
    return folder, found


def test_each_record_is_in_the_folder_that_its_time_and_kind_say(sources: tuple[Path, dict[str, Source]]) -> None:
    folder, found = sources
    seen = dict.fromkeys(found, 0)
    formats = {name: set[str]() for name in found}
    for key, records in files(FolderStore(folder / "bucket")):
        for record in records:
            name = record["keys"]["id"]["S"].split()[0]
            assert key.partition == LAYOUTS[name].hour(record)
            seen[name] += 1
            formats[name].add(key.ext)
    assert seen == {name: len(source.records) for name, source in found.items()}
    assert all(each == set(FORMATS) for each in formats.values())
    hours = {key.partition for key, _ in files(FolderStore(folder / "bucket"))}
    assert {hour.split("/")[0] for hour in hours} >= {"upserts", "deletes", "by_event"}
    assert len({hour for hour in hours if hour.startswith("by_event/")}) >= 3, "the writes spread over their hours"


@pytest.mark.soak
def test_silver_equals_the_source_in_every_layout_and_format(
    spark: SparkSession, sources: tuple[Path, dict[str, Source]]
) -> None:
    folder, found = sources
    config = write_config(folder, ["id: string", "v: decimal(10,2)"])
    done = run_job(folder / "bucket" / PREFIX, folder / "checkpoint", folder / "silver", config)
    assert (done.status, done.last_line) == (0, "stale=0 rescued=0 inexact=0 refused=0 bad_files=0")
    rows = Silver(spark, str(folder / "silver"), None).rows()  # type: ignore[arg-type]
    items = {row["id"]: json.loads(row["_item"]) for row in rows.values() if not row["_is_deleted"]}
    assert items == {text: item for source in found.values() for text, item in source.items.items()}
    assert {row["id"] for row in rows.values() if row["_is_deleted"]} == set().union(*(s.gone for s in found.values()))
