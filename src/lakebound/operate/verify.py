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

Memory: about 250 bytes a key (the key's text and 16 bytes that stand for the item), never the items themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import orjson

from lakebound.errors import Poison
from lakebound.ports import Clock
from lakebound.record.attributes import Image, canonical_key, digest_of, parse_key
from lakebound.record.redaction import Redaction


class SourceTable(Protocol):
    """The DynamoDB table. Images with binary as base64 text, as they stand in stream events."""

    @property
    def key_names(self) -> Sequence[str]:
        """The names of the key attributes."""

    def scan(self) -> Iterator[Image]:
        """Every item, strongly consistent, in no order."""

    def read(self, keys: Sequence[Image]) -> Iterator[Image]:
        """The items of these key attributes that exist, strongly consistent, in no order."""


@dataclass(frozen=True, slots=True)
class RedactedSource:
    """Port SourceTable: the items of a source as they land after DROP_ATTRIBUTES and HASH_ATTRIBUTES.

    Keys are read again by their attributes, so none of these may be hashed.
    """

    source: SourceTable
    redaction: Redaction

    @property
    def key_names(self) -> Sequence[str]:
        return self.source.key_names

    def scan(self) -> Iterator[Image]:
        return map(self.redaction.item, self.source.scan())

    def read(self, keys: Sequence[Image]) -> Iterator[Image]:
        return map(self.redaction.item, self.source.read(keys))


@dataclass(frozen=True, slots=True)
class LakeRow:
    """A row of silver: `key` is `_key`, `item` is `_item` (null: a tombstone).

    `from_base`: only a backfill has told of its key, the stream has said nothing (ORDERING.md's base register).
    """

    key: str
    item: str | None
    from_base: bool = False


class LakeTable(Protocol):
    """The lake's table."""

    def rows(self) -> Iterator[LakeRow]:
        """Every row of one version of the table, tombstones too or not."""

    def read(self, keys: Sequence[str]) -> Iterator[LakeRow]:
        """The rows of these keys in the newest version."""


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

    def __str__(self) -> str:
        counts = (
            f"{self.keys:,} keys: {len(self.missing):,} missing, {len(self.ghost):,} ghost, "
            f"{len(self.stale):,} stale, {len(self.different):,} different"
        )
        return f"{counts}, {len(self.left_out):,} left out" if self.left_out else counts


def document(table: str, target: str, report: Report) -> dict[str, object]:
    """The report for a program: every list whole."""
    return {
        "table": table,
        "target": target,
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


def report_lines(report: Report, show: int) -> Iterator[str]:
    """The report for a person: the counts, and at most ``show`` keys of each list."""
    yield str(report)
    if report.from_base:
        share = report.from_base / report.rows
        yield f"from the backfill alone: {report.from_base:,} of {report.rows:,} rows ({share:.0%})"
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


ABSENT: Final = b"-"
"""Stands for an item that is not there: in the source, or in the lake no row or a tombstone."""
_BROKEN: Final = b"!"
"""Stands for rows that are no item: text that does not parse, two rows of one key. Equal to nothing."""
_EQUAL: Final = b""

Progress = Callable[[str, int], None]
"""Told the side being read (`source`, `lake`, `again`) and how many more were read, or are still suspected."""


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
    in_flight: Callable[[], int] = lambda: 0,
    history: History = lambda keys: (),
    patience: Patience | None = None,
    progress: Progress = lambda side, count: None,
    waiting: Callable[[Wait], None] = lambda wait: None,
) -> Report:
    """Compare every item of the source with every row of the lake.

    `in_flight` counts the changes known to be on their way: while there are any, no difference is judged. Without it
    only the resting time protects from a slow pipeline. Without a `history` an old value that this run did not see
    itself is called different. `waiting` is called before each wait. With a patience of no seconds nothing is waited
    for, and the second look decides.
    """
    compared = _Comparison(source.key_names)
    for item in source.scan():
        compared.take_item(item)
        progress("source", 1)
    rows = from_base = 0
    for row in lake.rows():
        compared.take_row(row)
        if row.item is not None:
            rows += 1
            from_base += row.from_base
        progress("lake", 1)
    suspects = compared.suspects()
    read_again = len(suspects)
    patience = patience or Patience()
    unsettled = _read_again(source, lake, clock, in_flight, patience, suspects, compared, progress, waiting)

    left_out = list(compared.left_out)
    left_out += [(key, "it still changed when the time was up") for key in unsettled]
    unequal = {key: suspect for key, suspect in suspects.items() if key not in unsettled}
    for key in [key for key, suspect in unequal.items() if suspect.reason]:
        left_out.append((key, unequal.pop(key).reason))
    _add_earlier_values(history, unequal)
    lists: dict[str, list[str]] = {"missing": [], "ghost": [], "stale": [], "different": []}
    for key in sorted(unequal):
        lists[unequal[key].verdict()].append(key)
    return Report(
        keys=compared.count_keys(suspects),
        missing=tuple(lists["missing"]),
        ghost=tuple(lists["ghost"]),
        stale=tuple(lists["stale"]),
        different=tuple(lists["different"]),
        left_out=tuple(sorted(left_out)),
        read_again=read_again,
        rows=rows,
        from_base=from_base,
    )


# ── the first look ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Suspect:
    """A key whose sides differ: what each side held last, and since when both have held it."""

    source: bytes
    lake: bytes
    since_ms: int = -1
    earlier: set[bytes] = field(default_factory=set)
    """What the source held before, as far as this run saw it."""
    reason: str = ""
    """Why it cannot be judged."""

    def verdict(self) -> str:
        if self.lake == ABSENT:
            return "missing"
        if self.source == ABSENT:
            return "ghost"
        return "stale" if self.lake in self.earlier else "different"


class _Comparison:
    """The first look at both sides: source first, then lake."""

    def __init__(self, key_names: Sequence[str]) -> None:
        self._key_names = tuple(key_names)
        self._source: dict[str, bytes] = {}
        self._suspects: dict[str, _Suspect] = {}
        self._unreadable: dict[str, str] = {}
        self._nameless: list[tuple[str, str]] = []

    def take_item(self, item: Image) -> None:
        try:
            key = canonical_key({name: item[name] for name in self._key_names})
        except (Poison, KeyError):
            self._nameless.append(("?", "the source's key cannot be carried"))
            return
        try:
            self._source[key] = digest_of(item)
        except Poison as poison:
            self._unreadable[key] = f"the source's item cannot be carried ({poison.code})"

    def take_row(self, row: LakeRow) -> None:
        if row.key in self._unreadable:
            return
        held = self._source.get(row.key, ABSENT)
        found = state_of(row)
        if held == _EQUAL or row.key in self._suspects:
            # Two rows of one key: silver promises one row each, whatever the second one holds.
            self._source.pop(row.key, None)
            self._suspects[row.key] = _Suspect(ABSENT, _BROKEN)
        elif found == held:
            if held != ABSENT:
                self._source[row.key] = _EQUAL
        else:
            self._source.pop(row.key, None)
            self._suspects[row.key] = _Suspect(held, found)

    def suspects(self) -> dict[str, _Suspect]:
        """Every key whose sides differ, once both sides were taken whole."""
        for key, held in self._source.items():
            if held != _EQUAL:
                self._suspects[key] = _Suspect(held, ABSENT)
        for key in self._suspects:
            self._source.pop(key, None)
        return self._suspects

    def count_keys(self, unequal: Iterable[str]) -> int:
        return len(self._source) + len(set(unequal)) + len(self._unreadable) + len(self._nameless)

    def settle(self, key: str, *, present: bool) -> None:
        """A suspect turned out equal on both sides; where it is gone on both it is no key of either."""
        if present:
            self._source[key] = _EQUAL

    @property
    def left_out(self) -> list[tuple[str, str]]:
        return [*self._nameless, *self._unreadable.items()]


def state_of(row: LakeRow) -> bytes:
    """What stands for the item that a row shows."""
    if row.item is None:
        return ABSENT
    try:
        item = orjson.loads(row.item)
        return digest_of(item) if isinstance(item, dict) else _BROKEN
    except (orjson.JSONDecodeError, Poison):
        return _BROKEN


# ── the second look, and the next ───────────────────────────────────────────────────────────────────────────


def _read_again(
    source: SourceTable,
    lake: LakeTable,
    clock: Clock,
    count_in_flight: Callable[[], int],
    patience: Patience,
    suspects: dict[str, _Suspect],
    compared: _Comparison,
    progress: Progress,
    waiting: Callable[[Wait], None],
) -> frozenset[str]:
    """Read the suspects on both sides until each is equal (and leaves), at rest, or time is up.

    Returns those that never came to rest.
    """
    ends_ms = clock.now_ms() + int(patience.limit * 1000)
    rest_ms = int(patience.lag * 2000)
    quiet_since_ms = 0
    moving = dict(suspects)
    while moving:
        now_ms = clock.now_ms()
        # Asked before the sides are read: a change that is on its way now may be what a suspect still lacks.
        in_flight = count_in_flight()
        if in_flight:
            quiet_since_ms = now_ms
        held = _source_states(source, moving)
        found = _lake_states(lake, moving)
        for key in list(moving):
            suspect = moving[key]
            now_held, now_found = held.get(key, ABSENT), found.get(key, ABSENT)
            if isinstance(now_held, str):
                suspect.reason = now_held
                del moving[key]
            elif now_held == now_found:
                compared.settle(key, present=now_held != ABSENT)
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


def _source_states(source: SourceTable, keys: Iterable[str]) -> dict[str, bytes | str]:
    """What each key holds in the source now: what stands for the item, or why it cannot be judged."""
    states: dict[str, bytes | str] = {}
    for item in source.read([parse_key(key) for key in keys]):
        key = canonical_key({name: item[name] for name in source.key_names})
        try:
            states[key] = digest_of(item)
        except Poison as poison:
            states[key] = f"the source's item cannot be carried ({poison.code})"
    return states


def _lake_states(lake: LakeTable, keys: Iterable[str]) -> dict[str, bytes]:
    states: dict[str, bytes] = {}
    for row in lake.read(list(keys)):
        states[row.key] = _BROKEN if row.key in states else state_of(row)
    return states


def _add_earlier_values(history: History, unequal: dict[str, _Suspect]) -> None:
    """Look up which values the keys that both sides have held earlier."""
    both = frozenset(
        key for key, suspect in unequal.items() if suspect.verdict() == "different" and suspect.lake != _BROKEN
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
