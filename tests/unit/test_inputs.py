"""Every input named in docs/GUARANTEES.md, one by one: a legal one comes back exactly, a poison one has its code."""

import json
from base64 import b64decode
from collections.abc import Callable
from typing import Any

import pytest

from lakebound.errors import Poison
from lakebound.formats.registry import encoder_of
from lakebound.record.attributes import Image
from lakebound.record.envelope import decode_line, encode_event, encode_line
from lakebound.record.stream_records import StreamDecoder
from lakebound.transport import quarantine
from tests.support import inputs
from tests.support.stream_records import NOW_MS, TABLE, Record, stream_record


def line_of(record: object) -> bytes:
    line, _ = encode_event(encode_line, StreamDecoder(TABLE).decode(record, NOW_MS), NOW_MS)
    return line


@pytest.mark.parametrize("value", inputs.LEGAL_VALUES.values(), ids=inputs.LEGAL_VALUES)
def test_a_legal_value_comes_back_exactly(value: Image) -> None:
    line = line_of(stream_record(attributes={"attribute": value}, old={"id": {"S": "k0"}, "attribute": value}))
    assert_images(line, {"id": {"S": "k0"}, "attribute": value})


@pytest.mark.parametrize("name", inputs.LEGAL_NAMES.values(), ids=inputs.LEGAL_NAMES)
def test_a_legal_name_comes_back_exactly(name: str) -> None:
    image = {"id": {"S": "k0"}, name: {"S": "x"}, "m": {"M": {name: {"NULL": True}}}}
    assert_images(line_of(stream_record(new=image, old=image)), image)


def test_names_that_differ_by_case_or_unicode_form_stay_apart() -> None:
    image = {name: {"S": name} for name in ("id", "Name", "name", "NAME", "\u00e9", "e\u0301")}
    assert_images(line_of(stream_record(keys={"id": {"S": "id"}}, new=image, old=image)), image)


@pytest.mark.parametrize("keys", inputs.LEGAL_KEYS.values(), ids=inputs.LEGAL_KEYS)
def test_a_legal_key_comes_back_exactly(keys: Image) -> None:
    record = decode_line(line_of(stream_record(keys=keys)))
    assert (record["keys"], record["new_image"]) == (keys, keys)


def test_no_two_of_the_legal_keys_have_one_key() -> None:
    found = {decode_line(line_of(stream_record(keys=keys)))["key"] for keys in inputs.LEGAL_KEYS.values()}
    assert len(found) == len(inputs.LEGAL_KEYS)


@pytest.mark.parametrize("texts", [("0", "-0", "0.00"), ("1", "1.0", "1E0"), ("100", "1E2", "1.0E+2")], ids=str)
def test_numbers_of_one_value_are_one_key(texts: tuple[str, ...]) -> None:
    records = [decode_line(line_of(stream_record(keys={"id": {"N": text}}))) for text in texts]
    assert len({record["key"] for record in records}) == 1
    assert [record["keys"]["id"]["N"] for record in records] == list(texts), "the text itself is untouched"


def assert_images(line: bytes, image: Image) -> None:
    assert line.count(b"\n") == 1
    record = json.loads(line)
    # A 400 KB difference is not a message that anybody reads. As text: `==` takes 1 for True.
    assert bool(json.dumps(record["new_image"]) == json.dumps(image)), "the new image changed"
    assert bool(json.dumps(record["old_image"]) == json.dumps(image)), "the old image changed"
    assert list(record["new_image"]) == list(image), "the attributes' order changed"


@pytest.mark.parametrize(("code", "value"), inputs.POISON_VALUES.values(), ids=inputs.POISON_VALUES)
@pytest.mark.parametrize("place", ["new image", "within a map", "within a list"])
def test_a_poison_value_has_its_code_wherever_it_stands(code: str, value: object, place: str) -> None:
    if place == "within a map":
        record = stream_record(attributes={"m": {"M": {"attribute": value}}})
    elif place == "within a list":
        record = stream_record(attributes={"l": {"L": [{"S": "fine"}, value]}})
    else:
        record = stream_record(attributes={"attribute": value})
    assert_poison(record, code)


@pytest.mark.parametrize("value", inputs.ODD_VALUES.values(), ids=inputs.ODD_VALUES)
def test_a_value_of_no_type_comes_back_exactly(value: Any) -> None:
    line = line_of(stream_record(attributes={"attribute": value}, old={"id": {"S": "k0"}, "attribute": value}))
    assert_images(line, {"id": {"S": "k0"}, "attribute": value})


@pytest.mark.parametrize(("code", "old"), inputs.REFUSED_OLD_IMAGES.values(), ids=inputs.REFUSED_OLD_IMAGES)
@pytest.mark.parametrize("name", ["MODIFY", "REMOVE"])
def test_an_old_image_that_cannot_be_carried_does_not_cost_the_change(name: str, code: str, old: Any) -> None:
    for file_format in ("ndjson.gz", "avro"):
        event = StreamDecoder(TABLE).decode(stream_record(name=name, old=old), NOW_MS)
        _, event = encode_event(encoder_of(file_format).encode, event, NOW_MS)
        assert (event.old_image, event.old_image_refused) == (None, code)
        assert event.new_image == ({"id": {"S": "k0"}} if name == "MODIFY" else None)
    assert decode_line(line_of(stream_record(name=name, old=old)))["old_image"] is None


def test_no_old_image_costs_its_change() -> None:
    for code, old in inputs.REFUSED_OLD_IMAGES.values():
        event = StreamDecoder(TABLE).decode(stream_record(name="MODIFY", old=old), NOW_MS)
        assert encode_event(encode_line, event, NOW_MS)[1].old_image_refused == code


def test_no_poison_value_is_carried() -> None:
    for code, value in inputs.POISON_VALUES.values():
        with pytest.raises(Poison, match=code):
            line_of(stream_record(attributes={"attribute": value}))


def test_a_record_of_which_both_images_cannot_be_carried_is_poison() -> None:
    bad = {"id": {"S": "k0"}, "a": {"S": "\ud800"}}
    assert_poison(stream_record(name="MODIFY", new=bad, old=bad), "lone_surrogate")


@pytest.mark.parametrize(("code", "record"), inputs.POISON_RECORDS.values(), ids=inputs.POISON_RECORDS)
def test_a_poison_record_has_its_code(code: str, record: Callable[[], object]) -> None:
    assert_poison(record(), code)


def assert_poison(record: object, code: str) -> None:
    with pytest.raises(Poison) as refused:
        line_of(record)
    assert refused.value.code == code
    document = json.loads(quarantine.from_delivery(TABLE, record, refused.value, NOW_MS).body)
    assert document["reason"] == code
    payload = b64decode(document["payload"])
    assert payload.isascii()
    if code not in ("too_deep", "bare_number"):
        assert repr(json.loads(payload)) == repr(record), "the payload is not the record"


@pytest.mark.parametrize("record", inputs.UNUSUAL_RECORDS.values(), ids=inputs.UNUSUAL_RECORDS)
def test_an_unusual_record_is_carried(record: Record) -> None:
    assert decode_line(line_of(record))["keys"] == record["dynamodb"]["Keys"]
