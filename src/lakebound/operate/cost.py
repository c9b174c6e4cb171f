"""What a pipeline costs a month: measured from what it did, or estimated from a write rate.

The costs do not include the source table, the Delta table, a customer key, or transfer out of the region, and the
Spark cluster only where somebody tells its hours. Lambda reads the stream for free.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from math import ceil, inf
from typing import Final

from lakebound import prices
from lakebound.counts import count_text
from lakebound.errors import Misconfigured

HOURS_A_MONTH: Final = 730
_SECONDS_A_MONTH: Final = HOURS_A_MONTH * 3600
_GB: Final = 1024**3
_MESSAGE_BYTES: Final = 262_144
_COMPRESSION: Final = 6.0
"""How many times lines of typed JSON with both images shrink at isal's level 2 (measured on the flights table)."""

_BASE64: Final = 4 / 3
_INGEST_MS_PER_1000: Final = 120.0
_ENVELOPE_BYTES: Final = 600
_JSON_GROWTH: Final = 2.2
"""Bytes of an item as typed JSON for each byte that DynamoDB counts. Two images take twice that."""

FULL: Final = "full"
LEAN: Final = "lean"
"""The values of the stack's parameter Watch."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What of CloudWatch's is paid for a stack whether it has something to do or not."""

    alarms: int
    composite_alarms: int
    dashboards: int


WATCHES: Final = {FULL: Watched(20, 0, 1), LEAN: Watched(8, 1, 0)}
"""What each value of Watch makes, without the alarms of VerifyAlarms, SilverLagMinutes and the like."""

INGEST_METRICS: Final = 7
FLUSHER_METRICS: Final = 8
LOOK_METRICS: Final = 2
HEARTBEAT_METRICS: Final = 4
"""Custom metrics that stream_ingest, the flusher and the stream check put when they run; and those of heartbeats."""

WRITES_A_HEARTBEAT: Final = 3
"""Its item is written, changed and removed: a write unit each."""

LOOKS_A_MONTH: Final = HOURS_A_MONTH * 12
METRICS_A_LOOK: Final = 5
"""How many metrics one stream check asks for."""

_LOOK_SECONDS: Final = 1.5
"""An assumption; `lakebound cost` measures it on a stack."""


@dataclass(frozen=True, slots=True)
class CostLine:
    """One part of the bill: how much, of what, and dollars a month. Both are 0 where it was not measured."""

    part: str
    amount: float
    unit: str
    dollars: float
    measured: bool = True
    """False: CloudWatch has no value of what this part is computed from."""


@dataclass(frozen=True, slots=True)
class Bill:
    """The parts, dearest first, and how they were computed. `dollars` is a minimum where a part was not measured."""

    lines: tuple[CostLine, ...]
    way: str
    prices_as_of: str = prices.AS_OF
    region: str = prices.REGION

    @property
    def dollars(self) -> float:
        """Dollars a month for all parts that were measured."""
        return sum(line.dollars for line in self.lines)

    @property
    def unmeasured(self) -> tuple[str, ...]:
        """The parts that were not measured."""
        return tuple(line.part for line in self.lines if not line.measured)

    def per_million(self, records: float) -> float | None:
        """Dollars for a million records at this rate; None without records, or where a part was not measured."""
        return self.dollars / records * 1e6 if records and not self.unmeasured else None


def headline(bill: Bill) -> str:
    """The whole bill as one sentence for a person."""
    what = f"{dollars(bill.dollars)} a month, {bill.way} ({bill.region}, prices of {bill.prices_as_of})"
    if not bill.unmeasured:
        return what
    return f"at least {what}; not measured: {', '.join(bill.unmeasured)}"


def amount(line: CostLine) -> str:
    """How much of what: `1 dashboard`, `20 alarms`, `1 request of 64 KiB`."""
    told = number(line)
    # Every unit's noun has a plain s, and stands at the end, before a comma or before its own measure.
    return f"{told} {re.sub('s(?=$|,| of )', '', line.unit, count=1) if told == '1' else line.unit}"


def number(line: CostLine) -> str:
    """How much. Less than one where rounding gives 0, since that is not none."""
    return "< 1" if 0 < line.amount < 0.5 else f"{line.amount:,.0f}"


def dollars(value: float) -> str:
    """Dollars and cents. Less than half a cent is `< $0.01`, since it is not free."""
    return "< $0.01" if 0 < value < 0.005 else f"${value:,.2f}"


@dataclass(frozen=True, slots=True)
class Usage:
    """What a pipeline did in the last `hours`, by its metrics. None: CloudWatch has no value of it."""

    hours: float
    records: float | None
    ingest_requests: float | None
    ingest_gb_seconds: float | None
    flusher_requests: float | None
    flusher_gb_seconds: float | None
    messages: float | None
    message_bytes: float | None
    empty_receives: float | None
    files: float | None
    file_bytes: float | None
    alarms: int | None = 0
    """None: the stack's alarms and dashboards may not be counted."""
    composite_alarms: int = 0
    dashboards: int = 0
    look_requests: float | None = None
    """Invocations of the backfill function: stream checks, and the units of backfills."""
    look_gb_seconds: float | None = None
    has_heartbeat: bool = False
    heartbeats: float | None = None
    """Invocations of the heartbeat's function."""
    heartbeat_reads: float | None = None
    """Invocations of the function that reads the heartbeat's stream."""
    heartbeat_gb_seconds: float | None = None
    """Of both."""
    has_nightly: bool = False
    """Whether a function of the stack verifies each night."""
    nights: float | None = None
    """Its invocations, and what they took."""
    night_gb_seconds: float | None = None
    architecture: str = prices.ARCHITECTURE


_COUNTED: Final = ("hours", "alarms", "composite_alarms", "dashboards", "has_heartbeat", "has_nightly", "architecture")
"""What of a Usage comes from no metric."""


def measure(usage: Usage) -> Bill:
    """The bill of a month at the rate of those hours.

    CloudWatch keeps no zeros: a function that was not invoked has no value. That counts as 0 only where other values
    show that metrics arrive, and that there was nothing to do. Otherwise the part was not measured.
    """
    month = HOURS_A_MONTH / usage.hours
    of_metrics = [one.name for one in fields(usage) if one.name not in _COUNTED]
    arrives = any(getattr(usage, name) is not None for name in of_metrics)
    # Empty receives alone are a queue without a message. Without any value the queue may have been busy.
    sqs_known = any(value is not None for value in (usage.messages, usage.message_bytes, usage.empty_receives))
    sqs_known = sqs_known or (arrives and not usage.ingest_requests and not usage.flusher_requests)
    # The flusher ran, but there is no metric of files: its own metrics do not arrive.
    files_known = usage.files is not None or (arrives and not usage.flusher_requests)
    messages = usage.messages or 0
    units = max(messages, (usage.message_bytes or 0) / prices.SQS_REQUEST_BYTES)
    # Sent, received and deleted: a delete is one request of ten messages, the bytes count twice.
    sqs = (units * 2 + messages / 10 + (usage.empty_receives or 0)) * month
    requests = ((usage.ingest_requests or 0) + (usage.flusher_requests or 0)) * month
    gb_second = prices.LAMBDA_GB_SECOND[usage.architecture]
    seconds = ((usage.ingest_gb_seconds or 0) + (usage.flusher_gb_seconds or 0)) * month
    files, size = (usage.files or 0) * month, (usage.file_bytes or 0) * month
    watched = None if usage.alarms is None else Watched(usage.alarms, usage.composite_alarms, usage.dashboards)
    looks, look_seconds = (usage.look_requests or 0) * month, (usage.look_gb_seconds or 0) * month
    ran = ((usage.ingest_requests, INGEST_METRICS), (usage.flusher_requests, FLUSHER_METRICS))
    metrics = sum(many for runs, many in (*ran, (usage.look_requests, LOOK_METRICS)) if runs)
    metrics += HEARTBEAT_METRICS if usage.has_heartbeat else 0
    return _bill(
        f"measured over {count_text(usage.hours, 'hour')}",
        [
            CostLine("Lambda requests", requests, "requests", requests * prices.LAMBDA_REQUEST, arrives),
            CostLine("Lambda compute", seconds, "GB-seconds", seconds * gb_second, arrives),
            CostLine("SQS", sqs, "requests of 64 KiB", sqs * prices.SQS_REQUEST, sqs_known),
            CostLine("S3 puts", files, "puts", files * prices.S3_PUT, files_known),
            replace(_storage(size), measured=files_known),
            *_watch_lines(watched),
            replace(_looks(looks, look_seconds, gb_second), measured=usage.look_requests is not None),
            replace(_metrics(metrics), measured=arrives),
            *_of_schedules(usage, month, gb_second),
        ],
    )


@dataclass(frozen=True, slots=True)
class Workload:
    """What an estimate is computed from. `item_bytes` as DynamoDB counts them."""

    writes_per_second: float
    item_bytes: float
    stream_window_s: float = 5.0
    shards: int = 1
    max_seconds: float = 30.0
    ingest_mb: int = 512
    flusher_mb: int = 1024
    backfill_mb: int = 1769
    watch: str = FULL
    """The stack's parameter Watch."""


def estimate(load: Workload) -> Bill:
    """The bill of a month for a table that is written at a steady rate."""
    records = load.writes_per_second * _SECONDS_A_MONTH
    line = _ENVELOPE_BYTES + load.item_bytes * _JSON_GROWTH * 2
    packed = line / _COMPRESSION
    # A delivery comes when the window is over or 1,000 records are there, per shard; none while nothing is written.
    per_shard = load.writes_per_second / load.shards
    delivery = min(1_000.0, max(1.0, per_shard * load.stream_window_s))
    deliveries = records / delivery
    ingest_seconds = deliveries * 0.01 + records / 1_000 * _INGEST_MS_PER_1000 / 1_000
    messages_each = max(1, ceil(delivery * packed * _BASE64 / _MESSAGE_BYTES))
    messages = deliveries * messages_each
    units = messages * max(1, ceil(delivery * packed * _BASE64 / messages_each / prices.SQS_REQUEST_BYTES))
    # One flusher tops a file up for max_seconds, then the next begins; with no writes none runs.
    flushes = min(messages, _SECONDS_A_MONTH / max(1.0, load.max_seconds))
    flusher_seconds = (
        flushes * min(load.max_seconds, max(1.0, _SECONDS_A_MONTH / max(1.0, flushes))) if records else 0.0
    )
    sqs = units * 2 + messages / 10 + flusher_seconds / 20
    files = flushes * 1.05
    gb_second = prices.LAMBDA_GB_SECOND[prices.ARCHITECTURE]
    compute = ingest_seconds * load.ingest_mb / 1024 + flusher_seconds * load.flusher_mb / 1024
    return _bill(
        f"estimated for {count_text(load.writes_per_second, 'write')} a second of "
        f"{count_text(round(load.item_bytes), 'byte')}",
        [
            CostLine(
                "Lambda requests", deliveries + flushes, "requests", (deliveries + flushes) * prices.LAMBDA_REQUEST
            ),
            CostLine("Lambda compute", compute, "GB-seconds", compute * gb_second),
            CostLine("SQS", sqs, "requests of 64 KiB", sqs * prices.SQS_REQUEST),
            CostLine("S3 puts", files, "puts", files * prices.S3_PUT),
            _storage(records * packed),
            *_watch_lines(WATCHES[load.watch]),
            _looks(LOOKS_A_MONTH, LOOKS_A_MONTH * _LOOK_SECONDS * load.backfill_mb / 1024, gb_second),
            _metrics(LOOK_METRICS + (INGEST_METRICS + FLUSHER_METRICS if records else 0)),
        ],
    )


def of_tables(bill: Bill, tables: int) -> Bill:
    """The bill of so many stacks like this one."""
    lines = tuple(replace(line, amount=line.amount * tables, dollars=line.dollars * tables) for line in bill.lines)
    return replace(bill, lines=lines, way=f"{bill.way}, {count_text(tables, 'such table')}" if tables > 1 else bill.way)


@dataclass(frozen=True, slots=True)
class SparkCluster:
    """The machines of the Spark jobs. `hours` a month in which they run; `dbus` of Databricks, a machine and hour."""

    hours: float
    instance: str
    machines: int = 1
    dbus: float = 0.0

    @property
    def hour(self) -> float:
        """Dollars an hour for one machine: by its type, or as told. Raises Misconfigured for a type without a price."""
        if self.instance in prices.INSTANCE_HOURS:
            return prices.INSTANCE_HOURS[self.instance]
        try:
            told = float(self.instance)
        except ValueError:
            told = -1.0
        if not 0 <= told < inf:
            raise Misconfigured(
                f"There is no price of {self.instance} here",
                hint=f"Give dollars an hour, or one of {', '.join(prices.INSTANCE_HOURS)}",
            )
        return told


def with_spark(bill: Bill, cluster: SparkCluster) -> Bill:
    """The bill with the parts of the Spark cluster. Raises Misconfigured for a type without a price."""
    hours = cluster.hours * cluster.machines
    lines = [*bill.lines, CostLine("Spark machines", hours, "machine-hours", hours * cluster.hour)]
    if cluster.dbus:
        used = hours * cluster.dbus
        lines.append(CostLine("Databricks", used, "DBUs of Jobs Compute", used * prices.JOBS_DBU))
    return replace(_bill(bill.way, lines), prices_as_of=bill.prices_as_of, region=bill.region)


def _watch_lines(watched: Watched | None) -> list[CostLine]:
    if watched is None:
        return [CostLine("alarms", 0, "alarms", 0, measured=False)]
    lines = [CostLine("alarms", watched.alarms, "alarms", watched.alarms * prices.ALARM_MONTH)]
    if composite := watched.composite_alarms:
        lines.append(
            CostLine("composite alarms", composite, "composite alarms", composite * prices.COMPOSITE_ALARM_MONTH)
        )
    if boards := watched.dashboards:
        lines.append(CostLine("dashboards", boards, "dashboards", boards * prices.DASHBOARD_MONTH))
    return lines


def _looks(looks: float, gb_seconds: float, gb_second: float) -> CostLine:
    read = looks * METRICS_A_LOOK * prices.METRIC_READ
    spent = looks * prices.LAMBDA_REQUEST + gb_seconds * gb_second + read
    return CostLine("stream checks and backfills", looks, "invocations", spent)


def _of_schedules(usage: Usage, month: float, gb_second: float) -> list[CostLine]:
    """What the stack does of itself, beside the stream check, where it was deployed to do so.

    A heartbeat's message, its file and the flusher that writes it are in the lines of those. A night's reads of the
    source table are left out, as all of that table's cost is: `lakebound verify --dry-run` tells them.
    """
    lines = []
    if usage.has_heartbeat:
        beats, reads = (usage.heartbeats or 0) * month, (usage.heartbeat_reads or 0) * month
        spent = (beats + reads) * prices.LAMBDA_REQUEST + beats * WRITES_A_HEARTBEAT * prices.ON_DEMAND_WRITE_UNIT
        spent += (usage.heartbeat_gb_seconds or 0) * month * gb_second
        lines.append(CostLine("heartbeat", beats, "heartbeats", spent, usage.heartbeats is not None))
    if usage.has_nightly:
        nights = (usage.nights or 0) * month
        spent = nights * prices.LAMBDA_REQUEST + (usage.night_gb_seconds or 0) * month * gb_second
        lines.append(CostLine("nightly verify", nights, "invocations", spent, usage.nights is not None))
    return lines


def _metrics(metrics: int) -> CostLine:
    return CostLine("custom metrics", metrics, "metrics, put every hour", metrics * prices.METRIC_MONTH)


def _storage(size: float) -> CostLine:
    return CostLine("S3 storage, of one month's files", size / _GB, "GB", size / _GB * prices.S3_GB_MONTH)


def _bill(way: str, lines: list[CostLine]) -> Bill:
    return Bill(tuple(sorted(lines, key=lambda line: -line.dollars)), way)
