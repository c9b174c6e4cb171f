"""Rules that fail, each with the scenarios in which its shortest counterexample lies: the small scope's red controls.

A search that finds nothing wrong with one of these has become blind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.simulation.small_scope import (
    MARGIN,
    TWO_REGISTERS,
    WAIT,
    Rule,
    Scenario,
    Scope,
    Verdict,
    healed_by_windows,
    healed_in_full,
    search,
    whole_stream,
)
from tests.support.registers import EMPTY, Change, Reduced, Row, merge, reduce


@dataclass(frozen=True, slots=True)
class RedControl:
    """A rule or a bound that must be found wrong. `source` is where it comes from."""

    name: str
    rule: Rule
    scenarios: Callable[[], Iterator[Scenario]]
    source: str = "the design"

    def search(self) -> Verdict:
        return search(self.rule, self.scenarios())


def _one_by_one(step: Callable[[Any, Change], Any]) -> Callable[[Any, Any], tuple[Any, ...]]:
    def apply(state: Any, batch: Sequence[Change]) -> tuple[Any, ...]:
        for change in batch:
            state = step(state, change)
        return (state,)

    return apply


def _shown(state: Any) -> Any:
    return None if state is None else state.image


LAST_ARRIVAL = Rule("last arrival wins", None, tuple, _one_by_one(lambda _, change: change), _shown)


def _by_updated_at(state: Change | None, batch: Sequence[Change]) -> tuple[Change | None, ...]:
    upserts = [change for change in batch if change.image is not None]
    if upserts:
        # One row per key by time; among equals the first met, which a shuffle decides: all of them are possible.
        newest = max(change.time for change in upserts)
        picked = [change for change in upserts if change.time == newest]
        outcomes: list[Change | None] = [
            change if state is None or change.time >= state.time else state for change in picked
        ]
    else:
        outcomes = [state]
    if any(change.image is None for change in batch):
        outcomes = [None]
    return tuple(outcomes)


UPDATED_AT = Rule("MERGE by updated_at, then DELETE the REMOVE keys", None, tuple, _by_updated_at, _shown)


def _greatest(name: str, rank: Callable[[Change], Any]) -> Rule:
    def step(state: Change | None, change: Change) -> Change:
        return change if state is None or rank(change) > rank(state) else state

    return Rule(name, None, tuple, _one_by_one(step), _shown)


SNAPSHOT_IS_ZERO = _greatest("sequence number, snapshot rows count as 0", lambda c: c.version or "0")
LEXICOGRAPHIC = _greatest(
    "lexicographic (time, scan < stream, sequence)", lambda c: (c.base[0], 0, "") if c.base else (c.time, 1, c.version)
)


def _pairwise(state: Change | None, change: Change) -> Change:
    if state is None:
        return change
    if not state.base and not change.base:
        return change if change.version > state.version else state
    if state.base and change.base:
        return change if change.base > state.base else state
    stream, base = (change, state) if state.base else (state, change)
    assert base.base
    return stream if stream.time >= base.base[0] else base


PAIRWISE = Rule("pairwise", None, tuple, _one_by_one(_pairwise), _shown)


def _scan_wins_ties(row: Row, batch: Reduced) -> tuple[Row, ...]:
    newer, newer_base = batch.version > row.version, batch.base > row.base
    time = max(row.time, batch.time)
    base = batch.base if newer_base else row.base
    if not base or time > base[0]:
        image = batch.stream_image if newer else row.image
    else:
        image = batch.base_image if newer_base else row.image
    return (Row(batch.version if newer else row.version, time, base, image),)


SCAN_WINS_TIES = Rule("scan wins ties", EMPTY, reduce, _scan_wins_ties, lambda row: row.image)


def _hard_delete(row: Row, batch: Reduced) -> tuple[Row, ...]:
    after = merge(row, batch)
    return (EMPTY if after.image is None else after,)


HARD_DELETE = Rule("hard delete without tombstone", EMPTY, reduce, _hard_delete, lambda row: row.image)


def _purged_early(row: Row, batch: Reduced) -> tuple[Row, ...]:
    after = merge(row, batch)
    # A purge job may run after any micro-batch, and takes tombstones of any age.
    return (after, EMPTY) if after.image is None else (after,)


PURGED_EARLY = Rule("tombstones purged early", EMPTY, reduce, _purged_early, lambda row: row.image)


def _label_only(row: Row, batch: Sequence[Change]) -> tuple[Row, ...]:
    for change in batch:
        one = reduce([change])
        if one.base and row.base and one.base[0] == row.base[0]:
            continue
        row = merge(row, one)
    return (row,)


LABEL_ONLY = Rule("sweep without the (label, run, present) tuple", EMPTY, tuple, _label_only, lambda row: row.image)


def _same_label() -> Iterator[Scenario]:
    # One page is read twice: the item came between, and its stream record was lost in an old gap. The sweep of the
    # first read's run and the second read bear one label.
    scan, sweep = Change("", -1, (10, "a", 1), "v1"), Change("", -1, (10, "a", 0), None)
    yield Scenario(
        ("a page is read, and read again after a restart; the sweep ran for the first read",), (scan, sweep), "v1"
    )


def _streams_only() -> Iterator[Scenario]:
    return whole_stream(Scope(writes=3, scans=0))


RED_CONTROLS: tuple[RedControl, ...] = (
    RedControl("last arrival wins", LAST_ARRIVAL, _streams_only),
    RedControl("MERGE by updated_at, then DELETE", UPDATED_AT, _streams_only),
    RedControl("snapshot rows count as 0", SNAPSHOT_IS_ZERO, lambda: healed_in_full(Scope(writes=2, scans=1))),
    RedControl("lexicographic", LEXICOGRAPHIC, _streams_only),
    RedControl("pairwise", PAIRWISE, lambda: whole_stream(Scope(writes=2, scans=1, steps=(0, 1, 3)))),
    RedControl("scan wins ties", SCAN_WINS_TIES, lambda: whole_stream(Scope(writes=2, scans=1))),
    RedControl("hard delete without tombstone", HARD_DELETE, _streams_only),
    RedControl("tombstones purged early", PURGED_EARLY, _streams_only),
    RedControl("sweep without the tuple", LABEL_ONLY, _same_label),
    RedControl("margin too small", TWO_REGISTERS, lambda: whole_stream(Scope(writes=2, scans=1, margin=MARGIN - 1))),
    RedControl("W too short", TWO_REGISTERS, lambda: healed_in_full(Scope(scans=1, wait=MARGIN))),
    RedControl(
        "own write time as label",
        TWO_REGISTERS,
        lambda: healed_by_windows(Scope(scans=0, own_time_label=True, reread="none")),
    ),
    RedControl("no re-read", TWO_REGISTERS, lambda: healed_by_windows(Scope(scans=0, reread="none"))),
    RedControl(
        "inner edge just after G", TWO_REGISTERS, lambda: healed_by_windows(Scope(scans=0, inner_edge=1, reread="none"))
    ),
    RedControl(
        "W of exactly margin plus both errors",
        TWO_REGISTERS,
        lambda: healed_in_full(Scope(scans=1, wait=WAIT - 1)),
        "the search",
    ),
    RedControl(
        "re-read of [G - MARGIN, C + MARGIN] only",
        TWO_REGISTERS,
        lambda: healed_by_windows(Scope(scans=0, reread="gap only", steps=(0, 1, 3, WAIT))),
        "the search",
    ),
    RedControl(
        "re-read of keys with a stream record only",
        TWO_REGISTERS,
        lambda: healed_by_windows(Scope(scans=2, reread="stream only")),
        "the search",
    ),
)


def table() -> str:
    return "\n".join(f"{one.name}: {one.search().wrong or 'NOT FOUND'}" for one in RED_CONTROLS)
