"""What differs is read again and lands as base records that win, and only where they should."""

from collections.abc import Sequence
from typing import Any

import pytest

from lakebound.backfill.run_context import RunRules
from lakebound.backfill.segment_worker import Throttled
from lakebound.errors import Misconfigured
from lakebound.formats.registry import reader_of
from lakebound.operate.repair import RepairResult, repair
from lakebound.operate.sample import Selection
from lakebound.operate.sides import EVERY_KEY, LakeRow, Page, RedactedSource
from lakebound.operate.verify import Patience, verify
from lakebound.record.attributes import Image, canonical_key
from lakebound.record.redaction import Redaction
from lakebound.transport.object_keys import QUARANTINE, DataKey, partitioner
from tests.support.local_ports import ManualClock, MemoryStore

PREFIX, MARGIN_MS = "ddb/cars", 60_000


class Table:
    """Port KeyReader and SourceTable; `unread` keys of each answer are left for the next request."""

    key_names = ("id",)

    def __init__(self, *items: Image) -> None:
        self.items = {canonical_key({"id": item["id"]}): item for item in items}
        self.requests: list[int] = []
        self.unread = 0

    def read_items(self, keys: Sequence[Image]) -> tuple[Any, int]:
        self.requests.append(len(keys))
        taken, left = (keys[: -self.unread], keys[-self.unread :]) if self.unread else (keys, [])
        found = [self.items[name] for key in taken if (name := canonical_key(key)) in self.items]
        return {"Responses": {"cars": found}, "UnprocessedKeys": {"cars": {"Keys": list(left)}} if left else {}}, 0

    def pages(self, parts: Sequence[int], of: int) -> Any:
        items = list(self.items.values())
        yield from (Page(part, items[part::of], True) for part in parts)

    def read(self, keys: Sequence[Image]) -> Any:
        return iter([self.items[name] for key in keys if (name := canonical_key(key)) in self.items])


def car(number: int, **more: Any) -> Image:
    return {"id": {"S": f"car-{number}"}, **more}


def write(table: Table, keys: Sequence[str], **changed: Any) -> tuple[RepairResult, list[dict[str, Any]], MemoryStore]:
    clock = ManualClock()
    store = MemoryStore(clock)
    limits = {"max_records": 0, "max_file_bytes": 1 << 26, "max_seconds": 240, "margin_ms": MARGIN_MS}
    rules = RunRules(table="cars", prefix=PREFIX, partition=partitioner("dt=%Y-%m-%d/HH=%H/{op}"), **(limits | changed))
    done = repair(keys, "repair-1", rules, ("id",), table, store, clock)
    records = []
    for key in done.files:
        parsed = DataKey.parse(PREFIX, key)
        assert parsed is not None
        lines = list(reader_of(parsed.ext)(store.get(key, 1 << 20)))
        assert len(lines) == parsed.count
        records += lines
    return done, records, store


@pytest.mark.parametrize("file_format", ["ndjson.gz", "avro", "parquet"])
def test_each_key_becomes_a_base_record_of_what_the_source_holds(file_format: str) -> None:
    table = Table(*(car(number) for number in range(0, 250, 2)))
    keys = [f"id=S:car-{number}" for number in range(250)]
    done, records, _ = write(table, keys, file_format=file_format)
    assert table.requests == [100, 100, 50]
    assert (done.items, done.absent, done.quarantined) == (125, 125, 0)
    assert {one["key"]: one["new_image"] for one in records} == {key: table.items.get(key) for key in keys}
    assert {one["origin"] for one in records} == {"reread"}
    assert {one["snapshot_label_ms"] for one in records} == {ManualClock().now_ms() - MARGIN_MS}
    assert {("upserts" in key, "deletes" in key) for key in done.files} == {(True, False), (False, True)}
    assert len({one["event_id"] for one in records}) == 250


def test_what_the_table_leaves_unread_is_asked_for_again_and_refused_in_the_end() -> None:
    table = Table(car(1), car(2))
    table.unread = 1
    keys = ["id=S:car-1", "id=S:car-2"]
    with pytest.raises(Throttled):
        write(table, keys)
    assert len(table.requests) == 8


def test_a_repair_lands_redacted_and_is_refused_where_keys_are_hashed() -> None:
    table = Table(car(1, owner={"S": "canary"}))
    _, records, _ = write(table, ["id=S:car-1"], redaction=Redaction.of([("owner",)], [], b""))
    assert records[0]["new_image"] == car(1)
    with pytest.raises(Misconfigured, match="cannot be read again"):
        write(table, ["id=S:car-1"], redaction=Redaction.of([], [("id",)], b"0123456789abcdef"))
    assert table.requests == [1]


def test_an_item_that_cannot_be_carried_goes_to_quarantine_and_its_neighbours_go_on() -> None:
    done, records, store = write(Table(car(1, note={"S": "half \ud800 pair"}), car(2)), ["id=S:car-1", "id=S:car-2"])
    assert (done.items, done.quarantined) == (1, 1)
    assert [one["key"] for one in records] == ["id=S:car-2"]
    assert [key for key in store.objects if QUARANTINE.parse("cars", key)]


class Lake:
    def __init__(self, *rows: LakeRow) -> None:
        self._rows = rows

    def rows(self, selection: Selection = EVERY_KEY) -> Any:
        return iter(self._rows)

    def read(self, keys: Sequence[str]) -> Any:
        return iter([row for row in self._rows if row.key in keys])


def test_a_redacted_lake_is_equal_to_its_source_as_it_lands_and_only_so() -> None:
    table = Table(car(1, owner={"S": "x"}))
    lake = Lake(LakeRow("id=S:car-1", '{"id":{"S":"car-1"}}'))
    patience = Patience(lag=1, limit=10)
    redacted = RedactedSource(table, Redaction.of([("owner",)], [], b""))
    assert verify(redacted, lake, ManualClock(), patience=patience).is_equal
    assert not verify(table, lake, ManualClock(), patience=patience).is_equal
