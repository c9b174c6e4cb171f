"""Files are too small only under load: a quiet table's files are small and right."""

import json

import pytest
from aws_lambda_powertools import Logger, Metrics

from lakebound.adapters.telemetry import report_flush, report_ingest, report_stream_check, small_under_load
from lakebound.live.flush import FlushResult
from lakebound.live.heartbeat import Hops
from lakebound.live.ingest import IngestResult
from lakebound.operate.cost import FLUSHER_METRICS, HEARTBEAT_METRICS, INGEST_METRICS, LOOK_METRICS


@pytest.mark.parametrize(
    ("records", "age_ms", "sizes", "expected"),
    [
        (60_000, 30_000, (2_000_000, 2_000_000), True),
        (60_000, 30_000, (6_000_000,), False),
        (20_000, 30_000, (2_000_000,), False),
        (900, 0, (1_000,), False),
        (0, 30_000, (), False),
    ],
)
def test_small_files_count_only_under_load(records: int, age_ms: int, sizes: tuple[int, ...], expected: bool) -> None:
    files = [(f"file-{place}", size) for place, size in enumerate(sizes)]
    assert small_under_load(FlushResult(records=records, oldest_age_ms=age_ms, files=files)) is expected


def test_the_bill_counts_the_metrics_that_each_function_puts(capsys: pytest.CaptureFixture[str]) -> None:
    def put(metrics: Metrics) -> int:
        """How many, by the lines that CloudWatch reads."""
        metrics.flush_metrics()
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "CloudWatchMetrics" in line]
        told = [block for line in lines for block in line["_aws"]["CloudWatchMetrics"]]
        return sum(len(block["Metrics"]) for block in told)

    logger = Logger(service="bill")
    metrics = Metrics(namespace="Lakebound", service="bill")
    report_ingest(logger, metrics, IngestResult(delivered=3, sent=3, newest_age_ms=5))
    assert put(metrics) == INGEST_METRICS
    report_flush(logger, metrics, FlushResult(records=3, oldest_age_ms=5, files=[("file", 100)]))
    assert put(metrics) == FLUSHER_METRICS
    report_flush(logger, metrics, FlushResult(heartbeats=[Hops(1, 2, 3)], files=[("file", 100)]))
    assert put(metrics) == FLUSHER_METRICS + HEARTBEAT_METRICS
    answer = {"failure_objects_expiring": 0, "open_gaps": 0, "table": "cars", "new_gaps": 0, "unknown": []}
    report_stream_check(logger, metrics, answer)
    assert put(metrics) == LOOK_METRICS
