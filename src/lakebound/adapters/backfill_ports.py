"""The ports of a backfill, over AWS."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from lakebound.adapters.account import LambdaAccount
from lakebound.adapters.backfill_table import BackfillTable, ScanSegment
from lakebound.adapters.clock import SystemClock
from lakebound.adapters.cloudwatch import BufferQueues, FunctionMetrics
from lakebound.adapters.documents import S3Documents
from lakebound.adapters.exports import TableExporter
from lakebound.adapters.s3 import S3Store
from lakebound.adapters.stream_mapping import LambdaMapping
from lakebound.backfill.run_context import Ports
from lakebound.backfill.segment_worker import Ask, PageSource
from lakebound.record.base_records import SnapshotDecoder
from lakebound.settings import BackfillSettings

_THREAD: Final = ThreadPoolExecutor(1, thread_name_prefix="page")
"""An invocation reads one segment, one page at a time, so one thread is enough. It starts with the first page."""


_SWITCH_SECONDS: Final = 0.0005


def in_thread(ask: Ask) -> Ask:
    """Ask now, in a thread beside the caller's: DynamoDB reads the page while the one before is encoded."""
    return _THREAD.submit(ask).result


def switch_threads_soon() -> None:
    """Let the thread of `in_thread` go on after half a millisecond of the caller's, instead of Python's five.

    It signs and sends a request and receives a megabyte piece by piece. Each piece would wait for a turn, until the
    caller had encoded its page, and DynamoDB would get the request when nothing is left to do meanwhile.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)


def ports_of(settings: BackfillSettings, client: Callable[[str], Any]) -> Ports:
    """Everything a backfill of these settings reaches. `client` makes a client of an AWS service."""
    clock = SystemClock()
    s3 = client("s3")
    table = BackfillTable(settings.source, client("dynamodb"), clock, pass_through=settings.pass_through)

    def scan(decoder: SnapshotDecoder, segment: int, total: int, consistent: bool, margin_ms: int) -> PageSource:
        return ScanSegment(table, decoder, segment, total, consistent, margin_ms)

    def exporter(table_arn: str) -> TableExporter:
        return TableExporter(table_arn, settings.bucket, settings.kms_key, client("dynamodb"))

    return Ports(
        source=table,
        scan=scan,
        mapping=LambdaMapping(settings.mapping_id, client("lambda")) if settings.mapping_id else None,
        exporter=exporter,
        store=S3Store(settings.bucket, s3),
        documents=S3Documents(settings.bucket, s3),
        clock=clock,
        metrics=(
            FunctionMetrics(settings.stream_ingest, settings.table, client("cloudwatch"))
            if settings.stream_ingest
            else None
        ),
        upstream=(
            BufferQueues(settings.queue_url, settings.dead_letter_url, client("sqs"), client("cloudwatch"), clock)
            if settings.dead_letter_url
            else None
        ),
        account=LambdaAccount(client("lambda"), client("cloudwatch"), clock) if settings.mapping_id else None,
        ahead=in_thread,
    )
