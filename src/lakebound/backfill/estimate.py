"""What each way to backfill would take: items, bytes, read units, dollars, minutes, and which one to choose."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import Final

from lakebound import prices
from lakebound.backfill.run_input import BackfillRequest
from lakebound.counts import count_text
from lakebound.source.facts import Concurrency, TableDescription

PROVISIONED_SHARE: Final = 0.25
"""Of a provisioned table's capacity, what a run takes when no read_capacity is given."""

ON_DEMAND_RATE: Final = 3_000.0
"""Read units a second on an on-demand table: a quarter of what a new one serves at once."""

UNIT_BYTES: Final = 4096
UNITS_PER_READER: Final = 1_500.0
"""What one reader gets through in a second; more than that takes another reader."""

SEGMENT_BYTES: Final = 1024 * 1024 * 1024
MAX_READERS: Final = 100
FILE_READERS: Final = 20
FREE_SHARE: Final = 0.5
"""Of the concurrency that nobody used in the last hour, what a run takes. The rest stays for the live path: a reader
runs for up to 900 s, and a delivery of the stream that finds no place is late by as much."""

SMALLEST_QUOTA: Final = 10
"""Concurrent executions of a new account; taken for granted where the account may not be asked."""

FOREIGN: Final = "cannot be taken of another account's table, DynamoDB exports an account's own tables only"
_GB: Final = 1024**3
_READER_GB: Final = 1.769
_EXPORT_MINUTES: Final = 15.0
_EXPORT_GB_PER_MINUTE: Final = 20.0
_CONVERT_BYTES_PER_SECOND: Final = 25_000_000.0
_CHEAP_DOLLARS: Final = 1.0
_QUICK_MINUTES: Final = 240.0


@dataclass(frozen=True, slots=True)
class Option:
    """One way to read the table. `impossible` says why it cannot be taken; it is empty where it can."""

    mode: str
    items: int
    bytes: int
    read_units: int
    dollars: float
    minutes: float
    impossible: str = ""


@dataclass(frozen=True, slots=True)
class Estimate:
    """All ways side by side, and the one that is recommended with its reason."""

    table: str
    options: tuple[Option, ...]
    recommended: str
    reason: str
    prices_as_of: str = prices.AS_OF

    def option(self, mode: str) -> Option:
        """The option of that mode."""
        return next(option for option in self.options if option.mode == mode)


@dataclass(frozen=True, slots=True)
class Cut:
    """How a scan is cut: segments, how many are read side by side, and read units a second for all of them."""

    segments: int
    concurrency: int
    budget: float

    @property
    def share(self) -> float:
        """Read units a second for one reader."""
        return self.budget / self.concurrency


def budget(facts: TableDescription, request: BackfillRequest) -> float:
    """Read units a second that the run may consume."""
    if request.read_capacity:
        return request.read_capacity
    return max(1.0, facts.read_capacity * PROVISIONED_SHARE) if facts.read_capacity else ON_DEMAND_RATE


def free_readers(seen: Concurrency | None) -> int:
    """How many readers may run at once beside everything else of the account; at least one."""
    free = SMALLEST_QUOTA if seen is None else seen.free
    return max(1, int(free * FREE_SHARE))


def cut(facts: TableDescription, request: BackfillRequest, most_readers: int = MAX_READERS) -> Cut:
    """How to cut a scan of this table, to be read by at most so many readers at once.

    Four segments to a reader: the last one to end leaves the others' share of the capacity unused.
    """
    units = budget(facts, request)
    readers = min(MAX_READERS, most_readers, max(1, ceil(units / UNITS_PER_READER)))
    if request.segments:
        segments = request.segments
    elif facts.size < 64 * 1024 * 1024:
        # A small table (or one whose size DynamoDB has not counted yet): a few, so that a wrong count costs nothing.
        segments = 4
    else:
        segments = min(10_000, max(4 * readers, ceil(facts.size / SEGMENT_BYTES)))
    return Cut(segments, min(readers, segments), units)


def estimate(
    facts: TableDescription, request: BackfillRequest, changed_bytes: int | None = None, barred: str = ""
) -> Estimate:
    """What a scan, a full export and an incremental export would take.

    `changed_bytes` is about how much the table's items that changed in the wanted hours hold; None where no hours are
    wanted. `barred` is why an incremental export cannot be taken, or empty. Dollars leave out a provisioned table's
    capacity, which is paid already.
    """
    scan = _scan(facts, request)
    export = _export("export", facts, facts.items, facts.size)
    changed = facts.size if changed_bytes is None else changed_bytes
    share = changed / facts.size if facts.size else 0.0
    incremental = _export("incremental_export", facts, min(facts.items, ceil(facts.items * share)), changed)
    if changed_bytes is None and not incremental.impossible:
        incremental = replace(incremental, impossible="needs from and to, or a gap to heal")
    if barred and not incremental.impossible:
        incremental = replace(incremental, impossible=barred)
    recommended, reason = _choose(scan, export, incremental)
    if barred:
        reason = f"{reason}; an incremental export {barred}"
    return Estimate(facts.name, (scan, export, incremental), recommended, reason)


def _scan(facts: TableDescription, request: BackfillRequest) -> Option:
    whole = ceil(facts.size / UNIT_BYTES)
    units = whole if request.consistent else ceil(whole / 2)
    how = cut(facts, request)
    seconds = units / how.budget
    work = facts.size / _CONVERT_BYTES_PER_SECOND
    seconds = max(seconds, work / how.concurrency)
    dollars = 0.0 if facts.read_capacity else units * prices.ON_DEMAND_READ_UNIT
    dollars += seconds * how.concurrency * _READER_GB * prices.LAMBDA_GB_SECOND[prices.ARCHITECTURE]
    dollars += how.segments * 10 * prices.STATE_TRANSITION
    return Option("scan", facts.items, facts.size, units, round(dollars, 2), round(seconds / 60, 1))


def _export(mode: str, facts: TableDescription, items: int, size: int) -> Option:
    work = size / _CONVERT_BYTES_PER_SECOND
    minutes = _EXPORT_MINUTES + size / _GB / _EXPORT_GB_PER_MINUTE + work / FILE_READERS / 60
    dollars = size / _GB * prices.EXPORT_GB + work * _READER_GB * prices.LAMBDA_GB_SECOND[prices.ARCHITECTURE]
    option = Option(mode, items, size, 0, round(dollars, 2), round(minutes, 1))
    if facts.is_foreign:
        return replace(option, impossible=FOREIGN)
    if facts.recovery_from_ms is None:
        return replace(option, impossible="needs point-in-time recovery, which is off")
    return option


def _choose(scan: Option, export: Option, incremental: Option) -> tuple[str, str]:
    if not incremental.impossible and incremental.bytes * 4 < scan.bytes and scan.minutes > incremental.minutes:
        return "incremental_export", "less than a quarter of the table changed in these hours"
    if export.impossible:
        return "scan", f"an export {export.impossible}"
    took = _minutes_text(scan.minutes)
    if scan.minutes <= export.minutes and scan.dollars <= max(export.dollars, _CHEAP_DOLLARS):
        return "scan", f"it is done sooner than an export, within its share of the capacity ({took})"
    if scan.minutes > _QUICK_MINUTES:
        return (
            "export",
            f"a scan within its share of the capacity would take {count_text(round(scan.minutes / 60), 'hour')}",
        )
    if scan.dollars < export.dollars:
        return "scan", f"it costs ${scan.dollars:.2f}, an export ${export.dollars:.2f}, and it takes {took}"
    return "export", "it consumes no read capacity and costs no more than a scan"


def _minutes_text(minutes: float) -> str:
    return "less than a minute" if minutes < 1 else count_text(minutes, "minute")
