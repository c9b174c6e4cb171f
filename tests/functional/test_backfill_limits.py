"""Step Functions' limits at 10,000 segments, and the share of the capacity that a scan uses."""

from __future__ import annotations

from tests.functional.backfill_world import world
from tests.statemachines.machine import start

STATE_BYTES = 256 * 1024
EVENTS = 25_000
MAX_EXPORT_SECONDS = 24 * 3_600


def test_ten_thousand_segments_fit_a_state_and_a_history() -> None:
    made = world()
    execution = start(made.function, {"segments": 10_000})
    result = execution.run()
    assert result["segments"] == 10_000
    assert execution.largest < STATE_BYTES / 2
    assert execution.events < EVENTS / 100


def test_a_scan_uses_nine_tenths_of_its_budget_and_no_more_than_it() -> None:
    made = world(page_items=50, timeout=60)
    for number in range(6_000):
        made.table.put(f"k{number:05}", number)
    made.table.page_ms = 50
    began = made.clock.ms
    result = start(made.function, {"segments": 1, "read_capacity": 100}, sleep=made.clock.sleep).run()
    used = result["consumed_capacity"] / ((made.clock.ms - began) / 1000)
    assert 90 <= used <= 102


def test_a_table_that_throttles_is_read_slower_and_to_the_end() -> None:
    made = world(page_items=20, timeout=120, capacity=40)
    for number in range(2_000):
        made.table.put(f"k{number:05}", number)
    result = start(made.function, {"segments": 1, "read_capacity": 200}, sleep=made.clock.sleep).run()
    assert made.table.throttles > 0
    assert result["records"] == 2_000
    assert made.table.throttles < made.table.pages
