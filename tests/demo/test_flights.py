"""The life of the flights table is the same every time, in order, and shows what a real table shows."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import pytest

from demo.flights import KEY_SCHEMA, SIZES, Attribute, Write, count_writes, writes_of

SMALL = list(writes_of("small"))


def key_of(write: Write) -> tuple[str, str]:
    return write.key["flight_id"]["S"], write.key["flight_date"]["N"]


def types_in(attribute: Attribute) -> Iterator[str]:
    for tag, value in attribute.items():
        yield tag
        if tag == "L":
            for member in value:
                yield from types_in(member)
        if tag == "M":
            for member in value.values():
                yield from types_in(member)


def test_the_same_size_always_gives_the_same_writes() -> None:
    assert list(writes_of("small")) == SMALL
    assert count_writes("small") == len(SMALL) == 2523
    assert count_writes("demo") == 31720


def test_writes_come_in_the_order_of_time() -> None:
    assert all(before.minute <= after.minute for before, after in pairwise(SMALL))


def test_every_write_names_the_whole_key() -> None:
    names = {name for name, _, _ in KEY_SCHEMA}
    for write in SMALL:
        assert set(write.key) == names
        held = write.request["Item"] if write.operation == "put_item" else write.request["Key"]
        assert {name: held[name] for name in names} == write.key


def test_only_a_present_flight_is_changed_and_only_cancelled_flights_are_gone_at_the_end() -> None:
    present: set[tuple[str, str]] = set()
    for write in SMALL:
        match write.operation:
            case "put_item":
                assert key_of(write) not in present
                present.add(key_of(write))
            case "update_item":
                assert key_of(write) in present
            case "delete_item":
                present.remove(key_of(write))
    scheduled = {key_of(write) for write in SMALL if write.operation == "put_item"}
    departed = {
        key_of(write)
        for write in SMALL
        if write.request.get("ExpressionAttributeValues", {}).get(":status") == {"S": "departed"}
    }
    assert (len(scheduled), len(departed)) == (930, 458)  # 472 flights did not leave that day
    assert present == departed


def test_some_flights_are_deleted_and_inserted_again_and_some_change_at_once() -> None:
    deletes = Counter(key_of(write) for write in SMALL if write.operation == "delete_item")
    puts = Counter(key_of(write) for write in SMALL if write.operation == "put_item")
    at_once = Counter((key_of(write), write.minute) for write in SMALL)
    assert sum(count > 1 for count in puts.values()) > 50
    assert sum(count > 1 for count in deletes.values()) > 30
    assert sum(count > 2 for count in at_once.values()) > 10


def test_items_hold_every_kind_of_attribute_but_a_set_of_binaries() -> None:
    seen: set[str] = set()
    for write in SMALL:
        for attribute in (write.request.get("Item") or write.request.get("ExpressionAttributeValues") or {}).values():
            seen.update(types_in(attribute))
    assert seen == {"S", "N", "B", "BOOL", "NULL", "M", "L", "SS", "NS"}


def test_numbers_keep_the_digits_of_the_data_and_na_is_null() -> None:
    scheduled = {key_of(write): write.request["Item"] for write in SMALL if write.operation == "put_item"}
    weather = [
        value["M"]
        for write in SMALL
        for value in write.request.get("ExpressionAttributeValues", {}).values()
        if "M" in value
    ]
    assert scheduled["US1117#EWR", "20130208"]["distance"] == {"N": "529"}
    assert {"N": "12.658579999999999"} in [measured["wind_speed"] for measured in weather]
    assert {"NULL": True} in [measured["wind_gust"] for measured in weather]
    assert [item for item in scheduled.values() if item["tailnum"] == {"NULL": True}]


def test_a_key_stays_in_its_lane() -> None:
    lanes: dict[tuple[str, str], set[int]] = {}
    for write in SMALL:
        lanes.setdefault(key_of(write), set()).add(write.lane(8))
    assert all(len(each) == 1 for each in lanes.values())
    assert len({lane for each in lanes.values() for lane in each}) == 8


@pytest.mark.soak
def test_the_full_size_lives_the_whole_year() -> None:
    assert SIZES["full"].days == 365
    assert count_writes("full") == 1_054_072
