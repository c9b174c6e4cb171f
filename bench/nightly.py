"""How long the stack's nightly verify takes: `python -m bench.nightly ROWS OF`, the real function over ROWS rows.

The silver table lies on this machine's disk, and DynamoDB is a process beside it that answers at once. What is measured
is the function's own work, in processor seconds with deltalake's threads, without the time that AWS takes to answer.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import orjson
import pyarrow as pa
from deltalake import write_deltalake

from bench import corpora
from bench.loopback import response, serve
from lakebound.adapters.clients import client
from lakebound.adapters.clock import SystemClock
from lakebound.adapters.nightly_verify import tonight, verify_share
from lakebound.settings import VerifySettings

KEY: Final = corpora.CORPORA["flat"][1]
ROWS_A_FILE: Final = 250_000
PAGE_BYTES: Final = 1_000_000
_KEYS = re.compile(rb'"(k[0-9]{12})"')


def main() -> None:
    """Write the table, compare one share, print a line."""
    rows, of = int(sys.argv[1]), int(sys.argv[2])
    with tempfile.TemporaryDirectory(prefix="lakebound-nightly-") as folder:
        _write_silver(Path(folder) / "silver", rows)
        ready = multiprocessing.Queue()  # type: multiprocessing.Queue[int]
        table = multiprocessing.Process(target=_serve_table, args=(rows, ready), daemon=True)
        table.start()
        os.environ |= {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ready.get()}",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "TABLE_NAME": corpora.TABLE,
            "QUEUE_URL": "http://127.0.0.1:9/000000000000/buffer",
            "VERIFY_TARGET": str(Path(folder) / "silver"),
            "VERIFY_SHARE": f"1/{of}",
        }
        settings, clock = VerifySettings.read(os.environ), SystemClock()
        began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        report = verify_share(settings, tonight(settings, clock), None, client, clock, lambda: 1e9)
        wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
        table.terminate()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"{rows:,} rows, 1/{of}: {report.keys:,} keys, {report.wrong} differ, {cpu:.1f} processor seconds,"
        f" {wall:.1f} s by the clock, {after.ru_maxrss / 1024:,.0f} MB"
    )


def _around_key() -> tuple[bytes, bytes]:
    """An item's JSON before and after the text of its key."""
    item: dict[str, Any] = next(iter(corpora.items("flat", 1))) | {KEY: {"S": "KEY"}}
    head, _, tail = orjson.dumps(item).partition(b"KEY")
    return head, tail


def _write_silver(folder: Path, rows: int) -> None:
    head, tail = (part.decode() for part in _around_key())
    constant = {"_is_deleted": False, "_version": "1", "_base": "", "_ttl_expired": False, "_stream_time_ms": 1}
    for start in range(0, rows, ROWS_A_FILE):
        keys = [f"k{number:012d}" for number in range(start, min(rows, start + ROWS_A_FILE))]
        columns = {"_key": [f"{KEY}=S:{key}" for key in keys], "_item": [f"{head}{key}{tail}" for key in keys]}
        same = {name: [value] * len(keys) for name, value in constant.items()}
        write_deltalake(folder, pa.table(columns | same), mode="append")


def _serve_table(rows: int, ready: Any) -> None:
    head, tail = _around_key()
    page = PAGE_BYTES // (len(head) + len(tail) + 13)
    described = {
        "TableName": corpora.TABLE,
        "TableArn": f"arn:aws:dynamodb:us-east-1:123456789012:table/{corpora.TABLE}",
        "KeySchema": [{"AttributeName": KEY, "KeyType": "HASH"}],
        "ItemCount": rows,
        "TableSizeBytes": rows * 1000,
    }

    def items(keys: list[bytes]) -> bytes:
        return b",".join(head + key + tail for key in keys)

    def scan(asked: dict[str, Any]) -> bytes:
        of, segment = asked.get("TotalSegments", 1), asked.get("Segment", 0)
        start, end = segment * rows // of, (segment + 1) * rows // of
        if "ExclusiveStartKey" in asked:
            start = int(asked["ExclusiveStartKey"][KEY]["S"][1:]) + 1
        last = min(end, start + page)
        more = b"" if last == end else b',"LastEvaluatedKey":{"%s":{"S":"k%012d"}}' % (KEY.encode(), last - 1)
        return b'{"Items":[%s]%s}' % (items([b"k%012d" % number for number in range(start, last)]), more)

    def answer(request: bytes, body: bytes) -> bytes:
        if b".DescribeTable" in request:
            made = orjson.dumps({"Table": described})
        elif b".Scan" in request:
            made = scan(orjson.loads(body))
        else:
            made = b'{"Responses":{"%s":[%s]}}' % (corpora.TABLE.encode(), items(_KEYS.findall(body)))
        return response(made, b"Content-Type: application/x-amz-json-1.0", b"x-amz-crc32: %d" % crc32(made))

    _, port = serve(answer)
    ready.put(port)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
