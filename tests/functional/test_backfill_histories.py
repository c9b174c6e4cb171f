"""The lake equals the table whatever happens beside a backfill; and each wrong rule is seen to fail.

Histories are random, the table and both sides' clocks are in memory, the backfill is the real one; the lake is
ORDERING.md's two registers over the records that the stream delivered and the batch files that the runs wrote.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from lakebound.backfill.export_states import export_windows
from lakebound.backfill.key_reread import KeyReread
from lakebound.backfill.run_context import RunContext, save_work
from lakebound.backfill.run_state import RunState
from lakebound.backfill.state_machine import ACTIONS
from lakebound.source.facts import TableDescription
from lakebound.source.gaps import Gap, GapBook
from lakebound.times import TimeRange
from tests.support.backfill_histories import (
    KEYS,
    before_the_stream,
    beside_writes,
    differences,
    exporting,
    heal,
    healed_by_windows,
    lake,
    swept,
    two_at_once,
    with_a_gap,
    writes,
)
from tests.support.backfill_world import START_MS, World
from tests.support.state_machine import start

SEEDS = range(40)


@pytest.mark.parametrize("mode", ["scan", "export"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_backfill_of_a_filled_table_beside_writes(mode: str, seed: int) -> None:
    assert differences(beside_writes(mode, seed)) == set()


@pytest.mark.parametrize("seed", SEEDS)
def test_two_backfills_at_once(seed: int) -> None:
    made = two_at_once(seed)
    assert {one["snapshot_run"] for one in made.bucket.records()} == {"run-1", "run-2"}
    assert differences(made) == set()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_gap_is_healed_by_windows_and_the_reread(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made, chance = with_a_gap(seed)
    heal(made, chance, "incremental_export", monkeypatch)
    assert differences(made) == set()


def read_inside_the_gap_only(monkeypatch: pytest.MonkeyPatch) -> World:
    """INSERT lost, then a scan inside the gap reads the item, then DELETE lost: only a base record tells of it."""
    made = exporting(page_items=2)
    begin, end = made.clock.ms + 600_000, made.clock.ms + 1_800_000
    made.table.lost = lambda ms: begin <= ms < end
    made.clock.at(begin + 60_000, lambda: made.table.put("k0", 1))
    made.clock.pass_ms(700_000)
    start(made.function, {"mode": "scan"}, name="early", sleep=made.clock.sleep).run()
    assert set(lake(made)) == {"k0"}
    made.table.delete("k0")
    made.clock.pass_ms(end - made.clock.ms)
    GapBook("cars", made.bucket, made.bucket).record(Gap(begin, end, "mapping_behind", detected_at_ms=made.clock.ms))
    # Writes beside the healing may touch the key; without them nothing but the reread can take the ghost away.
    monkeypatch.setattr("tests.support.backfill_histories.KEYS", KEYS[1:])
    heal(made, random.Random(1), "incremental_export", monkeypatch)
    return made


def test_a_key_that_only_a_scan_inside_the_gap_told_of_is_read_again() -> None:
    with pytest.MonkeyPatch.context() as patch:
        assert "k0" not in differences(read_inside_the_gap_only(patch))


def test_a_reread_of_stream_records_only_leaves_its_ghost(monkeypatch: pytest.MonkeyPatch) -> None:
    collect = KeyReread._collect

    def stream_only(self: KeyReread, record: dict[str, Any], keys: dict[str, Any]) -> None:
        if record["origin"] == "stream":
            collect(self, record, keys)

    monkeypatch.setattr(KeyReread, "_collect", stream_only)
    assert "k0" in differences(read_inside_the_gap_only(monkeypatch))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_gap_is_healed_by_a_scan_and_a_sweep(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made, chance = with_a_gap(seed)
    heal(made, chance, "scan", monkeypatch)
    assert differences(made) == swept(made)


# ── red controls: each wrong rule must be seen to fail ──


def broken(run: Callable[[int], World]) -> bool:
    return any(differences(run(seed)) for seed in SEEDS)


def test_without_the_reread_a_ghost_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(context: RunContext, event: dict[str, Any], seconds_left: Any) -> dict[str, Any]:
        work = save_work(context, event["state"]["run"], "reread", {"units": []})
        return event["state"] | {"units": work["units"], "concurrency": 1}

    monkeypatch.setitem(ACTIONS, "plan_reread", nothing)

    assert broken(healed_by_windows)


def test_a_reread_of_the_gaps_hours_only_leaves_a_ghost_of_the_minutes_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """ORDERING.md's stretch, [G - MARGIN, C + MARGIN]: an item inserted after the first window began, deleted
    in the gap."""

    def narrow(context: RunContext, state: RunState, described: TableDescription) -> Any:
        windows, reread = export_windows(context, state, described)
        gap = state.stretch
        return windows, reread and gap and TimeRange(gap.from_ms - 60_000, gap.to_ms + 60_000)

    monkeypatch.setattr("lakebound.backfill.export_states.export_windows", narrow)

    assert broken(healed_by_windows)


def test_the_rows_own_write_time_as_label_lets_rows_live_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    from lakebound.record.base_records import SnapshotDecoder

    right = SnapshotDecoder.change_line

    def wrong(self: SnapshotDecoder, line: Any, label_ms: int, event_id: str) -> Any:
        event = right(self, line, label_ms, event_id)
        assert event.approx_creation_time_ms is not None
        return event._replace(snapshot_label_ms=event.approx_creation_time_ms - 60_000)

    monkeypatch.setattr(SnapshotDecoder, "change_line", wrong)
    # The re-read would repair what it lists; the rule fails by itself.
    monkeypatch.setattr("lakebound.backfill.key_reread.KeyReread._collect", lambda self, text, keys: None)

    assert broken(healed_by_windows)


def test_a_label_after_the_page_hides_what_was_written_while_it_was_read() -> None:
    def run(seed: int) -> World:
        chance = random.Random(seed)
        made = exporting(page_items=2, margin_ms=-5_000)
        made.table.page_ms = 2_000
        before_the_stream(made, chance)
        now = made.clock.ms
        writes(made, chance, now, now + 30_000, 60)
        start(made.function, {}, sleep=made.clock.sleep).run()
        made.clock.pass_ms(600_000)
        return made

    assert broken(run)


def test_a_margin_below_the_cut_of_a_second_fails() -> None:
    """v2 in the same second as the page after it: its creation time is cut to before the label."""

    def run(seed: int) -> World:
        chance = random.Random(seed)
        made = exporting(page_items=1, margin_ms=1)
        made.table.page_ms = 80
        before_the_stream(made, chance)
        now = made.clock.ms
        writes(made, chance, now + 900, now + 1_900, 30)
        start(made.function, {"segments": 1}, sleep=made.clock.sleep).run()
        made.clock.pass_ms(600_000)
        return made

    assert broken(run)


def test_a_scan_before_the_stream_covers_it_loses_writes() -> None:
    def run(seed: int) -> World:
        chance = random.Random(seed)
        made = exporting(page_items=2)
        made.table.page_ms = 2_000
        writes(made, chance, START_MS, START_MS + 20_000, 60)
        # The stream begins in the middle of the scan, and nobody waited for it.
        made.table.lost = lambda ms: ms < START_MS + 15_000
        made.clock.pass_ms(5_000)
        start(made.function, {}, sleep=made.clock.sleep).run()
        made.clock.pass_ms(600_000)
        return made

    assert broken(run)
