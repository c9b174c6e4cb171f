"""The source table through boto3: consistent parallel scans and consistent reads by key, as DynamoDB said it.

botocore would turn every AttributeValue of a page into Python objects and every binary into bytes. A
`before-parse` hook takes the items out of the answer's own JSON instead: signing, retries, checksums and paging
stay botocore's, binary stays the base64 text it is in stream events, and a page costs a tenth.
"""

from __future__ import annotations

import threading
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from queue import Full, Queue
from typing import Any, Final

import orjson

from lakebound.adapters.calls import FAILURES, code_of
from lakebound.attributes import Image
from lakebound.errors import LakeboundError, Misconfigured
from lakebound.ports import Clock

_KEYS_PER_READ: Final = 100
"""BatchGetItem's limit."""

_ROUNDS_WITHOUT_PROGRESS: Final = 8


def carry_items_raw(client: Any) -> None:
    """Make a DynamoDB client answer Scan and BatchGetItem with the items exactly as the service wrote them."""
    client.meta.events.register("before-parse.dynamodb.Scan", _take_items)
    client.meta.events.register("before-parse.dynamodb.BatchGetItem", _take_responses)


class DynamoDBTable:
    """Port SourceTable of `verify` over one table.

    `client` gets the hooks of `carry_items_raw`. `segments` is how many parts are scanned side by side, each by a
    thread that holds at most two pages (1 MB each).
    """

    def __init__(self, name: str, client: Any, clock: Clock, *, segments: int = 4) -> None:
        self.name = name
        self._client = client
        self._clock = clock
        self._segments = segments
        carry_items_raw(client)
        described = self._call("describe_table", TableName=name)["Table"]
        self._key_names = tuple(element["AttributeName"] for element in described["KeySchema"])
        self.item_count: int = described.get("ItemCount", 0)
        """About how many items there are: DynamoDB counts every six hours."""

    @property
    def key_names(self) -> Sequence[str]:
        """The names of the key attributes, the partition key first."""
        return self._key_names

    def scan(self) -> Iterator[Image]:
        """Every item, strongly consistent, in no order. Raises LakeboundError."""
        pages: Queue[list[Image] | BaseException | None] = Queue(maxsize=self._segments)
        stop = threading.Event()

        def read(segment: int) -> None:
            try:
                for page in self._pages(segment):
                    if not _offer(pages, page, stop):
                        return
                _offer(pages, None, stop)
            except BaseException as failure:
                _offer(pages, failure, stop)

        threads = [threading.Thread(target=read, args=(segment,), daemon=True) for segment in range(self._segments)]
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
                    yield from page
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def read(self, keys: Sequence[Image]) -> Iterator[Image]:
        """The items of these key attributes that exist, strongly consistent. Raises LakeboundError."""
        for start in range(0, len(keys), _KEYS_PER_READ):
            some = [sendable(key) for key in keys[start : start + _KEYS_PER_READ]]
            wanted: Mapping[str, Any] = {self.name: {"Keys": some, "ConsistentRead": True}}
            rounds = 0
            while wanted:
                answer = self._call("batch_get_item", RequestItems=wanted)
                items = answer["Responses"].get(self.name, [])
                yield from items
                wanted = answer.get("UnprocessedKeys") or {}
                rounds = 0 if items else rounds + 1
                if wanted and rounds == _ROUNDS_WITHOUT_PROGRESS:
                    raise LakeboundError(
                        f"Table {self.name} answers no more reads", hint="It is throttled: raise its capacity or wait"
                    )
                if wanted:
                    self._clock.sleep(min(0.05 * 2**rounds, 5))

    def _pages(self, segment: int) -> Iterator[list[Image]]:
        part = {"Segment": segment, "TotalSegments": self._segments} if self._segments > 1 else {}
        start: dict[str, Any] = {}
        while True:
            answer = self._call("scan", TableName=self.name, ConsistentRead=True, **part, **start)
            # A page can be empty and still have a start key: only the missing start key ends a segment.
            yield answer["Items"]
            if not answer.get("LastEvaluatedKey"):
                return
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def _call(self, operation: str, **arguments: Any) -> Any:
        try:
            return getattr(self._client, operation)(**arguments)
        except FAILURES as failure:
            code = code_of(failure)
        # Outside the handlers, so that no message of botocore, which may hold key values, hangs on the new error.
        endpoint = self._client.meta.endpoint_url
        match code:
            case "ResourceNotFoundException":
                raise Misconfigured(
                    f"There is no table {self.name} at {endpoint}",
                    hint="Check its name, the region and AWS_ENDPOINT_URL",
                )
            case "AccessDeniedException":
                raise Misconfigured(
                    f"These credentials may not {operation} table {self.name}",
                    hint="They need dynamodb:DescribeTable, Scan and BatchGetItem on it",
                )
            case _:
                raise LakeboundError(
                    f"The call {operation} of table {self.name} at {endpoint} failed: {code}",
                    hint="Try again when it answers",
                )


def _offer(
    pages: Queue[list[Image] | BaseException | None], page: list[Image] | BaseException | None, stop: threading.Event
) -> bool:
    """Hand over a page, unless the reader has gone."""
    while not stop.is_set():
        try:
            pages.put(page, timeout=0.2)
        except Full:
            continue
        return True
    return False


def sendable(key: Image) -> Image:
    """A key for a request: botocore encodes binary itself, base64 text would be encoded twice."""
    return {
        name: {"B": b64decode(attribute["B"])} if "B" in attribute else attribute for name, attribute in key.items()
    }


def _take_items(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    _take("Items", response_dict, customized_response_dict)


def _take_responses(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    _take("Responses", response_dict, customized_response_dict)


def _take(name: str, response: dict[str, Any], customized: dict[str, Any]) -> None:
    if response["status_code"] != 200:
        return
    body = orjson.loads(response["body"])
    customized[name] = body.pop(name)
    response["body"] = orjson.dumps(body)
