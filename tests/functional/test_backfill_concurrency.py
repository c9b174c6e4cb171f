"""A run takes its readers out of the account's free share: the live path finds a place beside it on every account."""

from __future__ import annotations

import pytest

from lakebound.backfill.estimate import FILE_READERS, FREE_SHARE, MAX_READERS, free_readers
from lakebound.backfill.run_context import load_plan
from lakebound.source.facts import Concurrency
from tests.support.backfill_world import World, world
from tests.support.export_files import exporting
from tests.support.local_ports import MemoryAccount
from tests.support.state_machine import start

PER_SECOND = 1_000_000
"""Read units that ask for as many readers as there may be."""


def readers(made: World) -> int:
    (run,) = {call["run"] for call in made.calls if "run" in call}
    return load_plan(made.context, run).concurrency


@pytest.mark.parametrize(
    ("account", "scan", "export"),
    [
        (None, MAX_READERS, FILE_READERS),
        (MemoryAccount(1_000, 12), MAX_READERS, FILE_READERS),
        (MemoryAccount(100, 70), 15, 15),
        (MemoryAccount(10, 3), 3, 3),
        (MemoryAccount(10, 9), 1, 1),
        (MemoryAccount(10, 10), 1, 1),
        (MemoryAccount(10, 200), 1, 1),
        (MemoryAccount(None), 5, 5),
    ],
    ids=lambda one: f"{one.limit} of which {one.used} used" if isinstance(one, MemoryAccount) else str(one),
)
def test_a_run_takes_at_most_half_of_the_free_readers(account: MemoryAccount | None, scan: int, export: int) -> None:
    scanned = world(account=account)
    start(scanned.function, {"segments": 500, "read_capacity": PER_SECOND}, sleep=scanned.clock.sleep).run()
    assert readers(scanned) == scan
    exported, _ = exporting(50, account=account)
    start(exported.function, {"mode": "export"}, sleep=exported.clock.sleep).run()
    assert readers(exported) == export


def test_fewer_readers_share_the_same_capacity() -> None:
    few, many = world(account=MemoryAccount(10, 2)), world()
    for made in (few, many):
        start(made.function, {"segments": 50, "read_capacity": 30_000}, sleep=made.clock.sleep).run()
    plans = [load_plan(made.context, next(call["run"] for call in made.calls if "run" in call)) for made in (few, many)]
    assert [plan.concurrency for plan in plans] == [4, 20]
    assert {round(plan.concurrency * plan.share) for plan in plans} == {30_000}


def test_a_redriven_run_keeps_the_readers_that_it_was_planned_with() -> None:
    account = MemoryAccount(100, 80)
    made = world(account=account)
    start(made.function, {"segments": 50, "read_capacity": PER_SECOND}, sleep=made.clock.sleep).run()
    account.used = 0
    start(made.function, {"segments": 50, "read_capacity": PER_SECOND}, sleep=made.clock.sleep).run()
    assert readers(made) == 10


def test_the_live_path_keeps_at_least_as_much_as_a_run_takes() -> None:
    for limit in range(1, 200):
        for used in range(limit + 1):
            seen = Concurrency(limit, used)
            taken = free_readers(seen)
            assert taken == 1 or taken <= seen.free * FREE_SHARE <= seen.free - taken
