"""A table of millions of items behind DynamoDB's own protocol, read by the real handler under the real state machine.

`python -m tests.functional.large_table --items N --segments S --folder DIR` starts the local stack for its bucket,
serves the table on the loopback, imports functions/backfill/app.py as Lambda does, and runs
statemachines/backfill.asl.json over it. Behind the function's own log lines the last line printed is one JSON document:
what came out, how fast, how many transitions, how much memory.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import orjson
from isal import igzip

from demo.local_stack import REGION, LocalStack
from lakebound.transport.object_keys import DataKey
from tests.support.state_machine import start

ROOT: Final = Path(__file__).resolve().parents[2]
TABLE: Final = "cars"
BUCKET: Final = "lake"
ITEMS_A_PAGE: Final = 5_000
UNITS_A_PAGE: Final = 256.0
"""A strongly consistent page of 1 MB; an item is about 200 bytes as DynamoDB counts them."""

_NUMBER = re.compile(rb'"id":\{"S":"car-([0-9]{10})"\}')
_ITEM: Final = (
    '{"id":{"S":"car-%010d"},"at":{"S":"2026-11-24T03:05:34.123Z"},"odo":{"N":"%d"},"soc":{"N":"81.50"},'
    '"lat":{"N":"48.137154"},"lon":{"N":"11.576124"},"speed":{"N":"%d"},"on":{"BOOL":true},'
    '"tags":{"SS":["eu","fleet-7"]},"vin":{"S":"WVWZZZ1KZ6W%06d"}}'
)


@contextmanager
def served(items: int) -> Iterator[int]:
    """The table in a process of its own, so that neither its work nor its memory is the handler's; its port."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(items, theirs), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.kill()
        process.join()


def serve(items: int, started: Connection) -> None:
    """The table on a loopback port: item n is of segment n modulo the segments' count; a page holds 1 MB."""

    class Protocol(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_POST(self) -> None:
            asked = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
            operation = self.headers["X-Amz-Target"].partition(".")[2]
            status, body = 200, b""
            if operation == "DescribeTable":
                body = describe(items)
            elif operation == "Scan":
                body = page(items, asked)
            else:
                status, body = 400, b'{"__type":"com.amazon.coral.service#UnknownOperationException"}'
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def date_time_string(self, timestamp: float | None = None) -> str:
            return formatdate(timestamp or time.time(), usegmt=True)

        def log_message(self, *args: Any) -> None:
            del args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Protocol)
    started.send(server.server_address[1])
    server.serve_forever()


def describe(items: int) -> bytes:
    label = datetime.fromtimestamp(time.time() - 86_400, UTC).strftime("%Y-%m-%dT%H:%M:%S.000")
    arn = f"arn:aws:dynamodb:{REGION}:123456789012:table/{TABLE}"
    table = {
        "TableName": TABLE,
        "TableArn": arn,
        "TableId": "00000000-0000-4000-8000-000000000000",
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "ItemCount": items,
        "TableSizeBytes": items * 200,
        "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
        "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        "LatestStreamArn": f"{arn}/stream/{label}",
    }
    return orjson.dumps({"Table": table})


def page(items: int, asked: dict[str, Any]) -> bytes:
    segment, total = asked["Segment"], asked["TotalSegments"]
    key = asked.get("ExclusiveStartKey")
    first = int(key["id"]["S"][4:]) + total if key else segment
    most = min(asked.get("Limit", ITEMS_A_PAGE), ITEMS_A_PAGE)
    numbers = range(first, items, total)[:most]
    text = ",".join([_ITEM % (n, n * 7, n % 240, n % 1_000_000) for n in numbers])
    units = UNITS_A_PAGE * len(numbers) / ITEMS_A_PAGE or 0.5
    more = len(numbers) == most and numbers[-1] + total < items
    last = f',"LastEvaluatedKey":{{"id":{{"S":"car-{numbers[-1]:010d}"}}}}' if more else ""
    capacity = f'{{"TableName":"{TABLE}","CapacityUnits":{units}}}'
    return (
        f'{{"Count":{len(numbers)},"ScannedCount":{len(numbers)},"ConsumedCapacity":{capacity},"Items":[{text}]{last}}}'
    ).encode()


class Context:
    """What Lambda passes beside the event; an invocation of `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return max(0, round((self._end - time.monotonic()) * 1000))


def load_handler(environment: dict[str, str]) -> Any:
    """functions/backfill/app.py's handler, imported with this environment."""
    os.environ.update(environment)
    spec = importlib.util.spec_from_file_location("large_backfill", ROOT / "functions" / "backfill" / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.handler


def peak_bytes() -> int:
    """The most memory that this process has held."""
    found = re.search(r"VmHWM:\s+([0-9]+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def missing_and_twice(stack: LocalStack, items: int) -> tuple[int, int]:
    """(items that no file holds, items that are in files more than once), from every file in the bucket."""
    s3, seen, twice = stack.client("s3"), bytearray(items), 0
    for listing in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"ddb/{TABLE}/"):
        for entry in listing.get("Contents", ()):
            parsed = DataKey.parse(f"ddb/{TABLE}", entry["Key"])
            assert parsed is not None, entry["Key"]
            text = igzip.decompress(s3.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read())
            numbers = _NUMBER.findall(text)
            # Each line says its key twice: in `keys` and in the image.
            assert len(numbers) == 2 * parsed.count == 2 * text.count(b"\n"), entry["Key"]
            for digits in numbers[::2]:
                number = int(digits)
                twice += seen[number]
                seen[number] = 1
    return seen.count(0), twice


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=10_000_000)
    parser.add_argument("--segments", type=int, default=8)
    parser.add_argument("--invocation-seconds", type=float, default=30.0)
    parser.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args()
    with served(given.items) as port, LocalStack(given.folder) as stack:
        stack.client("s3").create_bucket(Bucket=BUCKET)
        handler = load_handler(
            stack.env()
            | {
                "AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{port}",
                "TABLE_NAME": TABLE,
                "S3_BUCKET": BUCKET,
                # Only a heal and a look ask these.
                "QUEUE_URL": f"{stack.endpoint}/000000000000/buffer",
                "DEAD_LETTER_QUEUE_URL": f"{stack.endpoint}/000000000000/dead",
                "STREAM_INGEST_NAME": "stream_ingest",
                "POWERTOOLS_METRICS_NAMESPACE": "Lakebound",
                "POWERTOOLS_SERVICE_NAME": "backfill",
            }
        )
        invocations = 0

        def function(event: dict[str, Any]) -> dict[str, Any]:
            nonlocal invocations
            invocations += 1
            answer: dict[str, Any] = handler(event, Context(given.invocation_seconds))
            return answer

        wanted = {"segments": given.segments, "read_capacity": 10_000_000}
        execution = start(function, wanted, name="large", sleep=time.sleep)
        began = time.monotonic()
        result = execution.run()
        seconds = time.monotonic() - began
        peak = peak_bytes()
        missing, twice = missing_and_twice(stack, given.items)
    told = {
        "result": result,
        "seconds": round(seconds, 1),
        "items_per_second": round(given.items / seconds),
        "peak_bytes": peak,
        "invocations": invocations,
        "transitions": execution.transitions,
        "largest_state_bytes": execution.largest,
        "events": execution.events,
        "longest_child_events": execution.longest_child,
        "missing": missing,
        "twice": twice,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
