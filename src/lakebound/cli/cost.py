"""`lakebound cost`: what a pipeline costs, or would cost."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from lakebound import prices
from lakebound.adapters.cost_facts import mean_item_bytes, measure_usage
from lakebound.adapters.probes import Clients
from lakebound.adapters.stack import Stack
from lakebound.cli import deployed
from lakebound.cli.deployed import StackName, find_stack, table_named
from lakebound.cli.fleet import OfAll, echo_lines, leave, read_all, refuse_beside_all
from lakebound.cli.given_options import refuse_beside, refuse_without
from lakebound.cli.output import AsJson, aws_client, echo, echo_json, echo_table
from lakebound.cli.tables import Column
from lakebound.counts import count_text
from lakebound.errors import Misconfigured
from lakebound.operate.cost import (
    FULL,
    HOURS_A_MONTH,
    WATCHES,
    Bill,
    CostLine,
    SparkCluster,
    Workload,
    dollars,
    estimate,
    headline,
    measure,
    number,
    of_tables,
    with_spark,
)
from lakebound.operate.fleet import FleetLine, bill_line, worst_first

_MOST_WRITES = 10_000_000
"""A second. More than any table takes; without an end a slip of the pen became infinite dollars."""
_ITEM_BYTES = 409_600
"""The largest item of DynamoDB."""


def command(
    context: typer.Context,
    stack: StackName = "",
    of_all: OfAll = False,
    hours: Annotated[int, typer.Option(min=1, max=24 * 60, help="Measure this many of the last hours.")] = 24,
    writes: Annotated[
        float | None,
        typer.Option(
            min=0, max=_MOST_WRITES, help="Estimate the cost of this many item writes a second instead. Needs no stack."
        ),
    ] = None,
    table: Annotated[
        str, typer.Option(help="With --writes: take the mean item size from this table, by name or ARN.")
    ] = "",
    item_bytes: Annotated[
        float, typer.Option(min=0, max=_ITEM_BYTES, help="With --writes: bytes of an item, as DynamoDB counts them.")
    ] = 0,
    watch: Annotated[
        str, typer.Option(help="With --writes: the stack's parameter Watch, full or lean.", metavar="full|lean")
    ] = FULL,
    tables: Annotated[
        int, typer.Option(min=1, max=10_000, help="With --writes: so many tables like this, a stack each.")
    ] = 1,
    spark_hours: Annotated[
        float | None, typer.Option(min=0, max=744, help="Add Spark: the hours a month in which its machines run.")
    ] = None,
    instance: Annotated[
        str, typer.Option(help="With --spark-hours: the machines' type, or what one costs an hour in dollars.")
    ] = "m6i.xlarge",
    machines: Annotated[
        int, typer.Option(min=1, max=10_000, help="With --spark-hours: how many, with the driver's.")
    ] = 1,
    dbus: Annotated[
        float,
        typer.Option(min=0, max=10_000, help="With --spark-hours, on Databricks: DBUs that a machine uses an hour."),
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Print what the pipeline costs a month, part by part: measured from metrics, or estimated with --writes.

    The source table and the Delta table are not included, and Spark only with --spark-hours. Prices are those of one
    region on one date. Check them before you quote a figure. With --all exit status 1 when a stack cannot be read.
    """
    if of_all:
        refuse_beside_all(
            context, "writes", "table", "item_bytes", "watch", "tables", "spark_hours", "instance", "machines", "dbus"
        )
        _of_all(hours, as_json=as_json)
        return
    if writes is None:
        refuse_without(context, "--writes", "table", "item_bytes", "watch", "tables")
    else:
        refuse_beside(context, "--writes", "stack", "hours")
    if item_bytes:
        refuse_beside(context, "--item-bytes", "table")
    if spark_hours is None:
        refuse_without(context, "--spark-hours", "instance", "machines", "dbus")
    if watch not in WATCHES:
        raise Misconfigured(f"Watch is full or lean, not {watch}", hint="Give --watch lean, or leave it out")
    if writes is not None:
        item_bytes = item_bytes or mean_item_bytes(aws_client("dynamodb"), table_named(table) if table else None)
        bill = of_tables(estimate(Workload(writes, item_bytes, watch=watch)), tables)
        records = writes * HOURS_A_MONTH * 3600 * tables
    else:
        usage = measure_usage(deployed.clients, find_stack(stack), hours)
        bill, records = measure(usage), (usage.records or 0) * HOURS_A_MONTH / hours
    if spark_hours is not None:
        bill = with_spark(bill, SparkCluster(spark_hours, instance, machines, dbus))
    per_million = bill.per_million(records)
    if as_json:
        echo_json(asdict(bill) | {"dollars": bill.dollars, "records": records, "per_million": per_million})
        return
    echo(headline(bill))
    columns = [
        Column("part"),
        Column("a month", is_number=True),
        Column("of"),
        Column("dollars a month", is_number=True),
    ]
    echo_table(columns, [_row(line) for line in bill.lines])
    if per_million is not None:
        echo(f"${per_million:,.3f} for a million records: the month's dollars over the month's records")
    if bill.unmeasured:
        echo(f"Not measured: CloudWatch has no value of it in the last {count_text(hours, 'hour')}.")


def _of_all(hours: int, *, as_json: bool) -> None:
    def read(stack: Stack, clients: Clients) -> Bill:
        return measure(measure_usage(clients, stack, hours))

    readings = read_all(read)
    lines = worst_first(map(bill_line, readings))
    bills = {one.stack: one.found for one in readings if one.found is not None}
    total = sum(bill.dollars for bill in bills.values())
    if as_json:
        echo_json(
            {
                "dollars": total,
                "is_minimum": len(bills) < len(lines) or any(bill.unmeasured for bill in bills.values()),
                "stacks": [_stack_document(line, bills.get(line.stack)) for line in lines],
            }
        )
        leave(lines)
        return
    echo_lines(lines, state="a month", number=True)
    least = "at least " if any(bill.unmeasured for bill in bills.values()) else ""
    way = f"measured over {count_text(hours, 'hour')} ({prices.REGION}, prices of {prices.AS_OF})"
    echo(f"{least}{dollars(total)} a month for {len(bills):,} of {count_text(len(lines), 'stack')}, {way}")
    leave(lines)


def _stack_document(line: FleetLine, bill: Bill | None) -> dict[str, object]:
    told = {"dollars": None} if bill is None else asdict(bill) | {"dollars": bill.dollars}
    return {"stack": line.stack, "table": line.table, **told, "refused": line.told if bill is None else ""}


def _row(line: CostLine) -> tuple[str, str, str, str]:
    if not line.measured:
        return (line.part, "not measured", line.unit, "not measured")
    return (line.part, number(line), line.unit, dollars(line.dollars))
