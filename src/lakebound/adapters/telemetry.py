"""What the functions say of themselves: one log line and a few metrics an invocation, never an item's value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger, Metrics, single_metric
from aws_lambda_powertools.metrics import MetricUnit

if TYPE_CHECKING:  # stream_ingest has no use for the flusher's modules, nor the flusher for its
    from lakebound.live.flush import FlushResult
    from lakebound.live.heartbeat import Hops
    from lakebound.live.ingest import IngestResult
    from lakebound.operate.sample import Selection
    from lakebound.operate.verify import Report


def report_ingest(logger: Logger, metrics: Metrics, result: IngestResult) -> None:
    """Log and measure what became of a delivery."""
    count(metrics, "RecordsDelivered", result.delivered)
    count(metrics, "RecordsSent", result.sent)
    count(metrics, "MessagesSent", result.messages)
    count(metrics, "RecordsQuarantined", result.quarantined.total())
    count(metrics, "OldImagesRefused", result.old_images_refused.total())
    count(metrics, "DeliveriesCutShort", int(result.unsent_from is not None))
    if result.newest_age_ms is not None:
        metrics.add_metric(name="NewestRecordAge", unit=MetricUnit.Milliseconds, value=max(0, result.newest_age_ms))
    fields: dict[str, Any] = {
        "delivered": result.delivered,
        "sent": result.sent,
        "messages": result.messages,
        "message_bytes": result.message_bytes,
        "claims": result.claims,
    }
    if result.quarantined:
        logger.warning("records went to quarantine", reasons=dict(result.quarantined))
    if result.old_images_refused:
        logger.warning("changes travel without their old image", reasons=dict(result.old_images_refused))
    if result.unsent_from is not None:
        logger.warning("delivery cut short", unsent_from=result.unsent_from, why=result.unsent_why, **fields)
    else:
        logger.info("delivery carried", **fields)


def report_flush(logger: Logger, metrics: Metrics, result: FlushResult) -> None:
    """Log and measure what became of the messages in hand."""
    count(metrics, "MessagesWritten", result.messages)
    count(metrics, "RecordsWritten", result.records)
    count(metrics, "FilesWritten", len(result.files) - result.existing)
    count(metrics, "MessagesRefused", len(result.refused))
    count(metrics, "PutsFailed", int(result.put_failed))
    for _, size in result.files:
        metrics.add_metric(name="FileBytes", unit=MetricUnit.Bytes, value=size)
    count(metrics, "SmallFilesUnderLoad", int(small_under_load(result)))
    metrics.add_metric(name="OldestRecordAge", unit=MetricUnit.Milliseconds, value=result.oldest_age_ms)
    _measure_heartbeats(metrics, result.heartbeats)
    fields: dict[str, Any] = {
        "messages": result.messages,
        "records": result.records,
        "files": [key for key, _ in result.files],
        "existing": result.existing,
        "undeleted": result.undeleted,
        "failed": len(result.failed),
        "heartbeats": len(result.heartbeats),
    }
    if result.failed or result.refused or result.put_failed:
        logger.warning("messages not written", refused=result.refused, put_failed=result.put_failed, **fields)
    else:
        logger.info("messages written", **fields)


def _measure_heartbeats(metrics: Metrics, heartbeats: Sequence[Hops]) -> None:
    """The longest of each hop, of the heartbeats that this invocation brought to the bucket; nothing without one."""
    if not heartbeats:
        return
    longest = {
        "HeartbeatStreamSeconds": max(one.stream_s for one in heartbeats),
        "HeartbeatQueueSeconds": max(one.queue_s for one in heartbeats),
        "HeartbeatFileSeconds": max(one.file_s for one in heartbeats),
        "HeartbeatSeconds": max(one.total_s for one in heartbeats),
    }
    for name, seconds in longest.items():
        metrics.add_metric(name=name, unit=MetricUnit.Seconds, value=seconds)


def report_backfill(logger: Logger, metrics: Metrics, action: str, answer: dict[str, Any]) -> None:
    """Log what a state of a backfill answered; measure what a finished run wrote."""
    if action == "look":
        report_stream_check(logger, metrics, answer)
        return
    if action == "finish":
        count(metrics, "BackfillRecords", answer["records"])
        count(metrics, "BackfillQuarantined", answer["quarantined"])
    counts = {name: value for name, value in answer.items() if name != "units"}
    logger.info("backfill", action=action, answer=counts)


def report_stream_check(logger: Logger, metrics: Metrics, answer: dict[str, Any]) -> None:
    """Log what the check of the stream found, and put what the alarms StatusGap and FailureObjectsExpiring look at."""
    count(metrics, "FailureObjectsExpiring", answer["failure_objects_expiring"])
    # `lakebound status --publish` puts the same metric, and no function's name is in it.
    with single_metric(
        name="Gap", unit=MetricUnit.Count, value=int(answer["open_gaps"] > 0), namespace="Lakebound"
    ) as gap:
        gap.service = ""
        gap.add_dimension(name="table", value=answer["table"])
    if answer["new_gaps"] or answer["unknown"]:
        logger.warning("look", answer=answer)
    else:
        logger.info("look", answer=answer)


def report_verify(logger: Logger, table: str, report: Report, selection: Selection) -> None:
    """Log what a night's comparison found, and put what the alarms Unequal and VerifyMissing look at. No key is told:
    a key is a value."""
    # `lakebound verify --publish` puts the same metric, and no function's name is in it.
    with single_metric(name="Unequal", unit=MetricUnit.Count, value=report.wrong, namespace="Lakebound") as unequal:
        unequal.service = ""
        unequal.add_dimension(name="table", value=table)
    fields: dict[str, Any] = {
        "compared": str(selection),
        "keys": report.keys,
        "missing": len(report.missing),
        "ghost": len(report.ghost),
        "stale": len(report.stale),
        "different": len(report.different),
        "left_out": len(report.left_out),
        "read_again": report.read_again,
    }
    if report.is_equal:
        logger.info("table and lake are equal", **fields)
    else:
        logger.warning("table and lake differ", **fields)


def small_under_load(result: FlushResult) -> bool:
    """Whether more than 1,000 records a second went into files that are smaller than 5 MB on average."""
    seconds = max(1.0, result.oldest_age_ms / 1000)
    mean = sum(size for _, size in result.files) / len(result.files) if result.files else 0.0
    return result.records / seconds > 1_000 and mean < 5_000_000


def count(metrics: Metrics, name: str, value: int) -> None:
    """Add one counter."""
    metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)
