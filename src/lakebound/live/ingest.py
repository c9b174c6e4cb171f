"""The use case of stream_ingest: a delivery becomes messages in the buffer queue, poison goes to quarantine.

A delivered record is in the queue or in quarantine before the stream's checkpoint may pass it (G1). Work stops at the
first position that is in neither; the platform delivers from there again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from lakebound.errors import LakeboundError, Poison, QueueUnavailable, StoreUnavailable
from lakebound.formats.registry import encoder_of
from lakebound.ports import Clock, ObjectStore, Queue, SecondsLeft
from lakebound.record.envelope import encode_event
from lakebound.record.redaction import Redaction
from lakebound.record.stream_records import ChangeEvent, StreamDecoder, sequence_number_of
from lakebound.transport import messages, quarantine
from lakebound.transport.messages import Line, OutgoingMessage, Packer
from lakebound.transport.object_keys import Partition

RESERVE_SECONDS: Final = 5.0
"""Time kept back to answer: a call in flight ends, the answer is written, metrics are flushed."""

SEND_ATTEMPTS: Final = 4
_BACKOFF_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class IngestRules:
    """What the settings decide: the table, how records are spread over hour partitions, how large messages grow."""

    table: str
    partition: Partition
    by_event_time: bool
    message_bytes: int
    file_format: str = "ndjson.gz"
    redaction: Redaction | None = None

    def partition_of(self, event: ChangeEvent, now_ms: int) -> str:
        """The event's hour partition: by its creation time or by the writer's clock."""
        created = event.approx_creation_time_ms
        moment = created if self.by_event_time and created is not None else now_ms
        return self.partition(moment, event.event_name in ("REMOVE", "ABSENT"))


@dataclass(slots=True)
class IngestResult:
    """What became of a delivery. `unsent_from` is the lowest sequence number in neither queue nor quarantine."""

    delivered: int
    sent: int = 0
    messages: int = 0
    message_bytes: int = 0
    claims: int = 0
    quarantined: Counter[str] = field(default_factory=Counter)
    old_images_refused: Counter[str] = field(default_factory=Counter)
    """Changes that travel without the old image that they came with, by the reason."""
    newest_age_ms: int | None = None
    unsent_from: str | None = None
    unsent_why: str = ""


def ingest(
    records: Sequence[object],
    rules: IngestRules,
    decoder: StreamDecoder,
    queue: Queue,
    store: ObjectStore,
    clock: Clock,
    seconds_left: SecondsLeft,
) -> IngestResult:
    """Carry one delivery. Raises LakeboundError only when a record without a sequence number could not be kept."""
    now_ms = clock.now_ms()
    result = IngestResult(delivered=len(records))
    lines, poisoned, created = _decode(records, rules, decoder, now_ms, result)
    if created:
        result.newest_age_ms = now_ms - max(created)
    stop = _quarantine(records, rules, poisoned, result, store, now_ms, seconds_left)
    packer = Packer(rules.table, rules.message_bytes, now_ms, rules.file_format)
    outgoing = packer.pack(line for line in lines if stop is None or line.position < stop)
    failed = _send_all(outgoing, result, queue, store, clock, seconds_left)
    first = min((position for position in (stop, failed) if position is not None), default=None)
    if first is not None:
        result.unsent_from = _identifier(records[first])
    return result


def poison_code(record: object, rules: IngestRules, decoder: StreamDecoder, now_ms: int) -> str | None:
    """The code with which `ingest` would put the record in quarantine now, None where it would carry it."""
    _, poisoned, _ = _decode([record], rules, decoder, now_ms, IngestResult(1))
    return next((poison.code for _, poison in poisoned), None)


def _decode(
    records: Sequence[object], rules: IngestRules, decoder: StreamDecoder, now_ms: int, result: IngestResult
) -> tuple[list[Line], list[tuple[int, Poison]], list[int]]:
    lines: list[Line] = []
    poisoned: list[tuple[int, Poison]] = []
    created: list[int] = []
    encode = encoder_of(rules.file_format).encode
    for position, record in enumerate(records):
        try:
            event = decoder.decode(record, now_ms)
            if rules.redaction is not None:
                event = rules.redaction.event(event)
            data, event = encode_event(encode, event, now_ms)
        except Poison as poison:
            poisoned.append((position, poison))
            continue
        lines.append(Line(position, rules.partition_of(event, now_ms), event.version, data))
        if event.old_image_refused is not None:
            result.old_images_refused[event.old_image_refused] += 1
        if event.approx_creation_time_ms is not None:
            created.append(event.approx_creation_time_ms)
    return lines, poisoned, created


def _quarantine(
    records: Sequence[object],
    rules: IngestRules,
    poisoned: list[tuple[int, Poison]],
    result: IngestResult,
    store: ObjectStore,
    now_ms: int,
    seconds_left: SecondsLeft,
) -> int | None:
    """Keep the poison records in order; the position of the first that could not be kept, or None."""
    for kept, (position, poison) in enumerate(poisoned):
        # A KEYS_ONLY stream makes every record poison: half the time goes to objects, the rest comes again.
        if kept and seconds_left() < 2 * RESERVE_SECONDS:
            result.unsent_why = "time"
            return position
        record = records[position] if rules.redaction is None else rules.redaction.record(records[position])
        item = quarantine.from_delivery(rules.table, record, poison, now_ms)
        try:
            store.put_if_absent(item.key, item.body, {"reason": item.reason})
        except StoreUnavailable:
            if sequence_number_of(records[position]) is None:
                raise LakeboundError(
                    f"A record without a sequence number could not be kept in quarantine ({poison.code})",
                    hint="The whole delivery fails and comes again; check that the bucket can be written",
                ) from None
            result.unsent_why = "quarantine"
            return position
        result.quarantined[poison.code] += 1
    return None


def _send_all(
    outgoing: Iterable[OutgoingMessage],
    result: IngestResult,
    queue: Queue,
    store: ObjectStore,
    clock: Clock,
    seconds_left: SecondsLeft,
) -> int | None:
    """Send until done, refused or out of time; the lowest delivery position that is not sent, or None."""
    failed: int | None = None
    for batch in messages.split_batches(outgoing):
        unsent = batch
        if failed is None:
            if result.messages and seconds_left() < RESERVE_SECONDS:
                result.unsent_why = "time"
            else:
                unsent = _send(batch, result, queue, store, clock, seconds_left)
        # After the first failure nothing more is sent: it would only come again as duplicates. The remaining messages
        # are still looked at, since with event-time partitions a later one can hold an earlier position.
        if unsent:
            least = min(message.first_position for message in unsent)
            failed = least if failed is None else min(failed, least)
    return failed


def _send(
    batch: list[OutgoingMessage],
    result: IngestResult,
    queue: Queue,
    store: ObjectStore,
    clock: Clock,
    seconds_left: SecondsLeft,
) -> list[OutgoingMessage]:
    """Send one batch, each refused entry again; what was refused to the end."""
    refused = [message for message in batch if not _claim_kept(message, result, store)]
    pending = [message for message in batch if message not in refused]
    for attempt in range(SEND_ATTEMPTS):
        if not pending:
            break
        if attempt:
            pause = _BACKOFF_SECONDS * 2**attempt
            if seconds_left() < RESERVE_SECONDS + pause:
                break
            clock.sleep(pause)
        try:
            positions = set(queue.send([message.body for message in pending]))
        except QueueUnavailable:
            # The request may have been accepted and its answer lost: sending again duplicates, which is harmless.
            continue
        accepted = [message for place, message in enumerate(pending) if place not in positions]
        result.messages += len(accepted)
        result.sent += sum(message.count for message in accepted)
        result.message_bytes += sum(len(message.body) for message in accepted)
        pending = [message for place, message in enumerate(pending) if place in positions]
    if pending:
        result.unsent_why = "queue"
    return refused + pending


def _claim_kept(message: OutgoingMessage, result: IngestResult, store: ObjectStore) -> bool:
    """Whether a claimed document is durable (also when there is none): it is written before its message is sent."""
    if message.claim is None:
        return True
    key, document = message.claim
    try:
        store.put_if_absent(key, document, {})
    except StoreUnavailable:
        result.unsent_why = "claim"
        return False
    result.claims += 1
    return True


def _identifier(record: object) -> str:
    sequence = sequence_number_of(record)
    # Lambda reads an empty identifier as "the whole delivery failed", which is what a record without one must mean.
    return sequence if sequence is not None else ""
