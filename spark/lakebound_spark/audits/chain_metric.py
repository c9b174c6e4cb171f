"""The metric of the alarm ChainBreaks, which sees nothing unless an audit publishes."""

from __future__ import annotations

from lakebound.errors import LakeboundError, Misconfigured


def publish_chain_breaks(source_table: str, breaks: int) -> None:
    """Put the metric with the credentials of the job's own role. Raises Misconfigured where that is refused."""
    from lakebound.adapters.clients import client
    from lakebound.adapters.status_facts import put_metric

    try:
        put_metric(client("cloudwatch"), source_table, "ChainBreaks", float(breaks))
    except LakeboundError as failure:
        raise Misconfigured(
            f"the audit is done and kept, but its metric was not put: {failure.what}; the job needs a region and a "
            "role that may do cloudwatch:PutMetricData, or leave out --publish"
        ) from None
