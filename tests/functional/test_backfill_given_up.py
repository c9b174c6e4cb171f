"""A run that nobody redrove while Step Functions could (14 days): a new one takes its place."""

from __future__ import annotations

import random

import pytest

from tests.support.backfill_histories import differences, write, writes
from tests.support.backfill_world import World, unavailable, world
from tests.support.state_machine import Failed, start

DAY_MS = 86_400_000


def left_alone(seed: int) -> World:
    """A run whose bucket failed in its middle, and fifteen days of writes after it."""
    chance = random.Random(seed)
    made = world(page_items=2, max_records=2)
    covered_ms = made.clock.ms + 60_000
    # Before the stream: only a backfill tells of these.
    made.table.lost = lambda ms: ms < covered_ms
    for _ in range(20):
        write(made, chance)
    made.clock.pass_ms(60_000)
    made.mapping.facts = type(made.mapping.facts)("m", made.mapping.facts.stream_arn, "Enabled", made.clock.ms)
    made.bucket.before = lambda key: unavailable(key) if len(made.bucket.written) > 2 else None
    with pytest.raises(Failed, match="could not put"):
        start(made.function, {"segments": 2}, name="run-1", sleep=made.clock.sleep).run()
    made.bucket.before = lambda key: None
    writes(made, chance, made.clock.ms, made.clock.ms + 15 * DAY_MS, 4)
    made.clock.pass_ms(15 * DAY_MS)
    return made


@pytest.mark.parametrize("seed", range(10))
def test_a_run_left_alone_for_fifteen_days_is_followed_by_a_new_one(seed: int) -> None:
    made = left_alone(seed)
    start(made.function, {"segments": 3}, name="run-2", sleep=made.clock.sleep).run()
    assert differences(made) == set()


def test_without_the_new_one_items_are_missing() -> None:
    assert any(differences(left_alone(seed)) for seed in range(10))
