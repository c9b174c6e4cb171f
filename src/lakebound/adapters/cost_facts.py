"""Gathers what `cost` needs: a stack's usage from its metrics, and the size of a table's items."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from lakebound import prices
from lakebound.adapters.alarms import ALARMS, DASHBOARDS, described_alarms, is_composite, resources_of
from lakebound.adapters.aws_calls import call
from lakebound.adapters.cloudwatch import total
from lakebound.adapters.probes import Clients, Probes, describe_table
from lakebound.adapters.stack import Stack
from lakebound.operate.cost import Usage, Watched
from lakebound.record.table_identity import Source

_DEFAULT_ITEM_BYTES: Final = 1_024.0


def measure_usage(clients: Clients, stack: Stack, hours: int) -> Usage:
    """What the stack did in the last hours. `alarms` is None where they may not be counted. Raises LakeboundError.

    A stack from before the output BackfillName has no value of its stream checks.
    """
    ingest, flusher = stack.output("StreamIngestName"), stack.output("FlusherName")
    ours = {"service": "flusher", "table": stack.table}

    def sum_of(namespace: str, name: str, dimensions: dict[str, str]) -> float | None:
        return total(clients("cloudwatch"), namespace, name, dimensions, hours)

    def of_lambda(name: str, function: str) -> float | None:
        return sum_of("AWS/Lambda", name, {"FunctionName": function})

    def gb_seconds(function: str) -> float | None:
        milliseconds = of_lambda("Duration", function)
        if milliseconds is None:
            return None
        found = call(clients("lambda"), "get_function_configuration", function, FunctionName=function)
        return milliseconds / 1000 * float(found.get("MemorySize", 1024)) / 1024

    # One right that is missing leaves the rest of the bill.
    watched = Probes().run("alarms", lambda: _watched(clients, stack))
    backfill = stack.outputs.get("BackfillName")
    # A stack without them, or from before these outputs, has no such line in its bill.
    heartbeat, reader, nightly = (
        stack.outputs.get(name, "") for name in ("HeartbeatName", "HeartbeatIngestName", "VerifyName")
    )
    return Usage(
        hours=hours,
        records=sum_of("Lakebound", "RecordsWritten", ours),
        ingest_requests=of_lambda("Invocations", ingest),
        ingest_gb_seconds=gb_seconds(ingest),
        flusher_requests=of_lambda("Invocations", flusher),
        flusher_gb_seconds=gb_seconds(flusher),
        messages=sum_of("AWS/SQS", "NumberOfMessagesSent", stack.buffer_dimensions),
        message_bytes=sum_of("AWS/SQS", "SentMessageSize", stack.buffer_dimensions),
        empty_receives=sum_of("AWS/SQS", "NumberOfEmptyReceives", stack.buffer_dimensions),
        files=sum_of("Lakebound", "FilesWritten", ours),
        file_bytes=sum_of("Lakebound", "FileBytes", ours),
        alarms=watched.alarms if watched else None,
        composite_alarms=watched.composite_alarms if watched else 0,
        dashboards=watched.dashboards if watched else 0,
        look_requests=of_lambda("Invocations", backfill) if backfill else None,
        look_gb_seconds=gb_seconds(backfill) if backfill else None,
        has_heartbeat=int(stack.parameters.get("HeartbeatMinutes") or 0) > 0,
        heartbeats=of_lambda("Invocations", heartbeat) if heartbeat else None,
        heartbeat_reads=of_lambda("Invocations", reader) if reader else None,
        heartbeat_gb_seconds=_sum(gb_seconds(one) for one in (heartbeat, reader) if one),
        has_nightly=bool(nightly),
        nights=of_lambda("Invocations", nightly) if nightly else None,
        night_gb_seconds=gb_seconds(nightly) if nightly else None,
        architecture=stack.parameters.get("Architecture") or prices.ARCHITECTURE,
    )


def _sum(values: Iterable[float | None]) -> float | None:
    """The sum of those that CloudWatch has; None where it has none."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _watched(clients: Clients, stack: Stack) -> Watched:
    resources = resources_of(clients("cloudformation"), stack.name)
    alarms = described_alarms(clients("cloudwatch"), [name for kind, name in resources if kind in ALARMS])
    composite = sum(map(is_composite, alarms))
    return Watched(len(alarms) - composite, composite, sum(kind in DASHBOARDS for kind, _ in resources))


def mean_item_bytes(client: Any, source: Source | None) -> float:
    """By the table's description; 1,024 without a table, or for an empty one. Raises LakeboundError."""
    table = describe_table(client, source) if source else {}
    items = table.get("ItemCount") or 0
    return table.get("TableSizeBytes", 0) / items if items else _DEFAULT_ITEM_BYTES
