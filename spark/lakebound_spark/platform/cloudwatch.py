"""Metrics of a table in CloudWatch, put by a job that was asked to publish."""

from __future__ import annotations

from collections.abc import Mapping


def put_metrics(table: str, values: Mapping[str, tuple[float, str]]) -> None:
    """Put each value with its unit, with the credentials of the job's own role in the region of its environment.

    Raises LakeboundError where that is refused. An AWS client is loaded only here.
    """
    from lakebound.adapters.table_metrics import publish

    publish(table, values)
