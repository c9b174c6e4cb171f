"""`lakebound cost`: what the pipeline costs, or would."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from lakebound.adapters.aws_calls import call
from lakebound.adapters.stack import Stack
from lakebound.adapters.status_facts import Observer
from lakebound.cli import deployed
from lakebound.cli.deployed import StackName, find_stack, store_of, table_named
from lakebound.cli.output import AsJson, aws_client, echo, echo_json, echo_table
from lakebound.cli.tables import Column
from lakebound.errors import LakeboundError, Misconfigured
from lakebound.operate.cost import (
    HOURS_A_MONTH,
    Bill,
    CostLine,
    Usage,
    Workload,
    amount,
    dollars,
    estimate,
    headline,
    measure,
)

_DEFAULT_ITEM_BYTES = 1_024.0


def command(
    stack: StackName = "",
    hours: Annotated[int, typer.Option(min=1, max=24 * 60, help="Measured over so many hours.")] = 24,
    writes: Annotated[
        float | None, typer.Option(min=0, help="Estimate instead: item writes a second. Needs no stack.")
    ] = None,
    table: Annotated[
        str, typer.Option(help="Estimate: take the items' size from this table's (name or ARN) description.")
    ] = "",
    item_bytes: Annotated[float, typer.Option(min=0, help="Estimate: bytes of an item, as DynamoDB counts.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Dollars a month, part by part: measured from the stack's metrics, or with --writes estimated.

    Without the table, Spark, and the Delta table. Prices are of one region and one date; check them before quoting.
    """
    if writes is not None:
        bill, records = estimate(Workload(writes, item_bytes or _item_bytes(table))), writes * HOURS_A_MONTH * 3600
    elif table or item_bytes:
        raise Misconfigured("An estimate needs a write rate", hint="Give --writes")
    else:
        found = find_stack(stack)
        usage = usage_of(found, Observer(found, deployed.clients, store_of(found)), hours)
        bill, records = measure(usage), (usage.records or 0) * HOURS_A_MONTH / hours
    if as_json:
        echo_json(document(bill, records))
        return
    echo(headline(bill))
    columns = [
        Column("part"),
        Column("a month", is_number=True),
        Column("of"),
        Column("dollars a month", is_number=True),
    ]
    echo_table(columns, [_row(line) for line in bill.lines])
    per_million = bill.per_million(records)
    if per_million is not None:
        echo(f"${per_million:,.3f} for a million records: the month's dollars over the month's records")
    if bill.unmeasured:
        echo(f"Not measured: CloudWatch has no value of it in the last {hours:,} hours.")


def _row(line: CostLine) -> tuple[str, str, str, str]:
    if not line.measured:
        return (line.part, "not measured", line.unit, "not measured")
    return (line.part, amount(line).removesuffix(f" {line.unit}"), line.unit, dollars(line.dollars))


def document(bill: Bill, records: float) -> dict[str, object]:
    """The bill for a program."""
    return asdict(bill) | {"dollars": bill.dollars, "records": records, "per_million": bill.per_million(records)}


def usage_of(stack: Stack, observer: Observer, hours: int) -> Usage:
    """What the stack's metrics say that it usage. Raises LakeboundError."""
    ingest, flusher = stack.output("StreamIngestName"), stack.output("FlusherName")
    queue = {"QueueName": stack.output("BufferQueueUrl").rpartition("/")[2]}
    ours = {"service": "flusher", "table": stack.table}

    def of_lambda(name: str, function: str) -> float | None:
        return observer.total("AWS/Lambda", name, {"FunctionName": function}, hours)

    def gb_seconds(function: str) -> float | None:
        milliseconds = of_lambda("Duration", function)
        if milliseconds is None:
            return None
        found = call(deployed.clients("lambda"), "get_function_configuration", function, FunctionName=function)
        return milliseconds / 1000 * float(found.get("MemorySize", 1024)) / 1024

    return Usage(
        hours=hours,
        records=observer.total("Lakebound", "RecordsWritten", ours, hours),
        ingest_requests=of_lambda("Invocations", ingest),
        ingest_gb_seconds=gb_seconds(ingest),
        flusher_requests=of_lambda("Invocations", flusher),
        flusher_gb_seconds=gb_seconds(flusher),
        messages=observer.total("AWS/SQS", "NumberOfMessagesSent", queue, hours),
        message_bytes=observer.total("AWS/SQS", "SentMessageSize", queue, hours),
        empty_receives=observer.total("AWS/SQS", "NumberOfEmptyReceives", queue, hours),
        files=observer.total("Lakebound", "FilesWritten", ours, hours),
        file_bytes=observer.total("Lakebound", "FileBytes", ours, hours),
        alarms=_alarms(observer),
    )


def _alarms(observer: Observer) -> int | None:
    try:
        return observer.count_alarms()
    except LakeboundError:
        return None  # one right that is missing leaves the rest of the bill


def _item_bytes(table: str) -> float:
    if not table:
        return _DEFAULT_ITEM_BYTES
    source = table_named(table)
    described = call(aws_client("dynamodb"), "describe_table", f"table {source.asked}", TableName=source.asked)["Table"]
    source.check_told(described["TableArn"])
    items = described.get("ItemCount") or 0
    return described.get("TableSizeBytes", 0) / items if items else _DEFAULT_ITEM_BYTES
