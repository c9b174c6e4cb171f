"""Random histories of a table that is written to while backfills run, and the lake that comes of them.

The table and both sides' clocks are in memory, the backfill is the real one; the lake is ORDERING.md's two registers
over the records that the stream delivered and the batch files that the runs wrote.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from lakebound.backfill.segment_worker import when_taken
from lakebound.backfill.state_machine import ACTIONS
from lakebound.source.gaps import Gap, GapBook
from tests.support.backfill_world import START_MS, World, at_once, world
from tests.support.export_files import exports_of
from tests.support.registers import visible_items
from tests.support.state_machine import start

KEYS = [f"k{number}" for number in range(8)]


def lake(made: World, *, seed: int = 0) -> dict[str, Any]:
    records = made.table.delivered() + [one for one in made.bucket.records() if one["origin"] != "stream"]
    random.Random(seed).shuffle(records)
    return {key.removeprefix("id=S:"): item for key, item in visible_items(records).items()}


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
        made.clock.at(chance.randrange(from_ms, to_ms), lambda: write(made, chance))


def exporting(**options: Any) -> World:
    made = world(**options)
    exports_of(made)
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
    made = exporting(page_items=2, ahead=(when_taken, at_once)[seed % 2])
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
    GapBook("cars", made.bucket, made.bucket).record(Gap(begin, end, "mapping_behind", detected_at_ms=made.clock.ms))
    return made, chance


def heal(made: World, chance: random.Random, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    estimate = ACTIONS["estimate"]
    monkeypatch.setitem(ACTIONS, "estimate", lambda *call: estimate(*call) | {"mode": mode})
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


def healed_by_windows(seed: int) -> World:
    with pytest.MonkeyPatch.context() as patch:
        made, chance = with_a_gap(seed)
        heal(made, chance, "incremental_export", patch)
    return made
