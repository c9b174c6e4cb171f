"""flusher: messages of the buffer queue in, batch files in S3 out."""

from __future__ import annotations

import os
from typing import Any

from aws_lambda_powertools import Logger, Metrics

from lakebound.adapters.bootstrap import flush_rules
from lakebound.adapters.clients import client
from lakebound.adapters.clock import SystemClock
from lakebound.adapters.s3 import S3Store
from lakebound.adapters.sqs import SqsQueue
from lakebound.adapters.telemetry import report_flush
from lakebound.live.flush import flush
from lakebound.ports import ReceivedMessage
from lakebound.settings import FlushSettings

SETTINGS = FlushSettings.read(os.environ)
RULES = flush_rules(SETTINGS)
QUEUE = SqsQueue(SETTINGS.queue_url, client("sqs"))
STORE = S3Store(SETTINGS.bucket, client("s3"))
CLOCK = SystemClock()
logger = Logger()
metrics = Metrics()
metrics.set_default_dimensions(table=SETTINGS.table)


@metrics.log_metrics
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer with each of the mapping's messages that is not in a complete object."""
    received = [
        ReceivedMessage(
            message_id=record["messageId"],
            receipt=record["receiptHandle"],
            body=record["body"],
            receives=int(record["attributes"]["ApproximateReceiveCount"]),
        )
        for record in event.get("Records") or []
    ]
    result = flush(received, RULES, QUEUE, STORE, CLOCK, lambda: context.get_remaining_time_in_millis() / 1000)
    report_flush(logger, metrics, result)
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in result.failed]}
