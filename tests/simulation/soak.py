"""The soak: long histories through the real handlers and the real backfill, 1 % of every fault, for hours.

One world is three rounds of steps, each with a backfill beside the writes; after each round the world comes to rest and
every promise is checked in full, final equality with the source among them. Sandboxes end and begin again all the time
(`crash_before`, `crash_after`, `killed`, `slow`). The handlers' modules stay loaded as in a warm sandbox, so what they
held on to would show in the slope of this process's memory.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from io import TextIOBase
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Final

from tests.simulation import faults
from tests.simulation.backfills import BackfillRun
from tests.simulation.choices import Choices
from tests.simulation.handlers import through_handlers
from tests.simulation.turns import Violated
from tests.simulation.world import UseCases, World

REPORT: Final = Path(__file__).resolve().parents[2] / ".build" / "reports" / "soak.json"
SEED: Final = 5_000_000
RATE: Final = 0.01
ROUNDS, STEPS = 3, 400
FOR_A_WHOLE_WORLD: Final = ("expired_receipt", "in_flight_limit")
"""Faults that are a property of the queue and not an event: one world in a hundred has each."""

WARM_UP: Final = 0.2
"""Share of the samples before memory is expected to be level."""

MOST_SAMPLES: Final = 500
"""At most so many of a process's samples are compared, each with each."""


@dataclass(slots=True)
class Sample:
    """One process after one world. `second` since the soak began; `resident` bytes of memory."""

    second: float
    process: int
    resident: int


@dataclass(slots=True)
class Soaked:
    seconds: float = 0.0
    worlds: int = 0
    steps: int = 0
    broken: list[str] = field(default_factory=list)
    fires: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)

    def slope(self) -> float:
        """Bytes an hour by which a process's memory grows after its warm-up, the mean of processes.

        The median of the slopes between any two samples (Theil and Sen). One large world raises what the heap keeps
        once and for all: least squares made +9 MB an hour of two such steps in 21 minutes.
        """
        slopes = []
        for process in {sample.process for sample in self.samples}:
            mine = [sample for sample in self.samples if sample.process == process]
            mine = mine[int(len(mine) * WARM_UP) :]
            mine = mine[:: 1 + len(mine) // MOST_SAMPLES]
            if len(mine) > 2:
                between = ((b.resident - a.resident) / (b.second - a.second) for a, b in combinations(mine, 2))
                slopes.append(median(between))
        return 3600 * sum(slopes) / len(slopes) if slopes else 0.0


def live_world(seed: int, use_cases: UseCases) -> tuple[World, str]:
    """One world of that seed, and the promise it broke or nothing."""
    choices = Choices(seed)
    rates = {
        fault.name: RATE if fault.name not in FOR_A_WHOLE_WORLD else float(seed % 100 == place)
        for place, fault in enumerate(faults.FAULTS)
    }
    world = World(choices, use_cases, rates=rates, real=1, most_scans=ROUNDS)
    paused = world.pause_rate
    try:
        for _ in range(ROUNDS):
            choices.begin_step()
            if world.table.stream is not None:
                world.start_backfill(({"segments": 2}, {"mode": "export"})[choices.below(2)])
            for _ in range(STEPS):
                choices.begin_step()
                world.step()
            choices.begin_step()
            world.come_to_rest()
            world.check()
            world.quiet, world.pause_rate = False, paused
    except Violated as violated:
        return world, f"seed {seed}: {violated}"
    finally:
        world.close()
    return world, ""


def live_until(process: int, first_seed: int, began: float, seconds: float) -> Soaked:
    """Worlds one after another in this process until so many seconds after `began` (time.time)."""
    soaked = Soaked()
    with _quiet():
        use_cases = through_handlers()
        while time.time() - began < seconds and not soaked.broken:
            world, broken = live_world(first_seed + soaked.worlds, use_cases)
            soaked.broken += [broken] if broken else []
            soaked.worlds += 1
            soaked.steps += ROUNDS * STEPS
            soaked.fires += world.fires
            soaked.counts += world.ledger.summary() + Counter(calls=world.calls, files=len(world.s3.records))
            runs = [run for run in world.scans if isinstance(run, BackfillRun) and run.result is not None]
            soaked.counts += Counter(backfills=len(runs), gaps=len(world.gaps))
            del world, runs
            gc.collect()
            give_back()
            soaked.samples.append(Sample(round(time.time() - began, 1), process, resident()))
    return soaked


def soak(seconds: float, processes: int, told: Callable[[str], None] = print) -> Soaked:
    """Soak on so many processes, then tell the table and write the report."""
    began = time.time()
    total = Soaked()
    # Each invocation is a thread: with an arena for each, glibc's own growth would hide what the code holds on to.
    os.environ["MALLOC_ARENA_MAX"] = "1"
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for one in [
            pool.submit(live_until, number, SEED + number * 1_000_000, began, seconds) for number in range(processes)
        ]:
            part = one.result()
            total.worlds += part.worlds
            total.steps += part.steps
            total.broken += part.broken
            total.fires += part.fires
            total.counts += part.counts
            total.samples += part.samples
    total.seconds = round(time.time() - began, 1)
    told(table(total))
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    figures = {
        "seconds": total.seconds,
        "worlds": total.worlds,
        "steps": total.steps,
        "broken": total.broken,
        "fires": dict(total.fires),
        "counts": dict(total.counts),
        "slope_bytes_an_hour": round(total.slope()),
        "samples": [[one.second, one.process, one.resident] for one in total.samples],
    }
    REPORT.write_text(json.dumps(figures), encoding="utf-8")
    told(f"written to {REPORT}")
    return total


def table(soaked: Soaked) -> str:
    rows: list[tuple[str, str]] = [
        ("minutes", f"{soaked.seconds / 60:.1f}"),
        ("worlds, each with three backfills", f"{soaked.worlds:,}"),
        ("steps", f"{soaked.steps:,}"),
        *((name, f"{number:,}") for name, number in sorted(soaked.counts.items())),
        ("faults fired", f"{sum(soaked.fires.values()):,}"),
        *((f"  {fault.name}", f"{soaked.fires[fault.name]:,}") for fault in faults.FAULTS),
        ("memory at the end, MB", f"{max((s.resident for s in soaked.samples[-1:]), default=0) / 1e6:.1f}"),
        ("memory slope, MB an hour", f"{soaked.slope() / 1e6:+.2f}"),
        ("final equality", f"{soaked.worlds * ROUNDS - len(soaked.broken):,} rounds equal, {len(soaked.broken)} wrong"),
    ]
    return "\n".join([*(f"{name:<36}{figure:>16}" for name, figure in rows), *soaked.broken])


def give_back() -> None:
    """Return freed memory to the system, where the C library can.

    glibc keeps what threads have freed: over 96 worlds 42 MB of its 52 were free and what was in use stayed 9.8 MB, but
    the memory of the process went up and down by 15 MB and looked like a leak of 68 MB an hour.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def resident() -> int:
    """Bytes of memory that this process holds now."""
    found = re.search(r"VmRSS:\s+([0-9]+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


class _Nowhere(TextIOBase):
    def write(self, text: str) -> int:
        return len(text)


@contextmanager
def _quiet() -> Iterator[None]:
    # The handlers print their metrics, and a crash leaves none, of which Powertools warns.
    with redirect_stdout(_Nowhere()), warnings.catch_warnings(action="ignore"):
        yield
    sys.stdout.flush()
