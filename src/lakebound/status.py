"""How does the pipeline stand? What was seen of it goes in, a state and what to do about it come out.

OK        everything that was written is in the lake, or on its way in time
LAGGING   something waits that should not: it gets there by itself or by the command that is named
GAP       changes may be missing from the lake until a run heals it; nothing but that run makes it good
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from lakebound.gaps import Gap
from lakebound.layout import GapKey, gaps_folder
from lakebound.ports import ObjectStore

OK: Final = "OK"
LAGGING: Final = "LAGGING"
GAP: Final = "GAP"
NOTE: Final = "NOTE"
"""A finding of this level changes no state."""

_WORST: Final = (NOTE, OK, LAGGING, GAP)
RETENTION_MS: Final = 24 * 3_600_000
"""How long a stream keeps a record."""

_MAX_GAP_BYTES: Final = 1024 * 1024


def open_gaps(store: ObjectStore, table: str) -> tuple[Gap, ...]:
    """The recorded gaps that no run has healed. Raises StoreUnavailable, LakeboundError."""
    found = (stored.key for stored in store.list(gaps_folder(table)) if GapKey.parse(table, stored.key) is not None)
    gaps = (Gap.decode(key, store.get(key, _MAX_GAP_BYTES)) for key in found)
    return tuple(gap for gap in gaps if gap.healed_by is None)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen at one moment. None: it could not be found out (a metric without data, a missing right)."""

    now_ms: int
    stack: str
    table: str
    table_stream: str | None
    stream_view: str | None
    mapping_stream: str | None
    mapping_state: str | None
    mapping_result: str | None
    queue_mapping_state: str | None
    iterator_age_ms: int | None
    oldest_message_s: int | None
    buffered: int
    dead: int
    failure_objects: int
    oldest_failure_ms: int | None
    quarantined: int
    failure_retention_days: int = 30
    gaps: tuple[Gap, ...] = ()
    newest_file_ms: int | None = None
    alarms: tuple[str, ...] = ()
    """Names of the stack's alarms that are in ALARM."""
    unknown: tuple[str, ...] = ()
    """What could not be looked at, and why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know: its level, what, since when, the command that repairs it, and its page."""

    level: str
    what: str
    since_ms: int | None
    command: str
    page: str


@dataclass(frozen=True, slots=True)
class Status:
    """The state, and the findings behind it, the worst first."""

    state: str
    findings: tuple[Finding, ...]
    seen: Seen

    @property
    def since_ms(self) -> int | None:
        """When the state began, as far as it is known."""
        known = [one.since_ms for one in self.findings if one.level == self.state and one.since_ms is not None]
        return min(known, default=None)


@dataclass(frozen=True, slots=True)
class Limits:
    """From when on the pipeline lags. Seconds."""

    stream_lag_s: int = 300
    queue_age_s: int = 900


def judge(seen: Seen, limits: Limits | None = None) -> Status:
    """What it means."""
    book = _Book(seen, limits or Limits())
    book.gaps()
    book.stream()
    book.queue()
    book.dead()
    findings = sorted(book.findings, key=lambda one: _WORST.index(one.level), reverse=True)
    state = max((one.level for one in findings), key=_WORST.index, default=OK)
    return Status(OK if state == NOTE else state, tuple(findings), seen)


@dataclass(slots=True)
class _Book:
    seen: Seen
    limits: Limits
    findings: list[Finding] = field(default_factory=list)

    def add(self, level: str, what: str, page: str, command: str = "", since_ms: int | None = None) -> None:
        stack = f" --stack {self.seen.stack}"
        told = f"{command}{stack}" if command.startswith("lakebound ") else command
        self.findings.append(Finding(level, what, since_ms, told, f"docs/OPERATIONS.md#{page}"))

    def gaps(self) -> None:
        heal = "lakebound backfill start --mode heal"
        for gap in self.seen.gaps:
            self.add(GAP, f"a recorded gap is not healed ({gap.cause})", "status-gap", heal, gap.from_ms)
        age = self.seen.iterator_age_ms
        if age is not None and age > RETENTION_MS:
            what = "the stream forgot records before they were read"
            self.add(GAP, what, "stream-behind", heal, self.seen.now_ms - age)

    def stream(self) -> None:
        seen = self.seen
        if seen.table_stream is None and "table" not in {one.split(":")[0] for one in seen.unknown}:
            self.add(GAP, f"the table {seen.table} has no stream", "stream-recreated", "lakebound doctor --before")
        elif None not in (seen.table_stream, seen.mapping_stream) and seen.table_stream != seen.mapping_stream:
            what = "the table has another stream than the one that is read: it was switched off and on"
            self.add(GAP, what, "stream-recreated", "make deploy, with the table's new TableStreamArn, then heal")
        if seen.stream_view is not None and seen.stream_view not in ("NEW_AND_OLD_IMAGES", "NEW_IMAGE"):
            self.add(
                LAGGING, f"the stream has no new images ({seen.stream_view})", "view-type", "lakebound doctor --before"
            )
        if seen.mapping_state is not None and seen.mapping_state.startswith("Disabl"):
            what = "the stream mapping is disabled: after 24 hours the stream forgets"
            self.add(LAGGING, what, "mapping-disabled", "aws lambda update-event-source-mapping --enabled --uuid …")
        elif seen.mapping_result and seen.mapping_result.startswith("PROBLEM"):
            self.add(LAGGING, f"the stream mapping says {seen.mapping_result}", "stream-behind", "lakebound doctor")
        age = seen.iterator_age_ms
        if age is not None and self.limits.stream_lag_s * 1000 < age <= RETENTION_MS:
            what = f"stream_ingest is {age // 1000:,} s behind the table"
            self.add(LAGGING, what, "stream-behind", "lakebound doctor", seen.now_ms - age)

    def queue(self) -> None:
        seen = self.seen
        if seen.queue_mapping_state is not None and seen.queue_mapping_state.startswith("Disabl"):
            what = "the queue mapping is disabled: no file is written"
            self.add(LAGGING, what, "mapping-disabled", "aws lambda update-event-source-mapping --enabled --uuid …")
        age = seen.oldest_message_s
        if age is not None and age > self.limits.queue_age_s:
            what = f"a message has waited for {age:,} s in the buffer queue"
            self.add(LAGGING, what, "buffer-old", "lakebound doctor", seen.now_ms - age * 1000)

    def dead(self) -> None:
        seen = self.seen
        if seen.dead:
            what = f"{seen.dead:,} dead messages wait in the dead-letter queue"
            self.add(LAGGING, what, "dead-letters", "lakebound dlq redrive --from buffer")
        if seen.failure_objects:
            what = f"Lambda gave up on {seen.failure_objects:,} deliveries; their records lie in the bucket"
            command = "lakebound dlq redrive --from stream"
            self.add(LAGGING, what, "failure-objects", command, seen.oldest_failure_ms)
            oldest = seen.oldest_failure_ms
            last_day = (seen.failure_retention_days - 1) * 86_400_000
            if oldest is not None and seen.now_ms - oldest > last_day:
                what = "failure objects expire within a day; what is in them is then a gap"
                self.add(LAGGING, what, "failure-objects", command, oldest + last_day)
        if seen.quarantined:
            what = f"{seen.quarantined:,} records are in quarantine"
            self.add(NOTE, what, "quarantine", "lakebound dlq list --from quarantine")
        for alarm in seen.alarms:
            self.add(NOTE, f"the alarm {alarm} is on", "alarms")
        for what in seen.unknown:
            self.add(NOTE, f"not looked at: {what}", "status")


def newest_file(store: ObjectStore, prefix: str, partitions: Iterable[str]) -> int | None:
    """When the newest object of these hour partitions was written. Raises StoreUnavailable."""
    return max(
        (stored.modified_ms for partition in partitions for stored in store.list(f"{prefix}/{partition}/")),
        default=None,
    )
