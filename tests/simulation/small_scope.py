"""Every small history of one key, delivered in every order and every batching, against a merge rule.

A scenario is what happened (writes with their stamps, scans, what was lost, how it was healed) and the records that
come of it. A delivery is one way for these records to arrive: an ordered partition of them into micro-batches, and at
most one of them a second time, at any moment. Deliveries are not walked one by one: two that have brought the
same records and left the same row behave alike from there on, so they are counted together, exactly. A counterexample
is still one delivery.

Times are small whole numbers. A stamp is at most 1 off, a scanner's clock at most 1, so the least sound margin is 2,
and the first page must start more than margin + 2 after the continuity point.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice, pairwise, product
from typing import Any, NamedTuple

from tests.support.registers import EMPTY, Change, Registers, merge, reduce

MARGIN = 2
WAIT = 5
ERRORS = (0, -1, 1)
LOW = -1_000


@dataclass(frozen=True, slots=True)
class Rule:
    """A merge rule: what a micro-batch does to a row (several outcomes where the rule leaves one open), what shows."""

    name: str
    empty: Hashable
    prepare: Callable[[Sequence[Change]], Any]
    apply: Callable[[Any, Any], tuple[Hashable, ...]]
    visible: Callable[[Any], Any]


class Scenario(NamedTuple):
    """What happened, told and as records, and the item the source holds in the end."""

    story: tuple[str, ...]
    changes: tuple[Change, ...]
    truth: Any


class Verdict(NamedTuple):
    """How many deliveries were covered by how many merges, and one that ends wrong, if any."""

    deliveries: int
    merges: int
    wrong: str = ""


TWO_REGISTERS = Rule("two max-registers", EMPTY, reduce, lambda row, batch: (merge(row, batch),), lambda row: row.image)


def deliver(scenario: Scenario, rule: Rule, duplicates: bool = True) -> Verdict:
    """Deliver a scenario's records in every way."""
    changes = scenario.changes
    count = len(changes)
    full = (1 << count) - 1
    prepared = [rule.prepare([changes[i] for i in range(count) if mask >> i & 1]) for mask in range(full + 1)]
    apply = rule.apply
    # For each set of records delivered: row and whether the second copy was used -> (ways, how it came about).
    reached: list[dict[tuple[Hashable, bool], list[Any]]] = [{} for _ in range(full + 1)]
    reached[0][rule.empty, False] = [1, None]
    merges = 0
    for mask in range(full + 1):
        here = reached[mask]
        if duplicates and mask:
            for (row, again), found in list(here.items()):
                if again:
                    continue
                for i in range(count):
                    if mask >> i & 1:
                        merges += 1
                        for after in apply(row, prepared[1 << i]):
                            _reach(here, (after, True), found[0], (mask, (row, False), 1 << i))
        rest = full & ~mask
        batch = rest
        while batch:
            there = reached[mask | batch]
            reduced = prepared[batch]
            for state, found in here.items():
                merges += 1
                for after in apply(state[0], reduced):
                    _reach(there, (after, state[1]), found[0], (mask, state, batch))
            batch = (batch - 1) & rest
    deliveries = 0
    wrong = ""
    for state, found in reached[full].items():
        deliveries += found[0]
        if rule.visible(state[0]) != scenario.truth and not wrong:
            wrong = _tell(scenario, rule, reached, full, state)
    return Verdict(deliveries, merges, wrong)


def _reach(there: dict[tuple[Hashable, bool], list[Any]], state: tuple[Hashable, bool], ways: int, came: Any) -> None:
    found = there.get(state)
    if found is None:
        there[state] = [ways, came]
    else:
        found[0] += ways


def _tell(scenario: Scenario, rule: Rule, reached: list[Any], mask: int, state: tuple[Any, bool]) -> str:
    batches: list[str] = []
    last = state[0]
    came = reached[mask][state][1]
    while came is not None:
        mask, state, batch = came
        names = [describe(change) for i, change in enumerate(scenario.changes) if batch >> i & 1]
        batches.insert(0, "[" + ", ".join(names) + "]")
        came = reached[mask][state][1]
    return (
        f"{'; '.join(scenario.story)}; arriving as {' '.join(batches)}: "
        f"silver shows {_item(rule.visible(last))}, the source holds {_item(scenario.truth)}"
    )


def _item(image: Any) -> str:
    return "nothing" if image is None else str(image)


def describe(change: Change) -> str:
    if change.base:
        return f"{_item(change.image)}@L{change.base[0]} of {change.base[1]}"
    return f"stream {int(change.version)}: {_item(change.image)} stamped {change.time}"


@dataclass(frozen=True, slots=True)
class Scope:
    """The bounds and the constants of a search; red controls change one of them."""

    writes: int = 3
    scans: int = 2
    margin: int = MARGIN
    wait: int = WAIT
    steps: tuple[int, ...] = (0, 1, 3)
    errors: tuple[int, ...] = ERRORS
    own_time_label: bool = False
    reread: str = "all"
    inner_edge: int = WAIT


class Write(NamedTuple):
    """One committed write: when, what it left, and the stamp its record bears."""

    time: int
    image: str | None
    stamp: int


def _writes(scope: Scope, count: int) -> Iterator[tuple[str | None, tuple[Write, ...]]]:
    for before in (None, "v0"):
        for kinds in product((True, False), repeat=count):
            present, legal = before is not None, True
            for put in kinds:
                legal = legal and (put or present)
                present = put
            if not legal:
                continue
            for gaps in product(scope.steps, repeat=max(0, count - 1)):
                times = [10 + sum(gaps[:i]) for i in range(count)]
                for off in product(scope.errors, repeat=count):
                    yield (
                        before,
                        tuple(
                            Write(time, f"v{i + 1}" if put else None, time + error)
                            for i, (time, put, error) in enumerate(zip(times, kinds, off, strict=True))
                        ),
                    )


def _stream(number: int, write: Write) -> Change:
    return Change(f"{number + 1}", write.stamp, (), write.image)


def _reads(writes: Sequence[Write], time: int) -> Iterator[int]:
    """How many writes a read at a time can have seen: those of the same moment one by one."""
    yield from range(sum(write.time < time for write in writes), sum(write.time <= time for write in writes) + 1)


def _image(before: str | None, writes: Sequence[Write], seen: int) -> str | None:
    return writes[seen - 1].image if seen else before


def _told(before: str | None, writes: Sequence[Write], lost: Iterable[int] = ()) -> tuple[str, ...]:
    gone = set(lost)
    return (
        f"before: {_item(before)}",
        *(f"{w.image or 'DELETE'} at {w.time}{' (lost)' if i in gone else ''}" for i, w in enumerate(writes)),
    )


def _scan(
    before: str | None, writes: Sequence[Write], time: int, seen: int, error: int, margin: int, run: str
) -> tuple[str, Change]:
    """A page and, where it saw nothing, the sweep's ABSENT record under the same label."""
    image = _image(before, writes, seen)
    label = time + error - margin
    return f"{run} reads {_item(image)} at {time}", Change("", LOW, (label, run, int(image is not None)), image)


def whole_stream(scope: Scope) -> Iterator[Scenario]:
    """Nothing is lost; scans and sweeps at any moment."""
    for count in range(scope.writes + 1):
        for before, writes in _writes(scope, count):
            pages = [
                _scan(before, writes, time, seen, error, scope.margin, "a")
                for time in sorted({w.time + d for w in writes for d in (0, 1)} | {9})
                for seen in _reads(writes, time)
                for error in scope.errors
            ]
            second = [(told.replace("a reads", "b reads"), _renamed(change, "b")) for told, change in pages]
            streams = [_stream(i, w) for i, w in enumerate(writes)]
            told = _told(before, writes)
            truth = _image(before, writes, count)
            if before is None:
                yield Scenario(told, tuple(streams), truth)
            if scope.scans >= 1:
                for said, page in pages:
                    yield Scenario((*told, said), (*streams, page), truth)
            if scope.scans >= 2:
                for one, other in product(pages, second):
                    yield Scenario((*told, one[0], other[0]), (*streams, one[1], other[1]), truth)


def _renamed(change: Change, run: str) -> Change:
    assert change.base
    return change._replace(base=(change.base[0], run, change.base[2]))


def _losses(scope: Scope) -> Iterator[tuple[str | None, tuple[Write, ...], tuple[int, ...]]]:
    for count in range(1, scope.writes + 1):
        for before, writes in _writes(scope, count):
            for size in range(1, count + 1):
                for lost in combinations(range(count), size):
                    yield before, writes, lost


def healed_in_full(scope: Scope) -> Iterator[Scenario]:
    """Any writes are lost; a complete scan and its sweep start after C + W. An earlier scan may lie in the gap."""
    for before, writes, lost in _losses(scope):
        told = _told(before, writes, lost)
        streams = [_stream(i, w) for i, w in enumerate(writes) if i not in lost]
        truth = _image(before, writes, len(writes))
        point = writes[lost[-1]].time
        for later, error in product((0, 1), scope.errors):
            time = point + scope.wait + later
            for seen in _reads(writes, time):
                said, heal = _scan(before, writes, time, seen, error, scope.margin, "heal")
                yield Scenario((*told, said), (*streams, heal), truth)
                if scope.scans < 2:
                    continue
                for early in sorted({w.time for w in writes}):
                    for saw in _reads(writes, early):
                        first, page = _scan(before, writes, early, saw, 0, scope.margin, "a")
                        yield Scenario((*told, first, said), (*streams, page, heal), truth)


def healed_by_windows(scope: Scope) -> Iterator[Scenario]:
    """Any writes are lost; windows of incremental export, then the re-read. The item may have been scanned before."""
    for before, writes, lost in _losses(scope):
        streams = [_stream(i, w) for i, w in enumerate(writes) if i not in lost]
        truth = _image(before, writes, len(writes))
        start, point = writes[lost[0]].time, writes[lost[-1]].time
        first, end = start - scope.wait, point + scope.wait
        earlier: list[tuple[str, Change] | None] = []
        if before is None:
            earlier.append(None)
        else:
            earlier.append((f"a reads {before} at 0", Change("", LOW, (-MARGIN, "a", 1), before)))
        if scope.scans:
            for early in sorted({w.time for w in writes}):
                for saw in _reads(writes, early):
                    if _image(before, writes, saw) is not None:
                        earlier.append(_scan(before, writes, early, saw, 0, scope.margin, "a"))
        inner = start + scope.inner_edge
        for edges in ((first, end), (first, inner, end)):
            if sorted(set(edges)) != list(edges):
                continue
            rows = [row for since, to in pairwise(edges) for row in _exported(scope, before, writes, since, to)]
            for page in earlier:
                if before is not None and page is not None and page[1].image != before and scope.scans < 2:
                    continue
                records = [*streams, *([page[1]] if page else [])]
                told = _told(before, writes, lost) + ((page[0],) if page else ())
                told += (f"windows {edges}",)
                if not _read_again(scope, streams, records, start, point, first, end):
                    yield Scenario(told, (*records, *rows), truth)
                    continue
                for error in scope.errors:
                    for seen in _reads(writes, end):
                        said, again = _scan(before, writes, end, seen, error, scope.margin, "reread")
                        yield Scenario((*told, said), (*records, *rows, again), truth)


def _exported(scope: Scope, before: str | None, writes: Sequence[Write], since: int, to: int) -> list[Change]:
    inside = [i for i, w in enumerate(writes) if since <= w.time < to]
    if not inside:
        return []
    old, new = _image(before, writes, inside[0]), _image(before, writes, inside[-1] + 1)
    if old is None and new is None:
        return []
    label = (writes[inside[-1]].time if scope.own_time_label else to) - scope.margin
    return [Change("", LOW, (label, f"w{since}", int(new is not None)), new)]


def _read_again(
    scope: Scope, streams: Sequence[Change], records: Sequence[Change], start: int, point: int, first: int, end: int
) -> bool:
    if scope.reread == "none":
        return False
    if scope.reread == "gap only":
        return any(start - scope.margin <= change.time <= point + scope.margin for change in streams)
    if scope.reread == "stream only":
        return any(first - scope.margin <= change.time <= end + scope.margin for change in streams)
    moments = [change.base[0] if change.base else change.time for change in records]
    return any(first - scope.margin <= moment <= end + scope.margin for moment in moments)


FAMILIES: tuple[Callable[[Scope], Iterator[Scenario]], ...] = (whole_stream, healed_in_full, healed_by_windows)


def search(rule: Rule, scenarios: Iterable[Scenario], duplicates: bool = True) -> Verdict:
    """Deliver every scenario; stops at the first that ends wrong."""
    deliveries = merges = 0
    for scenario in scenarios:
        verdict = deliver(scenario, rule, duplicates)
        deliveries += verdict.deliveries
        merges += verdict.merges
        if verdict.wrong:
            return Verdict(deliveries, merges, verdict.wrong)
        if rule is TWO_REGISTERS:
            both = Registers()
            for change in scenario.changes:
                both.add(change)
            if both.visible != scenario.truth:
                return Verdict(deliveries, merges, f"both registers differ: {'; '.join(scenario.story)}")
    return Verdict(deliveries, merges)


def slice_of(family: int, first: int, stride: int, scope: Scope | None = None) -> Verdict:
    """Every `stride`-th scenario of a family, from the `first` on."""
    return search(TWO_REGISTERS, islice(FAMILIES[family](scope or Scope()), first, None, stride))
