"""Judges a pipeline by what was observed of it: its state, and what to do about it.

OK        Everything that was written is in the lake, or on its way in time. This was observed, not assumed.
UNKNOWN   Something that OK depends on could not be observed: a metric or a right is missing, or no check ran.
LAGGING   Something waits that should not. It arrives by itself, or by the command that is named.
GAP       Changes may be missing from the lake until a run heals it. Nothing else repairs that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from lakebound.counts import count_text
from lakebound.errors import ObjectMissing
from lakebound.operate.silver_lag import SilverFacts, StaleMark, WaitingFiles
from lakebound.ports import ObjectStore, StoredObject
from lakebound.source.delivery_proof import StreamCheck
from lakebound.source.gaps import RETENTION_MS, Gap, read_gaps
from lakebound.times import iso
from lakebound.transport.object_keys import HOUR_MS, DataKey, Partition, StreamCheckKey, data_folders

OK: Final = "OK"
UNKNOWN: Final = "UNKNOWN"
LAGGING: Final = "LAGGING"
GAP: Final = "GAP"
NOTE: Final = "NOTE"
"""A finding of this level changes no state."""

_WORST: Final = (NOTE, OK, UNKNOWN, LAGGING, GAP)

_MAX_SEEN_BYTES: Final = 64 * 1024 * 1024

TABLE: Final = "table"
STREAM_MAPPING: Final = "stream mapping"
QUEUE_MAPPING: Final = "queue mapping"
BUFFER: Final = "buffer queue"
DEAD: Final = "dead-letter queue"
FAILURES: Final = "failure objects"
GAPS: Final = "recorded gaps"
LAG: Final = "lag of the stream"
OLDEST_MESSAGE: Final = "age of the oldest message"
STREAM_CHECK: Final = "last stream check"
NEWEST_FILE: Final = "newest batch file"
QUARANTINE: Final = "quarantine"
SILVER: Final = "silver's metrics"
WAITING: Final = "files that wait for silver"
HEARTBEAT: Final = "last heartbeat"
"""The parts that are observed, as `missing` and `unknown` name them."""

NEEDED: Final = frozenset((TABLE, STREAM_MAPPING, QUEUE_MAPPING, BUFFER, DEAD, FAILURES, GAPS, STREAM_CHECK))
"""The parts without which the state cannot be OK. The two ages have rules of their own."""


WITHOUT: Final = {
    "stream_ingest": "no change is read from the stream, whose records expire after 24 hours",
    "flusher": "no file is written",
    "backfill": "the stream is not checked, so nobody would notice a gap",
}
"""What follows where one of the stack's functions is gone, by its role."""


def function_part(role: str) -> str:
    """The name of a function among the parts that are looked at."""
    return f"function {role}"


def open_gaps(store: ObjectStore, table: str) -> tuple[Gap, ...]:
    """The recorded gaps that no run has healed. Raises StoreUnavailable, LakeboundError."""
    return tuple(gap for gap in read_gaps(store, table) if gap.healed_by is None)


def last_stream_check(store: ObjectStore, table: str) -> StreamCheck | None:
    """The result of the newest stream check, or None before the first one.

    Raises StoreUnavailable, LakeboundError.
    """
    key = StreamCheckKey(table).format()
    try:
        return StreamCheck.decode(key, store.get(key, _MAX_SEEN_BYTES))
    except ObjectMissing:
        return None


@dataclass(frozen=True, slots=True)
class FunctionFacts:
    """What a function did in the newest five minutes in which it was invoked or throttled."""

    role: str
    log_group: str
    invocations: int
    errors: int
    throttles: int = 0


@dataclass(frozen=True, slots=True)
class PipelineFacts:
    """What was observed at one moment. None: it could not be found out (a metric without data, a missing right)."""

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
    """What could not be observed, and why: `part: reason`."""
    missing: tuple[str, ...] = ()
    """Parts that were looked for and do not exist."""
    functions: tuple[FunctionFacts, ...] = ()
    looked_ms: int | None = None
    """When the stream check ran last. None: no check is recorded."""
    delivered_ms: int | None = None
    """Until when that check proved that every change was delivered, or is in a known gap."""

    silver: SilverFacts | None = None
    """What the merge job published; None where it published nothing within a day."""
    silver_within_s: int = 0
    """Within what time a file has to be in silver, as the stack's parameter says; 0: its alarms are off."""
    waiting: WaitingFiles | None = None
    """By the metrics of a silver table. None: none was named."""
    mark: StaleMark | None = None
    """Of that table. None: none was named, or its merge job has noted none yet."""

    heartbeat_minutes: int = 0
    """How often the stack writes a heartbeat, as its parameter says; 0: never."""
    newest_heartbeat_ms: int | None = None
    """When the last file of one was written; None: none in the last two hours."""

    stream_mapping_id: str = "STREAM_MAPPING_ID"
    queue_mapping_id: str = "QUEUE_MAPPING_ID"

    def is_known(self, part: str) -> bool:
        """Whether the part exists and answered."""
        return part not in self.missing and not any(one.partition(": ")[0] == part for one in self.unknown)


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
    facts: PipelineFacts

    @property
    def since_ms(self) -> int | None:
        """When the state began, as far as it is known."""
        known = [one.since_ms for one in self.findings if one.level == self.state and one.since_ms is not None]
        return min(known, default=None)


@dataclass(frozen=True, slots=True)
class Limits:
    """When the pipeline counts as lagging, and how old a stream check may be. Seconds."""

    stream_lag_s: int = 300
    queue_age_s: int = 900
    look_age_s: int = 1_800
    """The stream check runs every five minutes; the alarm LooksMissing waits as long as this."""

    silver_s: int = 7_200
    """Where the stack's own alarms of silver are off: a merge job may well run once an hour."""

    heartbeat_s: int = 1_800
    """At least, and three times HeartbeatMinutes: as long as the alarm HeartbeatMissing waits."""

    proof_age_s: int = 5_400
    """A check of a healthy table proves delivery until 46 minutes before it (SETTLED_MS + STRETCH_MS)."""


def assess(facts: PipelineFacts, limits: Limits | None = None) -> Status:
    """The state that follows from the facts, with its findings."""
    book = _Book(facts, limits or Limits())
    book.gaps()
    book.stream()
    book.freshness()
    book.functions()
    book.queue()
    book.dead()
    book.heartbeat()
    book.silver()
    book.unseen()
    findings = sorted(book.findings, key=lambda one: _WORST.index(one.level), reverse=True)
    state = max((one.level for one in findings), key=_WORST.index, default=OK)
    return Status(OK if state == NOTE else state, tuple(findings), facts)


@dataclass(slots=True)
class _Book:
    facts: PipelineFacts
    limits: Limits
    findings: list[Finding] = field(default_factory=list)

    def add(self, level: str, what: str, page: str, command: str = "", since_ms: int | None = None) -> None:
        stack = f" --stack {self.facts.stack}"
        command += stack if command.startswith("lakebound ") else ""
        self.findings.append(Finding(level, what, since_ms, command, f"docs/OPERATIONS.md#{page}"))

    @property
    def _drift(self) -> str:
        """A deployment of an unchanged template makes nothing anew that somebody deleted by hand."""
        return f"aws cloudformation detect-stack-drift --stack-name {self.facts.stack}"

    def gaps(self) -> None:
        heal = "lakebound backfill start --mode heal"
        for gap in self.facts.gaps:
            self.add(GAP, f"a recorded gap is not healed ({gap.cause})", "status-gap", heal, gap.from_ms)
        age = self.facts.iterator_age_ms
        if age is not None and age > RETENTION_MS:
            what = "records expired from the stream before they were read"
            self.add(GAP, what, "stream-behind", heal, self.facts.now_ms - age)

    def stream(self) -> None:
        facts = self.facts
        if TABLE in facts.missing:
            what = f"there is no table {facts.table}: deleted, or of another region or account"
            self.add(GAP, what, "table-missing", "lakebound doctor --before")
        elif facts.table_stream is None and facts.is_known(TABLE):
            self.add(GAP, f"the table {facts.table} has no stream", "stream-recreated", "lakebound doctor --before")
        elif None not in (facts.table_stream, facts.mapping_stream) and facts.table_stream != facts.mapping_stream:
            what = "the table has another stream than the one that is read: it was switched off and on"
            self.add(GAP, what, "stream-recreated", "lakebound deploy, with the table's new TableStreamArn, then heal")
        if facts.stream_view is not None and facts.stream_view not in ("NEW_AND_OLD_IMAGES", "NEW_IMAGE"):
            self.add(
                LAGGING, f"the stream has no new images ({facts.stream_view})", "view-type", "lakebound doctor --before"
            )
        if STREAM_MAPPING in facts.missing or facts.mapping_state == "Deleting":
            what = "the stream mapping is gone: nothing reads the stream, whose records expire after 24 hours"
            self.add(LAGGING, what, "part-missing", self._drift)
        elif facts.mapping_state is not None and facts.mapping_state.startswith("Disabl"):
            what = "the stream mapping is disabled: records expire from the stream after 24 hours"
            self.add(LAGGING, what, "mapping-disabled", _enable(facts.stream_mapping_id))
        elif facts.mapping_result and facts.mapping_result.startswith("PROBLEM"):
            self.add(LAGGING, f"the stream mapping says {facts.mapping_result}", "stream-behind", "lakebound doctor")
        age = facts.iterator_age_ms
        if age is not None and self.limits.stream_lag_s * 1000 < age <= RETENTION_MS:
            what = f"stream_ingest is {age // 1000:,} s behind the table"
            self.add(LAGGING, what, "stream-behind", "lakebound doctor", facts.now_ms - age)

    def freshness(self) -> None:
        """An idle table has no IteratorAge either: then only the stream check tells an idle from a broken pipeline."""
        facts, limits = self.facts, self.limits
        is_checked = facts.looked_ms is not None and facts.now_ms - facts.looked_ms <= limits.look_age_s * 1000
        proved_from_ms = facts.now_ms - limits.proof_age_s * 1000
        if facts.is_known(STREAM_CHECK) and not is_checked:
            problem = "no stream check is recorded"
            if facts.looked_ms is not None:
                problem = (
                    f"the last stream check is {count_text((facts.now_ms - facts.looked_ms) // 60_000, 'minute')} old"
                )
            self.add(UNKNOWN, f"{problem}: nobody would notice a gap", "looks-missing", "lakebound doctor")
        if facts.iterator_age_ms is not None:
            return
        if not facts.is_known(LAG):
            what = "how far stream_ingest is behind the table cannot be seen: " + self._why(LAG)
            self.add(UNKNOWN, what, "status", "lakebound doctor")
        elif not (is_checked and facts.delivered_ms is not None and facts.delivered_ms >= proved_from_ms):
            what = (
                "CloudWatch knows of no delivery in the last 15 minutes, and no stream check proves that there "
                "was nothing to deliver: the table may be idle, or the pipeline may have stopped"
            )
            self.add(UNKNOWN, what, "status", "lakebound doctor --smoke")

    def functions(self) -> None:
        for role, then in WITHOUT.items():
            if function_part(role) in self.facts.missing:
                self.add(LAGGING, f"the function {role} is gone: {then}", "part-missing", self._drift)
        for one in self.facts.functions:
            logs = f"aws logs filter-log-events --log-group-name {one.log_group} --filter-pattern ERROR"
            if one.errors:
                # Errors and invocations are counted at different moments: errors may be the greater number.
                of_all = "all" if one.errors >= one.invocations else f"{one.errors:,} of"
                ran = count_text(max(one.errors, one.invocations), "invocation")
                what = f"{one.role} fails: {of_all} {ran} in five minutes"
                # A backfill unit that fails is tried again and has its alarm; a stream check that fails grows old.
                half = one.errors * 2 >= one.invocations and one.role != "backfill"
                self.add(LAGGING if half else NOTE, what, "function-errors", logs)
            if one.throttles:
                ran = f"and ran {count_text(one.invocations, 'time')}"
                what = f"{one.role} was throttled {count_text(one.throttles, 'time')} in five minutes, {ran}"
                stands = not one.invocations and one.role != "backfill"
                self.add(LAGGING if stands else NOTE, what, "function-throttles", "lakebound doctor")

    def _why(self, part: str) -> str:
        return next(one.partition(": ")[2] for one in self.facts.unknown if one.partition(": ")[0] == part)

    def queue(self) -> None:
        facts = self.facts
        if BUFFER in facts.missing:
            self.add(LAGGING, "the buffer queue is gone: no delivery can be sent", "part-missing", self._drift)
        if DEAD in facts.missing:
            what = "the dead-letter queue is gone: a message that cannot be written has no place to go"
            self.add(LAGGING, what, "part-missing", self._drift)
        if QUEUE_MAPPING in facts.missing or facts.queue_mapping_state == "Deleting":
            what = "the queue mapping is gone: no file is written"
            self.add(LAGGING, what, "part-missing", self._drift)
        elif facts.queue_mapping_state is not None and facts.queue_mapping_state.startswith("Disabl"):
            what = "the queue mapping is disabled: no file is written"
            self.add(LAGGING, what, "mapping-disabled", _enable(facts.queue_mapping_id))
        age = facts.oldest_message_s
        if age is not None and age > self.limits.queue_age_s:
            what = f"a message has waited for {age:,} s in the buffer queue"
            self.add(LAGGING, what, "buffer-old", "lakebound doctor", facts.now_ms - age * 1000)
        newest = facts.newest_file_ms
        writes = newest is not None and facts.now_ms - newest <= self.limits.queue_age_s * 1000
        # Only where the metric may not be read. Where it has no value the queue was empty until a moment ago: SQS gives
        # one each minute for a queue that holds messages.
        if facts.buffered and not writes and not facts.is_known(OLDEST_MESSAGE):
            what = (
                f"how long {count_text(facts.buffered, 'message', 'has', 'have')} waited in the buffer "
                "queue cannot be seen: "
            )
            self.add(UNKNOWN, what + self._why(OLDEST_MESSAGE), "buffer-old", "lakebound doctor")

    def dead(self) -> None:
        facts = self.facts
        if facts.dead:
            what = f"{count_text(facts.dead, 'dead message', 'waits', 'wait')} in the dead-letter queue"
            self.add(LAGGING, what, "dead-letters", "lakebound dlq redrive --from buffer")
        if facts.failure_objects:
            what = f"Lambda gave up on {count_text(facts.failure_objects, 'delivery')}; the records lie in the bucket"
            command = "lakebound dlq redrive --from stream"
            self.add(LAGGING, what, "failure-objects", command, facts.oldest_failure_ms)
            oldest = facts.oldest_failure_ms
            last_day = (facts.failure_retention_days - 1) * 86_400_000
            if oldest is not None and facts.now_ms - oldest > last_day:
                what = "failure objects expire within a day; what is in them is then a gap"
                self.add(LAGGING, what, "failure-objects", command, oldest + last_day)
        if facts.quarantined:
            what = f"{count_text(facts.quarantined, 'record', 'is', 'are')} in quarantine"
            self.add(NOTE, what, "quarantine", "lakebound dlq list --from quarantine")
        for alarm in facts.alarms:
            self.add(NOTE, f"the alarm {alarm} is on", "alarms")

    def heartbeat(self) -> None:
        facts = self.facts
        if not facts.heartbeat_minutes or not facts.is_known(HEARTBEAT):
            return
        within_ms = 1000 * max(self.limits.heartbeat_s, 3 * 60 * facts.heartbeat_minutes)
        last = facts.newest_heartbeat_ms
        if last is None or facts.now_ms - last > within_ms:
            since = "two hours" if last is None else _ago(facts.now_ms - last)
            what = f"no heartbeat has reached the bucket for {since}: the way of every change is broken somewhere"
            self.add(LAGGING, what, "heartbeat-missing", "lakebound doctor", last)

    def silver(self) -> None:
        facts = self.facts
        within_s = facts.silver_within_s or self.limits.silver_s
        start = "lakebound-run or lakebound-merge-changes, where the merge job runs"
        seen = facts.silver
        if seen is None:
            if facts.silver_within_s and facts.is_known(SILVER):
                what = "no merge job has published anything for a day: silver stands still"
                self.add(LAGGING, what, "merge-missing", start)
        elif facts.now_ms - seen.published_ms > within_s * 1000:
            what = f"no merge job has published for {_ago(facts.now_ms - seen.published_ms)}: silver stands still"
            self.add(LAGGING, what, "merge-missing", start, seen.published_ms)
        else:
            if seen.lag_s > within_s:
                what = f"the merge job brings in files that are {_ago(seen.lag_s * 1000)} old"
                self.add(LAGGING, what, "silver-lag", since_ms=facts.now_ms - round(seen.lag_s * 1000))
            if seen.overdue_s > within_s:
                overdue = f"was due {_ago(seen.overdue_s * 1000)} ago"
                what = f"a merge of {count_text(seen.pending_rows, 'row')} in _changes {overdue}, and has not ended"
                self.add(LAGGING, what, "silver-pending", since_ms=facts.now_ms - round(seen.overdue_s * 1000))
        oldest = None if facts.waiting is None else facts.waiting.oldest_ms
        if facts.waiting is not None and oldest is not None and facts.now_ms - oldest > within_s * 1000:
            many = count_text(facts.waiting.count, "batch file", "waits", "wait")
            what = f"{many} that no run of the merge job has taken, the oldest {_ago(facts.now_ms - oldest)} old"
            self.add(LAGGING, what, "merge-missing", start, oldest)

        self._stale_mark(start)

    def _stale_mark(self, start: str) -> None:
        """The mark follows the recorded gaps at the merge job's next look; until then it misleads readers."""
        facts, mark = self.facts, self.facts.mark
        if mark is None or not facts.is_known(GAPS):
            return
        if mark.since_ms is not None and not facts.gaps:
            what = f"silver still marks changes as missing ({mark.causes}), though every recorded gap is healed"
            self.add(LAGGING, what, "stale-mark", start, mark.since_ms)
        elif facts.gaps and mark.since_ms is None:
            what = f"silver does not tell its readers of the gap: its merge job last looked {iso(mark.looked_ms)}"
            self.add(LAGGING, what, "stale-mark", start, mark.looked_ms)

    def unseen(self) -> None:
        if FAILURES in self.facts.missing:
            what = "the bucket is gone: no file can be written, and no failure object"
            self.add(LAGGING, what, "part-missing", self._drift)
        elif others := set(self.facts.missing) - NEEDED - set(map(function_part, WITHOUT)):
            what = f"a part of the stack is gone, so this cannot be found: {', '.join(sorted(others))}"
            self.add(LAGGING, what, "part-missing", "lakebound doctor")
        for what in self.facts.unknown:
            part = what.partition(": ")[0]
            if part != LAG:  # which `freshness` reports
                self.add(UNKNOWN if part in NEEDED else NOTE, f"could not be checked: {what}", "status")


def _ago(ms: float) -> str:
    seconds = ms / 1000
    if seconds < 600:
        return f"{seconds:,.0f} s"
    return count_text(round(seconds / 60), "minute") if seconds < 36_000 else count_text(round(seconds / 3600), "hour")


def _enable(mapping_id: str) -> str:
    return f"aws lambda update-event-source-mapping --enabled --uuid {mapping_id}"


def newest_file(
    store: ObjectStore, prefix: str, partition: Partition, now_ms: int, hours_back: int = 1
) -> StoredObject | None:
    """The batch file that was written last, in this hour or so many before. Raises StoreUnavailable.

    No older hour is listed: a listing of everything grows for ever.
    """
    folders = data_folders(prefix, partition, *(now_ms - back * HOUR_MS for back in range(hours_back + 1)))
    files = (one for folder in folders for one in store.list(folder) if DataKey.parse(prefix, one.key) is not None)
    return max(files, key=lambda one: one.modified_ms, default=None)
