"""Puts metrics of a table to CloudWatch, for the alarms of its stack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lakebound.adapters.aws_calls import FAILURES, call, failed_call
from lakebound.adapters.clients import client as make_client

Values = Mapping[str, tuple[float, str]]
"""The value of each metric, and its unit as CloudWatch names it."""


def put_metric(client: Any, table: str, name: str, value: float) -> None:
    """Put a metric of the table: Gap (1 or 0) for the alarm StatusGap, ChainBreaks and Unequal for the alarms of those
    names.

    Raises LakeboundError.
    """
    put_metrics(client, table, {name: (value, "Count")})


def put_metrics(client: Any, table: str, values: Values) -> None:
    """Put metrics of the table in one request. Raises LakeboundError."""
    of_table = [{"Name": "table", "Value": table}]
    data = [
        {"MetricName": name, "Dimensions": of_table, "Value": value, "Unit": unit}
        for name, (value, unit) in values.items()
    ]
    call(client, "put_metric_data", f"metric {', '.join(values)}", Namespace="Lakebound", MetricData=data)


def publish(table: str, values: Values) -> None:
    """Put metrics with the credentials and the region of this process. Raises LakeboundError, also where none are."""
    try:
        cloudwatch = make_client("cloudwatch")
    except FAILURES as failure:
        raise failed_call(failure, "put_metric_data", f"metric {', '.join(values)}", "CloudWatch") from None
    put_metrics(cloudwatch, table, values)
