"""A share of the keys: both sides choose it alike, as many days as there are shares have had all, and nothing hides."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from hashlib import md5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakebound.errors import Misconfigured
from lakebound.operate import first_look
from lakebound.operate.read_cost import cost_lines, read_cost
from lakebound.operate.sample import Selection, Stratum, parse_share
from lakebound.operate.sides import EVERY_KEY, LakeRow, Page
from lakebound.operate.verify import Patience, Report, verify
from lakebound.record.attributes import Image

AT_ONCE = Patience(lag=0, limit=0)


class Now:
    def now_ms(self) -> int:
        return 0

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing is to be waited for")


@dataclass
class Source:
    """Items in parts by the number in their key, as DynamoDB's hash of the partition key would place them."""

    items: dict[str, Image] = field(default_factory=dict)
    scanned: int = 0
    read_by_key: int = 0
    key_names = ("id",)

    def pages(self, parts: Sequence[int], of: int) -> Iterator[Page]:
        for part in parts:
            held = [item for name, item in self.items.items() if int(name[1:]) % of == part]
            self.scanned += len(held)
            yield Page(part, held[:3], False)
            yield Page(part, held[3:], True)

    def read(self, keys: Sequence[Image]) -> Iterator[Image]:
        self.read_by_key += len(keys)
        yield from [self.items[key["id"]["S"]] for key in keys if key["id"]["S"] in self.items]


@dataclass
class Lake:
    table: dict[str, Image | None] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)

    def rows(self, selection: Selection = EVERY_KEY) -> Iterator[LakeRow]:
        for name, item in self.table.items():
            row = LakeRow(f"id=S:{name}", None if item is None else json.dumps(item))
            if selection.stratum is not None and not selection.stratum.holds(row.key):
                continue
            if selection.since_ms is not None and self.changed.get(name, 0) < selection.since_ms:
                continue
            yield row

    def read(self, keys: Sequence[str]) -> Iterator[LakeRow]:
        yield from [row for row in self.rows() if row.key in keys]


def sides(count: int = 400) -> tuple[Source, Lake]:
    items: dict[str, Image] = {f"k{number}": {"id": {"S": f"k{number}"}, "v": {"N": "1"}} for number in range(count)}
    return Source(dict(items)), Lake(dict(items))


def look(source: Source, lake: Lake, selection: Selection, parts: int = 1) -> Report:
    return verify(source, lake, Now(), selection=selection, parts=parts, patience=AT_ONCE)


@given(st.text(max_size=40), st.integers(2, 1_000_000))
def test_every_key_is_in_one_share(key: str, of: int) -> None:
    place = int(md5(key.encode("utf-8", "surrogatepass")).hexdigest()[:8], 16) * of // 2**32
    holding = [number for number in range(max(0, place - 1), min(of, place + 2)) if Stratum(number, of).holds(key)]
    assert holding == [place]


@given(st.dates(), st.integers(2, 400))
def test_as_many_days_as_there_are_shares_have_each_share_once(first: date, of: int) -> None:
    if first.toordinal() + of > date.max.toordinal():
        first = date(2026, 1, 1)
    assert {Stratum.on(first + timedelta(day), of).number for day in range(of)} == set(range(of))


@pytest.mark.parametrize(("text", "of"), [("1/30", 30), ("0.1%", 1000), ("0.1 %", 1000), ("3%", 33), ("50%", 2)])
def test_a_share_is_written_as_a_fraction_or_in_percent(text: str, of: int) -> None:
    assert parse_share(text) == of


@pytest.mark.parametrize("text", ["", "0%", "1/0", "1/1", "100%", "80%", "2/30", "-1%", "1/1000001", "half"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(Misconfigured, match="is no share of the keys"):
        parse_share(text)


@pytest.mark.parametrize("parts", [1, 5])
def test_each_difference_is_found_within_as_many_days_as_there_are_shares(parts: int) -> None:
    source, lake = sides()
    lake.table["k7"] = {"id": {"S": "k7"}, "v": {"N": "2"}}
    del lake.table["k8"]
    lake.table["k9"] = None
    del source.items["k10"]
    found: dict[str, set[str]] = {"missing": set(), "ghost": set(), "different": set()}
    keys = 0
    for number in range(10):
        report = look(source, lake, Selection(Stratum(number, 10)), parts)
        keys += report.keys
        for kind, names in found.items():
            names.update(getattr(report, kind))
        assert report.left_out == report.stale == ()
    assert found == {"missing": {"id=S:k8", "id=S:k9"}, "ghost": {"id=S:k10"}, "different": {"id=S:k7"}}
    # Each key twice, unless both halves of a share have it.
    assert 400 < keys < 800


def test_equal_sides_are_equal_in_every_share_and_each_reads_its_part_only() -> None:
    source, lake = sides()
    for number in range(10):
        source.scanned = source.read_by_key = 0
        report = look(source, lake, Selection(Stratum(number, 10)))
        assert (report.is_equal, report.read_again, source.scanned) == (True, 0, 40)
        assert source.read_by_key == sum(Stratum(number, 10).holds(f"id=S:{name}") for name in source.items) < 80


def test_two_rows_of_one_key_are_found_in_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """In groups of one row, so that the two rows are looked up apart."""
    monkeypatch.setattr(first_look, "_ROWS_A_LOOK_UP", 1)
    source, lake = sides(20)
    (name, *_) = [name for name in source.items if Stratum(1, 4).holds(f"id=S:{name}")]
    once = lake.rows
    twice = LakeRow(f"id=S:{name}", json.dumps(lake.table[name]))
    lake.rows = lambda selection=EVERY_KEY: iter([*once(selection), twice])  # type: ignore[method-assign]
    assert look(source, lake, Selection(Stratum(1, 4))).different == (f"id=S:{name}",)


def test_since_compares_what_the_lake_knows_to_have_changed_and_scans_nothing() -> None:
    source, lake = sides()
    lake.table["k7"] = lake.table["k8"] = {"id": {"S": "k7"}, "v": {"N": "2"}}
    lake.changed = {"k7": 5_000, "k5": 9_000, "k8": 4_999}
    report = look(source, lake, Selection(since_ms=5_000))
    assert (report.different, report.keys, source.scanned) == (("id=S:k7",), 2, 0)


def test_an_item_that_cannot_be_carried_is_left_out_of_a_share_too() -> None:
    source, lake = sides(20)
    for item in source.items.values():
        item["v"] = {"S": "\ud800"}
    report = look(source, lake, Selection(Stratum(0, 2)))
    assert len(report.left_out) == report.keys > 0
    assert {reason for _, reason in report.left_out} == {"the source's item cannot be carried (lone_surrogate)"}


def test_a_share_costs_its_part_of_a_scan_and_a_unit_for_each_key_looked_up() -> None:
    whole = read_cost(100_000_000, 100_000_000_000, EVERY_KEY)
    share = read_cost(100_000_000, 100_000_000_000, Selection(Stratum(0, 1000)))
    assert (whole.scan_units, whole.look_up_units, round(whole.dollars, 2)) == (24_414_063, 0, 3.05)
    assert (share.scan_units, share.look_up_units, round(share.dollars, 3)) == (24_415, 100_000, 0.016)
    assert read_cost(10, 10 * 9_000, Selection(since_ms=0), changed=4).look_up_units == 12
    assert read_cost(0, 0, EVERY_KEY).dollars == 0
    assert cost_lines(share)[:2] == [
        "would scan about 100,000 items: 24,415 read units",
        "would look up about 100,000 keys of the lake: 100,000 read units",
    ]
