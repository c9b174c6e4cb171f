"""stream_ingest: stream records in, messages in the buffer queue out."""

from __future__ import annotations

import gc

gc.disable()  # what the imports make is no garbage, and the collector looking through it is a fifth of a cold start

import os
from typing import Any

from aws_lambda_powertools import Logger, Metrics

from lakebound.adapters.bootstrap import ingest_rules
from lakebound.adapters.clients import LateClient, client
from lakebound.adapters.clock import SystemClock
from lakebound.adapters.event_json import parse_events_with_orjson
from lakebound.adapters.s3 import S3Store
from lakebound.adapters.sqs import SqsQueue
from lakebound.adapters.telemetry import report_ingest
from lakebound.live.ingest import ingest
from lakebound.record.stream_records import StreamDecoder
from lakebound.settings import IngestSettings

SETTINGS = IngestSettings.read(os.environ)
RULES = ingest_rules(SETTINGS, client)
DECODER = StreamDecoder(SETTINGS.table)
QUEUE = SqsQueue(SETTINGS.queue_url, client("sqs"))
STORE = S3Store(SETTINGS.bucket, LateClient("s3"))  # claims and quarantine only
CLOCK = SystemClock()
logger = Logger()
metrics = Metrics()
metrics.set_default_dimensions(table=SETTINGS.table)
parse_events_with_orjson()

# A delivery is parsed into 100,000 small objects, none of them garbage: the collector's usual threshold of 700 makes
# it look through them a hundred times, a third of the parse. What the modules above hold is never garbage either.
gc.freeze()
gc.set_threshold(200_000, 20, 100)
gc.enable()


@metrics.log_metrics
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer with the lowest sequence number that is not carried, or with none."""
    records = event.get("Records") or []
    result = ingest(records, RULES, DECODER, QUEUE, STORE, CLOCK, lambda: context.get_remaining_time_in_millis() / 1000)
    report_ingest(logger, metrics, result)
    failures = [] if result.unsent_from is None else [{"itemIdentifier": result.unsent_from}]
    return {"batchItemFailures": failures}
