"""Histories from seeds: live one, replay it, cut a failing one down and print it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

from tests.simulation.backfills import BackfillRun
from tests.simulation.choices import Choices, shrink
from tests.simulation.turns import Violated
from tests.simulation.world import UseCases, World

STEPS = 120


@dataclass(slots=True)
class Lived:
    """What one history came to. `broken` is the violated promise, or empty."""

    seed: int
    broken: str = ""
    log: list[str] = field(default_factory=list)
    script: list[list[int]] = field(default_factory=list)
    fires: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)


def live(
    seed: int,
    steps: int = STEPS,
    script: Sequence[Sequence[int]] | None = None,
    use_cases: UseCases | None = None,
    **settings: Any,
) -> Lived:
    choices = Choices(seed, script)
    world = World(choices, use_cases, **settings)
    lived = Lived(seed)
    try:
        world.live(steps if script is None else len(script) - 2)
    except Violated as violated:
        lived.broken = str(violated)
    lived.log, lived.script, lived.fires = world.log, choices.steps, world.fires
    lived.counts = world.ledger.summary()
    lived.counts["checks"] = world.ledger.checks
    lived.counts["calls"] = world.calls
    lived.counts["files"] = len(world.s3.records)
    lived.counts["gaps"] = len(world.gaps)
    runs = [run for run in world.scans if isinstance(run, BackfillRun)]
    lived.counts["real_backfills"] = sum(run.result is not None and not run.heals for run in runs)
    lived.counts["real_heals"] = sum(run.result is not None and run.heals for run in runs)
    return lived


def explain(lived: Lived, attempts: int = 1500, use_cases: UseCases | None = None, **settings: Any) -> str:
    """A failing history cut down to what it needs, as text, with the command that replays it."""

    def fails(script: list[list[int]]) -> bool:
        again = live(lived.seed, script=script, use_cases=use_cases, **settings)
        return again.broken.split(":")[0] == lived.broken.split(":")[0]

    script = shrink(lived.script, fails, attempts)
    short = live(lived.seed, script=script, use_cases=use_cases, **settings)
    return "\n".join(
        [
            f"seed {lived.seed} breaks a promise: {lived.broken}",
            f"cut from {len(lived.script)} to {len(script)} steps it says: {short.broken}",
            *short.log,
            f"replay: .venv/bin/python -m tests.simulation history --seed {lived.seed}",
        ]
    )


@dataclass(slots=True)
class Batch:
    """Many histories: how many were lived, what failed first, which faults fired how often."""

    lived: int = 0
    failing: list[Lived] = field(default_factory=list)
    fires: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)


def live_range(first: int, last: int) -> Batch:
    """Live the seeds from `first` to `last` - 1, stopping at the third that fails."""
    batch = Batch()
    for seed in range(first, last):
        lived = live(seed)
        batch.lived += 1
        batch.fires += lived.fires
        batch.counts += lived.counts
        if lived.broken:
            batch.failing.append(lived)
            if len(batch.failing) == 3:
                break
    return batch


def live_many(first: int, count: int, processes: int | None = None) -> Batch:
    processes = processes or os.cpu_count() or 1
    size = max(1, min(250, count // (processes * 4)))
    ranges = [(at, min(at + size, first + count)) for at in range(first, first + count, size)]
    total = Batch()
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for batch in pool.map(live_range, *zip(*ranges, strict=True)):
            total.lived += batch.lived
            total.failing += batch.failing
            total.fires += batch.fires
            total.counts += batch.counts
    return total


def report(batches: Iterable[Batch]) -> str:
    total = Batch()
    for batch in batches:
        total.lived += batch.lived
        total.counts += batch.counts
    figures = ", ".join(f"{name} {number}" for name, number in sorted(total.counts.items()))
    return f"{total.lived} histories of {STEPS} steps: {figures}"
