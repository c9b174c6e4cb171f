"""verify names what differs, and only that. Source, lake, pipeline and time are in memory."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lakebound.cli.verify import WaitLines
from lakebound.operate.sample import Selection
from lakebound.operate.sides import EVERY_KEY, LakeRow, Page
from lakebound.operate.verify import Patience, Report, Wait, report_lines, verify
from lakebound.record.attributes import Image, canonical_key, parse_key

PATIENCE = Patience(lag=10, limit=100)


class Time:
    """A clock that moves on when somebody sleeps, and then lets the world move too."""

    def __init__(self, world: Callable[[int], None] = lambda ms: None) -> None:
        self.ms = 1_000_000
        self._world = world

    def now_ms(self) -> int:
        return self.ms

    def sleep(self, seconds: float) -> None:
        self.ms += int(seconds * 1000)
        self._world(self.ms - 1_000_000)


@dataclass
class Source:
    items: dict[str, Image] = field(default_factory=dict)
    key_names: Sequence[str] = ("id",)
    reads: int = 0

    def pages(self, parts: Sequence[int], of: int) -> Iterator[Page]:
        items = list(self.items.values())
        yield from (Page(part, items[part::of], True) for part in parts)

    def read(self, keys: Sequence[Image]) -> Iterator[Image]:
        self.reads += 1
        yield from [self.items[key["id"]["S"]] for key in keys if key["id"]["S"] in self.items]


@dataclass
class Lake:
    table: list[LakeRow] = field(default_factory=list)

    def rows(self, selection: Selection = EVERY_KEY) -> Iterator[LakeRow]:
        yield from list(self.table)

    def read(self, keys: Sequence[str]) -> Iterator[LakeRow]:
        yield from [row for row in self.table if row.key in keys]

    def put(self, name: str, image: Image | None) -> None:
        self.table = [row for row in self.table if row.key != f"id=S:{name}"]
        self.table.append(LakeRow(f"id=S:{name}", None if image is None else json.dumps(image)))


def flight(name: str, delay: str = "4") -> Image:
    return {"id": {"S": name}, "dep_delay": {"N": delay}, "codes": {"SS": ["EWR", "IAH"]}}


def equal_sides(count: int = 300, edited: str = "") -> tuple[Source, Lake]:
    """So many flights on both sides; the lake has another delay for the flight `edited`."""
    source, lake = Source(), Lake()
    for name in [f"UA{number}" for number in range(count)]:
        source.items[name] = flight(name)
        lake.put(name, flight(name, delay="5" if name == edited else "4"))
    return source, lake


def run(source: Source, lake: Lake, time: Time | None = None, **ports: object) -> Report:
    return verify(source, lake, time or Time(), patience=PATIENCE, **ports)  # type: ignore[arg-type]


def test_equal_sides_are_equal_and_nothing_is_read_again() -> None:
    source, lake = equal_sides()
    report = run(source, lake)
    assert str(report) == "300 keys: 0 missing, 0 ghost, 0 stale, 0 different"
    assert report.is_equal
    assert source.reads == 0


def test_equal_as_values_is_equal_though_the_texts_differ() -> None:
    source, lake = Source(), Lake()
    source.items["a"] = {"id": {"S": "a"}, "n": {"N": "1.50"}, "s": {"NS": ["2", "1E1"]}}
    lake.table = [LakeRow("id=S:a", '{"s": {"NS": ["10", "2.0"]}, "n":{"N":"1.5"},"id":{"S":"\\u0061"}}')]
    assert run(source, lake).is_equal


def test_a_tombstone_of_a_key_that_is_gone_is_no_key() -> None:
    source, lake = equal_sides(2)
    lake.put("UA9", None)
    assert run(source, lake) == Report(keys=2, rows=2)


ROW = LakeRow("id=S:UA7", json.dumps(flight("UA7")))


@pytest.mark.parametrize(
    ("rows", "differences"),
    [
        ([LakeRow("id=S:UA7", json.dumps(flight("UA7", delay="5")))], {"different": ("id=S:UA7",)}),
        ([], {"missing": ("id=S:UA7",)}),
        ([LakeRow("id=S:UA7", None)], {"missing": ("id=S:UA7",)}),
        ([ROW, LakeRow("id=S:UA1000", json.dumps(flight("UA1000")))], {"keys": 301, "ghost": ("id=S:UA1000",)}),
        ([ROW, ROW], {"different": ("id=S:UA7",)}),
        *(
            ([LakeRow("id=S:UA7", text)], {"different": ("id=S:UA7",)})
            for text in ("", "[]", '{"id":{"S":"UA7"}', '{"id":{"S":"UA7"},"dep_delay":4}')
        ),
    ],
    ids=["edited", "dropped", "hidden", "ghost", "twice", "empty text", "a list", "half an item", "a bare number"],
)
def test_each_difference_is_named_by_its_kind(rows: list[LakeRow], differences: dict[str, Any]) -> None:
    """The rows stand where the row of UA7 stood; two rows of one key differ even when both are right."""
    source, lake = equal_sides()
    lake.table = [row for row in lake.table if row.key != "id=S:UA7"] + rows
    report = run(source, lake)
    assert replace(report, read_again=0, rows=0) == Report(**{"keys": 300} | differences)
    assert not report.is_equal


def test_a_row_that_holds_an_earlier_value_is_stale_when_the_files_hold_that_value() -> None:
    source, lake = equal_sides()
    source.items["UA7"] = flight("UA7", delay="60")
    images = [("id=S:UA7", flight("UA7", delay="4.0")), ("id=S:UA7", flight("UA7", delay="60"))]
    assert run(source, lake, history=lambda keys: [one for one in images if one[0] in keys]).stale == ("id=S:UA7",)
    assert run(source, lake).different == ("id=S:UA7",)


def test_an_earlier_value_that_this_run_saw_itself_is_stale_without_files() -> None:
    source, lake = equal_sides(5)
    lake.put("UA1", flight("UA1", delay="77"))

    def world(ms: int) -> None:
        if ms == 2_500:
            source.items["UA1"] = flight("UA1", delay="78")
            lake.put("UA1", flight("UA1", delay="4"))  # what the source held until now, and never more

    assert run(source, lake, Time(world)).stale == ("id=S:UA1",)


def test_a_row_that_arrives_late_is_equal_in_the_end() -> None:
    source, lake = equal_sides()
    source.items["UA7"] = flight("UA7", delay="60")

    def world(ms: int) -> None:
        if ms >= 15_000:
            lake.put("UA7", flight("UA7", delay="60"))

    assert run(source, lake, Time(world)) == Report(keys=300, read_again=1, rows=300)


def test_a_key_is_called_unequal_only_after_two_lags_at_rest() -> None:
    source, lake = equal_sides(edited="UA7")
    time = Time()
    assert run(source, lake, time).different
    assert 20_000 <= time.ms - 1_000_000 < 25_000


def test_nothing_is_judged_while_something_newer_is_in_flight() -> None:
    source, lake = equal_sides(edited="UA7")
    messages = ["newer"]

    def world(ms: int) -> None:
        if ms >= 60_000:
            lake.put("UA7", flight("UA7"))
            messages.clear()

    assert run(source, lake, Time(world), in_flight=lambda: len(messages)).is_equal


def test_a_key_at_rest_is_judged_though_the_pipeline_is_always_busy() -> None:
    source, lake = equal_sides(edited="UA7")
    assert run(source, lake, in_flight=lambda: 1).different == ("id=S:UA7",)


def test_a_key_that_never_rests_is_left_out() -> None:
    source, lake = equal_sides()

    def world(ms: int) -> None:
        source.items["UA7"] = flight("UA7", delay=str(ms))

    world(0)
    report = run(source, lake, Time(world))
    assert report.left_out == (("id=S:UA7", "it still changed when the time was up"),)
    assert str(report) == "300 keys: 0 missing, 0 ghost, 0 stale, 0 different, 1 left out"
    assert report.is_equal  # one key of 300 is less than 1 %


def test_a_key_deleted_on_both_sides_while_verify_ran_is_no_key_any_more() -> None:
    source, lake = equal_sides(edited="UA7")

    def world(ms: int) -> None:
        source.items.pop("UA7", None)
        lake.put("UA7", None)

    assert run(source, lake, Time(world)) == Report(keys=299, read_again=1, rows=300)


def test_items_that_cannot_be_carried_are_left_out_and_above_one_percent_fail() -> None:
    source, lake = equal_sides()
    for number in range(3):
        source.items[f"UA{number}"] = {"id": {"S": f"UA{number}"}, "n": {"S": "\ud800"}}
    report = run(source, lake)
    assert (report.keys, len(report.left_out)) == (300, 3)
    assert report.is_equal
    source.items["UA3"] = {"id": {"S": "UA3"}, "n": {"S": "\ud800"}}
    assert not run(source, lake).is_equal


def test_an_item_without_its_key_is_left_out() -> None:
    source, lake = equal_sides(2)
    source.items["odd"] = {"other": {"S": "x"}}
    report = run(source, lake)
    assert (report.keys, report.left_out) == (3, (("?", "the source's key cannot be carried"),))
    assert not report.is_equal


def test_an_empty_lake_is_missing_everything() -> None:
    source, _ = equal_sides()
    report = run(source, Lake())
    assert len(report.missing) == report.keys == 300


NAMES = st.text(alphabet=st.sampled_from("ab\\|=:é "), min_size=1, max_size=6)
KEY_VALUES = st.one_of(
    st.fixed_dictionaries({"S": st.text(alphabet=st.sampled_from("ab\\|=:é \n"), min_size=1, max_size=8)}),
    st.fixed_dictionaries({"N": st.sampled_from(["0", "-1.5", "1E40", "20130208", "1E-130"])}),
    st.fixed_dictionaries({"B": st.sampled_from(["AA==", "/w==", "eHx5"])}),
)


@given(st.dictionaries(NAMES, KEY_VALUES, min_size=1, max_size=2))
def test_key_attributes_are_read_back_from_the_canonical_key(keys: Image) -> None:
    read = parse_key(canonical_key(keys))
    assert canonical_key(read) == canonical_key(keys)
    assert read.keys() == keys.keys()


def test_rows_that_show_what_a_backfill_read_are_counted() -> None:
    source, lake = equal_sides(3)
    shown = [LakeRow(row.key, row.item, from_base=place == 0) for place, row in enumerate(lake.rows())]
    lake.rows = lambda selection: iter(shown)  # type: ignore[method-assign]
    report = run(source, lake)
    assert (report.is_equal, report.rows, report.from_base) == (True, 3, 1)
    assert "from the backfill alone: 1 of 3 rows (33%)" in list(report_lines(report, 5))


def test_a_wait_is_told_before_it_begins_and_says_what_for_and_how_long() -> None:
    source, lake = equal_sides(edited="UA7")
    told: list[Wait] = []
    run(source, lake, Time(), in_flight=lambda: 1, waiting=lambda what: told.append(what))
    assert told[0] == Wait(keys=1, in_flight=1, rest_s=20.0, left_s=100.0)
    assert [what.left_s for what in told] == sorted((what.left_s for what in told), reverse=True)


def test_without_patience_the_second_look_decides_and_nothing_is_waited_for() -> None:
    source, lake = equal_sides(edited="UA7")
    told: list[Wait] = []
    time = Time()
    report = verify(source, lake, time, in_flight=lambda: 1, patience=Patience(0, 0), waiting=told.append)
    assert report.different == ("id=S:UA7",)
    assert (told, time.ms) == ([], 1_000_000)


def test_the_command_tells_a_wait_at_once_and_each_minute() -> None:
    console, time = Console(record=True, width=200, quiet=False), Time()
    tell = WaitLines(console, time)
    for left in range(900, 0, -15):
        tell(Wait(3, 1, 180.0, float(left)))
        time.sleep(15)
    lines = console.export_text().splitlines()
    assert lines[0] == (
        "3 keys differ, and 1 message is in the buffer queue: waiting until nothing of it has changed for 180 s "
        "with the queue empty; at most 900 s. --no-wait judges at once"
    )
    assert len(lines) == 15
    assert lines[1].endswith("840 s left")
