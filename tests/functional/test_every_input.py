"""Every input of docs/GUARANTEES.md through stream_ingest and the flusher: exactly in the file, or whole in quarantine.

By name, as the first, a middle and the last record among good neighbours, in every format; then generated ones.
"""

from __future__ import annotations

import json
import random
from base64 import b64decode
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import inputs
from tests.support.stream_records import Record, attribute_values, keys_of_items, odd_values, sequence, stream_record
from tests.support.use_case_world import carry

FORMATS: Final = ("ndjson.gz", "avro", "parquet")
PLACES: Final = {"first": 0, "middle": 2, "last": 4}
NUMBER: Final = 7
"""The sequence of the record that is looked at, where the input does not bring its own; its neighbours have others."""

Make = Callable[[], Any]


def _legal() -> dict[str, Make]:
    def value(image: Any) -> Make:
        return lambda: stream_record(
            NUMBER, attributes={"attribute": image}, old={"id": {"S": f"k{NUMBER}"}, "attribute": image}
        )

    def name(text: str) -> Make:
        return lambda: stream_record(NUMBER, attributes={text: {"S": "x"}, "m": {"M": {text: {"NULL": True}}}})

    def keys(image: Any) -> Make:
        return lambda: stream_record(NUMBER, keys=image, old=image)

    return (
        {f"value: {told}": value(image) for told, image in inputs.LEGAL_VALUES.items()}
        | {f"odd value: {told}": value(image) for told, image in inputs.ODD_VALUES.items()}
        | {f"name: {told}": name(text) for told, text in inputs.LEGAL_NAMES.items()}
        | {f"key: {told}": keys(image) for told, image in inputs.LEGAL_KEYS.items()}
        | {f"record: {told}": (lambda record=record: record) for told, record in inputs.UNUSUAL_RECORDS.items()}
    )


def _poison() -> dict[str, tuple[str, Make]]:
    def value(image: Any) -> Make:
        return lambda: stream_record(NUMBER, attributes={"attribute": image})

    return {f"value: {told}": (code, value(image)) for told, (code, image) in inputs.POISON_VALUES.items()} | {
        f"record: {told}": (code, make) for told, (code, make) in inputs.POISON_RECORDS.items()
    }


LEGAL: Final = _legal()
POISON: Final = _poison()


def text(value: object) -> str:
    """A value's JSON: tells True from 1 and keeps the order of names, which `==` does not."""
    return json.dumps(value)


def assert_carried(read: dict[str, Any], record: Record) -> None:
    body = record["dynamodb"]
    assert bool(text(read["keys"]) == text(body["Keys"])), "the keys changed"
    assert bool(text(read["new_image"]) == text(body.get("NewImage"))), "the new image changed"
    assert bool(text(read["old_image"]) == text(body.get("OldImage"))), "the old image changed"
    assert read["event_name"] == record["eventName"]
    assert read["is_deleted"] == (record["eventName"] == "REMOVE")
    assert read["sequence_number"] == body["SequenceNumber"]


def assert_kept(document: dict[str, Any], record: Any, code: str) -> None:
    assert (document["reason"], document["stage"]) == (code, "stream_ingest")
    body = record.get("dynamodb") if isinstance(record, dict) else None
    number = body.get("SequenceNumber") if isinstance(body, dict) else None
    usable = isinstance(number, str) and number.isascii() and number.isdigit() and len(number) <= 40
    arn = record.get("eventSourceARN") if isinstance(record, dict) else None
    assert document["source"] == {
        "event_source_arn": arn if isinstance(arn, str) else None,
        "sequence_number": number if usable else None,
    }
    payload = b64decode(document["payload"])
    try:
        whole = bool(text(json.loads(payload)) == text(record))
    except RecursionError:
        # Nothing that reads JSON goes as deep as this forged record: no bracket of it is missing.
        whole = payload.count(b"[") + payload.count(b"{") == payload.count(b"]") + payload.count(b"}") > 400
    assert whole, "the payload is not the record"


def neighbours() -> list[Record]:
    return [stream_record(number, attributes={"n": {"N": "1.50"}}) for number in range(1, 5)]


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("name", LEGAL)
def test_a_legal_input_is_carried_exactly_wherever_it_stands(name: str, file_format: str) -> None:
    record = LEGAL[name]()
    # Where a record stands matters to how a delivery is carried, which no format changes.
    for place in PLACES.values() if file_format == "ndjson.gz" else [PLACES["middle"]]:
        records: list[Any] = neighbours()
        records.insert(place, record)
        read, kept = carry(records, file_format)
        assert not kept
        assert_all_carried(read, records)


@pytest.mark.parametrize("name", POISON)
def test_a_poison_input_goes_to_quarantine_wherever_it_stands_and_its_neighbours_are_carried(name: str) -> None:
    code, make = POISON[name]
    for place in PLACES.values():
        records: list[Any] = neighbours()
        records.insert(place, make())
        read, kept = carry(records, "ndjson.gz")
        assert len(kept) == 1
        assert_kept(kept[0], make(), code)
        assert_all_carried(read, neighbours())


@pytest.mark.parametrize("name", inputs.REFUSED_OLD_IMAGES)
def test_a_change_arrives_without_an_old_image_that_cannot_and_is_counted(name: str) -> None:
    code, old = inputs.REFUSED_OLD_IMAGES[name]
    for file_format in FORMATS:
        for event in ("MODIFY", "REMOVE"):
            records: list[Any] = neighbours()
            records.insert(2, stream_record(0, name=event, attributes={"n": {"N": "2"}}, old=old))
            refused: Counter[str] = Counter()
            read, kept = carry(records, file_format, refused)
            assert not kept
            assert refused == {code: 1}
            assert_all_carried(read, [*records[:2], without_old_image(records[2]), *records[3:]])


def assert_all_carried(read: list[dict[str, Any]], records: list[Record]) -> None:
    assert sorted(one["event_id"] for one in read) == sorted(record["eventID"] for record in records)
    by_id = {one["event_id"]: one for one in read}
    for record in records:
        assert_carried(by_id[record["eventID"]], record)


@pytest.mark.parametrize("damage", ["new image", "old image", "is deleted", "order of names"])
def test_a_record_that_changed_on_its_way_is_noticed(damage: str) -> None:
    record = stream_record(NUMBER, name="MODIFY", attributes={"b": {"BOOL": True}, "a": {"N": "1"}}, old={})
    record["dynamodb"]["OldImage"] = record["dynamodb"]["NewImage"]
    (read,), _ = carry([record], "ndjson.gz")
    assert_carried(read, record)
    if damage == "new image":
        read["new_image"] = read["new_image"] | {"b": {"BOOL": 1}}
    elif damage == "old image":
        read["old_image"] = None
    elif damage == "is deleted":
        read["is_deleted"] = True
    else:
        read["new_image"] = dict(reversed(read["new_image"].items()))
    with pytest.raises(AssertionError):
        assert_carried(read, record)


SMALL_POISON: Final = {
    told: poison
    for told, poison in inputs.POISON_VALUES.items()
    if not told.startswith(("200,000", "400 levels", "name of"))
}
RECORDS_TOGETHER: Final = 40
NAMES: Final = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@st.composite
def deliveries(draw: st.DrawFn) -> list[tuple[Record, str | None]]:
    """Records of one delivery, each with the code it must be refused by, or None for a legal one.

    Values, names and keys are drawn, and the items dealt from them: drawing each item by itself takes fifty times as
    long as carrying it.
    """
    values = draw(st.lists(attribute_values() | odd_values(), min_size=8, max_size=8))
    names = draw(st.lists(NAMES, min_size=6, max_size=6, unique=True))
    keys = draw(st.lists(keys_of_items(), min_size=4, max_size=4))
    deal = random.Random(draw(st.integers(0, 2**32)))

    def image() -> dict[str, Any]:
        return {name: nested(deal.choice(values)) for name in deal.sample(names, deal.randrange(len(names)))}

    def nested(value: Any) -> Any:
        for _ in range(deal.choice((0, 0, 0, 1, 3, 20))):
            value = deal.choice(({"L": [value, deal.choice(values)]}, {"M": {deal.choice(names): value}}))
        return value

    found: list[tuple[Record, str | None]] = []
    for number in range(RECORDS_TOGETHER):
        key = deal.choice(keys)
        new, old = image() | key, image() | key
        event = deal.choice(("INSERT", "MODIFY", "REMOVE"))
        code = None
        if deal.randrange(6) == 0:
            poison, value = deal.choice(list(SMALL_POISON.values()))
            if event != "REMOVE" and deal.randrange(2):
                code, new["the poison"] = poison, value
            else:
                old["the poison"] = value
        before = None if event == "INSERT" else old
        found.append((stream_record(number, name=event, keys=key, new=new, old=before), code))
    return found


@dataclass
class Told:
    """What the generated deliveries were, and every canonical key with the value it stands for."""

    counts: Counter[str] = field(default_factory=Counter)
    value_of: dict[str, object] = field(default_factory=dict)
    key_of: dict[object, str] = field(default_factory=dict)


def key_value(keys: dict[str, Any]) -> object:
    """The key as Python compares it: numbers by value, binary by bytes."""
    known: dict[str, Callable[[str], object]] = {"S": str, "N": Decimal, "B": b64decode}
    return frozenset((name, tag, known[tag](inner)) for name, value in keys.items() for tag, inner in value.items())


def has_poison_before(record: Record) -> bool:
    """Whether the old image is one that cannot travel."""
    return "the poison" in record["dynamodb"].get("OldImage", {})


def without_old_image(record: Record) -> Record:
    """The record as it arrives when its old image cannot."""
    return record | {"dynamodb": {name: part for name, part in record["dynamodb"].items() if name != "OldImage"}}


def assert_carried_or_kept(delivery: list[tuple[Record, str | None]], told: Told) -> None:
    legal = [record for record, code in delivery if code is None]
    bad = {sequence(number): (record, code) for number, (record, code) in enumerate(delivery) if code is not None}
    for file_format in FORMATS:
        refused: Counter[str] = Counter()
        read, kept = carry([record for record, _ in delivery], file_format, refused)
        assert refused.total() == sum(has_poison_before(record) for record in legal)
        assert_all_carried(read, [without_old_image(one) if has_poison_before(one) else one for one in legal])
        assert sorted(document["source"]["sequence_number"] for document in kept) == sorted(bad)
        for document in kept:
            record, code = bad[document["source"]["sequence_number"]]
            assert code is not None
            assert_kept(document, record, code)
        for one in read:
            value = key_value(one["keys"])
            assert told.value_of.setdefault(one["key"], value) == value, "two keys have one text"
            assert told.key_of.setdefault(value, one["key"]) == one["key"], "one key has two texts"
    told.counts["items"] += len(delivery)
    told.counts["carried"] += len(legal)
    told.counts["kept"] += len(bad)


TOLD: Final = Told()


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(deliveries())
def test_generated_items_are_carried_exactly_or_kept(delivery: list[tuple[Record, str | None]]) -> None:
    assert_carried_or_kept(delivery, TOLD)


@pytest.mark.soak
def test_a_hundred_thousand_generated_items_are_carried_exactly_or_kept() -> None:
    told = Told()

    @settings(
        max_examples=100_000 // RECORDS_TOGETHER,
        derandomize=False,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    @given(deliveries())
    def are_carried_or_kept(delivery: list[tuple[Record, str | None]]) -> None:
        assert_carried_or_kept(delivery, told)

    are_carried_or_kept()
    print(f"{dict(told.counts)}, {len(told.value_of):,} different keys")
    assert told.counts["items"] >= 100_000
    assert told.counts["kept"] > 1_000
