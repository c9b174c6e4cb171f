"""The source table of `verify`: consistent parallel scans and reads by key, items as DynamoDB wrote them or as they
land."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from queue import Full, Queue
from typing import Any, Final

from lakebound.adapters.aws_calls import Denied, call
from lakebound.adapters.raw_answers import answer_of, keep_bodies, request_key, table_part
from lakebound.errors import LakeboundError, Misconfigured
from lakebound.operate.sample import Selection
from lakebound.operate.sides import Page, RedactedSource, SourceTable
from lakebound.ports import Clock
from lakebound.record.attributes import Image
from lakebound.record.redaction import Redaction
from lakebound.record.table_identity import Source

_KEYS_PER_READ: Final = 100
"""BatchGetItem's limit."""

_ROUNDS_WITHOUT_PROGRESS: Final = 8
_ITEMS_A_PART: Final = 50_000
"""What a run that goes on may have to read again, for each thread."""


class DynamoDBTable:
    """Port SourceTable of `verify` over one table; a bare name is one of this account.

    `client` gets the hook of `keep_bodies`. `segments` is how many parts are scanned side by side, each by a
    thread that holds at most two pages (1 MB each).
    """

    def __init__(self, source: Source | str, client: Any, clock: Clock, *, segments: int = 4) -> None:
        self._source = source if isinstance(source, Source) else Source.own(source)
        self.name = self._source.asked
        self._client = client
        self._clock = clock
        self._segments = segments
        keep_bodies(client)
        described = self._call("describe_table", TableName=self.name)["Table"]
        self._source.check_told(described["TableArn"])
        self._key_names = tuple(element["AttributeName"] for element in described["KeySchema"])
        self.item_count: int = described.get("ItemCount", 0)
        """About how many items there are: DynamoDB counts every six hours."""
        self.table_bytes: int = described.get("TableSizeBytes", 0)
        """Their size as DynamoDB counts it, as old."""

    @property
    def key_names(self) -> Sequence[str]:
        """The names of the key attributes, the partition key first."""
        return self._key_names

    def scan(self) -> Iterator[Image]:
        """Every item, strongly consistent, in no order. Raises LakeboundError."""
        for page in self.pages(range(self._segments), self._segments):
            yield from page.items

    def pages(self, parts: Sequence[int], of: int) -> Iterator[Page]:
        """See SourceTable: a part is a segment of DynamoDB, and each thread reads one at a time.

        Raises LakeboundError.
        """
        pages: Queue[Page | BaseException | None] = Queue(maxsize=self._segments)
        stop = threading.Event()
        todo = deque(parts)

        def read() -> None:
            try:
                while todo:
                    try:
                        part = todo.popleft()
                    except IndexError:
                        break
                    for page in self._pages(part, of):
                        if not _offer(pages, page, stop):
                            return
                _offer(pages, None, stop)
            except BaseException as failure:
                _offer(pages, failure, stop)

        threads = [threading.Thread(target=read, daemon=True) for _ in range(min(self._segments, len(parts)))]
        for thread in threads:
            thread.start()
        try:
            running = len(threads)
            while running:
                page = pages.get()
                if page is None:
                    running -= 1
                elif isinstance(page, BaseException):
                    raise page
                else:
                    yield page
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def read(self, keys: Sequence[Image]) -> Iterator[Image]:
        """The items of these key attributes that exist, strongly consistent. Raises LakeboundError."""
        for start in range(0, len(keys), _KEYS_PER_READ):
            wanted = list(keys[start : start + _KEYS_PER_READ])
            rounds = 0
            while wanted:
                asked = {"Keys": [request_key(key) for key in wanted], "ConsistentRead": True}
                answer = answer_of(self._call("batch_get_item", RequestItems={self.name: asked}))
                table = self._source.table
                items = table_part(answer["Responses"], self.name, table) or []
                yield from items
                wanted = (table_part(answer.get("UnprocessedKeys"), self.name, table) or {}).get("Keys", [])
                rounds = 0 if items else rounds + 1
                if wanted and rounds == _ROUNDS_WITHOUT_PROGRESS:
                    raise LakeboundError(
                        f"Table {self.name} answers no more reads", hint="It is throttled: raise its capacity or wait"
                    )
                if wanted:
                    self._clock.sleep(min(0.05 * 2**rounds, 5))

    def _pages(self, segment: int, of: int) -> Iterator[Page]:
        part = {"Segment": segment, "TotalSegments": of} if of > 1 else {}
        start: dict[str, Any] = {}
        while True:
            answer = answer_of(self._call("scan", TableName=self.name, ConsistentRead=True, **part, **start))
            # A page can be empty and still have a start key: only the missing start key ends a segment.
            is_last = not answer.get("LastEvaluatedKey")
            yield Page(segment, answer["Items"], is_last)
            if is_last:
                return
            start = {"ExclusiveStartKey": request_key(answer["LastEvaluatedKey"])}

    def _call(self, operation: str, **arguments: Any) -> Any:
        try:
            return call(self._client, operation, f"table {self.name}", **arguments)
        except Denied as denied:
            owner = ", and its owner's policy has to name them" if self._source.is_foreign else ""
            raise Denied(
                denied.what, hint=f"They need dynamodb:DescribeTable, Scan and BatchGetItem on it{owner}"
            ) from None


@dataclass(frozen=True, slots=True)
class Compared:
    """The table and, over it, its items as they land."""

    table: DynamoDBTable
    source: SourceTable

    @staticmethod
    def of(table: DynamoDBTable, redaction: Redaction | None) -> Compared:
        """Raises Misconfigured where the table's keys land hashed."""
        if redaction is None:
            return Compared(table, table)
        if redaction.hashes_any(table.key_names):
            raise Misconfigured(
                "HashAttributes names a key attribute: no key of the lake can be read again in the source",
                hint="Compare such a table in Spark, with the files of a finished backfill",
            )
        return Compared(table, RedactedSource(table, redaction))

    def parts(self, selection: Selection, segments: int) -> int:
        """In how many parts what is selected is read. The same for the same table within six hours."""
        shares = selection.stratum.of if selection.stratum else 1
        return max(segments, ceil(self.table.item_count / shares / _ITEMS_A_PART))


def _offer(pages: Queue[Page | BaseException | None], page: Page | BaseException | None, stop: threading.Event) -> bool:
    """Hand over a page, unless the reader has gone."""
    while not stop.is_set():
        try:
            pages.put(page, timeout=0.2)
        except Full:
            continue
        return True
    return False
