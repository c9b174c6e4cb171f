"""What every Upstream and DeliveryMetrics tells: SQS and CloudWatch as moto and ElasticMQ play them, and the twins."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from lakebound.adapters.clock import SystemClock
from lakebound.adapters.cloudwatch import BufferQueues, FunctionMetrics
from lakebound.adapters.sqs import SqsQueue
from lakebound.errors import LakeboundError
from lakebound.ports import Queue
from lakebound.source.facts import SLICE_MS, DeliveryMetrics, QueueCounts, Slice, Upstream
from tests.support.local_ports import ManualClock, MemoryMetrics, MemoryQueue, MemoryUpstream

START_MS = 1_795_000_200_000 // SLICE_MS * SLICE_MS
NO_AGE = SimpleNamespace(get_metric_data=lambda **asked: {"MetricDataResults": []})
Queues = Any


def upstream_of(queue: Queue, dead: Queue) -> Upstream:
    if isinstance(queue, MemoryQueue):
        assert isinstance(dead, MemoryQueue)
        return MemoryUpstream(queue, dead, queue._clock)
    assert isinstance(queue, SqsQueue)
    assert isinstance(dead, SqsQueue)
    return BufferQueues(queue._url, dead._url, queue._client, NO_AGE, SystemClock())


def counts(upstream: Upstream) -> tuple[int, int]:
    seen = upstream.counts()
    return seen.buffered, seen.dead


def test_messages_count_until_they_are_deleted_in_hand_too(queues: Queues) -> None:
    queue, dead = queues.make(30, 0)
    upstream = upstream_of(queue, dead)
    assert upstream.counts() == QueueCounts(0, 0)
    queue.send(["a", "b"])
    assert counts(upstream) == (2, 0)
    taken = queue.receive(1)
    assert counts(upstream) == (2, 0)
    queue.delete([message.receipt for message in taken])
    assert counts(upstream) == (2 - len(taken), 0)
    dead.send(["c"])
    assert counts(upstream) == (2 - len(taken), 1)


@pytest.mark.usefixtures("aws")
def test_the_age_of_the_oldest_message_is_the_newest_minutes() -> None:
    """CloudWatch as moto plays it; it takes metrics of AWS's own namespaces, which AWS itself puts."""
    sqs, cloudwatch = boto3.client("sqs"), boto3.client("cloudwatch")
    clock = ManualClock(START_MS)
    urls = [sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("lake-buffer", "lake-dead")]
    upstream = BufferQueues(urls[0], urls[1], sqs, cloudwatch, clock)
    sqs.send_message(QueueUrl=urls[0], MessageBody="a")
    assert upstream.counts() == QueueCounts(0, 1)
    for minutes, age in ((20, 1), (7, 30), (6, 90), (6, 80)):
        put(
            cloudwatch,
            "AWS/SQS",
            "ApproximateAgeOfOldestMessage",
            {"QueueName": "lake-buffer"},
            START_MS - minutes * 60_000,
            age,
        )
    assert upstream.counts() == QueueCounts(0, 1, START_MS - 6 * 60_000, 90_000)


def test_the_twins_age_passes_over_messages_that_were_received_often() -> None:
    clock = ManualClock(START_MS)
    queue = MemoryQueue(clock, visibility_seconds=10)
    upstream = MemoryUpstream(queue, MemoryQueue(clock), clock)
    queue.send(["old"])
    for _ in range(4):
        assert upstream.counts().oldest_age_ms == clock.now_ms() - START_MS
        queue.receive(0)
        clock.sleep(10)
    assert upstream.counts() == QueueCounts(0, 1)


def put(cloudwatch: Any, namespace: str, name: str, dimensions: dict[str, str], at_ms: int, value: float) -> None:
    point = {
        "MetricName": name,
        "Dimensions": [{"Name": key, "Value": text} for key, text in dimensions.items()],
        "Timestamp": datetime.fromtimestamp(at_ms / 1000, UTC),
        "Value": value,
    }
    cloudwatch.put_metric_data(Namespace=namespace, MetricData=[point])


WANTED = [
    Slice(START_MS, age_ms=9_000, failed=6, lost=0),
    Slice(START_MS + 2 * SLICE_MS, age_ms=None, failed=0, lost=2),
]


@pytest.fixture(params=["memory", "moto"])
def measured(request: pytest.FixtureRequest) -> DeliveryMetrics:
    outside = [Slice(START_MS - SLICE_MS, 1), Slice(START_MS + 3 * SLICE_MS, 1)]
    if request.param == "memory":
        return MemoryMetrics([*reversed(WANTED), *outside])
    request.getfixturevalue("aws")
    cloudwatch = boto3.client("cloudwatch")
    ingest, ours = {"FunctionName": "ingest"}, {"service": "stream_ingest", "table": "cars"}
    for at, namespace, name, dimensions, value in (
        (START_MS - 1, "AWS/Lambda", "IteratorAge", ingest, 1),
        (START_MS, "AWS/Lambda", "IteratorAge", ingest, 2_000),
        (START_MS + 60_000, "AWS/Lambda", "IteratorAge", ingest, 9_000),
        (START_MS + 70_000, "AWS/Lambda", "Errors", ingest, 1),
        (START_MS + 80_000, "AWS/Lambda", "Errors", ingest, 2),
        (START_MS + 90_000, "AWS/Lambda", "Throttles", ingest, 1),
        (START_MS + 90_000, "AWS/Lambda", "Errors", {"FunctionName": "flusher"}, 50),
        (START_MS + 90_000, "Lakebound", "DeliveriesCutShort", ours, 2),
        (START_MS + 90_000, "Lakebound", "DeliveriesCutShort", ours | {"table": "others"}, 50),
        (START_MS + 2 * SLICE_MS + 1_000, "AWS/Lambda", "DestinationDeliveryFailures", ingest, 2),
        (START_MS + 3 * SLICE_MS + 1_000, "AWS/Lambda", "IteratorAge", ingest, 1),
    ):
        put(cloudwatch, namespace, name, dimensions, at, value)
    return FunctionMetrics("ingest", "cars", cloudwatch)


def test_slices_have_the_greatest_age_and_all_that_failed(measured: DeliveryMetrics) -> None:
    assert measured.slices(START_MS, START_MS + 3 * SLICE_MS) == WANTED


def test_pages_of_metrics_are_all_read_and_a_refusal_is_an_error() -> None:
    def pages(NextToken: str = "", **asked: Any) -> dict[str, Any]:  # noqa: N803
        moment = datetime.fromtimestamp((START_MS + (SLICE_MS if NextToken else 0)) / 1000, UTC)
        result = {"Id": "age", "Timestamps": [moment], "Values": [5.0]}
        return {"MetricDataResults": [result]} | ({} if NextToken else {"NextToken": "more"})

    found = FunctionMetrics("ingest", "cars", SimpleNamespace(get_metric_data=pages)).slices(0, START_MS)
    assert [one.start_ms for one in found] == [START_MS, START_MS + SLICE_MS]

    class Denied:
        meta = SimpleNamespace(endpoint_url="https://monitoring")

        def get_metric_data(self, **asked: Any) -> Any:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetMetricData")

    with pytest.raises(LakeboundError, match="may not get_metric_data"):
        FunctionMetrics("ingest", "cars", Denied()).slices(0, START_MS)
