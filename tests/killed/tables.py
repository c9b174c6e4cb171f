"""The simulated table behind DynamoDB's own protocol on a loopback port: what the backfill's real client reads."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from tests.simulation.source import TABLE, Table

ITEMS_A_PAGE: Final = 2
_ARN: Final = f"arn:aws:dynamodb:us-east-1:000000000000:table/{TABLE}"


class Served:
    """Which table is served now."""

    def __init__(self) -> None:
        self.table: Table | None = None
        self.port = 0

    def answer(self, operation: str, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        table = self.table
        assert table is not None
        assert table.stream is not None
        if operation == "DescribeTable":
            keys = [
                {"AttributeName": name, "KeyType": kind}
                for name, kind in zip(table.keys[0], ("HASH", "RANGE"), strict=False)
            ]
            return 200, {
                "Table": {
                    "TableName": TABLE,
                    "TableArn": _ARN,
                    "TableId": "00000000-0000-4000-8000-000000000000",
                    "KeySchema": keys,
                    "ItemCount": len(table.items),
                    "TableSizeBytes": 200 * len(table.items),
                    "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
                    "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
                    "LatestStreamArn": table.stream.arn,
                }
            }
        if operation == "Scan":
            return 200, self._page(table, asked)
        return 400, {"__type": "com.amazon.coral.service#UnknownOperationException"}

    def _page(self, table: Table, asked: dict[str, Any]) -> dict[str, Any]:
        """Key n is of segment n modulo the segments' count."""
        segment, total = asked["Segment"], asked["TotalSegments"]
        start = asked.get("ExclusiveStartKey")
        numbers = range(table.keys.index(start) + total if start else segment, len(table.keys), total)
        some = list(numbers[:ITEMS_A_PAGE])
        items = [table.items[n] for n in some if n in table.items]
        page: dict[str, Any] = {
            "Items": items,
            "Count": len(items),
            "ScannedCount": len(items),
            "ConsumedCapacity": {"TableName": TABLE, "CapacityUnits": 1.0},
        }
        # An empty page with a start key is what a deleted stretch of the table looks like.
        return page | ({"LastEvaluatedKey": table.keys[some[-1]]} if len(numbers) > ITEMS_A_PAGE else {})


@contextmanager
def served() -> Iterator[Served]:
    state = Served()

    class Protocol(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, document = state.answer(self.headers["X-Amz-Target"].partition(".")[2], asked)
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(BrokenPipeError, ConnectionResetError):  # who asked was killed meanwhile
                self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            del args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Protocol)
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
