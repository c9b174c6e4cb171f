"""Step Functions' limits at 10,000 segments, and the share of the capacity that a scan uses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lakebound.backfill.segment_states import read_segment
from lakebound.backfill.segment_worker import Page, PageSource
from lakebound.record.base_records import SnapshotDecoder
from lakebound.record.stream_records import ChangeEvent
from tests.support.backfill_world import Clock, Table, world
from tests.support.state_machine import HISTORY_EVENTS_MAX, STATE_BYTES_MAX, start


def test_ten_thousand_segments_fit_a_state_and_a_history() -> None:
    execution = start(world().function, {"segments": 10_000})
    assert execution.run()["segments"] == 10_000
    assert execution.largest < STATE_BYTES_MAX / 2
    assert execution.events < HISTORY_EVENTS_MAX / 100


def test_a_scan_uses_nine_tenths_of_its_budget_and_no_more_than_it() -> None:
    made = world(page_items=50, timeout=60)
    for number in range(6_000):
        made.table.put(f"k{number:05}", number)
    made.table.page_ms = 50
    began = made.clock.ms
    result = start(made.function, {"segments": 1, "read_capacity": 100}, sleep=made.clock.sleep).run()
    assert 90 <= result["consumed_capacity"] / ((made.clock.ms - began) / 1000) <= 102


class TakingTurns(Clock):
    """Several readers on one clock: only one runs at a time, the one whose wait ends first. No real time passes."""

    def __init__(self) -> None:
        super().__init__()
        self._turn = threading.Condition()
        self._wakes: dict[int, int] = {}
        self._running: int | None = None

    def pass_ms(self, ms: int) -> None:
        reader = threading.get_ident()
        if self._running is None:
            super().pass_ms(ms)
            return
        with self._turn:
            self._wakes[reader] = self.ms + ms
            self._hand_on()
            self._turn.wait_for(lambda: self._running == reader)

    def _hand_on(self) -> None:
        if self._wakes:
            self._running = min(self._wakes, key=lambda reader: (self._wakes[reader], reader))
            self.ms = max(self.ms, self._wakes.pop(self._running))
        else:
            self._running = None
        self._turn.notify_all()

    def side_by_side(self, readers: Sequence[Callable[[], None]]) -> None:
        """Run them to their ends. Raises what the first of them raised."""
        failures: list[BaseException] = []

        def run(read: Callable[[], None]) -> None:
            reader = threading.get_ident()
            with self._turn:
                self._wakes[reader] = self.ms
                self._turn.notify_all()
                self._turn.wait_for(lambda: self._running == reader)
            try:
                read()
            except BaseException as failure:
                failures.append(failure)
            with self._turn:
                self._hand_on()

        threads = [threading.Thread(target=run, args=(read,), daemon=True) for read in readers]
        for thread in threads:
            thread.start()
        with self._turn:
            self._turn.wait_for(lambda: len(self._wakes) == len(threads))
            self._hand_on()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]


@dataclass
class Sized:
    """A segment of so many items of ten units each, at most twenty a page."""

    table: Table
    decoder: SnapshotDecoder
    segment: int
    items: int
    spent: list[tuple[int, float]]
    origin: str = "scan"

    def page(self, start: Any, limit: int | None) -> Page:
        clock, at = self.table.clock, int(start["at"]["N"]) if start else 0
        asked, count = clock.ms, min(20, limit or 20, self.items - at)
        values = [{"id": {"S": f"{self.segment}-{number}"}} for number in range(at, at + count)]
        clock.pass_ms(60)
        self.spent.append((clock.ms, 10.0 * count))
        following = {"at": {"N": str(at + count)}} if at + count < self.items else None
        return Page(asked, asked - 60_000, values, 10.0 * count, following)

    def decode(self, value: Any, label_ms: int, event_id: str) -> ChangeEvent:
        return self.decoder.item(value, label_ms, event_id)


def test_readers_side_by_side_use_nine_tenths_of_the_budget_until_no_segment_is_left() -> None:
    # A table whose keys hash unevenly: one segment of 32 holds a tenth of it.
    sizes = [2_000] + [300 + 40 * (number % 16) for number in range(31)]
    spent: list[tuple[int, float]] = []

    def scan(table: Table) -> Callable[[SnapshotDecoder, int, int, bool, int], PageSource]:
        return lambda decoder, number, total, consistent, margin: Sized(table, decoder, number, sizes[number], spent)

    clock = TakingTurns()
    made = world(timeout=60, scan=scan, clock=clock)
    planned = made.plan(len(sizes), read_capacity=6_000)
    assert planned.concurrency == 4
    assert planned.units is not None
    waiting, ended = list(planned.units), []
    began = clock.ms

    def reader() -> None:
        while waiting:
            unit = waiting.pop(0)
            while not made.function({"action": "carry", "run": "run-1", "unit": unit})["done"]:
                pass
        ended.append(clock.ms)

    clock.side_by_side([reader] * planned.concurrency)
    assert sum(units for _, units in spent) == 10 * sum(sizes)
    assert sum(read_segment(made.context, "run-1", unit, lambda: 60.0)["records"] for unit in planned.units) == sum(
        sizes
    )
    until = ended[0]
    used = sum(units for ms, units in spent if ms <= until) / ((until - began) / 1000)
    whole = 10 * sum(sizes) / ((ended[-1] - began) / 1000)
    print(f"{used / 60:.1f} % of the budget until the first reader had none left, {whole / 60:.1f} % to the end")
    assert 0.9 <= used / 6_000 <= 1.02
    # In no ten seconds is more taken than the budget and what one second saves up.
    for begin, _ in spent:
        assert sum(units for ms, units in spent if begin <= ms < begin + 10_000) <= 6_000 * 11.05
    assert whole <= used


def test_a_provisioned_table_keeps_three_quarters_of_its_capacity() -> None:
    made = world(page_items=50, timeout=60, capacity=400)
    for number in range(4_000):
        made.table.put(f"k{number:05}", number)
    began = made.clock.ms
    result = start(made.function, {"segments": 1}, sleep=made.clock.sleep).run()
    assert 90 <= result["consumed_capacity"] / ((made.clock.ms - began) / 1000) <= 102
    assert made.table.throttles == 0


def test_after_a_throttle_the_rate_comes_back() -> None:
    made = world(page_items=2, timeout=3_600, capacity=400)
    table, clock, spent = made.table, made.clock, []
    for number in range(1_400):
        table.put(f"k{number:05}", number)
    take = table.take

    def noted(units: float) -> None:
        take(units)
        spent.append((clock.ms, units))

    table.take = noted  # type: ignore[method-assign]
    table.page_ms = 10
    table.unit_of = lambda item: 10.0
    began = clock.ms
    # Production takes nearly all for twenty seconds, a quarter of a minute after the run's start.
    clock.at(began + 15_000, lambda: setattr(table, "capacity", 40))
    clock.at(began + 35_000, lambda: setattr(table, "capacity", 400))
    start(made.function, {"segments": 1, "read_capacity": 200}, sleep=clock.sleep).run()

    def rate(from_s: int, to_s: int) -> float:
        return sum(units for ms, units in spent if from_s * 1000 <= ms - began < to_s * 1000) / (to_s - from_s)

    assert table.throttles > 0
    assert rate(2, 14) >= 0.9 * 200
    # Never faster than what is left, but for what the table had saved up.
    assert rate(20, 35) <= 1.3 * 40
    assert rate(50, 65) >= 0.9 * 200
    assert max(ms for ms, _ in spent) - began >= 65_000


def test_a_table_that_throttles_is_read_slower_and_to_the_end() -> None:
    made = world(page_items=20, timeout=120, capacity=40)
    for number in range(2_000):
        made.table.put(f"k{number:05}", number)
    result = start(made.function, {"segments": 1, "read_capacity": 200}, sleep=made.clock.sleep).run()
    assert made.table.throttles > 0
    assert result["records"] == 2_000
    assert made.table.throttles < made.table.pages
