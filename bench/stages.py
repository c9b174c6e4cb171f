"""What is measured, stage by stage: the obvious implementation and ours on the same records, in turns, in one run."""

from __future__ import annotations

import gzip
import json
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from hashlib import md5
from http.client import HTTPConnection
from statistics import median
from typing import Any, Final

import boto3
import orjson

from bench import artefacts, corpora
from bench.baseline import backfill as obvious_backfill
from bench.baseline import flusher as obvious_flusher
from bench.baseline import stream_ingest as obvious_ingest
from bench.local_ports import ManualClock, MemoryDocuments, MemoryStore
from bench.loopback import ROOT, Function, Sent, responding, running
from lakebound.adapters.backfill_ports import in_thread, switch_threads_soon
from lakebound.adapters.backfill_table import BackfillTable, ScanSegment
from lakebound.adapters.clock import SystemClock
from lakebound.backfill.checkpoints import Checkpoint
from lakebound.backfill.exports import FULL, DataFile, ExportFiles
from lakebound.backfill.segment_worker import (
    EncodedRecords,
    EventIds,
    PageSource,
    RefusedValue,
    SegmentRules,
    SegmentWorker,
    encode_page,
    when_taken,
)
from lakebound.formats import ndjson
from lakebound.formats.registry import encoder_of
from lakebound.record.base_records import SnapshotDecoder
from lakebound.record.plain_json import plain_item
from lakebound.record.stream_records import StreamDecoder
from lakebound.transport import batch_files, messages
from lakebound.transport.messages import Line, Packer
from lakebound.transport.object_keys import partitioner

NOW_MS: Final = corpora.CREATED_S * 1000 + 5000
HOUR: Final = "dt=2026-11-18/HH=11"
FUNCTIONS: Final = ROOT / "functions"
BASELINE: Final = ROOT / "bench" / "baseline"
PAGES: Final = 20
INGEST_AIMS: Final = {"flat": 5.5, "nested": 4.0, "large": 2.0}
COLD_START_AIM: Final = 0.9
"""At most this share of the baseline's time."""


@dataclass(slots=True)
class Measured:
    """One line of the table: seconds of each round, of the baseline and of ours. `aim` 0 means none was set.

    ``aim`` is the least number of times faster, or with ``is_share`` the greatest share of the baseline's time.
    """

    stage: str
    corpus: str
    aim: float
    unit: str
    amount: float
    base: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    is_share: bool = False

    @property
    def missed(self) -> bool:
        """Whether the median of the rounds is on the wrong side of the aim."""
        mid = self.ratios()[1]
        return bool(self.aim) and (1 / mid > self.aim if self.is_share else mid < self.aim)

    def ratios(self) -> tuple[float, float, float]:
        """Least, median and greatest ratio of the rounds."""
        each = [base / ours for base, ours in zip(self.base, self.ours, strict=True)]
        return min(each), median(each), max(each)

    def rate(self, seconds: list[float]) -> float:
        """Amount a second at the median."""
        return self.amount / median(seconds)


def turns(stage: Measured, rounds: int, base: Callable[[], Any], ours: Callable[[], Any]) -> Measured:
    """Run both in turns; the first turn warms caches and is not counted."""
    for turn in range(rounds + 1):
        for run, seconds in ((base, stage.base), (ours, stage.ours)):
            started = time.perf_counter()
            run()
            if turn:
                seconds.append(time.perf_counter() - started)
    return stage


@dataclass(slots=True)
class Ingested:
    """What the invocations showed beside their times."""

    wall: Measured
    cpu: Measured
    alone: Measured
    records: int
    base_sent: Sent
    ours_sent: Sent


def ingest(corpus: str, rounds: int) -> Ingested:
    """Whole invocations under awslambdaric: wall and CPU time, and wall time with a queue that accepts at once."""
    delivery = corpora.delivery(corpus)
    records = len(delivery["Records"])
    event = json.dumps(delivery, separators=(",", ":")).encode()
    result = Ingested(
        wall=Measured("stream_ingest, whole invocation", corpus, INGEST_AIMS[corpus], "records/s", records),
        cpu=Measured("– its CPU time", corpus, 0, "records/s", records),
        alone=Measured("– without sending", corpus, 0, "records/s", records),
        records=records,
        base_sent=Sent(),
        ours_sent=Sent(),
    )
    quiet = {"POWERTOOLS_LOG_LEVEL": "INFO"}
    with ExitStack() as stack:

        def start(handler: str, folder: Any, **environment: str) -> Function:
            return stack.enter_context(running(handler, folder, quiet | environment))

        base = start("stream_ingest.handler", BASELINE)
        ours = start("app.handler", FUNCTIONS / "stream_ingest")
        base_alone = start("bench.without_queue.handler", BASELINE, BENCH_HANDLER="bench.baseline.stream_ingest")
        ours_alone = start("bench.without_queue.handler", FUNCTIONS / "stream_ingest", BENCH_HANDLER="app")
        for turn in range(rounds + 2):
            for function, seconds, cpu in (
                (base, result.wall.base, result.cpu.base),
                (ours, result.wall.ours, result.cpu.ours),
                (base_alone, result.alone.base, None),
                (ours_alone, result.alone.ours, None),
            ):
                before, sent = function.cpu_seconds(), function.sent.copy()
                took, answer = function.invoke(event)
                if answer != b'{"batchItemFailures": []}':
                    raise RuntimeError(f"the function answered {answer[:300]!r}")
                function.settled()
                if turn > 1:
                    seconds.append(took)
                    if cpu is not None:
                        cpu.append(function.cpu_seconds() - before)
                if function is base:
                    result.base_sent = function.sent.since(sent)
                elif function is ours:
                    result.ours_sent = function.sent.since(sent)
    return result


def cold_start(rounds: int) -> tuple[Measured, Measured]:
    """From the start of the process to its first request for an invocation, by the clock and in CPU time.

    Ours is what is deployed: the layer as `src/Makefile` builds it, which nothing may write bytecode into. The baseline
    has the libraries of this environment, compiled, as Lambda's runtime has its own.
    """
    wall = Measured("cold start of stream_ingest", "–", COLD_START_AIM, "starts/s", 1, is_share=True)
    cpu = Measured("– its CPU time, cold start", "–", COLD_START_AIM, "starts/s", 1, is_share=True)
    with artefacts.layer_for_this_machine() as layer:
        deployed = {"PYTHONPATH": str(layer / "python"), "PYTHONDONTWRITEBYTECODE": "1"}
        for _ in range(rounds):
            with running("stream_ingest.handler", BASELINE) as base:
                wall.base.append(base.cold_seconds)
                cpu.base.append(base.cpu_seconds())
            with running("app.handler", FUNCTIONS / "stream_ingest", deployed) as ours:
                wall.ours.append(ours.cold_seconds)
                cpu.ours.append(ours.cpu_seconds())
    return wall, cpu


def _lines(corpus: str, file_format: str, now_ms: int = NOW_MS) -> list[Line]:
    decoder, encode = StreamDecoder(corpora.TABLE), encoder_of(file_format).encode
    events = [decoder.decode(record, now_ms) for record in corpora.delivery(corpus)["Records"]]
    return [Line(place, HOUR, event.version, encode(event, now_ms)) for place, event in enumerate(events)]


def bodies(corpus: str, file_format: str, deliveries: int) -> list[str]:
    """Message bodies of so many deliveries, each of another time: members of equal bytes would be written once."""
    out: list[str] = []
    for number in range(deliveries):
        lines = _lines(corpus, file_format, NOW_MS + number)
        for message in Packer(corpora.TABLE, 262_144, NOW_MS + number, file_format).pack(lines):
            if message.claim is None:
                out.append(message.body)
            else:
                out.append(message.claim[1].decode())
    return out


def flusher(corpus: str, file_format: str, rounds: int, deliveries: int) -> Measured:
    """From message bodies to a file's bytes: every check, digest and name."""
    records = len(corpora.delivery(corpus)["Records"]) * deliveries
    plain = [obvious_ingest.body(record) for record in corpora.delivery(corpus)["Records"]] * deliveries
    packed = bodies(corpus, file_format, deliveries)
    aim = 3.5 if file_format == "parquet" else 40
    stage = Measured(f"flusher to {file_format}", corpus, aim if corpus == "flat" else 0, "records/s", records)

    def ours() -> None:
        members = [member for body in packed for member in _members(body)]
        files = batch_files.assemble("ddb/cars", "stream", members, file_format)
        if sum(file.count for file in files) != records:
            raise RuntimeError("records are missing")

    return turns(stage, rounds, lambda: obvious_flusher.batch_file(plain), ours)


def _members(body: str) -> list[messages.Member]:
    content = messages.decode(corpora.TABLE, body)
    if isinstance(content, messages.ClaimCheck):
        raise RuntimeError("a claim among the bodies")
    return content


def compression(corpus: str, rounds: int) -> tuple[Measured, float]:
    """gzip level 9 and a member's compression of the same lines, and how much larger ours is."""
    text = b"".join(line.data for line in _lines(corpus, "ndjson.gz"))
    stage = Measured("compression", corpus, 15 if corpus == "flat" else 0, "MB/s", len(text) / 1e6)
    larger = len(ndjson.compress(text)) / len(gzip.compress(text, 9))
    return turns(stage, rounds, lambda: gzip.compress(text, 9), lambda: ndjson.compress(text)), larger


SEGMENT_BYTES: Final = 11_300_000
"""Bytes of pages that DynamoDB sends a second to one segment of a scan, or 15,000 flat items: taken over, not measured.
"""


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment of a scan, from requests to files: items, their bytes as DynamoDB sends them, seconds a round.

    `seconds` where the pages come at once. The others where they come at DynamoDB's pace: `alone` to a client that only
    receives them; and to ours, which asks for the next one when it is taken, as it once did, or ahead.
    """

    items: int
    bytes: int
    seconds: list[float]
    alone: list[float]
    when_taken: list[float]
    ahead: list[float]

    @property
    def rate(self) -> float:
        """Items a second at the median."""
        return self.items / median(self.seconds)

    def share(self, seconds: list[float]) -> float:
        """What these rounds took longer than DynamoDB, of its time."""
        return median(seconds) / median(self.alone) - 1


def segment(corpus: str, rounds: int) -> Segment:
    """Whole segments of PAGES pages: botocore, HTTP, records, members, files, checkpoints; S3 accepts at once."""
    items = _page_items(corpus)
    page = {"Items": items, "Count": len(items), "ScannedCount": len(items), "ConsumedCapacity": {"CapacityUnits": 128}}
    last = orjson.dumps(page)
    key = {name: items[-1][name] for name in [corpora.CORPORA[corpus][1]]}
    more = orjson.dumps(page | {"LastEvaluatedKey": key})
    rules = SegmentRules(corpora.TABLE, "ddb/cars", partitioner("dt=%Y-%m-%d/HH=%H"), 0, 64 * 1024 * 1024, 300)
    measured = Segment(len(items) * PAGES, len(last) * PAGES, [], [], [], [])
    pages = [more] * (PAGES - 1) + [last]
    with (
        responding(*pages) as at_once,
        responding(*pages, seconds=len(last) / SEGMENT_BYTES) as paced,
        _switching_as_the_function(),
    ):
        ways = (at_once, in_thread, measured.seconds), (paced, when_taken, measured.when_taken)
        for turn in range(rounds + 1):
            started = time.perf_counter()
            _receive_pages(paced)
            if turn:
                measured.alone.append(time.perf_counter() - started)
            for port, ahead, seconds in (*ways, (paced, in_thread, measured.ahead)):
                source, clock = _scan_segment(corpus, port), SystemClock()
                worker = SegmentWorker(rules, source, MemoryStore(), MemoryDocuments(), clock, lambda: 900.0, ahead)
                started = time.perf_counter()
                done = worker.read("segment", Checkpoint("run", 0, 1, "id"))
                if turn:
                    seconds.append(time.perf_counter() - started)
                if not (done.done and done.records == measured.items):
                    raise RuntimeError("items are missing")
    return measured


@contextmanager
def _switching_as_the_function() -> Iterator[None]:
    usual = sys.getswitchinterval()
    switch_threads_soon()
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


def _receive_pages(port: int) -> None:
    """Ask for a segment's pages and look at none."""
    with closing(HTTPConnection("127.0.0.1", port)) as connection:
        for _ in range(PAGES):
            connection.request("POST", "/", b"{}")
            connection.getresponse().read()


def _page_items(corpus: str) -> list[corpora.Item]:
    """Items of 1 MB, by which DynamoDB ends a page."""
    items: list[corpora.Item] = []
    size = 0
    for item in corpora.items(corpus, 5000):
        size += len(orjson.dumps(item)) * 2 // 3
        if size > 1_000_000 and items:
            break
        items.append(item)
    return items


def _scan_segment(corpus: str, port: int) -> ScanSegment:
    decoder = SnapshotDecoder(corpora.TABLE, "run", "scan", [corpora.CORPORA[corpus][1]])
    table = BackfillTable(corpora.TABLE, boto3.client("dynamodb", **_loopback(port)), SystemClock())
    return ScanSegment(table, decoder, 0, 1, True, 60_000)


def _loopback(port: int) -> dict[str, Any]:
    return {
        "endpoint_url": f"http://127.0.0.1:{port}",
        "region_name": "us-east-1",
        "aws_access_key_id": "testing",
        "aws_secret_access_key": "testing",
    }


def page_decode(corpus: str, rounds: int) -> Measured:
    """One page of a scan over the loopback, from the request to lines: botocore, signing and HTTP included.

    The baseline writes an item as plain JSON; ours writes the whole record, its key and the item's types.
    """
    items = _page_items(corpus)
    page = orjson.dumps({"Items": items, "Count": len(items), "ScannedCount": len(items)})
    aim = 30 if corpus == "flat" else 0
    stage = Measured("backfill, a page to lines", corpus, aim, "items/s", len(items))
    with responding(page) as port:
        table = boto3.resource("dynamodb", **_loopback(port)).Table(corpora.TABLE)
        source = _scan_segment(corpus, port)
        return turns(
            stage,
            rounds,
            lambda: _expect(len(items), obvious_backfill.page_lines(table)),
            lambda: _expect(len(items), list(_lines_of_page(source))),
        )


def export_conversion(corpus: str, rounds: int) -> Measured:
    """A data file of a full export, as it lies in the bucket, to lines: gunzip on both sides, ours with the md5."""
    items = list(corpora.items(corpus, {"flat": 4000, "nested": 1200, "large": 40}[corpus]))
    body = gzip.compress(b"".join(orjson.dumps({"Item": item}, option=orjson.OPT_APPEND_NEWLINE) for item in items))
    store = MemoryStore()
    store.put_if_absent("data", body, {})
    file = DataFile("data", len(items), b64encode(md5(body).digest()).decode(), 0, FULL)
    decoder = SnapshotDecoder(corpora.TABLE, "run", "export", [corpora.CORPORA[corpus][1]])
    stage = Measured("backfill, an export's file to lines", corpus, 0, "items/s", len(items))

    def ours() -> None:
        source = ExportFiles([file], decoder, store, ManualClock(), origin="export")
        _expect(len(items), list(_lines_of_page(source)))

    return turns(stage, rounds, lambda: _expect(len(items), obvious_backfill.export_lines(body)), ours)


def _lines_of_page(source: PageSource) -> Iterator[Any]:
    """Every page's lines, as the backfill's worker makes them."""
    start: Any = None
    while True:
        page = source.page(start, None).read()
        place = EventIds(f"run|0|{page.asked_ms}|", 0)
        yield from encode_page(page, source.decode, encoder_of("ndjson.gz"), None, place, NOW_MS)
        start = page.next
        if start is None:
            return


def _expect(count: int, lines: Sequence[Any]) -> None:
    if sum(line.count if isinstance(line, EncodedRecords) else 1 for line in lines) != count:
        raise RuntimeError("items are missing")
    if any(isinstance(line, RefusedValue) for line in lines):
        raise RuntimeError("items were refused")


def bytes_per_record(corpus: str) -> Iterator[tuple[str, float]]:
    """Bytes of one record in a batch file, per format, and of its NDJSON line."""
    records = len(corpora.delivery(corpus)["Records"])
    yield "line", sum(len(line.data) for line in _lines(corpus, "ndjson.gz")) / records
    for file_format in ("ndjson.gz", "avro", "parquet"):
        members = [member for body in bodies(corpus, file_format, 1) for member in _members(body)]
        yield file_format, sum(len(f.body) for f in batch_files.assemble("p", "stream", members, file_format)) / records


def item_bytes(corpus: str) -> float:
    """An item as plain JSON, averaged over a hundred."""
    some = list(corpora.items(corpus, 100))
    return sum(len(orjson.dumps(plain_item(item))) for item in some) / len(some)
