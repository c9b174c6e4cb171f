"""Many stacks at once: a line for each, the worst first. A stack that could not be read has a line with the reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from lakebound.operate.cost import Bill, amount, dollars
from lakebound.operate.doctor import BAD, GOOD, WARN, Check
from lakebound.operate.doctor import UNKNOWN as UNCHECKED
from lakebound.operate.status import GAP, LAGGING, NOTE, OK, UNKNOWN, Status

T_co = TypeVar("T_co", covariant=True)

NOT_READ: Final = "not read"
"""The state of a stack in `doctor --all` and `cost --all` of which nothing could be found out."""

_STATES: Final = (OK, UNKNOWN, LAGGING, GAP)
_LEVELS: Final = (GOOD, WARN, UNCHECKED, BAD)


@dataclass(frozen=True, slots=True)
class Reading(Generic[T_co]):
    """What one stack told; `found` is None where it could not be read, and `refused` says why."""

    stack: str
    table: str
    found: T_co | None
    refused: str = ""


@dataclass(frozen=True, slots=True)
class FleetLine:
    """One stack for a person. A line with a greater `badness` comes first."""

    stack: str
    table: str
    state: str
    told: str
    badness: float
    is_well: bool
    since_ms: int | None = None


def worst_first(lines: Iterable[FleetLine]) -> list[FleetLine]:
    """The lines in their order: by badness, then by name."""
    return sorted(lines, key=lambda line: (-line.badness, line.stack))


def status_line(reading: Reading[Status]) -> FleetLine:
    """The state, and the worst finding behind it. A stack that was not read is UNKNOWN, before the others of that."""
    status = reading.found
    if status is None:
        return FleetLine(
            reading.stack, reading.table, UNKNOWN, reading.refused, _STATES.index(UNKNOWN) + 0.5, is_well=False
        )
    what = [one.what for one in status.findings if one.level != NOTE]
    return FleetLine(
        reading.stack,
        reading.table,
        status.state,
        _first(what),
        _STATES.index(status.state),
        is_well=status.state == OK,
        since_ms=status.since_ms,
    )


def checks_line(reading: Reading[Sequence[Check]]) -> FleetLine:
    """The worst level of the checks, and the first check of it. What was not read comes right after what is wrong."""
    checks = reading.found
    if checks is None:
        return FleetLine(
            reading.stack, reading.table, NOT_READ, reading.refused, _LEVELS.index(UNCHECKED) + 0.5, is_well=False
        )
    level = max((one.level for one in checks), key=_LEVELS.index, default=GOOD)
    what = sorted((one for one in checks if one.level != GOOD), key=lambda one: -_LEVELS.index(one.level))
    return FleetLine(
        reading.stack,
        reading.table,
        level,
        _first([f"{one.name}: {one.told}" for one in what]),
        _LEVELS.index(level),
        is_well=level in (GOOD, WARN),
    )


def bill_line(reading: Reading[Bill]) -> FleetLine:
    """Dollars a month, and the dearest part. What was not read comes first: it may cost anything."""
    bill = reading.found
    if bill is None:
        return FleetLine(reading.stack, reading.table, NOT_READ, reading.refused, float("inf"), is_well=False)
    told = ""
    if bill.dollars:
        dearest = bill.lines[0]
        told = f"{dearest.part} {dollars(dearest.dollars)} ({amount(dearest)})"
    if bill.unmeasured:
        told = f"{told}; not measured: {', '.join(bill.unmeasured)}".removeprefix("; ")
    state = f"at least {dollars(bill.dollars)}" if bill.unmeasured else dollars(bill.dollars)
    return FleetLine(reading.stack, reading.table, state, told, bill.dollars, is_well=True)


def _first(what: Sequence[str]) -> str:
    return what[0] + (f" (and {len(what) - 1:,} more)" if len(what) > 1 else "") if what else ""
