"""A heartbeat goes the way of a change and ends beside the data: it is measured, and no reader of silver meets it."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import boto3
import pytest

from lakebound.adapters.clock import SystemClock
from lakebound.errors import Misconfigured, StoreUnavailable
from lakebound.formats.registry import reader_of
from lakebound.live.heartbeat import Beat, Hops, beat
from lakebound.settings import HeartbeatSettings
from lakebound.transport.object_keys import DataKey, heartbeat_prefix
from tests.support.function_stack import BUCKET, Context, Stack
from tests.support.heartbeat_items import ARN, BEATS, TableWithStream, a_heartbeat, carried, flushed
from tests.support.local_ports import ManualClock
from tests.support.stream_records import TABLE, stream_record
from tests.support.use_case_world import PREFIX, World, bodies

FOLDER = heartbeat_prefix(TABLE)


def kept(world: World) -> dict[str, list[dict[str, Any]]]:
    """The records of each file of heartbeats."""
    found = {key: DataKey.parse(FOLDER, key) for key in world.bucket.objects}
    return {key: list(reader_of(parsed.ext)(world.bucket.objects[key].body)) for key, parsed in found.items() if parsed}


def test_it_is_written_changed_and_removed_and_leaves_nothing_behind(world: World) -> None:
    table = a_heartbeat(world)
    assert [one["eventName"] for one in table.records] == ["INSERT", "MODIFY", "REMOVE"]
    assert table.items == {}


def test_the_item_that_a_killed_heartbeat_left_is_taken_away_by_the_next_one(world: World) -> None:
    table = TableWithStream(world.clock)
    beat(table, world.clock)
    left = table.records[0]["dynamodb"]["NewImage"]
    table.put(left)
    world.clock.sleep(300)
    beat(table, world.clock)
    assert table.items == {}


@pytest.mark.parametrize("file_format", ["ndjson.gz", "avro", "parquet"])
def test_its_three_records_are_a_file_beside_the_data(world: World, file_format: str) -> None:
    a_heartbeat(world, file_format)
    result = flushed(world, file_format=file_format)
    ((key, records),) = kept(world).items()
    assert key.endswith(file_format)
    assert not key.startswith(PREFIX)
    assert [one["event_name"] for one in records] == ["INSERT", "MODIFY", "REMOVE"]
    assert {one["source_table"] for one in records} == {BEATS}
    assert (result.failed, len(result.heartbeats), world.buffer.messages) == ([], 3, [])


def test_it_is_no_data_whatever_it_arrives_with(world: World) -> None:
    world.send(*bodies([b"a change"], at=world.clock.now_ms()))
    a_heartbeat(world)
    world.send(*bodies([b"another"], at=world.clock.now_ms()))
    result = flushed(world)
    assert world.lake_lines() == [b"a change", b"another"]
    assert (result.records, len(result.files), len(kept(world))) == (2, 1, 1)
    assert all(key.startswith(PREFIX) for key, _ in result.files)


def test_each_hop_has_its_seconds(world: World) -> None:
    table = TableWithStream(world.clock)
    beat(table, world.clock)
    world.clock.sleep(3)
    carried(world, table.records)
    world.clock.sleep(7)
    world.store.before = lambda call: world.clock.sleep(2)
    result = flushed(world)
    assert {(one.stream_s, one.queue_s, one.file_s, one.total_s) for one in result.heartbeats} == {(3, 7, 2, 12)}


def test_a_clock_that_is_ahead_makes_no_hop_negative() -> None:
    assert Beat(written_ms=9_000, received_ms=5_000, taken_ms=6_000).hops(5_500) == Hops(0, 1, 0)


def test_on_an_idle_table_nobody_waits_for_more_of_it(world: World) -> None:
    """A flusher that topped its file up for MaxSeconds, every five minutes, would cost more than all else."""
    a_heartbeat(world)
    before = world.clock.now_ms()
    flushed(world)
    assert world.clock.now_ms() == before


def test_with_data_in_hand_it_waits_as_data_does(world: World) -> None:
    world.send(*bodies([b"a change"], at=world.clock.now_ms()))
    a_heartbeat(world)
    result = flushed(world)
    assert {one.file_s for one in result.heartbeats} == {30}


def test_a_folder_that_may_not_be_written_holds_up_no_data(world: World) -> None:
    """The policy of an existing bucket may know the data prefix only."""
    world.send(*bodies([b"a change"], at=world.clock.now_ms()))
    a_heartbeat(world)

    def refuse(call: str) -> None:
        if call.startswith(f"put {FOLDER}"):
            raise StoreUnavailable("no")

    world.store.before = refuse
    result = flushed(world)
    assert world.lake_lines() == [b"a change"]
    assert (len(result.failed), result.heartbeats, result.put_failed) == (1, [], True)
    world.repair()
    world.clock.sleep(1_020)
    assert len(flushed(world).heartbeats) == 3


def test_a_stack_that_knows_of_none_refuses_its_message(world: World) -> None:
    """The red control: by nothing but the table's name is a heartbeat told from data."""
    a_heartbeat(world)
    result = flushed(world, beats="")
    assert list(result.refused.values()) == ["message_shape"]
    assert world.files() == {}


def test_what_is_no_heartbeat_goes_to_the_dead_letters(world: World) -> None:
    record = stream_record(0, attributes={"written_ms": {"S": "yesterday"}}, eventSourceARN=ARN)
    record["dynamodb"]["ApproximateCreationDateTime"] = world.clock.now_ms() // 1000
    carried(world, [record])
    claim = {"key": f"_lakebound/{BEATS}/claims/{'0' * 64}.json", "sha256": "0" * 64, "bytes": 5}
    world.send(json.dumps({"v": 1, "table": BEATS, "claim": claim}))
    result = flushed(world)
    assert list(result.refused.values()) == ["heartbeat_shape"] * 2
    assert (len(result.failed), kept(world)) == (2, {})


def test_the_functions_carry_it_and_the_flusher_measures_it(
    stack: Stack,
    load: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = boto3.client("dynamodb")
    table.create_table(
        TableName=BEATS,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    with monkeypatch.context() as others:
        others.setenv("TABLE_NAME", BEATS)
        others.setenv("POWERTOOLS_METRICS_DISABLED", "true")
        reader = load("stream_ingest")
    monkeypatch.setenv("HEARTBEAT_TABLE", BEATS)
    heartbeat, flusher = load("heartbeat"), load("flusher")
    heartbeat.handler({}, Context())
    assert table.scan(TableName=BEATS)["Items"] == []
    # moto has no stream to read: the records are those that the same three calls make in one.
    streamed = TableWithStream(ManualClock(SystemClock().now_ms()))
    beat(streamed, SystemClock())
    capsys.readouterr()
    monkeypatch.setenv("POWERTOOLS_METRICS_DISABLED", "true")
    assert reader.handler({"Records": streamed.records}, Context()) == {"batchItemFailures": []}
    assert "_aws" not in capsys.readouterr().out, "metrics that nobody looks at are not put"
    monkeypatch.delenv("POWERTOOLS_METRICS_DISABLED")
    assert flusher.handler(stack.delivery(), Context()) == {"batchItemFailures": []}
    (key,) = (key for key in stack.objects() if key.startswith(FOLDER))
    assert stack.lake() == []
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    assert {f"Heartbeat{hop}Seconds" for hop in ("Stream", "Queue", "File", "")} <= line.keys()
    assert line["table"] == TABLE
    assert DataKey.parse(FOLDER, key) is not None
    assert stack.s3.head_object(Bucket=BUCKET, Key=key)["Metadata"]["records"] == "3"


def test_without_its_table_the_function_says_what_to_set() -> None:
    with pytest.raises(Misconfigured, match="HEARTBEAT_TABLE is not set"):
        HeartbeatSettings.read({})
