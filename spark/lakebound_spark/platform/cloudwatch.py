"""Metrics of a table, put to CloudWatch with the credentials and the region of the job's own process."""

from __future__ import annotations

from collections.abc import Mapping

from lakebound.errors import LakeboundError


def put_to_cloudwatch(source_table: str, values: Mapping[str, float]) -> None:
    """Put the metrics. Raises LakeboundError, also where no region is set."""
    # boto3 takes its time to load, and few jobs put metrics.
    from lakebound.adapters.aws_calls import FAILURES, cause_of
    from lakebound.adapters.clients import client
    from lakebound.adapters.status_facts import put_metrics

    try:
        put_metrics(client("cloudwatch"), source_table, values)
    except FAILURES as failure:
        raise cause_of(failure) or LakeboundError(
            f"CloudWatch could not be reached ({type(failure).__name__})"
        ) from None
