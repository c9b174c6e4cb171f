"""What the merge job published of silver, as CloudWatch has it."""

from __future__ import annotations

from typing import Any, Final

from lakebound.adapters.cloudwatch import Metric, ask
from lakebound.operate.silver_lag import SilverFacts

_MINUTE_MS: Final = 60_000
_DAY_MS: Final = 24 * 60 * _MINUTE_MS
_RECENT_MS: Final = 5 * _MINUTE_MS
_NAMES: Final = {"lag": "SilverLagSeconds", "rows": "SilverPendingRows", "overdue": "SilverMergeOverdueSeconds"}


def published_silver(client: Any, table: str, now_ms: int) -> SilverFacts | None:
    """What was published last; None where nothing was within a day. Raises LakeboundError."""
    minutes = silver_minutes(client, table, now_ms - _DAY_MS, now_ms)
    if not minutes:
        return None
    newest = max(minutes)
    recent = [values for at, values in minutes.items() if at > newest - _RECENT_MS]
    return SilverFacts(
        published_ms=min(now_ms, newest + _MINUTE_MS),
        lag_s=max(values["lag"] for values in recent),
        pending_rows=int(minutes[newest].get("rows", 0)),
        overdue_s=minutes[newest].get("overdue", 0.0),
    )


def silver_minutes(
    client: Any, table: str, from_ms: int, to_ms: int, period_ms: int = _MINUTE_MS
) -> dict[int, dict[str, float]]:
    """The greatest `lag` (seconds), `rows` that wait and `overdue` (seconds) of each period in which a lag was put.

    By the period's start. Raises LakeboundError.
    """
    of_table = {"table": table}
    metrics = {name: Metric("Lakebound", metric, of_table, "Maximum") for name, metric in _NAMES.items()}
    found = ask(client, metrics, from_ms // period_ms * period_ms, to_ms, period_ms)
    return {at: values for at, values in sorted(found.items()) if "lag" in values}
