"""A scan's pages through boto3: the hook and botocore's parser give one record; the server's clock is looked at."""

import json
from email.utils import formatdate
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse

from lakebound.adapters.backfill_table import BackfillTable, ScanSegment
from lakebound.backfill.run_input import BackfillRequest
from lakebound.backfill.segment_worker import ClockSkewed, Throttled
from lakebound.errors import LakeboundError, Misconfigured, Poison
from lakebound.record.base_records import SnapshotDecoder
from lakebound.record.envelope import encode_line
from lakebound.record.raw_items import RawItem

NOW = 1_795_000_000_000
PAGE = {
    "Items": [
        {
            "id": {"B": "AP8="},
            "n": {"N": "12345678901234567890123456789012345678"},
            "l": {"L": [{"M": {"b": {"B": ""}}}, {"NULL": True}, {"BOOL": False}]},
            "s": {"SS": ["b", "a"]},
            "ns": {"NS": ["2", "1E+3"]},
            "bs": {"BS": ["/w==", "AA=="]},
            "t": {"S": "é\u2028"},
        }
    ],
    "Count": 1,
    "ScannedCount": 1,
    "ConsumedCapacity": {"TableName": "cars", "CapacityUnits": 2.5},
    "LastEvaluatedKey": {"id": {"B": "AP8="}},
}


def said(value: Any) -> bytes:
    """As DynamoDB writes JSON: no space, no escape that is not needed."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


class Fixed:
    ms = NOW

    def now_ms(self) -> int:
        return self.ms

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing waits here")


class Body:
    def __init__(self, text: bytes) -> None:
        self.text = text

    def stream(self, *_: Any, **__: Any) -> Any:
        yield self.text


def segment(
    *, pass_through: bool, off_ms: int = 0, status: int = 200, answer: Any = PAGE, takes_ms: int = 0
) -> tuple[ScanSegment, list[Any]]:
    client = boto3.client("dynamodb", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
    asked: list[Any] = []
    clock = Fixed()

    def send(request: Any, **_: Any) -> AWSResponse:
        asked.append(json.loads(request.body))
        clock.ms += takes_ms
        headers = {"Date": formatdate((NOW + off_ms) / 1000, usegmt=True)}
        return AWSResponse(request.url, status, headers, Body(answer if type(answer) is bytes else said(answer)))

    client.meta.events.register("before-send.dynamodb", send)
    table = BackfillTable("cars", client, clock, pass_through=pass_through)
    return ScanSegment(table, SnapshotDecoder("cars", "r", "scan", ["id"]), 1, 4, True, 60_000), asked


def test_records_are_identical_with_and_without_the_hook() -> None:
    lines = []
    for pass_through in (True, False):
        source, asked = segment(pass_through=pass_through)
        page = source.page({"id": {"B": "AA=="}}, 7).read()
        assert page.next == {"id": {"B": "AP8="}}
        assert (page.units, page.asked_ms, page.label_ms) == (2.5, NOW, NOW - 60_000)
        assert asked[0]["ExclusiveStartKey"] == {"id": {"B": "AA=="}}
        assert (asked[0]["Limit"], asked[0]["Segment"], asked[0]["TotalSegments"]) == (7, 1, 4)
        assert asked[0]["ConsistentRead"] is True
        assert {type(value) for value in page.values} == {RawItem if pass_through else dict}
        lines.append([encode_line(source.decode(value, page.label_ms, "e"), NOW) for value in page.values])
    assert lines[0] == lines[1]
    assert json.loads(lines[0][0])["new_image"] == PAGE["Items"][0]


def test_a_pages_time_is_taken_before_its_request() -> None:
    """With a later time, a stale item could hide the change that came while its page was on the way."""
    page = segment(pass_through=True, takes_ms=3_000)[0].page(None, None)
    assert (page.asked_ms, page.label_ms) == (NOW, NOW - 60_000)


@pytest.mark.parametrize("off_ms", [-7_001, 6_000, 3_600_000])
def test_a_page_is_rejected_when_the_clocks_are_apart(off_ms: int) -> None:
    with pytest.raises(ClockSkewed):
        segment(pass_through=True, off_ms=off_ms)[0].page(None, None)


@pytest.mark.parametrize("off_ms", [-4_000, 0, 4_000])
def test_a_page_is_taken_when_they_are_not(off_ms: int) -> None:
    assert segment(pass_through=True, off_ms=off_ms)[0].page(None, None).values


def test_a_throttle_is_told_from_other_refusals() -> None:
    answer = {"__type": "com.amazonaws#ProvisionedThroughputExceededException", "message": "CANARY"}
    source, _ = segment(pass_through=True, status=400, answer=answer)
    source.table._client.meta.config.retries = {"total_max_attempts": 1}
    with pytest.raises(Throttled) as told:
        source.page(None, None).read()
    assert "CANARY" not in str(told.value)


@pytest.mark.parametrize(
    "value",
    [
        {"speed": 1},
        {"mode": "all"},
        {"segments": -1},
        {"segments": 10_001},
        {"segments": True},
        {"read_capacity": "9"},
        {"mode": "export", "segments": 3},
        {"mode": "incremental_export"},
        {"mode": "incremental_export", "from": "2026-11-02T00:00:00Z", "to": "2026-11-01T00:00:00Z"},
        {"mode": "incremental_export", "from": "2026-11-01T00:00:00", "to": "2026-11-02T00:00:00Z"},
        {"mode": "heal", "consistent": False},
        {"from": "2026-11-01T00:00:00Z"},
        [],
    ],
)
def test_an_input_that_cannot_be_meant_is_refused_with_the_fields(value: Any) -> None:
    with pytest.raises(Misconfigured, match="the fields are mode"):
        BackfillRequest.parse(value)


def test_an_empty_input_and_the_consoles_comment_are_valid() -> None:
    assert BackfillRequest.parse({}) == BackfillRequest.parse({"Comment": "x"}) == BackfillRequest()


def test_a_page_with_line_breaks_between_its_tokens_is_parsed_and_gives_the_same_lines() -> None:
    lines = []
    for body in (said(PAGE), json.dumps(PAGE, indent=1).encode()):
        source, _ = segment(pass_through=True, answer=body)
        page = source.page(None, None).read()
        assert (page.units, page.next) == (2.5, PAGE["LastEvaluatedKey"])
        lines.append([encode_line(source.decode(value, page.label_ms, "e"), NOW) for value in page.values])
    assert lines[0] == lines[1]


@pytest.mark.parametrize("pass_through", [True, False])
def test_half_a_surrogate_pair_costs_its_item_and_not_the_page(pass_through: bool) -> None:
    body = b'{"Items":[{"id":{"S":"a"}},{"id":{"S":"b"},"v":{"S":"\\ud800"}}],"Count":2}'
    source, _ = segment(pass_through=pass_through, answer=body)
    page = source.page(None, None).read()
    assert page.next is None
    events = [source.decode(value, page.label_ms, "e") for value in page.values]
    assert json.loads(encode_line(events[0], NOW))["key"] == "id=S:a"
    with pytest.raises(Poison, match="lone_surrogate"):
        encode_line(events[1], NOW)


@pytest.mark.parametrize("body", [b"{}", b'{"Count":3}', b'{"Items":{}}', b"[]", b'{"Items":[', b"\xff", b""])
def test_an_answer_that_is_no_page_is_an_error_and_not_an_empty_one(body: bytes) -> None:
    source, _ = segment(pass_through=True, answer=body)
    with pytest.raises(LakeboundError, match="DynamoDB's answer"):
        source.page(None, None).read()


@pytest.mark.parametrize("pass_through", [True, False])
def test_an_empty_page_with_a_start_key_goes_on(pass_through: bool) -> None:
    answer = {"Items": [], "Count": 0, "LastEvaluatedKey": {"id": {"B": ""}}}
    source, _ = segment(pass_through=pass_through, answer=answer)
    page = source.page(None, None).read()
    assert (list(page.values), page.next, page.units) == ([], {"id": {"B": ""}}, 0)
