"""What a stack that is well looks like to `status`, and a report's figures with something in every part."""

from __future__ import annotations

from dataclasses import replace

from lakebound.operate.cost import Workload, estimate
from lakebound.operate.report import BackfillFigures, Figures, FileFigures, SilverMinute, VerifyFigures
from lakebound.operate.status import FunctionFacts, PipelineFacts, assess
from lakebound.source.gaps import Gap
from tests.support.stream_records import NOW_MS

STREAM = "arn:aws:dynamodb:us-east-1:123456789012:table/flights/stream/2026-11-01T00:00:00.000"

WELL = PipelineFacts(
    now_ms=NOW_MS,
    stack="lake",
    table="flights",
    table_stream=STREAM,
    stream_view="NEW_AND_OLD_IMAGES",
    mapping_stream=STREAM,
    mapping_state="Enabled",
    mapping_result="OK",
    queue_mapping_state="Enabled",
    iterator_age_ms=2_000,
    oldest_message_s=20,
    buffered=3,
    dead=0,
    failure_objects=0,
    oldest_failure_ms=None,
    quarantined=0,
    looked_ms=NOW_MS - 60_000,
    delivered_ms=NOW_MS - 50 * 60_000,
    functions=(FunctionFacts("stream_ingest", "/lakebound/lake/stream_ingest", 40, 0),),
)

FILES = tuple(
    FileFigures(NOW_MS - (60 - n) * 60_000, 400 + n, 2 ** (14 + n % 9) + n, 9_000 + (n * 7_919) % 21_000)
    for n in range(60)
)

FULL = Figures(
    status=assess(replace(WELL, dead=3, quarantined=2, gaps=(Gap(NOW_MS - 7_200_000, None, "mapping_disabled"),))),
    files=FILES,
    verified=VerifyFigures(336_776, missing=1),
    backfill=BackfillFigures("nightly-7", "scan", 336_776, 84.0, (90_000, 84_000, 81_000, 81_776)),
    bill=estimate(Workload(120, 900)),
    latency_s=(21.4, 48.9),
    silver=tuple(SilverMinute(NOW_MS - (60 - n) * 60_000, 20 + (n * 37) % 90, 1_000 * (n % 10)) for n in range(60)),
)
