"""What a pipeline costs: measured from what it did, or estimated from a table and a write rate.

Not in it: the table itself, the Delta table and the Spark cluster, a customer key, transfer out of the region. Reading
the stream is free for Lambda.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final

from lakebound import prices

HOURS_A_MONTH: Final = 730
_SECONDS_A_MONTH: Final = HOURS_A_MONTH * 3600
_GB: Final = 1024**3
_MESSAGE_BYTES: Final = 262_144
_COMPRESSION: Final = 6.0
"""Lines of typed JSON with both images shrink about so many times at isal's level 1 (measured on the flights table)."""

_BASE64: Final = 4 / 3
_INGEST_MS_PER_1000: Final = 120.0
_ENVELOPE_BYTES: Final = 600
_JSON_GROWTH: Final = 2.2
"""Typed JSON of an item against the bytes that DynamoDB bills it by, both images together twice of it."""


@dataclass(frozen=True, slots=True)
class Line:
    """One part of the bill: how much, of what, and dollars a month."""

    part: str
    amount: float
    unit: str
    dollars: float


@dataclass(frozen=True, slots=True)
class Bill:
    """The parts, dearest first, and how it was come by."""

    lines: tuple[Line, ...]
    way: str
    prices_as_of: str = prices.AS_OF
    region: str = prices.REGION

    @property
    def dollars(self) -> float:
        """A month, all parts."""
        return sum(line.dollars for line in self.lines)

    def per_million(self, records: float) -> float | None:
        """Dollars for a million records at this rate; None without records."""
        return self.dollars / records * 1e6 if records else None


@dataclass(frozen=True, slots=True)
class Did:
    """What a pipeline did in some hours, by its metrics."""

    hours: float
    records: float
    ingest_requests: float
    ingest_gb_seconds: float
    flusher_requests: float
    flusher_gb_seconds: float
    messages: float
    message_bytes: float
    empty_receives: float
    files: float
    file_bytes: float
    alarms: int = 0


def measured(did: Did) -> Bill:
    """A month at the rate of those hours."""
    month = HOURS_A_MONTH / did.hours
    units = max(did.messages, did.message_bytes / prices.SQS_REQUEST_BYTES)
    # Sent, received and deleted: a delete is one request of ten messages, the bytes count twice.
    sqs = (units * 2 + did.messages / 10 + did.empty_receives) * month
    requests = (did.ingest_requests + did.flusher_requests) * month
    seconds = (did.ingest_gb_seconds + did.flusher_gb_seconds) * month
    return _bill(
        f"measured over {did.hours:g} hours",
        [
            Line("Lambda requests", requests, "requests", requests * prices.LAMBDA_REQUEST),
            Line("Lambda compute", seconds, "GB-seconds", seconds * prices.LAMBDA_GB_SECOND),
            Line("SQS", sqs, "requests of 64 KiB", sqs * prices.SQS_REQUEST),
            Line("S3 puts", did.files * month, "puts", did.files * month * prices.S3_PUT),
            _storage(did.file_bytes * month),
            Line("alarms", did.alarms, "alarms", did.alarms * prices.ALARM_MONTH),
        ],
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """What an estimate is made from. `item_bytes` as DynamoDB counts them."""

    writes_per_second: float
    item_bytes: float
    stream_window_s: float = 5.0
    shards: int = 1
    max_seconds: float = 30.0
    ingest_mb: int = 512
    flusher_mb: int = 1024
    alarms: int = 20


def estimated(plan: Plan) -> Bill:
    """A month of a table that is written at a steady rate."""
    records = plan.writes_per_second * _SECONDS_A_MONTH
    line = _ENVELOPE_BYTES + plan.item_bytes * _JSON_GROWTH * 2
    packed = line / _COMPRESSION
    # A delivery comes when the window is over or 1,000 records are there, per shard; none while nothing is written.
    per_shard = plan.writes_per_second / plan.shards
    delivery = min(1_000.0, max(1.0, per_shard * plan.stream_window_s))
    deliveries = records / delivery
    ingest_seconds = deliveries * 0.01 + records / 1_000 * _INGEST_MS_PER_1000 / 1_000
    messages_each = max(1, ceil(delivery * packed * _BASE64 / _MESSAGE_BYTES))
    messages = deliveries * messages_each
    units = messages * max(1, ceil(delivery * packed * _BASE64 / messages_each / prices.SQS_REQUEST_BYTES))
    # One flusher tops a file up for max_seconds, then the next begins; with no writes none runs.
    flushes = min(messages, _SECONDS_A_MONTH / max(1.0, plan.max_seconds))
    flusher_seconds = (
        flushes * min(plan.max_seconds, max(1.0, _SECONDS_A_MONTH / max(1.0, flushes))) if records else 0.0
    )
    sqs = units * 2 + messages / 10 + flusher_seconds / 20
    files = flushes * 1.05
    compute = ingest_seconds * plan.ingest_mb / 1024 + flusher_seconds * plan.flusher_mb / 1024
    return _bill(
        f"estimated for {plan.writes_per_second:g} writes a second of {plan.item_bytes:,.0f} bytes",
        [
            Line("Lambda requests", deliveries + flushes, "requests", (deliveries + flushes) * prices.LAMBDA_REQUEST),
            Line("Lambda compute", compute, "GB-seconds", compute * prices.LAMBDA_GB_SECOND),
            Line("SQS", sqs, "requests of 64 KiB", sqs * prices.SQS_REQUEST),
            Line("S3 puts", files, "puts", files * prices.S3_PUT),
            _storage(records * packed),
            Line("alarms", plan.alarms, "alarms", plan.alarms * prices.ALARM_MONTH),
        ],
    )


def _storage(size: float) -> Line:
    return Line("S3 storage, of one month's files", size / _GB, "GB", size / _GB * prices.S3_GB_MONTH)


def _bill(way: str, lines: list[Line]) -> Bill:
    return Bill(tuple(sorted(lines, key=lambda line: -line.dollars)), way)
