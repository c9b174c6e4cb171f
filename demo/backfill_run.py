"""The backfill beside the writes, through the commands that an operator would type."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from demo.commands import LAKEBOUND, DemoFailed, kill, run, started
from demo.local_stack import STACK_NAME
from lakebound.adapters.executions import Machine

RUN: Final = "demo"
WHERE: Final = ("--stack", STACK_NAME)
MARGIN_SECONDS: Final = 2
"""MARGIN of ORDERING.md where all clocks are this machine's. A creation time is cut to the second: up to one second
before the change. The other second is for a clock that is set back a little meanwhile."""

LONGEST_SECONDS: Final = 1800.0


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run that succeeded: what it says of itself, and when it was started and seen to end (wall clock, ms)."""

    result: Mapping[str, Any]
    began_ms: int
    ended_ms: int

    @property
    def records(self) -> int:
        return int(self.result["records"])

    def writes_beside(self, sent_ms: Mapping[str, Sequence[int]]) -> int:
        """How many writes were made while it ran."""
        return sum(self.began_ms <= at <= self.ended_ms for times in sent_ms.values() for at in times)


def estimate(environment: Mapping[str, str]) -> str:
    """What `lakebound backfill estimate` prints. Raises DemoFailed."""
    return _told([LAKEBOUND, "backfill", "estimate", *WHERE], environment)


class Backfill:
    """`lakebound backfill start`, then `lakebound backfill watch`, in a thread of its own."""

    def __init__(self, machine: Machine, environment: Mapping[str, str], *, said: Callable[[str], None]) -> None:
        self._machine = machine
        self._environment = environment
        self._said = said
        self._watch: subprocess.Popen[str] | None = None
        self._failure: BaseException | None = None
        self._ended: FinishedRun | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def start(self) -> None:
        """Start the run and follow it."""
        self._thread.start()

    def ended(self) -> FinishedRun:
        """Wait for its end. Raises DemoFailed."""
        self._thread.join(LONGEST_SECONDS)
        if self._failure is not None:
            raise self._failure
        if self._ended is None:
            raise DemoFailed(f"the backfill did not end within {LONGEST_SECONDS:.0f} seconds")
        return self._ended

    def stop(self) -> None:
        """Follow it no longer."""
        self._stopped.set()
        if self._watch is not None:
            kill(self._watch)

    def _follow(self) -> None:
        try:
            began_ms = time.time_ns() // 1_000_000
            self._said(_told([LAKEBOUND, "backfill", "start", *WHERE, "--name", RUN], self._environment))
            self._follow_to_end()
            ended_ms = time.time_ns() // 1_000_000
            result = self._machine.state(RUN).output
            assert result is not None
            self._ended = FinishedRun(result, began_ms, ended_ms)
        except BaseException as failure:
            self._failure = failure

    def _follow_to_end(self) -> None:
        command = [LAKEBOUND, "backfill", "watch", *WHERE, "--run", RUN, "--every", "1"]
        with started(command, env=dict(self._environment)) as watch:
            self._watch = watch
            assert watch.stderr is not None
            assert watch.stdout is not None
            last = ""
            for line in watch.stderr:
                last = line.strip()
                if not self._stopped.is_set():
                    self._said(last)
            out = watch.stdout.read()
        if watch.returncode != 0:
            raise DemoFailed(last or f"lakebound backfill watch ended with status {watch.returncode}")
        self._said(out.partition("\n")[0])


def _told(command: Sequence[str], environment: Mapping[str, str]) -> str:
    done = run(command, env=dict(environment))
    if done.returncode != 0:
        raise DemoFailed(done.stderr.strip() or f"{' '.join(command)} ended with status {done.returncode}")
    return done.stdout.rstrip()
