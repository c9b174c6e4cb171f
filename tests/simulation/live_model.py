"""A model of silver, `_changes` and their reader, searched through every order of steps within small bounds.

A driver appends micro-batches, and merges beside that what waits. It may die before any of its side effects, and
somebody may give it a new checkpoint. A purge merges what waits, notes its floor, looks for old tombstones and removes
them, while the driver goes on. A reader of `_live` fixes silver's version, and that of `_changes` at any later step,
before a second merge has begun. What it sees has to be the table as it was at some moment between the two: what the
greatest records of both registers say among the first n micro-batches that were brought.

The names of appends and the choice of what a merge takes are the job's own (`silver/changes_table.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Final, NamedTuple

from lakebound_spark.silver.changes_table import next_append, waiting_appends

Table = tuple[tuple[str, int, int], ...]
"""Key, stream register and base register; a key once, sorted. A register holds the time of its record, 0 for none,
below 0 where the record says that the item is gone."""
Items = tuple[tuple[str, int], ...]
"""Each visible item's key, and the time of the record that shows it."""

BATCHES: Final[tuple[Table, ...]] = (
    (("a", 1, -2), ("b", 1, 0)),
    (("b", -3, 0),),
    (("a", 1, 0), ("b", 0, 2)),
)
"""Puts, and a sweep that found a gone; the delete of b; the put of a once more, and late what a scan had read of b."""
FLOOR: Final = 3
"""A purge removes tombstones that are older, once every such record has been brought once: that is its horizon."""
_BEFORE_FLOOR: Final = 1
"""So many of BATCHES hold what a purge may remove, and whatever is older than that."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may happen."""

    merges: int = 3
    crashes: int = 1
    checkpoints: int = 1
    purges: int = 1
    readers: int = 1
    """Readers with two moments. A reader that sees both tables in one moment is there in any case."""
    merges_beside_reader: int = 1
    """Merges that begin between the reader's two moments. A second one may drop what the reader needs."""
    starts: bool = True
    """Whether a start that `changes_fault` refuses without cause counts as a fault."""
    reads_unchecked: bool = False
    """Whether a reader looks while an append waits to be compared with a floor that a purge has noted meanwhile."""


class Lake(NamedTuple):
    """Everything there is, between two steps."""

    silver: Table = ()
    merged: tuple[str, ...] = ()
    """Silver's property: the appends that the last merge took."""
    changes: tuple[tuple[str, Table], ...] = ()
    brought: int = 0
    """How many of BATCHES have been appended at least once."""
    taken: int = 0
    """How many the checkpoint says are done."""
    number: int = 0
    """Spark's number of the next micro-batch. A new checkpoint begins at 0, and takes all files there are at once."""
    appended: int = 0
    """How many the micro-batch under way has brought with what was before it, until the checkpoint says so; else 0."""
    floor_read: int = -1
    """The floor by which the micro-batch under way left records out; -1 while there is none."""
    unchecked: str = ""
    """The append that nobody has compared with the floor of this moment yet."""
    merging: tuple[str, ...] = ()
    """The appends of the merge under way."""
    effects: tuple[str, ...] = ()
    """The side effects that it still has to have."""
    before: tuple[str, ...] = ()
    floor: int = 0
    """Silver's property: the floor of the last purge."""
    purge: str = ""
    """The last step of the purge under way."""
    purged: tuple[str, ...] = ()
    """The keys that it has found."""
    written: int = -1
    """The greatest number of a micro-batch that was ever written: Delta's `txnVersion`."""
    runs: int = 1
    merges: int = 0
    crashes: int = 0
    checkpoints: int = 0
    purges: int = 0
    seen: tuple[Table, int, int] | None = None
    """What the reader has of silver, how many micro-batches had been brought then, and how many merges had begun."""


def _names(lake: Lake) -> list[str]:
    return [name for name, _ in lake.changes]


def _run(lake: Lake) -> str:
    return f"{lake.runs:08d}"


@cache
def greatest(*tables: Table) -> Table:
    """Of each key, and of each of its registers, the latest record."""
    found: dict[str, tuple[int, int]] = {}
    for table in tables:
        for key, stream, base in table:
            have = found.get(key, (0, 0))
            found[key] = (max(have[0], stream, key=abs), max(have[1], base, key=abs))
    return tuple(sorted((key, *registers) for key, registers in found.items()))


@cache
def items(*tables: Table) -> Items:
    """What is visible: of each key the later of its registers, if that has an item."""
    shown = ((key, max(stream, base, key=abs)) for key, stream, base in greatest(*tables))
    return tuple((key, time) for key, time in shown if time > 0)


@cache
def _fresh(table: Table, floor: int) -> Table:
    """Without the records that are older than the floor."""
    kept = ((key, *(time if abs(time) >= floor else 0 for time in times)) for key, *times in table)
    return tuple((key, stream, base) for key, stream, base in kept if stream or base)


def _one_row_a_key(silver: Table, changes: Sequence[Table]) -> Items:
    return items(silver, *changes)


def _both_sides(silver: Table, changes: Sequence[Table]) -> Items:
    return tuple(sorted([*items(silver), *items(*changes)]))


def _whichever_register_is_newer(silver: Table, changes: Sequence[Table]) -> Items:
    found = {key: (stream, base) for key, stream, base in silver}
    shown = dict(items(silver))
    for key, stream, base in greatest(*changes):
        have = found.get(key, (0, 0))
        newer = stream if abs(stream) > abs(have[0]) else base if abs(base) > abs(have[1]) else shown.get(key, -1)
        shown[key] = newer
    return tuple(sorted((key, time) for key, time in shown.items() if time > 0))


def _tombstones(lake: Lake) -> Iterable[str]:
    """The keys of silver whose tombstones are older than the floor."""
    shown = {key for key, _ in items(lake.silver)}
    return (key for key, *times in lake.silver if key not in shown and max(map(abs, times)) < lake.floor)


def _without_kept_keys(lake: Lake) -> tuple[str, ...]:
    kept = {row[0] for _, rows in lake.changes for row in rows}
    return tuple(key for key in _tombstones(lake) if key not in kept)


@dataclass(frozen=True, slots=True)
class Rule:
    """How the job does it; each field is one decision."""

    name: str
    append: Callable[[Lake], str] = lambda lake: next_append(_names(lake), _run(lake))
    is_written: Callable[[Lake], bool] = lambda lake: True
    waiting: Callable[[Lake], list[str]] = lambda lake: waiting_appends(_names(lake), lake.merged)
    effects: tuple[str, ...] = ("merge", "clear", "note", "drop")
    """The side effects of a merge, in their order."""
    dropped: Callable[[Lake], list[str]] = lambda lake: list(lake.before)
    read: Callable[[Table, Sequence[Table]], Items] = _one_row_a_key
    merge_floor: Callable[[Lake], int] = lambda lake: lake.floor
    """Older records are in no merge."""
    looks_again: bool = True
    """Whether a micro-batch compares the floor after its append, and clears the append if it has moved."""
    starts_clear: bool = True
    """Whether a driver that starts clears what waits, for a micro-batch may have been killed before it did."""
    clears_merged: bool = False
    """Whether it does so with an append that has been merged, too."""
    notes_kept: bool = True
    """Whether a merge notes, of what it has taken, only the appends of which something is kept."""
    purgeable: Callable[[Lake], tuple[str, ...]] = _without_kept_keys


def _number(name: str) -> int:
    return int(name.partition("-")[0])


THE_JOB: Final = Rule("the job's own")
RED_CONTROLS: Final = (
    Rule("drops at once what it has merged", dropped=lambda lake: list(lake.merging)),
    Rule("drops before it merges", effects=("note", "drop", "merge"), dropped=lambda lake: list(lake.merging)),
    Rule("a view that adds both sides", read=_both_sides),
    Rule("a view that takes a register that is not the visible one", read=_whichever_register_is_newer),
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
    Rule("a purge removes tombstones of keys that are kept", purgeable=lambda lake: tuple(_tombstones(lake))),
    Rule("a merge asks for no floor", effects=("merge", "note", "drop"), merge_floor=lambda lake: 0),
    Rule("a merge keeps what it left out", effects=("merge", "note", "drop")),
    Rule("a micro-batch does not look at the floor again", looks_again=False),
    Rule("a start clears nothing", starts_clear=False),
    Rule("a micro-batch clears what is merged", clears_merged=True),
    Rule("a merge notes appends that are gone", notes_kept=False),
)
"""Rules that have to be found wrong (the design's pitfalls)."""


@dataclass(frozen=True, slots=True)
class Fault:
    """The shortest history in which a reader sees what never was, a change is lost for good, or a start is refused."""

    steps: tuple[str, ...]
    saw: Items
    expected: tuple[Items, ...]


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


EXPECTED: Final = tuple(items(*BATCHES[:count]) for count in range(len(BATCHES) + 1))


def _fault(rule: Rule, lake: Lake, limits: Bounds) -> Fault | None:
    """What is wrong if the reader fixes `_changes` here, or reads both tables here, or if a driver starts here."""
    if limits.starts and not set(lake.merged) <= set(_names(lake)):
        return Fault(("start",), (), ())
    silver, since, merges = lake.seen or (lake.silver, lake.brought, lake.merges)
    if lake.merges - merges > limits.merges_beside_reader:
        return None
    if lake.unchecked and lake.floor and not limits.reads_unchecked:
        return None
    saw = rule.read(silver, [records for _, records in lake.changes])
    expected = EXPECTED[since : lake.brought + 1]
    return None if saw in expected else Fault(("read _changes",), saw, expected)


def _steps(rule: Rule, lake: Lake, limits: Bounds) -> Iterator[tuple[str, Lake]]:
    if lake.seen is None and limits.readers:
        yield "read silver", lake._replace(seen=(lake.silver, lake.brought, lake.merges))
    yield from _micro_batch(rule, lake)
    if lake.effects:
        yield lake.effects[0], _effect(rule, lake)
    elif lake.merges < limits.merges and (waiting := rule.waiting(lake)):
        started = lake._replace(merging=tuple(waiting), before=lake.merged, merges=lake.merges + 1)
        effects = rule.effects if _stale(started) else tuple(effect for effect in rule.effects if effect != "clear")
        yield effects[0], _effect(rule, started._replace(effects=effects))
    yield from _purge(rule, lake, limits)
    if lake.crashes < limits.crashes and (lake.floor_read >= 0 or lake.effects or lake.purge):
        yield "crash", _anew(rule, lake._replace(crashes=lake.crashes + 1))
    if lake.checkpoints < limits.checkpoints and not lake.effects and lake.floor_read < 0 and lake.taken:
        yield "new checkpoint", _anew(rule, lake._replace(checkpoints=lake.checkpoints + 1, taken=0, number=0))


def _anew(rule: Rule, lake: Lake) -> Lake:
    """A driver that starts."""
    if rule.starts_clear:
        lake = _clear(lake, rule.waiting(lake))
    anew = lake._replace(runs=lake.runs + 1, appended=0, floor_read=-1, merging=(), effects=(), before=())
    return anew._replace(purge="", purged=(), unchecked="")


def _micro_batch(rule: Rule, lake: Lake) -> Iterator[tuple[str, Lake]]:
    """The next step of the micro-batch under way, or of the next one."""
    if lake.taken == len(BATCHES):
        return
    if lake.floor_read < 0:
        yield "read the floor", lake._replace(floor_read=lake.floor)
    elif not lake.appended:
        yield "append", _append(rule, lake)
    elif rule.looks_again and lake.floor != lake.floor_read:
        is_cleared = rule.clears_merged or lake.unchecked not in lake.merged
        yield "clear the append", _clear(lake, [lake.unchecked] * is_cleared)._replace(floor_read=lake.floor)
    else:
        done = lake._replace(appended=0, floor_read=-1, unchecked="", taken=lake.appended, number=lake.number + 1)
        yield "note in the checkpoint", done


def _clear(lake: Lake, names: Sequence[str]) -> Lake:
    """Without the records of these appends that are older than the floor; of which nothing is left is gone."""
    cleared = ((name, _fresh(rows, lake.floor) if name in names else rows) for name, rows in lake.changes)
    return lake._replace(changes=tuple((name, rows) for name, rows in cleared if rows))


def _append(rule: Rule, lake: Lake) -> Lake:
    is_first = lake.checkpoints > 0 and lake.number == 0
    upto = min(len(BATCHES), max(lake.brought, lake.taken) + 1 if is_first else lake.taken + 1)
    changes, name = lake.changes, ""
    if rule.is_written(lake):
        name = rule.append(lake)
        kept = [(one, records) for one, records in changes if one != name]
        if rows := _fresh(greatest(*BATCHES[lake.taken : upto]), lake.floor_read):
            changes = (*kept, (name, rows))
    return lake._replace(
        changes=changes,
        appended=upto,
        unchecked=name,
        brought=max(lake.brought, upto),
        written=max(lake.written, lake.number),
    )


def _stale(lake: Lake) -> bool:
    return any(_fresh(records, lake.floor) != records for name, records in lake.changes if name in lake.merging)


def _effect(rule: Rule, lake: Lake) -> Lake:
    effect, floor = lake.effects[0], rule.merge_floor(lake)
    if effect == "clear":
        lake = _clear(lake, lake.merging)
    elif effect == "merge":
        taken = [_fresh(records, floor) for name, records in lake.changes if name in lake.merging]
        lake = lake._replace(silver=greatest(lake.silver, *taken))
    elif effect == "note":
        kept = set(_names(lake)) if rule.notes_kept else set(lake.merging)
        lake = lake._replace(merged=tuple(sorted(kept.intersection(lake.merging))))
    else:
        gone = set(rule.dropped(lake))
        lake = lake._replace(changes=tuple(one for one in lake.changes if one[0] not in gone))
    left = lake.effects[1:]
    if left:
        return lake._replace(effects=left)
    return lake._replace(merging=(), effects=(), before=())


def _purge(rule: Rule, lake: Lake, limits: Bounds) -> Iterator[tuple[str, Lake]]:
    """The next step of the purge under way, or of one that begins."""
    if not lake.purge:
        is_time = lake.brought >= _BEFORE_FLOOR and lake.purges < limits.purges
        if is_time and not lake.effects and not rule.waiting(lake):
            yield "begin a purge", lake._replace(purge="begun", purges=lake.purges + 1)
    elif lake.purge == "begun":
        yield "note the floor", lake._replace(purge="noted", floor=FLOOR)
    elif lake.purge == "noted":
        yield "find tombstones", lake._replace(purge="found", purged=rule.purgeable(lake))
    else:
        # The MERGE compares the row again, since somebody may have brought a newer record.
        gone = set(lake.purged).intersection(_tombstones(lake))
        silver = tuple(row for row in lake.silver if row[0] not in gone)
        yield "purge", lake._replace(purge="", purged=(), silver=silver)
