"""The backfill's and `verify`'s reading of a table through AWS's own code: DynamoDB Local behind the real boto3 client.

The store is in memory; the client, the hooks, the pages, the segments' checkpoints and the states are the real ones.
"""

import json
import random
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from lakebound.adapters.backfill_table import BackfillTable, ScanSegment
from lakebound.adapters.clock import SystemClock
from lakebound.adapters.verify_table import DynamoDBTable
from lakebound.backfill.run_context import Ports, RunContext, RunRules
from lakebound.backfill.segment_worker import ClockSkewed, Page, PageSource
from lakebound.backfill.state_machine import perform
from lakebound.errors import Misconfigured
from lakebound.formats.registry import TRAVEL_FORMATS
from lakebound.record.attributes import Image, canonical_item, canonical_key
from lakebound.record.base_records import SnapshotDecoder
from lakebound.record.envelope import decode_line, encode_line
from lakebound.record.raw_items import RawItem
from lakebound.record.stream_records import StreamDecoder
from lakebound.record.table_identity import Source as TableSource
from lakebound.source.facts import MappingFacts
from lakebound.transport.object_keys import partitioner
from tests.contract.local_tables import STREAM, Source, Turning
from tests.support.backfill_world import PREFIX, Bucket, Clock, NoExports
from tests.support.registers import visible_items
from tests.support.state_machine import Failed, start

TEN_TYPES: dict[str, Any] = {
    "id": {"S": 'quote " slash \\ / bar | tab \t control \x01\x1f\x7f é \u2028 😀'},
    "n": {"N": "1.50"},
    "digits": {"N": "12345678901234567890123456789012345678"},
    "large": {"N": "9.9999999999999999999999999999999999999E+125"},
    "small": {"N": "-1E-130"},
    "b": {"B": b"\x00\xff"},
    "bool": {"BOOL": False},
    "null": {"NULL": True},
    "ss": {"SS": ["b", "a", "😀"]},
    "ns": {"NS": ["1E+3", "2.0", "-7"]},
    "bs": {"BS": [b"\xff", b"\x00"]},
    "l": {"L": [{"M": {"deep": {"L": [{"B": b"x"}, {"S": ""}]}}}, {"NULL": True}]},
    "m": {"M": {"a.b": {"N": "0"}, "é": {"M": {}}}},
}
AS_STORED = {
    "n": "1.5",
    "digits": "12345678901234567890123456789012345678",
    "large": "99999999999999999999999999999999999999" + "0" * 88,
}
"""DynamoDB writes numbers its own way: no zeros at the end of a fraction."""


def pages(source: PageSource, limit: int | None = None) -> list[Page]:
    found, at = [], None
    while True:
        page = source.page(at, limit).read()
        found.append(page)
        at = page.next
        if at is None:
            return found


def records(source: ScanSegment, found: list[Page]) -> list[dict[str, Any]]:
    lines = [encode_line(source.decode(value, 5, "e"), 7) for page in found for value in page.values]
    return [decode_line(line) for line in lines]


def said(item: dict[str, Any]) -> bytes:
    return canonical_item(json.loads(json.dumps(item, default=_base64)))


def _base64(value: bytes) -> str:
    return b64encode(value).decode()


def test_every_type_is_carried_as_dynamodb_says_it(make: Callable[..., Source]) -> None:
    table = make()
    table.put(**TEN_TYPES)
    segment = table.segment()
    (page,) = pages(segment)
    (value,) = page.values
    assert type(value) is RawItem
    # AWS's serialiser escapes what JSON does not ask to be escaped: a reader that compares bytes would not do.
    assert b"\\u001F" in bytes(value.text)
    assert b"\\uD83D\\uDE00" in bytes(value.text)
    (record,) = records(segment, [page])
    assert canonical_item(record["new_image"]) == said(TEN_TYPES)
    assert {name: record["new_image"][name]["N"] for name in AS_STORED} == AS_STORED
    assert record["keys"] == {"id": TEN_TYPES["id"]}


def test_both_ways_to_read_give_one_record(make: Callable[..., Source]) -> None:
    table = make()
    table.put(**TEN_TYPES)
    for number in range(30):
        table.put(id={"S": f"k{number}"}, v={"N": str(number)}, t={"S": "é\n😀" * number})
    found = []
    for pass_through in (True, False):
        segment = table.segment(pass_through=pass_through)
        found.append(sorted(records(segment, pages(segment)), key=lambda one: one["key"]))
    assert (len(found[0]), found[0]) == (31, found[1])


def test_dynamodb_refuses_a_thirty_ninth_digit(make: Callable[..., Source]) -> None:
    table = make()
    with pytest.raises(Exception, match="precision up to 38 digits"):
        table.put(id={"S": "k"}, n={"N": "1" * 39})


def test_binary_and_number_keys_continue_from_their_start_keys(make: Callable[..., Source]) -> None:
    keys = [{"AttributeName": "part", "KeyType": "HASH"}, {"AttributeName": "at", "KeyType": "RANGE"}]
    attributes = [{"AttributeName": "part", "AttributeType": "B"}, {"AttributeName": "at", "AttributeType": "N"}]
    table = make(keys, attributes)
    put = [(bytes([part, 255]), f"{at}.50") for part in range(5) for at in range(5)]
    for part, at in put:
        table.put(part={"B": part}, at={"N": at})
    segment = table.segment(keys=("part", "at"))
    found = pages(segment, 4)
    assert [len(page.values) for page in found[:6]] == [4] * 6
    read = records(segment, found)
    assert len(read) == 25
    assert {one["key"] for one in read} == {
        canonical_key(json.loads(said({"part": {"B": p}, "at": {"N": n}}))) for p, n in put
    }


def test_parallel_segments_read_every_item_once(make: Callable[..., Source]) -> None:
    table = make()
    for number in range(200):
        table.put(id={"S": f"k{number}"})
    segments = [table.segment(number, 7) for number in range(7)]
    with ThreadPoolExecutor(7) as pool:
        found = list(pool.map(lambda one: pages(one, 10), segments))
    keys = [one["key"] for segment, some in zip(segments, found, strict=True) for one in records(segment, some)]
    assert sorted(keys) == sorted(f"id=S:k{number}" for number in range(200))
    # A segment of nothing but an empty page is a segment too.
    assert all(some[-1].next is None for some in found)


def test_a_page_ends_at_a_megabyte_and_says_what_it_consumed(make: Callable[..., Source]) -> None:
    table = make()
    for number in range(8):
        table.put(id={"S": f"k{number}"}, text={"S": "x" * 300_000})
    found = pages(table.segment())
    assert [len(page.values) for page in found] == [4, 4] or [len(page.values) for page in found] == [4, 4, 0]
    assert all(type(value) is RawItem for page in found for value in page.values)
    # A consistent read of 1.2 MB: a unit for every 4 KB.
    assert found[0].units == pytest.approx(4 * 300_000 / 4096, rel=0.02)
    half = table.segment()
    eventual = ScanSegment(half.table, half.decoder, 0, 1, False, 60_000)
    assert eventual.page(None, None).units == pytest.approx(found[0].units / 2, abs=1)


def test_a_clock_far_from_the_services_date_rejects_the_page(make: Callable[..., Source]) -> None:
    class Ahead(Turning):
        def now_ms(self) -> int:
            return super().now_ms() + 60_000

    table = make()
    table.put(id={"S": "k"})
    assert table.segment().page(None, None).values
    decoder = SnapshotDecoder(table.name, "run", "scan", ("id",))
    late = ScanSegment(BackfillTable(table.name, table.new_client(), Ahead()), decoder, 0, 1, True, 60_000)
    with pytest.raises(ClockSkewed):
        late.page(None, None)


@pytest.mark.parametrize("pass_through", [True, False])
def test_items_are_read_again_by_key(make: Callable[..., Source], pass_through: bool) -> None:
    table = make()
    table.put(**TEN_TYPES)
    answer, _ = table.table(pass_through=pass_through).read_items([{"id": TEN_TYPES["id"]}, {"id": {"S": "gone"}}])
    (item,) = answer["Responses"][table.name]
    assert canonical_item(item) == said(TEN_TYPES)
    assert not answer.get("UnprocessedKeys")


def test_verify_reads_the_same_items_by_scan_and_by_key(make: Callable[..., Source]) -> None:
    table = make()
    table.put(**TEN_TYPES)
    for number in range(150):
        table.put(id={"S": f"k{number}"}, n={"N": str(number)})
    source = DynamoDBTable(table.name, table.new_client(), Turning(), segments=3)
    scanned = {canonical_key({"id": item["id"]}): item for item in source.scan()}
    assert len(scanned) == 151
    read = source.read([{"id": item["id"]} for item in scanned.values()] + [{"id": {"S": "gone"}}])
    assert {canonical_key({"id": item["id"]}): item for item in read} == scanned


def test_an_arn_reads_the_table_and_another_accounts_arn_is_not_believed(make: Callable[..., Source]) -> None:
    """DynamoDB Local takes ARNs, cuts them down to the name, and answers with the bare name."""
    table = make()
    table.put(id={"S": "a"})
    arn = table.client.describe_table(TableName=table.name)["Table"]["TableArn"]
    told = TableSource(table.name, arn, is_foreign=True)
    compared = DynamoDBTable(told, table.new_client(), Turning(), segments=1)
    assert list(compared.scan()) == list(compared.read([{"id": {"S": "a"}}])) == [{"id": {"S": "a"}}]
    reader = BackfillTable(told, table.new_client(), SystemClock())
    assert reader.describe(recovery=True).recovery_from_ms is None
    assert reader.read_items([{"id": {"S": "a"}}])[0]["Responses"] == {table.name: [{"id": {"S": "a"}}]}
    other = TableSource(table.name, arn.replace(arn.split(":")[4], "111122223333"), is_foreign=True)
    with pytest.raises(Misconfigured, match="knows no tables of other accounts"):
        DynamoDBTable(other, table.new_client(), Turning())
    with pytest.raises(Misconfigured, match="knows no tables of other accounts"):
        BackfillTable(other, table.new_client(), SystemClock()).describe()


class Stepping(Clock):
    """Time in memory beside the real `Date`: what the states wait for passes at once, what is read is dated now."""

    def __init__(self) -> None:
        super().__init__(SystemClock().now_ms())


def context_of(
    table: Source, clock: Clock, bucket: Bucket, file_format: str, *, beside: Callable[[], None]
) -> RunContext:
    backfilled = BackfillTable(table.name, table.new_client(), SystemClock())

    def scan(decoder: SnapshotDecoder, number: int, total: int, consistent: bool, margin_ms: int) -> PageSource:
        return Busy(backfilled, decoder, number, total, consistent, margin_ms, beside=beside)

    rules = RunRules(
        table=table.name,
        prefix=PREFIX,
        partition=partitioner("dt=%Y-%m-%d/HH=%H"),
        max_records=0,
        max_file_bytes=64 * 1024 * 1024,
        max_seconds=240,
        # DynamoDB Local cuts creation times to the minute, where DynamoDB cuts them to the second: with the usual 60 s,
        # a change written after its page was read would lose to it.
        margin_ms=120_000,
        file_format=file_format,
    )
    facts = backfilled.describe()
    assert facts.stream_arn is not None
    mapping = MappingFacts("m", facts.stream_arn, "Enabled", clock.now_ms() - 3_600_000)
    ports = Ports(
        source=backfilled,
        scan=scan,
        mapping=type("Mapping", (), {"mapping": lambda self: mapping})(),
        exporter=lambda arn: NoExports(),
        store=bucket,
        documents=bucket,
        clock=clock,
    )
    return RunContext(rules, ports)


@dataclass(frozen=True, slots=True)
class Busy(ScanSegment):
    """A segment beside which the table is written, page by page, few items a page."""

    beside: Callable[[], None] = lambda: None

    def page(self, start: Any, limit: int | None) -> Page:
        page = ScanSegment.page(self, start, 3)
        self.beside()
        return page


def delivered(table: Source) -> list[dict[str, Any]]:
    """Every record of the table's stream as it reaches the lake, up to an item that is written last for this."""
    last = {"id": {"S": "last"}}
    table.client.put_item(TableName=table.name, Item=last)
    arn = table.client.describe_table(TableName=table.name)["Table"]["LatestStreamArn"]
    streams, decoder, now = table.new_client("dynamodbstreams"), StreamDecoder(table.name), SystemClock().now_ms()
    # DynamoDB Local lets a record into its stream a moment after the write was answered.
    for _ in range(200):
        told = [one for shard in shards(streams, arn) for one in records_of(streams, arn, shard)]
        if any(one["dynamodb"]["Keys"] == last for one in told):
            return [decode_line(encode_line(decoder.decode(one, now), now)) for one in told]
    raise AssertionError("the stream does not end with the last write")


def shards(streams: Any, arn: str) -> list[str]:
    return [shard["ShardId"] for shard in streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]]


def records_of(streams: Any, arn: str, shard: str) -> Iterator[dict[str, Any]]:
    at = streams.get_shard_iterator(StreamArn=arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
    iterator = at["ShardIterator"]
    while iterator:
        answer = streams.get_records(ShardIterator=iterator)
        for one in answer["Records"]:
            created = int(one["dynamodb"]["ApproximateCreationDateTime"].timestamp())
            yield one | {"dynamodb": one["dynamodb"] | {"ApproximateCreationDateTime": created}, "eventSourceARN": arn}
        iterator = answer.get("NextShardIterator") if answer["Records"] else None


@pytest.mark.parametrize("file_format", TRAVEL_FORMATS)
def test_a_backfill_beside_writes_ends_equal_to_the_table(make: Callable[..., Source], file_format: str) -> None:
    table, chance = make(stream=False), random.Random(7)
    clock = Stepping()
    bucket = Bucket(clock)

    def write(times: int = 4) -> None:
        for _ in range(times):
            name = {"S": f"k{chance.randrange(60)} 😀"}
            if chance.random() < 0.4:
                table.client.delete_item(TableName=table.name, Key={"id": name})
            else:
                table.put(id=name, v={"N": f"{chance.randrange(10**6)}.10"})

    # The table was there before its stream: of these writes the stream says nothing.
    write(80)
    table.client.update_table(TableName=table.name, StreamSpecification=STREAM)
    write(20)
    context = context_of(table, clock, bucket, file_format, beside=write)
    result = start(lambda event: perform(context, event, lambda: 900.0), {"segments": 4}, sleep=clock.sleep).run()
    write(40)
    stream, base = delivered(table), bucket.records()
    assert result["records"] == len(base) > 20
    # The controls: neither the stream's records alone nor the backfill's are the table.
    assert lake(stream) != items(table)
    assert lake(base) != items(table)
    assert lake(stream + base) == items(table)
    assert lake(base + stream[::-1]) == items(table)


def lake(records: list[dict[str, Any]]) -> dict[str, Image]:
    return visible_items(records)


def items(table: Source) -> dict[str, Image]:
    source = DynamoDBTable(table.name, table.new_client(), Turning(), segments=2)
    return {canonical_key({"id": item["id"]}): item for item in source.scan()}


def test_a_table_created_again_under_its_name_ends_the_run(make: Callable[..., Source]) -> None:
    table = make()
    for number in range(20):
        table.put(id={"S": f"k{number}"})
    clock = Stepping()
    again = iter([True])

    def replace_table() -> None:
        if next(again, False):
            table.client.delete_table(TableName=table.name)
            make(name=table.name)

    context = context_of(table, clock, Bucket(clock), "ndjson.gz", beside=replace_table)
    execution = start(lambda event: perform(context, event, lambda: 25.0), {"segments": 2}, sleep=clock.sleep)
    with pytest.raises(Failed) as failed:
        execution.run()
    assert "created again" in failed.value.cause
