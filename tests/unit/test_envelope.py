"""The record of the contract as one line."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakebound.errors import Poison
from lakebound.record.attributes import Image
from lakebound.record.envelope import FIELDS, SCHEMA, decode_line, encode_line, record_of
from lakebound.record.stream_records import ChangeEvent, StreamDecoder
from tests.support.stream_records import NOW_MS, TABLE, images, stream_record

TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "long": (int,),
    "string": (str,),
    "boolean": (bool,),
    "json": (dict,),
}
SEPARATORS = ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\0"]


def event_of(record: dict[str, Any]) -> ChangeEvent:
    return StreamDecoder(TABLE).decode(record, NOW_MS)


def snapshot(name: str) -> ChangeEvent:
    """A base record, as the backfill makes them."""
    keys: Image = {"id": {"S": "a"}}
    return ChangeEvent(
        event_name=name,
        event_id="run|0|1|2",
        origin="scan",
        source_table=TABLE,
        key="id=S:a",
        keys=keys,
        new_image=keys if name == "SNAPSHOT" else None,
        old_image=None,
        ttl_expired=False,
        sequence_number=None,
        version=None,
        snapshot_label_ms=123,
        snapshot_run="run",
        approx_creation_time_ms=None,
        size_bytes=None,
    )


@pytest.mark.parametrize("name", ["INSERT", "MODIFY", "REMOVE"])
def test_a_record_has_the_contracts_fields_in_their_order_and_types(name: str) -> None:
    record = json.loads(encode_line(event_of(stream_record(name=name)), NOW_MS))
    assert list(record) == [field for field, _, _ in FIELDS]
    for field, kind, nullable in FIELDS:
        assert (nullable and record[field] is None) or type(record[field]) in TYPES[kind], field
    assert record["schema"] == SCHEMA == 1
    assert record["is_deleted"] is (name == "REMOVE")
    assert record["ingest_time_ms"] == NOW_MS


@pytest.mark.parametrize(("name", "deleted"), [("SNAPSHOT", False), ("ABSENT", True)])
def test_a_base_record_has_the_same_fields(name: str, deleted: bool) -> None:
    record = decode_line(encode_line(snapshot(name), NOW_MS))
    assert list(record) == [field for field, _, _ in FIELDS]
    assert record["is_deleted"] is deleted
    assert record["version"] is None


@given(image=images(), old=st.none() | images())
def test_decode_is_the_inverse_of_encode(image: Image, old: Image | None) -> None:
    """G7: every legal item comes back exactly."""
    keys = {"id": {"S": "k"}}
    event = event_of(stream_record(keys=keys, attributes=image, old=None if old is None else keys | old))
    line = encode_line(event, NOW_MS)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_line(line) == record_of(event, NOW_MS)


@pytest.mark.parametrize("separator", SEPARATORS, ids=ascii)
def test_nothing_in_an_item_breaks_the_line(separator: str) -> None:
    text = f"a{separator}b"
    image = {"id": {"S": text}, text: {"SS": [text]}}
    line = encode_line(event_of(stream_record(keys={"id": {"S": text}}, new=image, old=image)), NOW_MS)
    assert line.split(b"\n")[1:] == [b""]
    assert b"\r" not in line
    assert decode_line(line)["new_image"] == image


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"null", b"[]", b"{}", b'{"schema":2}', b'{"schema":"1"}', b'\xff{"schema":1}',
     b'\xef\xbb\xbf{"schema":1}',
     b'{"schema":1}{"schema":1}'],
)  # fmt: skip
def test_a_line_that_is_no_record_is_poison(line: bytes) -> None:
    with pytest.raises(Poison, match=r"^undecodable: "):
        decode_line(line)
