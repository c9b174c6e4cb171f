"""The worker of one segment: the pages that it reads become base records in batch files.

An invocation ends before its time is up, and the next one goes on from the segment's checkpoint. A page's file is
durable before the checkpoint moves past it, so what a crash leaves unread is read again, and what it wrote twice is
harmless (ORDERING.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, islice
from typing import Any, Final, NamedTuple, Protocol

from lakebound.backfill.checkpoints import Checkpoint, WrittenFile
from lakebound.backfill.rate_limiter import RateLimiter
from lakebound.errors import LakeboundError, Poison
from lakebound.formats.registry import Encoder, encoder_of
from lakebound.ports import Clock, Documents, ObjectStore, Overtaken, SecondsLeft
from lakebound.record.envelope import encode_event
from lakebound.record.raw_items import RawItem
from lakebound.record.redaction import Redaction
from lakebound.record.stream_records import ChangeEvent
from lakebound.transport import quarantine
from lakebound.transport.batch_files import FileBuilder
from lakebound.transport.object_keys import Partition

RESERVE_SECONDS: Final = 20.0
"""Time refused back to put the open file (at most MAX_FILE_BYTES), save the checkpoint and answer."""

ENCODED_ITEMS_MAX: Final = 500
"""Items that are encoded at once: a member passes its limits by fewer than that."""

_SKEWED_PAGES: Final = 3
_SKEW_PAUSE_SECONDS: Final = 1.0


class Throttled(LakeboundError):
    """The table refused a page for want of capacity."""


class ClockSkewed(LakeboundError):
    """The local clock is too far from the service's: a label taken from it would order wrongly."""


class TableBusy(LakeboundError):
    """A whole invocation got no page."""


@dataclass(frozen=True, slots=True)
class Page:
    """What one request read. `values` go to the decoder of the source; `next` continues, None ends the segment."""

    asked_ms: int
    label_ms: int
    values: Sequence[Any]
    units: float
    next: Any
    reader: Callable[[Sequence[Any]], Sequence[Any]] | None = None
    """What has to be made of `values` first. It takes the processor, so it waits until the next page is asked for."""

    def read(self) -> Page:
        """The page with values that the source can decode."""
        return self if self.reader is None else replace(self, values=self.reader(self.values), reader=None)


class PageSource(Protocol):
    """One segment of what is read."""

    @property
    def origin(self) -> str:
        """The origin of its records."""

    def page(self, start: Any, limit: int | None) -> Page:
        """The page from `start` (None: the first). Raises Throttled, ClockSkewed, LakeboundError."""

    def decode(self, value: Any, label_ms: int, event_id: str) -> ChangeEvent:
        """A value's base record. Raises Poison."""


Ask = Callable[[], Page]
"""Asks for one page."""

Ahead = Callable[[Ask], Ask]
"""Begins to ask for a page, and gives what waits for it: that returns the page, or raises what asking raised."""


def when_taken(ask: Ask) -> Ask:
    """Ask when the page is taken, and not before."""
    return ask


@dataclass(frozen=True, slots=True)
class SegmentRules:
    """What the settings and the run's plan decide for every segment."""

    table: str
    prefix: str
    partition: Partition
    max_records: int
    max_file_bytes: int
    max_seconds: int
    share: float = 0.0
    """Read units a second that this reader may consume; 0: it consumes none."""
    file_format: str = "ndjson.gz"
    redaction: Redaction | None = None


class EventIds(NamedTuple):
    """Where a page's values stand in their segment: what their event ids begin with, and the first one's number."""

    prefix: str
    first: int


@dataclass(frozen=True, slots=True)
class EncodedRecords:
    """Records as they go into a member, and how many they are; deletes and others never together."""

    data: bytes
    count: int
    is_delete: bool


class RefusedValue(NamedTuple):
    """A value that cannot be carried, as it may go to quarantine, and why."""

    value: object
    poison: Poison


def encode_page(
    page: Page,
    decode: Callable[[Any, int, str], ChangeEvent],
    encoder: Encoder,
    redaction: Redaction | None,
    place: EventIds,
    now_ms: int,
) -> Iterator[EncodedRecords | RefusedValue]:
    """A page's values as encoded records, in their order, and those among them that are refused.

    What was read as text stays text, unless redaction has to look inside. The records of a page differ in their items
    only, so the first such item shows how all are written.
    """
    prefix, number = place
    like: Callable[[str, int, Iterable[RawItem]], bytes] | None = None
    for kind, group in groupby(page.values, type):
        while values := list(islice(group, ENCODED_ITEMS_MAX)):
            if kind is RawItem and redaction is None:
                try:
                    if like is None:
                        like = encoder.like(decode(values[0], page.label_ms, prefix), now_ms)
                    yield EncodedRecords(like(prefix, number, values), len(values), False)
                    number += len(values)
                    continue
                except Poison:
                    # One of them has a key that is none: each by itself, so that only that one is refused.
                    pass
            for value in values:
                yield encode_value(value, decode, page.label_ms, f"{prefix}{number}", encoder, redaction, now_ms)
                number += 1


def encode_value(
    value: Any,
    decode: Callable[[Any, int, str], ChangeEvent],
    label_ms: int,
    event_id: str,
    encoder: Encoder,
    redaction: Redaction | None,
    now_ms: int,
) -> EncodedRecords | RefusedValue:
    """One value as an encoded record, or why it cannot be carried and what may be shown of it."""
    try:
        event = decode(value, label_ms, event_id)
        if redaction is not None:
            event = redaction.event(event)
        data, event = encode_event(encoder.encode, event, now_ms)
        return EncodedRecords(data, 1, event.new_image is None)
    except Poison as poison:
        shown = value.values() if type(value) is RawItem else value
        return RefusedValue(shown if redaction is None else redaction.base_value(shown), poison)


@dataclass(slots=True)
class _Reading:
    """The checkpoint as it was saved last, and what an invocation has read and asked for beyond it."""

    saved: Checkpoint
    tag: str | None
    units: float = 0.0
    asked: Ask | None = None

    def end(self) -> Page | None:
        """The page that nobody takes any more, once it is there.

        A function that is kept warm would freeze with the request on its way, and its next invocation's first page
        would stand behind it until a dead connection times out.
        """
        ask, self.asked = self.asked, None
        with suppress(LakeboundError):
            return ask() if ask is not None else None
        return None


@dataclass(frozen=True, slots=True)
class SegmentWorker:
    """Reads one segment as far as this invocation's time allows."""

    rules: SegmentRules
    source: PageSource
    store: ObjectStore
    documents: Documents
    clock: Clock
    seconds_left: SecondsLeft
    ahead: Ahead = when_taken
    """How the next page is asked for while this one is encoded and written."""

    def read(self, key: str, fresh: Checkpoint) -> Checkpoint:
        """Go on from the checkpoint under `key`, or start with `fresh`; the checkpoint now.

        Not `done` means: call again. Raises Misconfigured where the checkpoint does not fit, TableBusy where a whole
        invocation read nothing, and what the ports raise; the checkpoint then stands where it stood, and counts the
        units of what is read again.
        """
        stored = self.documents.load(key)
        tag = stored[1] if stored else None
        state = Checkpoint.decode(key, stored[0]) if stored else fresh
        state.check(fresh.run, fresh.number, fresh.total, fresh.table_id)
        if state.done:
            return state
        now = self.clock.now_ms()
        state = replace(state, invocations=state.invocations + 1, started_ms=state.started_ms or now)
        limiter = RateLimiter(self.rules.share, now, rate=state.rate, ready_ms=state.ready_ms)
        reading = _Reading(state, tag)
        try:
            return self._read_pages(key, reading, limiter)
        except Overtaken:
            reading.end()
            # The same segment runs twice (an aborted child whose function still lives, then a redrive): the one that
            # saved first goes on, and this one tells what is true now.
            winner = self.documents.load(key)
            return Checkpoint.decode(key, winner[0]) if winner else state
        except Exception:
            self._save_units(key, reading, limiter)
            raise

    def _read_pages(self, key: str, reading: _Reading, limiter: RateLimiter) -> Checkpoint:
        files = FileBuilder(self.rules.prefix, self.source.origin, self.rules.file_format)
        state, pages, skewed = reading.saved, 0, 0
        while True:
            # A page that was asked for is taken however little time is left: its read units are spent.
            if reading.asked is None:
                wait = self._wait_seconds(limiter)
                if self.seconds_left() < RESERVE_SECONDS + wait:
                    break
                if wait:
                    self.clock.sleep(wait)
            take, reading.asked = reading.asked or self._ask(state.start, limiter), None
            try:
                page = take()
            except Throttled:
                limiter.throttled(self.clock.now_ms())
                state = replace(state, throttles=state.throttles + 1)
                continue
            except ClockSkewed:
                skewed += 1
                if skewed == _SKEWED_PAGES:
                    raise
                self.clock.sleep(_SKEW_PAUSE_SECONDS)
                continue
            pages += 1
            now = self.clock.now_ms()
            limiter.spent(page.units, len(page.values), now)
            reading.units += page.units
            # Its label is the time of its own request. The checkpoint moves past a page once the page is added, so what
            # a crash leaves asked for is asked for again.
            may_ask = not self._wait_seconds(limiter) and self.seconds_left() >= RESERVE_SECONDS
            if may_ask and page.next is not None:
                reading.asked = self.ahead(self._ask(page.next, limiter))
            state = self._add_page(state, page.read(), files, now)
            if state.done or self._is_full(files):
                state = self._save(key, state, reading, files, limiter)
            if state.done:
                return state
        if not pages:
            raise TableBusy(
                f"segment {state.number} of run {state.run} read no page in a whole invocation",
                hint="The table is throttled or the read capacity is too small: raise one, then redrive the execution",
            )
        return self._save(key, state, reading, files, limiter)

    def _wait_seconds(self, limiter: RateLimiter) -> float:
        return limiter.wait_seconds(self.clock.now_ms()) if self.rules.share else 0.0

    def _ask(self, start: Any, limiter: RateLimiter) -> Ask:
        return partial(self.source.page, start, limiter.page_limit() if self.rules.share else None)

    def _add_page(self, state: Checkpoint, page: Page, files: FileBuilder, now_ms: int) -> Checkpoint:
        run, number = state.run, state.number
        folders = {is_delete: self.rules.partition(now_ms, is_delete) for is_delete in (False, True)}
        # Counted over the whole segment: two pages of an export file may be read within one millisecond.
        place = EventIds(f"{run}|{number}|{page.asked_ms}|", state.read)
        poisoned, encoder, redaction = 0, encoder_of(self.rules.file_format), self.rules.redaction
        for line in encode_page(page, self.source.decode, encoder, redaction, place, now_ms):
            if isinstance(line, RefusedValue):
                refused = quarantine.from_backfill(self.rules.table, run, number, line.value, line.poison, now_ms)
                self.store.put_if_absent(refused.key, refused.body, {"reason": refused.reason})
                poisoned += 1
                continue
            files.add(folders[line.is_delete], line.data, line.count, now_ms)
        least, most = state.min_label_ms, state.max_label_ms
        return replace(
            state,
            start=page.next,
            done=page.next is None,
            read=state.read + len(page.values),
            records=state.records + len(page.values) - poisoned,
            quarantined=state.quarantined + poisoned,
            consumed=state.consumed + page.units,
            pages=state.pages + 1,
            min_label_ms=page.label_ms if least is None else min(least, page.label_ms),
            max_label_ms=page.label_ms if most is None else max(most, page.label_ms),
        )

    def _is_full(self, files: FileBuilder) -> bool:
        # A file may pass its limits by a page, never by a member of 4 MB of text.
        age_ms = 0 if files.since_ms is None else self.clock.now_ms() - files.since_ms
        return (
            files.size >= self.rules.max_file_bytes
            or (0 < self.rules.max_records <= files.records)
            or (self.rules.max_seconds * 1000 <= age_ms and files.records > 0)
        )

    def _save(
        self, key: str, state: Checkpoint, reading: _Reading, files: FileBuilder, limiter: RateLimiter
    ) -> Checkpoint:
        written = list(state.files)
        for file in files.take_files():
            self.store.put_if_absent(file.key, file.body, file.metadata)
            written.append(WrittenFile(file.key, file.count, len(file.body)))
        state = self._paced(replace(state, files=tuple(written)), limiter)
        reading.tag = self.documents.save(key, state.encode(), reading.tag)
        reading.saved, reading.units = state, 0.0
        return state

    def _save_units(self, key: str, reading: _Reading, limiter: RateLimiter) -> None:
        """Count what was read in vain: it is spent, and the segment's next invocation waits for it."""
        page = reading.end()
        if page is not None:
            limiter.spent(page.units, len(page.values), self.clock.now_ms())
            reading.units += page.units
        if reading.units:
            state = replace(reading.saved, consumed=reading.saved.consumed + reading.units)
            with suppress(LakeboundError):  # what failed may be the bucket itself
                self.documents.save(key, self._paced(state, limiter).encode(), reading.tag)

    def _paced(self, state: Checkpoint, limiter: RateLimiter) -> Checkpoint:
        now = self.clock.now_ms()
        return replace(state, saved_ms=now, rate=round(limiter.rate, 3), ready_ms=limiter.ready_ms(now))
