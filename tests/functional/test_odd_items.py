"""Items that DynamoDB stores and no list of its types expects: one way through stream, backfill, trace and verify."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakebound.operate.sample import Selection
from lakebound.operate.sides import EVERY_KEY, LakeRow, Page
from lakebound.operate.trace import trace
from lakebound.operate.verify import Report, verify
from lakebound.record.attributes import Image, canonical_key
from lakebound.record.base_records import SnapshotDecoder
from tests.support.item_text import carried, compact, spaced
from tests.support.local_ports import ManualClock
from tests.support.stream_records import odd_images, stream_record
from tests.support.use_case_world import carry

KEYS: Image = {"id": {"S": "k"}}
KEY = canonical_key(KEYS)
EMPTY_MEMBERS = [{"tags": {"SS": ["", "vip"]}}, {"blobs": {"BS": ["", "AA=="]}}, {"tags": {"SS": [""]}}]


class Source:
    """Port SourceTable of one item."""

    key_names = ("id",)

    def __init__(self, item: Image | None) -> None:
        self.items = [] if item is None else [item]

    def pages(self, parts: Sequence[int], of: int) -> Iterator[Page]:
        items = list(self.items)
        yield from (Page(part, items[part::of], True) for part in parts)

    def read(self, keys: Sequence[Image]) -> Iterator[Image]:
        return iter(self.items)


class Lake:
    """Port LakeTable of one row, its item as the text that silver keeps."""

    def __init__(self, item: Image | None) -> None:
        self.row = LakeRow(KEY, None if item is None else orjson.dumps(item).decode())

    def rows(self, selection: Selection = EVERY_KEY) -> Iterator[LakeRow]:
        yield self.row

    def read(self, keys: Sequence[str]) -> Iterator[LakeRow]:
        yield self.row


def compared(source: Image | None, lake: Image | None) -> Report:
    return verify(Source(source), Lake(lake), ManualClock(0))


def history(versions: Sequence[Image | None]) -> list[Any]:
    """The stream's records of one key that held these images one after the other; None: it was gone."""
    records: list[Any] = []
    before: Image | None = None
    for number, image in enumerate(versions, 1):
        if image == before:
            continue
        name = "REMOVE" if image is None else "INSERT" if before is None else "MODIFY"
        records.append(stream_record(number, name=name, keys=KEYS, new=image, old=before))
        before = image
    return records


def assert_everywhere_the_same(versions: Sequence[Image | None], written: Any) -> None:
    records = history(versions)
    read, kept = carry(records, "ndjson.gz") if records else ([], [])
    assert not kept
    assert trace(KEY, [("file", record) for record in read]).breaks == ()
    newest = max(read, key=lambda record: record["version"])["new_image"] if read else None
    assert compared(versions[-1], newest).is_equal
    for item in versions:
        if item is None:
            continue
        decoder = SnapshotDecoder("flights", "run", "scan", ("id",))
        said = decoder.reader.read_all([msgspec.Raw(written(item))])
        (record,), refused = carried(said, decoder, "ndjson.gz")
        assert not refused
        assert compared(item, record["new_image"]).is_equal


@pytest.mark.parametrize("attributes", EMPTY_MEMBERS, ids=str)
def test_an_empty_member_of_a_set_goes_everywhere(attributes: Image) -> None:
    put, corrected = KEYS | attributes, KEYS | {"tags": {"SS": ["vip"]}}
    assert_everywhere_the_same([put, corrected, None], compact)
    assert_everywhere_the_same([put, None, put], compact)
    assert_everywhere_the_same([corrected, put], spaced)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.none() | odd_images().map(lambda image: image | KEYS), min_size=1, max_size=5),
    st.sampled_from([compact, spaced]),
)
def test_histories_of_odd_items_end_equal(versions: list[Image | None], written: Any) -> None:
    assert_everywhere_the_same(versions, written)


@pytest.mark.parametrize(
    ("source", "lake"),
    [
        ({"SS": ["", "vip"]}, {"SS": ["vip"]}),
        ({"N": "NaN"}, {"N": "nan"}),
        ({"N": "1"}, {"N": 1}),
        ({"X": [1, 2]}, {"X": [2, 1]}),
        ({"S": "a", "N": "1"}, {"S": "a"}),
        ({"SS": ["a", "b", "a"]}, {"SS": ["b", "a", "a"]}),
    ],
)
def test_values_that_differ_are_told(source: Any, lake: Any) -> None:
    assert compared(KEYS | {"v": source}, KEYS | {"v": lake}).different == (KEY,)


@pytest.mark.parametrize(
    ("source", "lake"),
    [
        ({"SS": ["", "vip"]}, {"SS": ["vip", ""]}),
        ({"N": "1.0"}, {"N": "1"}),
        ({"X": {"b": 1, "a": 1.5}}, {"X": {"a": 1.5, "b": 1}}),
        ({"L": [{"N": "1E1"}, {"X": 1}]}, {"L": [{"N": "10"}, {"X": 1}]}),
    ],
)
def test_values_that_are_equal_are_not(source: Any, lake: Any) -> None:
    assert compared(KEYS | {"v": source}, KEYS | {"v": lake}).is_equal
