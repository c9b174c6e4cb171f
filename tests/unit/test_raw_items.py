"""Items carried as text and items carried as values are one record, in every format; what cannot be text is parsed."""

import subprocess
import sys
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakebound.backfill.exports import FULL
from lakebound.backfill.segment_worker import ENCODED_ITEMS_MAX, EncodedRecords, Page, encode_page
from lakebound.errors import Poison
from lakebound.formats import ndjson
from lakebound.formats.registry import encoder_of
from lakebound.record.attributes import MAX_LEVELS, canonical_item
from lakebound.record.base_records import SnapshotDecoder
from lakebound.record.envelope import encode_line
from lakebound.record.raw_items import ExportLineReader, ItemReader, RawItem, can_stand_in_a_line
from lakebound.record.redaction import Redaction
from tests.support.item_text import FORMATS, NOW, PLACE, carried, compact, spaced
from tests.support.stream_records import images, odd_images

SCAN = SnapshotDecoder("cars", "run", "scan", ("id",))


def read(item: Any, key_names: tuple[str, ...] = ("id",), written: Any = compact) -> object:
    return ItemReader(key_names).read(written(item))


@settings(max_examples=40)
@given(st.lists(images() | odd_images(), max_size=4), st.sampled_from([compact, spaced]), st.sampled_from(FORMATS))
def test_text_and_values_give_one_record(some: list[Any], written: Any, file_format: str) -> None:
    numbered = [item | {"id": {"S": f"k{place}|é"}, "at": {"N": f"{place}.0"}} for place, item in enumerate(some)]
    decoder = SnapshotDecoder("cars", "run", "scan", ("id", "at"))
    said = decoder.reader.read_all([msgspec.Raw(written(item)) for item in numbered])
    assert [type(value) for value in said] == [RawItem] * len(numbered)
    one, refused = carried(said, decoder, file_format)
    other, _ = carried(numbered, decoder, file_format)
    assert one == other
    assert not refused
    assert [record["new_image"] for record in one] == numbered


@given(images())
def test_the_lines_of_a_run_are_those_of_each_event(item: Any) -> None:
    numbered = [item | {"id": {"S": f"k{place}"}} for place in range(3)]
    said = [
        RawItem({"id": one["id"]}, compact(one), created) for one, created in zip(numbered, (None, 5, 0), strict=True)
    ]
    told = list(encode_page(Page(NOW, 9, said, 0.0, None), SCAN.item, encoder_of("ndjson.gz"), None, PLACE, NOW))
    events = [SCAN.item(one, 9, f"{PLACE.prefix}{place}") for place, one in enumerate(said)]
    assert b"".join(one.data for one in told if isinstance(one, EncodedRecords)) == b"".join(
        encode_line(event, NOW) for event in events
    )
    assert [event.approx_creation_time_ms for event in events] == [None, 5, 0]


@settings(max_examples=40)
@given(images() | odd_images(), st.sampled_from([compact, spaced]))
def test_an_exports_lines_give_the_record_of_their_values(item: Any, written: Any) -> None:
    item = item | {"id": {"S": "k"}}
    decoder = SnapshotDecoder("cars", "run", "export", ("id",))
    full = ExportLineReader(decoder.reader, incremental=False).read(written({"Item": item}))
    assert type(full) is RawItem
    change = {
        "Metadata": {"WriteTimestampMicros": {"N": "1795000000123456"}},
        "Keys": {"id": {"S": "k"}},
        "NewImage": item,
        "OldImage": item,
    }
    net = ExportLineReader(decoder.reader, incremental=True).read(written(change))
    assert type(net) is RawItem
    for text, values, decode in ((full, {"Item": item}, decoder.export_line), (net, change, decoder.change_line)):
        one, other = decode(text, 5, "e"), decode(values, 5, "e")
        assert orjson.loads(encode_line(one, NOW)) == orjson.loads(encode_line(other, NOW))
    assert decoder.change_line(net, 5, "e").approx_creation_time_ms == 1795000000123


def test_more_items_than_are_encoded_at_once_keep_their_numbers() -> None:
    count = 2 * ENCODED_ITEMS_MAX + 3
    # One parsed item in between: numbers go on across it.
    values = [{"id": {"S": f"k{place}"}} for place in range(count)]
    said: list[Any] = [read(value) for value in values]
    said[ENCODED_ITEMS_MAX + 7] = values[ENCODED_ITEMS_MAX + 7]
    records, refused = carried(said, SCAN, "ndjson.gz")
    assert not refused
    assert [record["event_id"] for record in records] == [f"{PLACE.prefix}{place}" for place in range(count)]
    assert [record["new_image"] for record in records] == values


def test_redaction_looks_into_what_was_read_as_text() -> None:
    redaction = Redaction.of((("secret",),), (("mail",),), b"x" * 16)
    item = {"id": {"S": "k"}, "secret": {"S": "canary-1"}, "mail": {"S": "canary-2"}, "v": {"N": "1"}}
    for file_format in FORMATS:
        one, _ = carried([read(item)], SCAN, file_format, redaction)
        other, _ = carried([item], SCAN, file_format, redaction)
        assert one == other
        assert "canary" not in str(one)
        assert one[0]["new_image"].keys() == {"id", "mail", "v"}


def test_a_line_break_between_tokens_is_not_put_into_a_line() -> None:
    assert can_stand_in_a_line(b'{"id":{"S":"\\n\\r"}}')
    assert not can_stand_in_a_line(b'{"id":\n{"S":"k"}}')
    assert not can_stand_in_a_line(b'{"id":\r{"S":"k"}}')


def test_bytes_that_are_no_utf_8_are_not_put_into_a_line() -> None:
    assert can_stand_in_a_line('{"id":{"S":"é😀"}}'.encode())
    assert not can_stand_in_a_line(b'{"id":{"S":"\xff"}}')
    # Half a surrogate pair, written as if it were a character.
    assert not can_stand_in_a_line(b'{"id":{"S":"\xed\xa0\x80"}}')


@pytest.mark.parametrize("text", [b'{"Item":{"id":{"S":"k"}}\r}', b'{"Item":{"id":{"S":"\xff"}}}', b"{", b""])
def test_an_exports_line_that_cannot_be_carried_is_parsed_or_kept_whole(text: bytes) -> None:
    decoder = SnapshotDecoder("cars", "run", "export", ("id",))
    value = ExportLineReader(decoder.reader, incremental=False).read(text)
    if text.endswith(b"\r}"):
        assert value == {"Item": {"id": {"S": "k"}}}
        return
    assert value == text
    with pytest.raises(Poison, match="undecodable"):
        decoder.export_line(value, 5, "e")


def test_half_a_surrogate_pair_goes_to_quarantine_alone() -> None:
    texts = [
        rb'{"id":{"S":"a"}}',
        rb'{"id":{"S":"b"},"v":{"S":"\ud800"}}',
        rb'{"id":{"S":"c"},"v":{"S":"\uD83D\uDE00"}}',
    ]
    values = [SCAN.reader.read(text) for text in texts]
    assert [type(value) for value in values] == [RawItem, dict, RawItem]
    for file_format in FORMATS:
        records, refused = carried(values, SCAN, file_format)
        assert [record["key"] for record in records] == ["id=S:a", "id=S:c"]
        assert [one.poison.code for one in refused] == ["lone_surrogate"]
        assert refused[0].value == {"id": {"S": "b"}, "v": {"S": "\ud800"}}


@pytest.mark.parametrize(
    "key", [{}, {"id": {"S": 1}}, {"id": "k"}, {"id": {"N": "1" * 39}}, {"id": {"S": "a", "N": "1"}}]
)
def test_a_key_that_is_none_is_refused_and_its_neighbours_are_not(key: Any) -> None:
    some = [{"id": {"S": "a"}}, key | {"v": {"S": "x"}}, {"id": {"S": "b"}}]
    for file_format in FORMATS:
        values = SCAN.reader.read_all([msgspec.Raw(compact(item)) for item in some])
        records, refused = carried(values, SCAN, file_format)
        assert [(record["key"], record["event_id"][-1]) for record in records] == [("id=S:a", "0"), ("id=S:b", "2")]
        assert [one.value for one in refused] == [some[1]]


@pytest.mark.parametrize(
    "shape",
    [
        lambda name: {name: {"S": "x"}},
        lambda name: {"m": {"M": {"l": {"L": [{"M": {name: {"NULL": True}}}]}}}},
        lambda name: {"v": {"FUTURE": [{name: 1}]}},
        lambda name: {"v": {"S": "x", "N": {name: 1}}},
    ],
)
def test_a_name_that_spark_cannot_read_is_refused_at_any_depth(shape: Any) -> None:
    for length, code in ((50_000, None), (50_001, "name_too_long")):
        item = {"id": {"S": "k"}} | shape("n" * length)
        for value in (read(item), item):
            _, refused = carried([value], SCAN, "ndjson.gz")
            assert [one.poison.code for one in refused] == ([code] if code else [])
    # A long value is no long name: its text is carried.
    assert type(read({"id": {"S": "k"}, "v": {"S": 'quote " ' * 40_000}})) is RawItem


STEPS = [(b'{"L":[', b"]}"), (b'{"M":{"m":', b"}}"), (b'{"X":[', b"]}"), (b"[", b"]")]


@pytest.mark.parametrize(("left", "right"), STEPS)
@pytest.mark.parametrize("padding", [b"", b"x" * 60_000])
def test_an_abyss_is_refused_exactly_where_no_reader_follows(left: bytes, right: bytes, padding: bytes) -> None:
    fits = (MAX_LEVELS - 1) // len(right)
    codes = {fits - 1: None, fits: None, fits + 1: "too_deep", 490: "too_deep", 5_000: "undecodable"}
    for times, code in codes.items():
        text = b'{"id":{"S":"k"},"p":{"S":"' + padding + b'"},"v":' + left * times + b"0" + right * times + b"}"
        for value in (SCAN.reader.read(text), *SCAN.reader.read_all([msgspec.Raw(text)])):
            for file_format in FORMATS:
                records, refused = carried([value], SCAN, file_format)
                assert [one.poison.code for one in refused] == ([code] if code else [])
                assert len(records) == (not code)


def test_brackets_in_strings_are_no_levels() -> None:
    assert type(read({"id": {"S": "k"}, "v": {"S": "[{" * 5_000}})) is RawItem


def test_key_names_may_be_anything() -> None:
    names = ('quote"', "back\\slash\n", "é", "class")
    value = read({name: {"S": name} for name in names}, names)
    assert type(value) is RawItem
    assert list(value.keys) == sorted(names, key=lambda name: name.encode())


def test_keys_that_differ_from_the_image_are_parsed_and_compared_as_values() -> None:
    decoder = SnapshotDecoder("cars", "run", "incremental_export", ("id",))
    reader = ExportLineReader(decoder.reader, incremental=True)
    alike = {"Keys": {"id": {"N": "1.0"}}, "NewImage": {"id": {"N": "1"}}}
    assert decoder.change_line(reader.read(compact(alike)), 5, "e").keys == {"id": {"N": "1.0"}}
    other = {"Keys": {"id": {"N": "1"}}, "NewImage": {"id": {"N": "2"}}}
    with pytest.raises(Poison, match="keys_differ"):
        decoder.change_line(reader.read(compact(other)), 5, "e")
    gone = {"Keys": {"id": {"N": "1"}}, "OldImage": {"id": {"N": "1"}}}
    assert decoder.change_line(reader.read(compact(gone)), 5, "e").event_name == "ABSENT"
    assert decoder.change_line(reader.read(compact(gone | {"NewImage": None})), 5, "e").event_name == "ABSENT"


# ── what a reader of files says of a text that DynamoDB cannot have said ──


@pytest.mark.parametrize(
    "text",
    [
        b'{"id":{"S":"k"},"v":{"S":"a"},"v":{"S":"b"}}',
        b'{"id":{"S":"k"},"m":{"M":{"v":{"S":"a"},"v":{"S":"b"}}}}',
        b'{"id":{"S":"k"},"v":{"N":1E400}}',
        b'{"id":{"S":"k"},"v":{"N":36893488147419103233}}',
    ],
)
def test_a_duplicate_name_and_a_bare_number_too_large_are_told_by_whoever_reads_the_file(text: bytes) -> None:
    said = SCAN.reader.read(text)
    assert type(said) is RawItem
    line = encode_line(SCAN.item(said, 5, "e"), NOW)
    with pytest.raises(Poison, match="undecodable"):
        list(ndjson.read(ndjson.compress(line)))


@pytest.mark.parametrize("written", [compact, spaced])
def test_a_reader_takes_an_image_in_dynamodbs_own_spelling_and_nothing_else(written: Any) -> None:
    item = {"id": {"S": "k"}, "v": {"S": "é😀\u2028\x7f"}}
    line = encode_line(SCAN.item(read(item, written=written), 5, "e"), NOW)
    (record,) = ndjson.read(ndjson.compress(line))
    assert canonical_item(record["new_image"]) == canonical_item(item)
    for other in (line.replace(b'"schema":1', b'"schema": 1'), line[:-1] + b" \n", line[:-1] + b"\r\n"):
        with pytest.raises(Poison, match="undecodable"):
            list(ndjson.read(ndjson.compress(other)))


def test_an_export_kind_is_the_one_its_lines_are_read_by() -> None:
    decoder = SnapshotDecoder("cars", "run", "export", ("id",))
    value = ExportLineReader(decoder.reader, incremental=True).read(compact({"Item": {"id": {"S": "k"}}}))
    assert type(value) is dict
    assert FULL == "FULL_EXPORT"
    with pytest.raises(Poison, match="record_shape"):
        decoder.change_line(value, 5, "e")


@pytest.mark.parametrize("module", ["lakebound.live.ingest", "lakebound.live.flush"])
def test_a_function_that_reads_no_items_does_not_load_what_reads_them(module: str) -> None:
    told = "import sys, {0}; print('msgspec' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", told.format(module)]) == b"False\n"
    # The control: the backfill does.
    assert (
        subprocess.check_output([sys.executable, "-c", told.format("lakebound.backfill.segment_worker")]) == b"True\n"
    )
