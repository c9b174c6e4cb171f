"""The lake equals the table whatever happens beside a backfill; and each wrong rule is seen to fail.

Histories are random, the table and both sides' clocks are in memory, the backfill is the real one; the lake is
ORDERING.md's two registers over the records that the stream delivered and the batch files that the runs wrote.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from lakebound.backfill.key_reread import KeyReread
from lakebound.backfill.state_machine import Stages
from lakebound.source.gaps import Gap, GapBook
from tests.spark.registers import receive_all
from tests.support.backfill_world import START_MS, World, world
from tests.support.export_files import Exports
from tests.support.state_machine import start

SEEDS = range(40)
KEYS = [f"k{number}" for number in range(8)]


def lake(made: World, *, seed: int = 0) -> dict[str, Any]:
    records = made.table.delivered() + [one for one in made.bucket.records() if one["origin"] != "stream"]
    random.Random(seed).shuffle(records)
    received = receive_all(records)
    return {key.removeprefix("id=S:"): one.visible for key, one in received.items() if one.visible is not None}


def differences(made: World) -> set[str]:
    seen = lake(made)
    return {name for name in seen.keys() | made.table.items.keys() if seen.get(name) != made.table.items.get(name)}


def write(made: World, chance: random.Random) -> None:
    name = chance.choice(KEYS)
    if chance.random() < 0.4:
        made.table.delete(name)
    else:
        made.table.put(name, chance.randrange(10**6))


def writes(made: World, chance: random.Random, from_ms: int, to_ms: int, count: int) -> None:
    for _ in range(count):
        at = chance.randrange(from_ms, to_ms)
        made.clock.at(at, lambda: write(made, chance))


def exporting(**options: Any) -> World:
    made = world(**options)
    exports = Exports(made.table, made.bucket)
    object.__setattr__(made.stages._ports, "exporter", lambda arn: exports)
    return made


def before_the_stream(made: World, chance: random.Random) -> None:
    """A table that is filled before its stream exists: these writes are never delivered."""
    made.table.lost = lambda ms: ms < START_MS + 30_000
    writes(made, chance, START_MS, START_MS + 29_000, 20)
    made.clock.pass_ms(30_000)
    made.mapping.facts = type(made.mapping.facts)("m", made.mapping.facts.stream_arn, "Enabled", made.clock.ms)


def beside_writes(mode: str, seed: int) -> World:
    """A filled table is backfilled while it is written to."""
    chance = random.Random(seed)
    made = exporting(page_items=2)
    made.table.page_ms = 2_000
    before_the_stream(made, chance)
    now = made.clock.ms
    writes(made, chance, now, now + 400_000, 60)
    writes(made, chance, now + 175_000, now + 200_000, 40)
    start(made.function, {"mode": mode}, sleep=made.clock.sleep).run()
    made.clock.pass_ms(600_000)
    return made


def two_at_once(seed: int) -> World:
    """A second run with another cut begins while the first one reads."""
    chance = random.Random(seed)
    made = exporting(page_items=2)
    made.table.page_ms = 2_000
    before_the_stream(made, chance)
    now = made.clock.ms
    writes(made, chance, now, now + 400_000, 80)
    second = start(made.function, {"segments": 3}, name="run-2", sleep=made.clock.sleep)
    made.clock.at(now + 183_000, lambda: second.run() and None)
    start(made.function, {"segments": 2}, name="run-1", sleep=made.clock.sleep).run()
    made.clock.pass_ms(600_000)
    return made


@pytest.mark.parametrize("mode", ["scan", "export"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_backfill_of_a_filled_table_beside_writes(mode: str, seed: int) -> None:
    assert differences(beside_writes(mode, seed)) == set()


@pytest.mark.parametrize("seed", SEEDS)
def test_two_backfills_at_once(seed: int) -> None:
    made = two_at_once(seed)
    assert {one["snapshot_run"] for one in made.bucket.records()} == {"run-1", "run-2"}
    assert differences(made) == set()


def with_a_gap(seed: int) -> tuple[World, random.Random]:
    """A lake that is equal to its table, then a gap of 20 minutes in which nothing is delivered."""
    chance = random.Random(seed)
    made = exporting(page_items=2)
    writes(made, chance, START_MS, START_MS + 600_000, 20)
    made.clock.pass_ms(600_000)
    begin, end = made.clock.ms, made.clock.ms + 1_200_000
    made.table.lost = lambda ms: begin <= ms < end
    # Puts that were delivered just before it, and their deletes lost just after its start.
    writes(made, chance, begin - 3_000, begin, 6)
    writes(made, chance, begin, begin + 3_000, 6)
    writes(made, chance, begin, end, 12)
    made.clock.pass_ms(1_200_000)
    book = GapBook("cars", made.bucket, made.bucket)
    book.record(Gap(begin, end, "mapping_behind", detected_at_ms=made.clock.ms))
    return made, chance


def heal(made: World, chance: random.Random, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    estimate = Stages.estimate

    def chosen(self: Stages, state: dict[str, Any]) -> dict[str, Any]:
        return estimate(self, state) | {"mode": mode}

    monkeypatch.setattr(Stages, "estimate", chosen)
    now = made.clock.ms
    writes(made, chance, now, now + 900_000, 10)
    for at in range(now + 1, now + 900_000, 20_000):
        made.clock.at(at, lambda: made.table.flush(made.bucket))
    start(made.function, {"mode": "heal"}, sleep=made.clock.sleep).run()
    made.clock.pass_ms(1_200_000)


def swept(made: World) -> set[str]:
    """Keys that a sweep would remove: visible, not in the run, and without a stream record since its least label."""
    run = [one for one in made.bucket.records() if one["origin"] == "scan"]
    least = min((one["snapshot_label_ms"] for one in run), default=made.clock.ms)
    kept = {one["keys"]["id"]["S"] for one in run}
    late = {one["keys"]["id"]["S"] for one in made.table.delivered() if one["approx_creation_time_ms"] >= least}
    return set(lake(made)) - kept - late


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
    monkeypatch.setattr("tests.functional.test_backfill_histories.KEYS", KEYS[1:])
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


def healed_by_windows(seed: int) -> World:
    with pytest.MonkeyPatch.context() as patch:
        made, chance = with_a_gap(seed)
        heal(made, chance, "incremental_export", patch)
    return made


def broken(run: Callable[[int], World]) -> bool:
    return any(differences(run(seed)) for seed in SEEDS)


def test_without_the_reread_a_ghost_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(self: Stages, state: dict[str, Any]) -> dict[str, Any]:
        kept = self._keep_work(state["run"], "reread", {"units": []})
        return state | {"units": kept["units"], "concurrency": 1}

    monkeypatch.setattr(Stages, "plan_reread", nothing)

    assert broken(healed_by_windows)


def test_a_reread_of_the_gaps_hours_only_leaves_a_ghost_of_the_minutes_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """ORDERING.md's stretch, [G - MARGIN, C + MARGIN]: an item inserted after the first window began, deleted
    in the gap."""
    windows = Stages._windows

    def narrow(self: Stages, state: Any) -> Any:
        spans, reread = windows(self, state)
        begin, end = state["stretch"]
        return spans, reread and (begin - 60_000, end + 60_000)

    monkeypatch.setattr(Stages, "_windows", narrow)

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
