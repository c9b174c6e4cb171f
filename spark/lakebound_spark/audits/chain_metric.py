"""The metric of the alarm ChainBreaks, which sees nothing unless an audit publishes."""

from __future__ import annotations

from lakebound.errors import LakeboundError, Misconfigured
from lakebound_spark.platform.cloudwatch import put_metrics


def publish_chain_breaks(source_table: str, breaks: int) -> None:
    """Put the metric with the credentials of the job's own role. Raises Misconfigured where that is refused."""
    try:
        put_metrics(source_table, {"ChainBreaks": (float(breaks), "Count")})
    except LakeboundError as failure:
        raise Misconfigured(
            f"the audit is done and kept, but its metric was not put: {failure.what}; the job needs a region and a "
            "role that may do cloudwatch:PutMetricData, or leave out --publish"
        ) from None
