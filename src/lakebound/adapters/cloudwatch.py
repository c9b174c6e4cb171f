"""What CloudWatch measured of deliveries and of the buffer queue."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from lakebound.adapters.aws_calls import call
from lakebound.adapters.dead_letters import count_messages
from lakebound.ports import Clock
from lakebound.source.facts import SLICE_MS, QueueCounts, Slice
from lakebound.times import epoch_ms, utc

_AGE_LOOKED_BACK_MS: Final = 15 * 60_000
_MINUTE_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of CloudWatch, and the statistic of it that is asked for."""

    namespace: str
    name: str
    dimensions: Mapping[str, str]
    statistic: str


class FunctionMetrics:
    """Port DeliveryMetrics over the metrics of the function that the stream mapping calls."""

    def __init__(self, function: str, table: str, client: Any) -> None:
        self._client = client
        of_function = {"FunctionName": function}
        self._metrics = {
            "age": Metric("AWS/Lambda", "IteratorAge", of_function, "Maximum"),
            "errors": Metric("AWS/Lambda", "Errors", of_function, "Sum"),
            "throttles": Metric("AWS/Lambda", "Throttles", of_function, "Sum"),
            "cut_short": Metric("Lakebound", "DeliveriesCutShort", {"service": "stream_ingest", "table": table}, "Sum"),
            "lost": Metric("AWS/Lambda", "DestinationDeliveryFailures", of_function, "Sum"),
        }

    def slices(self, from_ms: int, to_ms: int) -> list[Slice]:
        values = ask(self._client, self._metrics, from_ms, to_ms, SLICE_MS)
        failing = ("errors", "throttles", "cut_short")
        return [
            Slice(
                start,
                age_ms=int(found["age"]) if "age" in found else None,
                failed=int(sum(found.get(name, 0) for name in failing)),
                lost=int(found.get("lost", 0)),
            )
            for start, found in sorted(values.items())
        ]


@dataclass(frozen=True, slots=True)
class Activity:
    """What a function did in some time."""

    invocations: int = 0
    errors: int = 0
    throttles: int = 0


def function_activity(client: Any, function: str, from_ms: int, to_ms: int) -> Activity | None:
    """Of the newest five minutes in which the function was invoked or throttled; None: in none of them.

    A throttled call is no invocation, and a failed one is (Lambda's metrics). Raises LakeboundError.
    """
    names = ("Invocations", "Errors", "Throttles")
    metrics = {name.lower(): Metric("AWS/Lambda", name, {"FunctionName": function}, "Sum") for name in names}
    slices = ask(client, metrics, from_ms // SLICE_MS * SLICE_MS, to_ms, SLICE_MS)
    busy = [found for _, found in sorted(slices.items()) if any(found.values())]
    return Activity(**{name: int(busy[-1].get(name, 0)) for name in metrics}) if busy else None


class BufferQueues:
    """Port Upstream over the buffer queue and its dead-letter queue."""

    def __init__(self, buffer_url: str, dead_url: str, sqs: Any, cloudwatch: Any, clock: Clock) -> None:
        self._buffer_url = buffer_url
        self._dead_url = dead_url
        self._sqs = sqs
        self._cloudwatch = cloudwatch
        self._clock = clock
        queue = {"QueueName": buffer_url.rpartition("/")[2]}
        self._age = {"age": Metric("AWS/SQS", "ApproximateAgeOfOldestMessage", queue, "Maximum")}

    def counts(self) -> QueueCounts:
        dead = sum(count_messages(self._sqs, self._dead_url))
        buffered = sum(count_messages(self._sqs, self._buffer_url))
        if not buffered:
            return QueueCounts(dead, 0)
        now = self._clock.now_ms()
        begin = (now - _AGE_LOOKED_BACK_MS) // _MINUTE_MS * _MINUTE_MS
        values = ask(self._cloudwatch, self._age, begin, now, _MINUTE_MS)
        if not values:
            return QueueCounts(dead, buffered)
        measured = max(values)
        return QueueCounts(dead, buffered, measured, int(values[measured]["age"] * 1000))


def ask(
    client: Any, metrics: Mapping[str, Metric], from_ms: int, to_ms: int, period_ms: int
) -> dict[int, dict[str, float]]:
    """Each period's start in ms, with the values of the metrics that have one there. Raises LakeboundError."""
    queries = [
        {
            "Id": name,
            "MetricStat": {
                "Metric": {
                    "Namespace": metric.namespace,
                    "MetricName": metric.name,
                    "Dimensions": [{"Name": key, "Value": value} for key, value in metric.dimensions.items()],
                },
                "Period": period_ms // 1000,
                "Stat": metric.statistic,
            },
        }
        for name, metric in metrics.items()
    ]
    values: dict[int, dict[str, float]] = defaultdict(dict)
    more: dict[str, str] = {}
    while True:
        answer = call(
            client,
            "get_metric_data",
            "metrics",
            MetricDataQueries=queries,
            StartTime=utc(from_ms),
            EndTime=utc(to_ms),
            ScanBy="TimestampAscending",
            **more,
        )
        for result in answer.get("MetricDataResults") or ():
            for moment, value in zip(result.get("Timestamps") or (), result.get("Values") or (), strict=True):
                start = epoch_ms(moment) // period_ms * period_ms
                values[start][result["Id"]] = float(value)
        if not answer.get("NextToken"):
            return dict(values)
        more = {"NextToken": answer["NextToken"]}


def total(client: Any, namespace: str, name: str, dimensions: Mapping[str, str], hours: int) -> float | None:
    """A metric summed over the last hours; None where CloudWatch has no value of it. Raises LakeboundError."""
    period_s = 3600 if hours <= 24 * 14 else 86_400
    points = _datapoints(client, Metric(namespace, name, dimensions, "Sum"), timedelta(hours=hours), period_s)
    return float(sum(point["Sum"] for point in points)) if points else None


def newest(client: Any, namespace: str, name: str, dimensions: Mapping[str, str]) -> int | None:
    """A metric's maximum in the newest five minutes of the last 15 that have a value. Raises LakeboundError."""
    metric = Metric(namespace, name, dimensions, "Maximum")
    points = _datapoints(client, metric, timedelta(minutes=15), 300)
    last = max(points, key=lambda point: point["Timestamp"], default=None)
    return None if last is None else int(last["Maximum"])


def _datapoints(client: Any, metric: Metric, back: timedelta, period_s: int) -> list[dict[str, Any]]:
    end = datetime.now(UTC)
    answer = call(
        client,
        "get_metric_statistics",
        f"metric {metric.name}",
        Namespace=metric.namespace,
        MetricName=metric.name,
        Dimensions=[{"Name": key, "Value": value} for key, value in metric.dimensions.items()],
        StartTime=end - back,
        EndTime=end,
        Period=period_s,
        Statistics=[metric.statistic],
    )
    return answer.get("Datapoints") or []
