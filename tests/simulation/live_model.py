"""A model of silver, `_changes` and their reader, searched through every order of steps within small bounds.

A driver appends micro-batches and merges what waits. It may die before any of its side effects, and somebody may give
it a new checkpoint. A reader of `_live` fixes silver's version, and that of `_changes` at any later step, before a
second merge has begun. What it sees has to be the table as it was at some moment between the two: the greatest version
of each key among the first n micro-batches that were brought.

The names of appends and the choice of what a merge takes are the job's own (`silver/changes_table.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from lakebound_spark.silver.changes_table import next_append, waiting_appends

Records = tuple[tuple[str, int], ...]
"""Key and version, a key once."""
Table = tuple[tuple[str, int], ...]
"""The same, sorted, as a table's contents."""

BATCHES: Final[tuple[Records, ...]] = ((("a", 1),), (("a", 2), ("b", 1)), (("b", 2),))


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may happen."""

    merges: int = 3
    crashes: int = 1
    checkpoints: int = 1
    merges_beside_reader: int = 1
    """Merges that begin between the reader's two moments. A second one may drop what the reader needs."""


@dataclass(frozen=True, slots=True)
class Lake:
    """Everything there is, between two steps."""

    silver: Table = ()
    merged: tuple[str, ...] = ()
    """Silver's property: the appends that the last merge took."""
    changes: tuple[tuple[str, Records], ...] = ()
    brought: int = 0
    """How many of BATCHES have been appended at least once."""
    taken: int = 0
    """How many the checkpoint says are done."""
    number: int = 0
    """Spark's number of the next micro-batch. A new checkpoint begins at 0, and takes all files there are at once."""
    appended: int = 0
    """How many the micro-batch under way has brought with what was before it, until the checkpoint says so; else 0."""
    merging: tuple[str, ...] | None = None
    """The appends of the merge under way."""
    steps_done: int = 0
    """How many of a merge's side effects the merge under way has had."""
    before: tuple[str, ...] = ()
    written: int = -1
    """The greatest number of a micro-batch that was ever written: Delta's `txnVersion`."""
    runs: int = 1
    merges: int = 0
    crashes: int = 0
    checkpoints: int = 0
    seen: tuple[Table, int, int] | None = None
    """What the reader has of silver, how many micro-batches had been brought then, and how many merges had begun."""


def _names(lake: Lake) -> list[str]:
    return [name for name, _ in lake.changes]


def _run(lake: Lake) -> str:
    return f"{lake.runs:08d}"


def greatest(*tables: Records) -> Table:
    """Of each key the greatest version."""
    found: dict[str, int] = {}
    for table in tables:
        for key, version in table:
            found[key] = max(found.get(key, 0), version)
    return tuple(sorted(found.items()))


def _one_row_a_key(silver: Table, changes: Sequence[Records]) -> Table:
    return greatest(silver, *changes)


def _both_sides(silver: Table, changes: Sequence[Records]) -> Table:
    return tuple(sorted([*silver, *greatest(*changes)]))


@dataclass(frozen=True, slots=True)
class Rule:
    """How the job does it; each field is one decision."""

    name: str
    append: Callable[[Lake], str] = lambda lake: next_append(_names(lake), _run(lake))
    is_written: Callable[[Lake], bool] = lambda lake: True
    waiting: Callable[[Lake], list[str]] = lambda lake: waiting_appends(_names(lake), lake.merged)
    effects: tuple[str, ...] = ("merge", "note", "drop")
    """The side effects of a merge, in their order."""
    dropped: Callable[[Lake], list[str]] = lambda lake: list(lake.before)
    read: Callable[[Table, Sequence[Records]], Table] = _one_row_a_key


def _number(name: str) -> int:
    return int(name.partition("-")[0])


THE_JOB: Final = Rule("the job's own")
RED_CONTROLS: Final = (
    Rule("drops at once what it has merged", dropped=lambda lake: list(lake.merging or ())),
    Rule("drops before it merges", effects=("note", "drop", "merge"), dropped=lambda lake: list(lake.merging or ())),
    Rule("a view that adds both sides", read=_both_sides),
    Rule(
        "appends are called as Spark's micro-batches, and all up to the last one merged are dropped",
        append=lambda lake: f"{lake.number + 1:010d}-spark",
        waiting=lambda lake: [
            name for name in _names(lake) if _number(name) > max(map(_number, lake.merged), default=0)
        ],
        dropped=lambda lake: [
            name for name in _names(lake) if _number(name) <= max(map(_number, lake.before), default=0)
        ],
    ),
    Rule(
        "Delta passes over a micro-batch's number that it has seen", is_written=lambda lake: lake.number > lake.written
    ),
)
"""Rules that have to be found wrong (the design's pitfalls). The last three need a new checkpoint or none at all."""


@dataclass(frozen=True, slots=True)
class Fault:
    """The shortest history in which a reader sees what never was, or in which a change is lost for good."""

    steps: tuple[str, ...]
    saw: Table
    expected: tuple[Table, ...]


@dataclass(slots=True)
class Search:
    """What a search found: states, and the first fault."""

    states: int = 0
    fault: Fault | None = None
    steps: dict[str, int] = field(default_factory=dict)
    """How often each kind of step was taken."""


def search(rule: Rule, bounds: Bounds | None = None) -> Search:
    """Every reachable state, nearest first, until a fault is found."""
    limits, found = bounds or Bounds(), Search()
    start = Lake()
    came: dict[Lake, tuple[Lake, str] | None] = {start: None}
    queue = deque([start])
    while queue:
        lake = queue.popleft()
        found.states += 1
        wrong = _fault(rule, lake, limits)
        if wrong is not None:
            found.fault = replace(wrong, steps=_history(came, lake) + wrong.steps)
            return found
        for name, after in _steps(rule, lake, limits):
            found.steps[name] = found.steps.get(name, 0) + 1
            if after not in came:
                came[after] = (lake, name)
                queue.append(after)
    return found


def _history(came: Mapping[Lake, tuple[Lake, str] | None], lake: Lake) -> tuple[str, ...]:
    steps: list[str] = []
    while (last := came[lake]) is not None:
        lake, name = last
        steps.append(name)
    return tuple(reversed(steps))


def _fault(rule: Rule, lake: Lake, limits: Bounds) -> Fault | None:
    """What is wrong if the reader fixes `_changes` here, or reads both tables here."""
    silver, since, merges = lake.seen or (lake.silver, lake.brought, lake.merges)
    if lake.merges - merges > limits.merges_beside_reader:
        return None
    saw = rule.read(silver, [records for _, records in lake.changes])
    expected = tuple(greatest(*BATCHES[:count]) for count in range(since, lake.brought + 1))
    return None if saw in expected else Fault(("read _changes",), saw, expected)


def _steps(rule: Rule, lake: Lake, limits: Bounds) -> Iterator[tuple[str, Lake]]:
    if lake.seen is None:
        yield "read silver", replace(lake, seen=(lake.silver, lake.brought, lake.merges))
    if lake.merging is None and lake.taken < len(BATCHES):
        if lake.appended:
            yield "note in the checkpoint", replace(lake, appended=0, taken=lake.appended, number=lake.number + 1)
        else:
            yield "append", _append(rule, lake)
    if lake.merging is None and not lake.appended and lake.merges < limits.merges and rule.waiting(lake):
        started = replace(lake, merging=tuple(rule.waiting(lake)), before=lake.merged, merges=lake.merges + 1)
        yield rule.effects[0], _effect(rule, replace(started, steps_done=0))
    if lake.merging is not None:
        yield rule.effects[lake.steps_done], _effect(rule, lake)
    if lake.crashes < limits.crashes and (lake.appended or lake.merging is not None):
        yield "crash", _anew(replace(lake, crashes=lake.crashes + 1))
    if lake.checkpoints < limits.checkpoints and lake.merging is None and not lake.appended and lake.taken:
        yield "new checkpoint", _anew(replace(lake, checkpoints=lake.checkpoints + 1, taken=0, number=0))


def _anew(lake: Lake) -> Lake:
    """A driver that starts."""
    return replace(lake, runs=lake.runs + 1, appended=0, merging=None, steps_done=0, before=())


def _append(rule: Rule, lake: Lake) -> Lake:
    is_first = lake.checkpoints > 0 and lake.number == 0
    upto = min(len(BATCHES), max(lake.brought, lake.taken) + 1 if is_first else lake.taken + 1)
    changes = lake.changes
    if rule.is_written(lake):
        name = rule.append(lake)
        kept = [(one, records) for one, records in changes if one != name]
        changes = (*kept, (name, greatest(*BATCHES[lake.taken : upto])))
    return replace(
        lake,
        changes=changes,
        appended=upto,
        brought=max(lake.brought, upto),
        written=max(lake.written, lake.number),
    )


def _effect(rule: Rule, lake: Lake) -> Lake:
    assert lake.merging is not None
    effect = rule.effects[lake.steps_done]
    if effect == "merge":
        taken = [records for name, records in lake.changes if name in lake.merging]
        lake = replace(lake, silver=greatest(lake.silver, *taken))
    elif effect == "note":
        lake = replace(lake, merged=tuple(sorted(lake.merging)))
    else:
        gone = set(rule.dropped(lake))
        lake = replace(lake, changes=tuple(one for one in lake.changes if one[0] not in gone))
    done = lake.steps_done + 1
    if done == len(rule.effects):
        return replace(lake, merging=None, steps_done=0, before=())
    return replace(lake, steps_done=done)
