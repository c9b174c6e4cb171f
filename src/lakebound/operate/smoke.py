"""Tries on a deployed stack, step by step, what only a real account can show.

Nothing new is deployed. What a step changes is restored before the next step begins, also when the step fails or is
interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final, Protocol

from lakebound.counts import count_text
from lakebound.errors import LakeboundError
from lakebound.operate.doctor import SMOKE_RECORDS, CountRecords, SmokeTable, smoke, write_item
from lakebound.ports import Clock
from lakebound.record.attributes import Image, canonical_key

OK: Final = "ok"
FAILED: Final = "failed"
SKIPPED: Final = "skipped"

EVERY_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to try. `next` is what to do when it fails.

    `act` returns what happened, and registers what has to be undone. It raises LakeboundError, and Skipped where the
    stack has no such thing.
    """

    name: str
    does: str
    act: Callable[[ExitStack], str]
    next: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a step ended; `next` is empty unless it failed."""

    name: str
    state: str
    seconds: float
    told: str
    next: str = ""


class Skipped(LakeboundError):
    """The stack has nothing of the kind to try."""


def perform(steps: Sequence[Step], clock: Clock, undoing: Callable[[], ExitStack] = ExitStack) -> Iterator[Outcome]:
    """Each step's outcome, once it has ended and was undone. A step that fails stops no other one.

    `undoing` makes what undoes a step. A step that cannot be undone has failed.
    """
    for step in steps:
        started = clock.now_ms()
        state, result = FAILED, ""
        try:
            with undoing() as undo:
                result = step.act(undo)
            state = OK
        except Skipped as skipped:
            state, result = SKIPPED, str(skipped)
        except LakeboundError as failure:
            result = str(failure)
        seconds = (clock.now_ms() - started) / 1000
        yield Outcome(step.name, state, seconds, result, step.next if state == FAILED else "")


def until(arrived: Callable[[], bool], clock: Clock, limit_s: float, what: str, every_s: float = EVERY_S) -> float:
    """Wait until it is true, and return the seconds that took. Raises LakeboundError with `what` after the limit."""
    started = clock.now_ms()
    while not arrived():
        if clock.now_ms() - started >= limit_s * 1000:
            raise LakeboundError(f"after {limit_s:g} s {what}")
        clock.sleep(every_s)
    return (clock.now_ms() - started) / 1000


# ── the steps ──


def item(table: SmokeTable, keys: Image, count_in_files: CountRecords, clock: Clock, limit_s: float) -> str:
    """Put, change and remove one item, and time its three records to their files."""
    timed = smoke(table, keys, count_in_files, clock, limit_s=limit_s)
    if timed.to_file is None:
        raise LakeboundError(f"after {limit_s:g} s the test item's changes were in no file")
    return f"{timed.to_file:.1f} s to its file"


class Deliveries(Protocol):
    """The stream's deliveries to the function, which can be made to fail, and what Lambda gave up on."""

    def refuse(self) -> None:
        """From now on every delivery fails, and Lambda gives up on it at once. Raises LakeboundError."""

    def accept(self) -> None:
        """As it was before `refuse`. Does nothing where that never was. Raises LakeboundError."""

    def given_up(self, key: str) -> int:
        """How many records of this key lie in failure objects since `refuse`. Raises LakeboundError."""

    def redrive(self) -> int:
        """Redrives every failure object that came since `refuse`; how many. Raises LakeboundError."""


def failed_delivery(
    table: SmokeTable,
    keys: Image,
    deliveries: Deliveries,
    count_in_files: CountRecords,
    clock: Clock,
    limit_s: float,
    undo: ExitStack,
) -> str:
    """Make a delivery fail until Lambda gives up on it, then redrive it until its records are in files.

    The item is removed while deliveries fail, so nobody ever sees it. Other records of these seconds take the same way,
    and are redriven with it.
    """
    key = canonical_key(keys)
    # Undone in the opposite order: the function works again before what came meanwhile is redriven.
    undo.callback(deliveries.redrive)
    undo.callback(deliveries.accept)
    deliveries.refuse()
    write_item(table, keys)
    came = until(
        lambda: deliveries.given_up(key) >= SMOKE_RECORDS, clock, limit_s, "no failure object held the three records"
    )
    deliveries.accept()
    redriven = deliveries.redrive()
    landed = until(
        lambda: count_in_files(key) >= SMOKE_RECORDS, clock, limit_s, "the redriven records were in no file", EVERY_S
    )
    return (
        f"given up on after {came:.0f} s, {count_text(redriven, 'failure object')} redriven, in files "
        f"{landed:.0f} s later"
    )


class Runs(Protocol):
    """The backfill's executions."""

    def begin(self, name: str) -> None:
        """Starts a run that exports. Raises LakeboundError."""

    def exporting(self, name: str) -> bool:
        """Whether its export was started. Raises LakeboundError, also when the run has failed."""

    def stop(self, name: str) -> None:
        """Raises LakeboundError."""

    def redrive(self, name: str) -> None:
        """Raises LakeboundError."""

    def status(self, name: str) -> str:
        """Step Functions' own word. Raises LakeboundError."""

    def records(self, name: str) -> int:
        """What a run that succeeded wrote. Raises LakeboundError."""


def stopped_export(runs: Runs, name: str, clock: Clock, limit_s: float, undo: ExitStack) -> str:
    """Stop an export backfill once its export has begun, redrive it, and wait until it ends."""
    runs.begin(name)
    undo.callback(lambda: runs.stop(name) if runs.status(name) == "RUNNING" else None)
    until(lambda: runs.exporting(name), clock, limit_s, f"run {name} had not begun its export")
    runs.stop(name)
    until(lambda: runs.status(name) == "ABORTED", clock, limit_s, f"run {name} had not stopped")
    runs.redrive(name)
    ended: list[str] = []

    def is_over() -> bool:
        ended[:] = [runs.status(name)]
        return ended[0] not in ("RUNNING", "PENDING_REDRIVE", "ABORTED")

    seconds = until(is_over, clock, limit_s, f"run {name} had not ended")
    if ended[0] != "SUCCEEDED":
        raise LakeboundError(f"redriven, run {name} ended as {ended[0]}")
    return f"stopped, redriven, {count_text(runs.records(name), 'record')} after {seconds:.0f} s more"


def alarms(wanted: Sequence[str], found: Mapping[str, bool]) -> str:
    """Check that every alarm of the stack exists. `found` says of each whether it notifies somebody."""
    missing = sorted(set(wanted) - set(found))
    if not wanted:
        raise LakeboundError("the stack has no alarms")
    if missing:
        raise LakeboundError(f"gone of {count_text(len(wanted), 'alarm')}: {', '.join(missing)}")
    silent = sorted(name for name in wanted if not found[name])
    if silent:
        raise LakeboundError(f"of {count_text(len(wanted), 'alarm')} these notify nobody: {', '.join(silent)}")
    return f"{count_text(len(wanted), 'alarm')}, each notifies somebody"


def customer_key(key: str, places: Mapping[str, str | None]) -> str:
    """Check that the customer's key encrypts every place. `places` has the ARN of the key of each."""
    if not key:
        raise Skipped("the stack has no customer key")
    others = sorted(name for name, found in places.items() if found != key)
    if others:
        raise LakeboundError(f"not encrypted with the stack's key: {', '.join(others)}")
    return f"{', '.join(sorted(places))}"
