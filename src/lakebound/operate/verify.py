"""Is the lake equal to the source? A full comparison by key and item as a value, that names every key that differs.

Both sides go on changing while they are compared, so a difference at first sight is only a suspicion. A suspected
key is read again on both sides until it is equal, or until it has stayed as it is for two pipeline lags with
nothing newer in flight. What is then still unequal is one of

missing     in the source, not visible in the lake
ghost       visible in the lake, not in the source
stale       both have it, and the lake's is a value which the item had earlier: one that this run saw in the source
            before, or one that the history given (the batch files) holds
different   both have it otherwise: an edited row, a row that is no item, two rows of one key

and a key that cannot be judged is left out and counted: the source's item cannot be carried (it is in quarantine),
or the key never came to rest before the run's time was up.

Memory: see `first_look`, which both sides go through. Never the items themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from lakebound.counts import count_text
from lakebound.errors import Poison
from lakebound.operate.first_look import FirstLook, HeldSpill, Progress, Spill, Suspect, take_first_look
from lakebound.operate.sample import Selection
from lakebound.operate.sides import (
    ABSENT,
    BROKEN,
    EVERY_KEY,
    LakeTable,
    SourceTable,
    cannot_be_carried,
    lake_states,
    source_states,
)
from lakebound.ports import Clock
from lakebound.record.attributes import Image, digest_of

History = Callable[[frozenset[str]], Iterable[tuple[str, Image]]]
"""Every image that these keys ever had, each with its key: the batch files hold them."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a suspected key may take. Seconds."""

    lag: float = 90.0
    """The pipeline's p99 from change to silver. A key must rest twice that long before it is called unequal."""
    limit: float = 900.0
    """After that the keys that never came to rest are left out. More than twice the lag, or none can."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a run found. The lists are sorted and whole; `keys` counts every key of either side once."""

    keys: int
    missing: tuple[str, ...] = ()
    ghost: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    different: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    """(key, reason); a key that has no text either is `?`."""
    read_again: int = 0
    """How many keys were suspected and read again."""
    rows: int = 0
    """Visible rows of the lake at the first look."""
    from_base: int = 0
    """Those of them of which only a backfill has told."""

    @property
    def unequal(self) -> list[str]:
        """Every key that differs, each once, sorted."""
        return sorted({*self.missing, *self.ghost, *self.stale, *self.different})

    @property
    def is_equal(self) -> bool:
        """True when nothing differs and at most one key in a hundred was left out."""
        return not self.unequal and len(self.left_out) * 100 <= self.keys

    @property
    def wrong(self) -> int:
        """0 when equal; else how many keys differ, or were left out where none differs: the metric Unequal."""
        return 0 if self.is_equal else len(self.unequal) or len(self.left_out)

    def __str__(self) -> str:
        counts = (
            f"{count_text(self.keys, 'key')}: {len(self.missing):,} missing, {len(self.ghost):,} ghost, "
            f"{len(self.stale):,} stale, {len(self.different):,} different"
        )
        return f"{counts}, {len(self.left_out):,} left out" if self.left_out else counts


def document(table: str, target: str, report: Report, selection: Selection = EVERY_KEY) -> dict[str, object]:
    """The report for a program: every list whole."""
    return {
        "table": table,
        "target": target,
        "compared": str(selection),
        "equal": report.is_equal,
        "keys": report.keys,
        "missing": list(report.missing),
        "ghost": list(report.ghost),
        "stale": list(report.stale),
        "different": list(report.different),
        "left_out": [{"key": key, "reason": reason} for key, reason in report.left_out],
        "read_again": report.read_again,
        "rows": report.rows,
        "from_base": report.from_base,
    }


def report_lines(report: Report, show: int, selection: Selection = EVERY_KEY) -> Iterator[str]:
    """The report for a person: the counts, and at most ``show`` keys of each list."""
    yield str(report) if selection == EVERY_KEY else f"{report} ({selection})"
    if report.from_base:
        share = report.from_base / report.rows
        yield f"from the backfill alone: {report.from_base:,} of {count_text(report.rows, 'row')} ({share:.0%})"
    lists = {
        "missing": report.missing,
        "ghost": report.ghost,
        "stale": report.stale,
        "different": report.different,
        "left out": tuple(f"{key} ({reason})" for key, reason in report.left_out),
    }
    for name, keys in lists.items():
        for key in keys[:show]:
            yield f"  {name:<9} {key}"
        if len(keys) > show:
            yield f"  {name:<9} and {len(keys) - show:,} more (--json lists them all)"
    if len(report.left_out) * 100 > report.keys:
        yield "  over 1 % of the keys were left out"


@dataclass(frozen=True, slots=True)
class Wait:
    """What a run waits for: how many keys have to come to rest, and how many messages are on their way."""

    keys: int
    in_flight: int
    rest_s: float
    """How many seconds the keys must rest, with nothing on its way."""
    left_s: float
    """How many seconds are left at most."""


def verify(
    source: SourceTable,
    lake: LakeTable,
    clock: Clock,
    *,
    spill: Spill | None = None,
    parts: int = 1,
    selection: Selection = EVERY_KEY,
    in_flight: Callable[[], int] = lambda: 0,
    history: History = lambda keys: (),
    patience: Patience | None = None,
    progress: Progress = lambda side, count: None,
    waiting: Callable[[Wait], None] = lambda wait: None,
) -> Report:
    """Compare what is selected, by default every item of the source with every row of the lake.

    `spill` keeps what is read, by default in memory, and tells what an earlier run has read; the source is read in so
    many `parts`. `in_flight` counts the changes known to be on their way: while there are any, no difference is judged.
    Without it only the resting time protects from a slow pipeline. Without a `history` an old value that this run did
    not see itself is called different. `waiting` is called before each wait. With a patience of no seconds nothing is
    waited for, and the second look decides.
    """
    look = take_first_look(source, lake, spill or HeldSpill(), selection, parts, progress)
    suspects = look.suspects
    read_again = len(suspects)
    patience = patience or Patience()
    unsettled = _read_again(source, lake, clock, in_flight, patience, look, progress, waiting)

    left_out = list(look.left_out)
    left_out += [(key, "it still changed when the time was up") for key in unsettled]
    unequal = {key: suspect for key, suspect in suspects.items() if key not in unsettled}
    for key in [key for key, suspect in unequal.items() if suspect.reason]:
        left_out.append((key, unequal.pop(key).reason))
    _add_earlier_values(history, unequal)
    lists: dict[str, list[str]] = {"missing": [], "ghost": [], "stale": [], "different": []}
    for key in sorted(unequal):
        lists[unequal[key].verdict()].append(key)
    return Report(
        keys=look.equal + len(suspects) + len(look.left_out),
        missing=tuple(lists["missing"]),
        ghost=tuple(lists["ghost"]),
        stale=tuple(lists["stale"]),
        different=tuple(lists["different"]),
        left_out=tuple(sorted(left_out)),
        read_again=read_again,
        rows=look.rows,
        from_base=look.from_base,
    )


# ── the second look, and the next ───────────────────────────────────────────────────────────────────────────


def _read_again(
    source: SourceTable,
    lake: LakeTable,
    clock: Clock,
    count_in_flight: Callable[[], int],
    patience: Patience,
    look: FirstLook,
    progress: Progress,
    waiting: Callable[[Wait], None],
) -> frozenset[str]:
    """Read the suspects on both sides until each is equal (and leaves), at rest, or time is up.

    Returns those that never came to rest.
    """
    ends_ms = clock.now_ms() + int(patience.limit * 1000)
    rest_ms = int(patience.lag * 2000)
    quiet_since_ms = 0
    suspects = look.suspects
    moving = dict(suspects)
    while moving:
        now_ms = clock.now_ms()
        # Asked before the sides are read: a change that is on its way now may be what a suspect still lacks.
        in_flight = count_in_flight()
        if in_flight:
            quiet_since_ms = now_ms
        held = source_states(source, moving)
        found = lake_states(lake, moving)
        for key in list(moving):
            suspect = moving[key]
            now_held, now_found = held.get(key, ABSENT), found.get(key, ABSENT)
            if isinstance(now_held, str):
                suspect.reason = cannot_be_carried(now_held)
                del moving[key]
            elif now_held == now_found:
                # Gone on both sides it is no key of either.
                look.equal += now_held != ABSENT
                del moving[key], suspects[key]
            elif suspect.since_ms < 0 or (now_held, now_found) != (suspect.source, suspect.lake):
                suspect.earlier.add(suspect.source)
                suspect.source, suspect.lake, suspect.since_ms = now_held, now_found, now_ms
            elif now_ms - max(suspect.since_ms, quiet_since_ms) >= rest_ms:
                del moving[key]
        progress("again", len(moving))
        if clock.now_ms() >= ends_ms:
            # A busy table always has something in flight: a key that itself lay still long enough is judged.
            return frozenset(key for key, suspect in moving.items() if now_ms - suspect.since_ms < rest_ms)
        if moving:
            waiting(Wait(len(moving), in_flight, rest_ms / 1000, (ends_ms - clock.now_ms()) / 1000))
            clock.sleep(min(max(patience.lag / 4, 0.5), 15.0))
    return frozenset()


def _add_earlier_values(history: History, unequal: dict[str, Suspect]) -> None:
    """Look up which values the keys that both sides have held earlier."""
    both = frozenset(
        key for key, suspect in unequal.items() if suspect.verdict() == "different" and suspect.lake != BROKEN
    )
    if not both:
        return
    for key, image in history(both):
        suspect = unequal.get(key)
        if suspect is None:
            continue
        try:
            suspect.earlier.add(digest_of(image))
        except Poison:
            continue  # an image that is no item cannot be what the lake's row, which is one, once was
