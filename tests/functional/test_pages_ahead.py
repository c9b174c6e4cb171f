"""The page that a segment asks for while the one before is encoded and written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Event
from typing import Any

import pytest

from lakebound.adapters.backfill_ports import in_thread
from lakebound.backfill.checkpoints import Checkpoint
from lakebound.backfill.segment_worker import Ahead, Ask, Page, PageSource, when_taken
from lakebound.errors import LakeboundError
from lakebound.record.base_records import SnapshotDecoder
from lakebound.record.stream_records import ChangeEvent
from tests.support.backfill_world import Segment, Table, World, at_once, filled, unavailable

SEGMENT = "_lakebound/cars/backfills/run-1/segments/0.json"
Scan = Callable[[SnapshotDecoder, int, int, bool, int], PageSource]


def scan_of(kind: type[Segment]) -> Callable[[Table], Scan]:
    """A scan whose segments are of this kind."""

    def of_table(table: Table) -> Scan:
        return lambda decoder, number, total, consistent, margin_ms: kind(table, decoder, number, total, margin_ms)

    return of_table


def asking(into: list[tuple[Any, int]]) -> Callable[[Table], Scan]:
    """A scan that notes each request: where it starts and when it was made."""

    class Asked(Segment):
        def page(self, start: Any, limit: int | None) -> Page:
            into.append((start, self.table.clock.ms))
            return super().page(start, limit)

    return scan_of(Asked)


def carry(made: World) -> dict[str, Any]:
    return made.function({"action": "carry", "run": "run-1", "unit": 0})


def checkpoint(made: World) -> Checkpoint:
    return Checkpoint.decode(SEGMENT, made.bucket.objects[SEGMENT])


@pytest.mark.parametrize("ahead", [when_taken, at_once, in_thread])
def test_each_page_is_asked_for_once_and_none_after_the_last(ahead: Ahead) -> None:
    asked: list[tuple[Any, int]] = []
    made = filled(30, scan=asking(asked), ahead=ahead)
    made.plan(1)
    assert carry(made)["records"] == 30
    starts = [start and start["id"]["S"] for start, _ in asked]
    assert starts == [None, *(f"car-{number:04}" for number in range(2, 27, 3))]
    assert {one["keys"]["id"]["S"]: one["new_image"] for one in made.bucket.records()} == made.table.items


def test_a_page_is_asked_for_before_the_one_ahead_of_it_is_written() -> None:
    """Every page fills a file here, and a file is not put before the next page has been asked for."""
    second, put_first = Event(), Event()

    class Waiting(Segment):
        def page(self, start: Any, limit: int | None) -> Page:
            if start is not None:
                second.set()
                # The first file can be put while this page is on its way: were it not, this would end in an error.
                if not put_first.wait(30):
                    raise LakeboundError("nothing was written meanwhile")
            return super().page(start, limit)

    made = filled(6, scan=scan_of(Waiting), max_records=1, ahead=in_thread)
    made.plan(1)

    def before(key: str) -> None:
        if key.startswith("ddb/"):
            assert second.wait(30), "the first page was written before the second was asked for"
            put_first.set()

    made.bucket.before = before
    assert carry(made)["records"] == 6


def test_a_label_is_the_time_of_the_request_however_late_the_page_is_taken() -> None:
    """Not in a thread: the minute of a file could pass between this test's look at the clock and the request's own."""
    asked: list[tuple[Any, int]] = []
    made = filled(9, scan=asking(asked), max_records=1, ahead=at_once)
    made.plan(1)
    # Each file takes a minute to put, in which the next page has long been read.
    made.bucket.before = lambda key: made.clock.pass_ms(60_000) if key.startswith("ddb/") else None
    carry(made)
    labels = {one["keys"]["id"]["S"]: one["snapshot_label_ms"] + 60_000 for one in made.bucket.records()}
    for place, (_, at) in enumerate(asked):
        assert [labels[f"car-{3 * place + number:04}"] for number in range(3)] == [at] * 3


def test_the_next_page_is_asked_for_before_this_one_is_read() -> None:
    """What makes records of a page's text takes the processor, and DynamoDB reads the next page meanwhile."""
    done: list[str] = []

    class Text(Segment):
        def page(self, start: Any, limit: int | None) -> Page:
            done.append("ask")
            page = super().page(start, limit)
            return replace(page, values=[str(number) for number in range(len(page.values))], reader=read(page.values))

    def read(values: Sequence[Any]) -> Callable[[Sequence[Any]], Sequence[Any]]:
        def once(texts: Sequence[Any]) -> Sequence[Any]:
            assert len(texts) == len(values)
            done.append("read")
            return values

        return once

    made = filled(9, scan=scan_of(Text), ahead=at_once)
    made.plan(1)
    assert carry(made)["records"] == 9
    assert done == ["ask", "ask", "read", "ask", "read", "read"]
    assert {one["keys"]["id"]["S"]: one["new_image"] for one in made.bucket.records()} == made.table.items


def test_a_page_that_was_asked_for_is_taken_though_the_time_is_up() -> None:
    """Its read units are spent; the checkpoint tells them, and no page is asked for after it."""
    made = filled(60, timeout=21, max_seconds=0, ahead=at_once)
    made.table.page_ms = 400
    made.plan(1)
    answer = carry(made)
    assert not answer["done"]
    assert (checkpoint(made).pages, checkpoint(made).consumed) == (made.table.pages, 3.0 * made.table.pages)
    while not carry(made)["done"]:
        pass
    assert (checkpoint(made).pages, checkpoint(made).consumed) == (made.table.pages, 60.0)


def test_no_page_is_asked_for_ahead_of_the_rate() -> None:
    """Where the capacity makes a reader wait, it asks at the moments at which it asked before."""

    def moments(way: Ahead) -> list[int]:
        asked: list[tuple[Any, int]] = []
        made = filled(60, scan=asking(asked), capacity=20, ahead=way)
        made.plan(1, read_capacity=10)
        while not carry(made)["done"]:
            pass
        assert made.table.throttles == 0
        return [at for _, at in asked]

    paced = moments(when_taken)
    assert paced[-1] - paced[0] > 4_000
    assert moments(at_once) == moments(in_thread) == paced


@pytest.mark.parametrize("ahead", [at_once, in_thread])
def test_a_throttled_page_ahead_is_asked_for_again_and_the_one_before_is_kept(ahead: Ahead) -> None:
    made = filled(30, ahead=ahead)
    made.plan(1)
    made.table.capacity, made.table.stored_units = 1.0, 1.0
    answer = carry(made)
    assert answer["throttles"] == made.table.throttles > 0
    while not answer["done"]:
        answer = carry(made)
    assert {one["keys"]["id"]["S"]: one["new_image"] for one in made.bucket.records()} == made.table.items


@pytest.mark.parametrize("ahead", [at_once, in_thread])
def test_an_error_of_the_page_ahead_is_raised_when_that_page_is_taken(ahead: Ahead) -> None:
    """The page before was whole and full, so its file and its checkpoint stand."""

    class Failing(Segment):
        def page(self, start: Any, limit: int | None) -> Page:
            if start is not None:
                raise LakeboundError("scan of table cars failed")
            return super().page(start, limit)

    made = filled(6, scan=scan_of(Failing), max_records=1, ahead=ahead)
    made.plan(1)
    with pytest.raises(LakeboundError, match="scan of table cars failed"):
        carry(made)
    assert (checkpoint(made).records, len(made.bucket.records())) == (3, 3)


BREAKS = ("a page", "an item", "a file", "the bucket", "another writer")


@pytest.mark.parametrize("ahead", [when_taken, at_once, in_thread])
@pytest.mark.parametrize("what", BREAKS)
@pytest.mark.parametrize("at", range(4))
def test_every_unit_is_counted_and_every_page_awaited_whatever_fails(what: str, at: int, ahead: Ahead) -> None:
    """An invocation that fails leaves no request behind it: in a function that is kept warm, the next one's first page
    would stand behind that. What it read in vain is counted, but where nothing can be saved any more.
    """
    times, waiting, units = 0, 0, 0.0

    def is_due(kind: str) -> bool:
        nonlocal times
        times += kind == what
        return kind == what and times == at + 1

    def fail(kind: str) -> None:
        if is_due(kind):
            raise LakeboundError(f"{kind} fails")

    def awaited(ask: Ask) -> Ask:
        nonlocal waiting
        taking, waiting = ahead(ask), waiting + 1

        def take() -> Page:
            nonlocal waiting
            waiting -= 1
            return taking()

        return take

    class Counting(Segment):
        def page(self, start: Any, limit: int | None) -> Page:
            nonlocal units
            fail("a page")
            page = super().page(start, limit)
            units += page.units
            return page

        def decode(self, value: Any, label_ms: int, event_id: str) -> ChangeEvent:
            fail("an item")
            return super().decode(value, label_ms, event_id)

    made = filled(30, scan=scan_of(Counting), max_records=6, ahead=awaited)
    made.plan(1)

    def before(key: str) -> None:
        if key.startswith("ddb/"):
            fail("a file")
            if is_due("the bucket"):
                made.bucket.before = unavailable
                unavailable(key)
            if is_due("another writer") and SEGMENT in made.bucket.objects:
                made.bucket.objects[SEGMENT] += b" "

    made.bucket.before = before
    try:
        carry(made)
    except LakeboundError:
        assert what == "the bucket" or not units or checkpoint(made).consumed == units
    assert waiting == 0
    made.bucket.before = before
    while not carry(made)["done"]:
        pass
    assert waiting == 0
    assert what in ("the bucket", "another writer") or checkpoint(made).consumed == units
    assert {one["keys"]["id"]["S"]: one["new_image"] for one in made.bucket.records()} == made.table.items


def test_what_was_read_in_vain_is_waited_for_by_the_next_invocation() -> None:
    """A redriven run would else read at twice its share: once in vain, and once more without the debt."""
    made = filled(60, capacity=1000, max_records=3, page_items=30, ahead=at_once)
    made.plan(1, read_capacity=10)
    made.bucket.before = lambda key: unavailable(key) if key.startswith("ddb/") else None
    with pytest.raises(LakeboundError):
        carry(made)
    made.bucket.before = lambda key: None
    began = made.clock.ms
    assert checkpoint(made).ready_ms > began
    carry(made)
    assert made.clock.ms - began >= checkpoint(made).consumed / 10 * 1000 - 3_000


def test_whatever_ends_an_invocation_leaves_a_page_that_nobody_takes() -> None:
    """A red control of the ports: what asks at once raises an error late, and every other exception at once."""
    with pytest.raises(KeyboardInterrupt):
        at_once(_interrupted)
    with pytest.raises(KeyboardInterrupt):
        in_thread(_interrupted)()
    waiting: Ask = in_thread(lambda: Page(0, 0, (), 0.0, None))
    assert waiting() == waiting() == Page(0, 0, (), 0.0, None)


def _interrupted() -> Page:
    raise KeyboardInterrupt
