"""The flusher writes before it acknowledges: whatever fails, each record is in the queue or in a complete file."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isal import igzip

from lakebound.errors import Misconfigured, ObjectDenied, QueueUnavailable, StoreUnavailable
from lakebound.live.flush import ALONE_FROM_RECEIVES, MAX_FAILED_CALLS
from lakebound.ports import ReceivedMessage
from lakebound.transport.messages import Line, Member, Packer
from lakebound.transport.object_keys import CLAIMS
from tests.support.local_ports import ManualClock
from tests.support.stream_records import NOW_MS, TABLE
from tests.support.use_case_world import (
    HOUR,
    MAX_RECEIVES,
    NEXT_HOUR,
    PREFIX,
    VISIBILITY_SECONDS,
    Killed,
    World,
    at_calls,
    bodies,
    killed,
    noise,
    queue_down,
    store_down,
)

START_MS = ManualClock().now_ms()
HOUR_SECONDS = 3_600


def texts(*numbers: int) -> list[bytes]:
    return [f"record {number:06d}".encode() for number in numbers]


def one_body(number: int, *, count: int = 1, size: int = 0, hours: Sequence[str] = (HOUR,), at: int = START_MS) -> str:
    """A message of `count` records that start at `number`, padded with noise to about `size` compressed bytes."""
    lines = texts(*range(number, number + count))
    if size:
        lines[0] += noise(size * 4 // 3, number).encode()
    (body,) = bodies(lines, at=at, hours=hours, limit=1_048_576)
    return body


def one_claim(world: World, number: int, size: int) -> str:
    """A claim check, its document kept."""
    line = Line(0, HOUR, None, texts(number)[0] + noise(size * 4 // 3, number).encode() + b"\n")
    (message,) = Packer(TABLE, 65_536, START_MS).pack([line])
    assert message.claim is not None
    world.bucket.put_if_absent(message.claim[0], message.claim[1], {})
    return message.body


def lake_numbers(world: World) -> list[int]:
    return [int(line[7:13]) for line in world.lake_lines()]


def drain(world: World, rounds: int = 200) -> None:
    """Wake the flusher every 15 seconds until the queue is empty."""
    for _ in range(rounds):
        world.wake()
        if not world.buffer.messages:
            return
        world.clock.sleep(15)
    raise AssertionError(f"{len(world.buffer.messages)} messages are left")


def recover(world: World) -> None:
    """Nothing goes wrong any more, and what was in flight comes back: the flusher empties the queue."""
    world.repair()
    world.clock.sleep(VISIBILITY_SECONDS)
    drain(world)


def test_what_the_mapping_brought_and_what_the_queue_still_had_is_one_file(world: World) -> None:
    world.send(*(one_body(number) for number in range(15)))
    result = world.invoke(at_most=4)
    assert (result.failed, result.messages, result.records, len(result.files)) == ([], 15, 15, 1)
    assert lake_numbers(world) == list(range(15))
    assert world.buffer.messages == []
    (key,) = world.files()
    assert world.bucket.objects[key.format(PREFIX)].metadata["records"] == "15"


def test_a_file_is_complete_before_a_message_is_deleted(world: World) -> None:
    world.send(*(one_body(number) for number in range(5)))
    calls: list[str] = []
    world.store.after = world.queue.before = calls.append
    world.invoke(at_most=1)
    put = next(place for place, call in enumerate(calls) if call.startswith("put"))
    assert "delete" in calls[put:]
    assert "delete" not in calls[:put]


def test_nothing_received_is_nothing_done(world: World) -> None:
    world.send(one_body(0))
    calls: list[str] = []
    world.store.before = world.queue.before = calls.append
    result = world.flush([])
    assert (result.failed, result.messages, result.files) == ([], 0, [])
    assert calls == []


def test_each_hour_has_its_file(world: World) -> None:
    world.send(one_body(0, count=4, hours=[HOUR, NEXT_HOUR]), one_body(4, count=4, hours=[NEXT_HOUR, HOUR]))
    world.invoke()
    assert sorted((key.partition, key.count) for key in world.files()) == [(HOUR, 4), (NEXT_HOUR, 4)]


def test_two_flushers_in_one_second_with_equal_counts_write_two_files(world: World) -> None:
    world.send(one_body(0), one_body(1))
    first, second = world.take()
    for message in (first, second):
        world.flush([message], seconds=30)
    assert [(key.time_ms, key.count) for key in world.files()] == [(START_MS, 1)] * 2
    assert lake_numbers(world) == [0, 1]


def test_killed_after_the_put_the_same_messages_meet_their_own_file(world: World) -> None:
    world.send(*(one_body(number) for number in range(3)))
    world.queue.before = lambda call: killed(call) if call == "delete" else None
    with pytest.raises(Killed):
        world.invoke(at_most=1)
    written = dict(world.bucket.objects)
    assert len(written) == 1
    assert len(world.buffer.messages) == 3
    world.repair()
    world.clock.sleep(VISIBILITY_SECONDS)
    result = world.invoke()
    assert (result.existing, result.failed) == (1, [])
    assert (world.bucket.objects, world.buffer.messages) == (written, [])


def scenario(world: World) -> list[int]:
    """Messages of every kind in the queue; the records they hold."""
    world.send(
        one_body(0, count=3, hours=[HOUR, NEXT_HOUR]),
        one_body(3, size=3_000),
        one_claim(world, 4, 60_000),
        *(one_body(number) for number in range(5, 9)),
    )
    return list(range(9))


def calls_of_an_invocation() -> int:
    world = World()
    scenario(world)
    calls: list[str] = []
    world.queue.before = world.store.before = calls.append
    world.invoke(at_most=3, max_file_bytes=3_000)
    return len(calls)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("place", range(calls_of_an_invocation()))
def test_killed_at_any_call_no_record_is_lost(world: World, when: str, place: int) -> None:
    records = scenario(world)
    kill = at_calls({place}, killed)
    setattr(world.queue, when, kill)
    setattr(world.store, when, kill)
    with pytest.raises(Killed):
        world.invoke(at_most=3, max_file_bytes=3_000)
    assert held(world) >= set(records)
    recover(world)
    assert set(lake_numbers(world)) == set(records)
    assert world.dead.messages == []


def held(world: World) -> set[int]:
    """The records in a durable place: in a complete file, or in the queue."""
    return {int(line[7:13]) for line in world.lake_lines() + world.queue_lines()}


@settings(max_examples=60)
@given(
    fates=st.lists(st.sampled_from(["fine", "fine", "fine", "down", "lost", "killed", "slow", "some"]), max_size=25),
    max_records=st.sampled_from([0, 1, 4]),
    at_most=st.integers(1, 7),
)
def test_no_record_is_lost_whatever_the_calls_come_to(fates: list[str], max_records: int, at_most: int) -> None:
    """G2 and G3 under random faults, at every moment between invocations, and in the end all is in the lake."""
    world = World()
    records = scenario(world)
    script = iter(fates)
    fate = "fine"

    def fail(call: str) -> None:
        raise StoreUnavailable("503") if "/" in call else QueueUnavailable("503")

    def before(call: str) -> None:
        nonlocal fate
        fate = next(script, "fine")
        if fate == "down":
            fail(call)
        if fate == "slow":
            world.clock.sleep(45)

    def after(call: str) -> None:
        if fate == "killed":
            raise Killed
        if fate == "lost":
            fail(call)

    world.queue.before = world.store.before = before
    world.queue.after = world.store.after = after
    world.queue.refuse = lambda call, entries: {0} if fate == "some" else set()
    for _ in range(6):
        with suppress(Killed):
            world.wake(at_most, max_records=max_records)
        assert held(world) >= set(records)
        world.clock.sleep(400)
    world.repair()
    drain(world)
    assert set(lake_numbers(world)) == set(records)
    assert world.dead.messages == []


def outage(world: World, seconds: int, visibility: bool) -> int:
    """Wake the flusher every 15 seconds through an outage of S3; the invocations it took."""
    world.store.before = store_down
    if not visibility:
        world.queue.hide = lambda receipts, seconds: None  # type: ignore[method-assign]
    until = world.clock.now_ms() + seconds * 1000
    invocations = 0
    while world.clock.now_ms() < until:
        invocations += world.wake() is not None
        world.clock.sleep(15)
    return invocations


@pytest.mark.parametrize("visibility_seconds", [30, VISIBILITY_SECONDS])
def test_an_hour_without_s3_leaves_no_dead_letter(visibility_seconds: int) -> None:
    world = World(visibility_seconds)
    world.send(*(one_body(number) for number in range(25)), one_claim(world, 25, 60_000), one_claim(world, 26, 60_000))
    assert outage(world, HOUR_SECONDS, visibility=True) > 0
    assert (world.dead.messages, len(world.buffer.messages)) == ([], 27)
    assert max(waiting.receives for waiting in world.buffer.messages) < MAX_RECEIVES
    world.repair()
    drain(world)
    assert lake_numbers(world) == list(range(27))
    assert world.dead.messages == []


def test_without_hiding_the_same_hour_would_fill_the_dead_letter_queue() -> None:
    """The red control of the test above."""
    world = World(visibility_seconds=30)
    world.send(*(one_body(number) for number in range(25)))
    outage(world, HOUR_SECONDS, visibility=False)
    assert len(world.dead.messages) == 25


@pytest.mark.parametrize(
    ("receives", "seconds"), [(1, 60), (2, 120), (3, 240), (4, 480), (5, 900), (9, 900), (5_000, 900)]
)
def test_what_could_not_be_written_is_hidden_for_longer_each_time(world: World, receives: int, seconds: int) -> None:
    world.send(one_body(0))
    world.buffer.messages[0].receives = receives - 1
    world.buffer._max_receives = 0
    (message,) = world.take()
    world.store.before = store_down
    result = world.flush([message])
    assert result.failed == [message.message_id]
    assert result.put_failed
    assert world.buffer.messages[0].visible_ms - world.clock.now_ms() == seconds * 1000


def test_an_outage_is_not_tried_on_every_message(world: World) -> None:
    world.send(*(one_body(number) for number in range(10)))
    for waiting in world.buffer.messages:
        waiting.receives = ALONE_FROM_RECEIVES - 1
    calls: list[str] = []

    def down(call: str) -> None:
        calls.append(call)
        store_down(call)

    world.store.before = down
    assert len(world.invoke().failed) == 10
    assert len(calls) == MAX_FAILED_CALLS


@pytest.mark.parametrize("missing", [1, MAX_FAILED_CALLS, 3 * MAX_FAILED_CALLS])
def test_claims_that_are_missing_or_forbidden_hold_up_no_neighbour(world: World, missing: int) -> None:
    """S3 answers 403 for each of them to a role that may not list the bucket."""
    world.send(*(one_claim(world, number, 60_000) for number in range(missing)))
    world.send(one_claim(world, missing, 60_000), *(one_body(number) for number in range(missing + 1, missing + 6)))
    gone = {json.loads(waiting.body)["claim"]["key"] for waiting in world.buffer.messages[:missing]}

    def denied(call: str) -> None:
        if call.removeprefix("get ") in gone:
            raise ObjectDenied("it is missing, or it may not be read")

    world.store.before = denied
    result = world.invoke()
    assert lake_numbers(world) == list(range(missing, missing + 6))
    assert set(result.refused.values()) == {"ObjectDenied"}
    assert len(result.failed) == missing
    # Hidden as in an outage: should the role have lost its right, it may come back before they are dead letters.
    assert {waiting.visible_ms - world.clock.now_ms() for waiting in world.buffer.messages} == {60_000}
    world.repair()
    drain(world)
    assert lake_numbers(world) == list(range(missing + 6))


def test_claims_that_an_outage_hides_stop_the_invocation(world: World) -> None:
    """The red control of the test above: what S3 does not answer is tried three times and no more."""
    world.send(*(one_claim(world, number, 60_000) for number in range(5)), *(one_body(n) for n in range(5, 8)))
    world.store.before = lambda call: store_down(call) if call.startswith("get") else None
    world.invoke()
    assert lake_numbers(world) == []


def test_after_a_failed_call_nothing_more_is_received(world: World) -> None:
    world.send(one_claim(world, 0, 60_000), one_body(1), *(one_body(number) for number in range(2, 20)))
    world.store.before = store_down
    calls: list[str] = []
    world.queue.before = calls.append
    world.invoke(at_most=2)
    assert "receive" not in calls


def test_a_bucket_that_does_not_exist_fails_the_invocation_with_its_sentence(world: World) -> None:
    world.send(one_body(0), one_claim(world, 1, 60_000))

    def no_bucket(call: str) -> None:
        raise Misconfigured("The bucket lake does not exist")

    world.store.before = no_bucket
    for message in world.take():
        with pytest.raises(Misconfigured):
            world.flush([message])
    assert held(world) == {0, 1}


def test_a_queue_that_fails_at_topping_up_does_not_keep_what_is_in_hand_from_its_file(world: World) -> None:
    world.send(one_body(0))
    received = world.take()
    world.queue.before = queue_down
    assert world.flush(received).failed == []
    assert lake_numbers(world) == [0]


def test_a_message_over_two_hours_is_done_when_both_files_are(world: World) -> None:
    world.send(one_body(0, count=4, hours=[HOUR, NEXT_HOUR]), one_body(4, hours=[HOUR]))
    world.store.before = lambda call: store_down(call) if NEXT_HOUR in call else None
    spanning, within = world.take()
    result = world.flush([spanning, within])
    assert result.failed == [spanning.message_id]
    assert result.put_failed
    assert [key.partition for key in world.files()] == [HOUR]
    world.buffer.delete([within.receipt])
    recover(world)
    assert set(lake_numbers(world)) == set(range(5))
    assert {key.partition for key in world.files()} == {HOUR, NEXT_HOUR}


def test_two_copies_in_one_delivery_are_written_once_and_both_deleted() -> None:
    world = World(visibility_seconds=10)
    world.send(one_body(0))
    (first,) = world.take()
    world.clock.sleep(10)
    (second,) = world.take()
    deleted: list[str] = []

    def note(call: str, receipts: Sequence[str]) -> set[int]:
        deleted.extend(receipts if call == "delete" else [])
        return set()

    world.queue.refuse = note
    result = world.flush([first, second], max_seconds=0)
    assert (result.failed, result.messages, result.records) == ([], 1, 1)
    assert sorted(deleted) == sorted([first.receipt, second.receipt])
    assert lake_numbers(world) == [0]
    assert world.buffer.messages == []


def test_a_copy_that_comes_while_topping_up_is_deleted_too() -> None:
    """Visibility expires while the flusher gathers: the mapping's own receipt no longer deletes the message."""
    world = World(visibility_seconds=10)
    world.send(one_body(0))
    result = world.invoke(max_seconds=25)
    assert (result.failed, result.records) == ([], 1)
    assert lake_numbers(world) == [0]
    assert world.buffer.messages == []


def test_a_copy_of_what_is_already_written_is_deleted_and_not_written_again() -> None:
    world = World(visibility_seconds=10)
    world.send(one_body(0, count=2))
    (first,) = world.take()
    world.clock.sleep(10)
    (second,) = world.take()
    result = world.flush([first, second], max_records=2)
    assert (result.failed, result.records, len(result.files)) == ([], 2, 1)
    assert world.buffer.messages == []


def test_two_messages_of_one_content_are_one_file_and_both_done(world: World) -> None:
    """stream_ingest sent again after a lost answer."""
    world.send(one_body(0), one_body(0))
    result = world.invoke()
    assert (result.failed, result.messages, result.records) == ([], 2, 1)
    assert lake_numbers(world) == [0]


def forged(change: Callable[[dict[str, object]], None]) -> str:
    document = json.loads(one_body(900))
    change(document)
    return json.dumps(document)


def overwrite(**fields: object) -> Callable[[dict[str, object]], None]:
    return lambda document: document.update(fields)


def overwrite_member(**fields: object) -> Callable[[dict[str, object]], None]:
    def change(document: dict[str, object]) -> None:
        members = document["members"]
        assert isinstance(members, list)
        members[0].update(fields)

    return change


REFUSED: dict[str, tuple[str, str]] = {
    "foreign": ("message_shape", '{"Records":[{"eventSource":"aws:s3"}]}'),
    "not JSON": ("message_shape", "hello"),
    "another table": ("message_shape", forged(overwrite(table="cars"))),
    "another version": ("message_shape", forged(overwrite(v=2))),
    "partition above the prefix": ("member_shape", forged(overwrite_member(partition="../../_lakebound"))),
    "another partition": ("member_crc", forged(overwrite_member(partition=NEXT_HOUR))),
    "another count": ("member_crc", forged(overwrite_member(count=7))),
    "claim that does not exist": (
        "ObjectMissing",
        json.dumps(
            {"v": 1, "table": TABLE, "claim": {"key": CLAIMS.key(TABLE, "a" * 64), "sha256": "a" * 64, "bytes": 5}}
        ),
    ),
    "claim of a batch file": (
        "message_shape",
        json.dumps({"v": 1, "table": TABLE, "claim": {"key": f"{PREFIX}/x.json", "sha256": "a" * 64, "bytes": 5}}),
    ),
}


@pytest.mark.parametrize(("code", "body"), REFUSED.values(), ids=REFUSED)
def test_what_it_cannot_have_written_is_refused_and_kept_and_others_go_on(world: World, code: str, body: str) -> None:
    world.send(one_body(0), body, one_body(1))
    received = world.take()
    result = world.flush(received)
    assert (result.failed, result.refused) == ([received[1].message_id], {received[1].message_id: code})
    assert lake_numbers(world) == [0, 1]
    world.buffer.delete([received[0].receipt, received[2].receipt])
    for _ in range(MAX_RECEIVES + 1):
        world.clock.sleep(VISIBILITY_SECONDS)
        world.wake()
    assert world.buffer.messages == []
    assert [letter.body for letter in world.dead.messages] == [body]
    assert lake_numbers(world) == [0, 1]


def test_a_refused_message_that_topping_up_brought_is_kept_too(world: World) -> None:
    world.send(one_body(0), "hello")
    result = world.invoke(at_most=1)
    assert list(result.refused.values()) == ["message_shape"]
    assert [waiting.body for waiting in world.buffer.messages] == ["hello"]
    assert result.failed == [], "the mapping did not bring it, so it is not named to the mapping"


def test_a_claimed_object_larger_than_its_claim_is_not_read(world: World) -> None:
    body = one_claim(world, 0, 60_000)
    claim = json.loads(body)["claim"]
    del world.bucket.objects[claim["key"]]
    world.bucket.put_if_absent(claim["key"], b"x" * (claim["bytes"] + 1), {})
    world.send(body)
    assert list(world.invoke().refused.values()) == ["claim_digest"]
    assert world.store.asked == [claim["bytes"]]


def peak_bytes(act: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_member_that_inflates_to_200_megabytes_is_never_inflated(world: World) -> None:
    member = Member(HOUR, "ndjson.gz", 1, None, None, START_MS, bytes(igzip.compress(b"\0" * 200_000_000, 3, mtime=0)))
    world.send(f'{{"v":1,"table":"{TABLE}","members":[{member.encode()}]}}')
    received = world.take()
    assert len(received[0].body) < 1_048_576
    assert peak_bytes(lambda: world.flush(received)) < 20_000_000
    assert len(world.files()) == 1


def test_a_delivery_of_claim_checks_is_not_held_at_once() -> None:
    """Claim checks are tiny, so a hundred fit into one delivery; the documents behind them do not fit into memory."""

    def peak_with(max_file_bytes: int) -> int:
        world = World()
        claims = [one_claim(world, number, 1_000_000) for number in range(24)]
        received = [ReceivedMessage(str(number), f"r{number}", body, 1) for number, body in enumerate(claims)]
        peak = peak_bytes(lambda: world.flush(received, max_file_bytes=max_file_bytes))
        assert lake_numbers(world) == list(range(24))
        # What the bucket's twin keeps is not the flusher's.
        return peak - sum(len(body) for body in world.files().values())

    all_at_once = 24_000_000
    assert peak_with(2_000_000) < all_at_once < peak_with(67_108_864)


def refuse_files(world: World, is_bad: Callable[[bytes], bool]) -> None:
    """S3 refuses every file whose lines are bad."""
    put = world.bucket.put_if_absent

    def put_good(key: str, body: bytes, metadata: Mapping[str, str]) -> bool:
        if is_bad(gzip.decompress(body)):
            raise StoreUnavailable("503")
        return put(key, body, metadata)

    world.bucket.put_if_absent = put_good  # type: ignore[method-assign]


def test_a_message_received_often_is_written_alone(world: World) -> None:
    world.send(*(one_body(number) for number in range(4)))
    for waiting in world.buffer.messages[:2]:
        waiting.receives = ALONE_FROM_RECEIVES - 1
    world.invoke()
    assert sorted(key.count for key in world.files()) == [1, 1, 2]
    assert lake_numbers(world) == [0, 1, 2, 3]


@pytest.mark.parametrize("place", range(4))
def test_one_message_that_always_fails_does_not_charge_its_neighbours(world: World, place: int) -> None:
    """Its put is refused whatever is done. Its neighbours share two failures with it and then go their own way."""
    world.send(*(one_body(number) for number in range(4)))
    bad = world.buffer.messages[place].message_id
    refuse_files(world, lambda lines: texts(place)[0] in lines)
    for _ in range(400):
        world.wake()
        world.clock.sleep(60)
    assert lake_numbers(world) == [number for number in range(4) if number != place]
    assert [letter.message_id for letter in world.dead.messages] == [bad]


def test_those_received_least_often_are_tried_first(world: World) -> None:
    """Three messages that always fail come before a good one: it is written ahead of them, or it would never be."""
    world.send(*(one_body(number) for number in range(4)))
    for waiting, receives in zip(world.buffer.messages, (5, 5, 5, 3), strict=True):
        waiting.receives = receives
    refuse_files(world, lambda lines: texts(3)[0] not in lines)
    world.invoke()
    assert lake_numbers(world) == [3]


def test_a_file_closes_at_its_bytes(world: World) -> None:
    world.send(*(one_body(number, size=10_000) for number in range(30)))
    world.invoke(at_most=3, max_file_bytes=60_000)
    largest = max(len(member.data) for member in world.members_of(one_body(0, size=10_000)))
    sizes = [len(body) for body in world.files().values()]
    assert all(size < 60_000 + largest for size in sizes), "passed by one message at most"
    assert lake_numbers(world) == list(range(len(lake_numbers(world))))
    drain(world)
    assert lake_numbers(world) == list(range(30))


def test_a_file_closes_at_its_records(world: World) -> None:
    world.send(*(one_body(number * 7, count=7) for number in range(10)))
    world.invoke(max_records=20)
    assert sorted(key.count for key in world.files()) == [7, 21, 21, 21]
    assert lake_numbers(world) == list(range(70))


def test_a_file_closes_when_its_oldest_record_is_old_enough(world: World) -> None:
    world.send(one_body(0, at=START_MS - 12_000))
    world.invoke(seconds=120, max_seconds=30)
    assert world.clock.now_ms() - START_MS == 18_000
    assert lake_numbers(world) == [0]


def test_a_writers_clock_that_is_ahead_does_not_keep_a_file_open(world: World) -> None:
    world.send(one_body(0, at=START_MS + 3_600_000))
    world.invoke(seconds=800, max_seconds=30)
    assert world.clock.now_ms() - START_MS == 30_000
    assert lake_numbers(world) == [0]


def test_a_backlog_is_gathered_without_waiting(world: World) -> None:
    """Every record is older than MAX_SECONDS, and still the queue's forty messages make one file, not four."""
    world.send(*(one_body(number, at=START_MS - 3_600_000) for number in range(40)))
    world.invoke()
    assert [key.count for key in world.files()] == [40]
    assert world.clock.now_ms() == START_MS
    assert world.buffer.messages == []


def test_new_messages_do_not_keep_an_old_file_open(world: World) -> None:
    world.send(one_body(0))
    arriving = iter(range(1, 1_000))
    world.queue.before = lambda call: (
        world.send(one_body(next(arriving), at=world.clock.now_ms())) if call == "receive" else None
    )
    world.queue.after = lambda call: world.clock.sleep(1) if call == "receive" else None
    world.invoke(seconds=120, max_seconds=10)
    assert world.clock.now_ms() - START_MS <= 13_000


def test_topping_up_stops_while_there_is_time_to_write(world: World) -> None:
    world.send(one_body(0))
    world.invoke(seconds=40, max_seconds=600)
    assert lake_numbers(world) == [0]
    assert (world.clock.now_ms() - START_MS) / 1000 <= 40 - 25


@pytest.mark.parametrize("seconds", [0, 5, 14])
def test_too_near_its_deadline_it_writes_nothing_and_names_everything(world: World, seconds: int) -> None:
    world.send(one_body(0), one_body(1))
    received = world.take()
    assert world.flush(received, seconds=seconds).failed == [message.message_id for message in received]
    assert world.files() == {}
    world.clock.sleep(VISIBILITY_SECONDS)
    drain(world)
    assert lake_numbers(world) == [0, 1]


def test_a_slow_bucket_leaves_what_there_is_no_time_for(world: World) -> None:
    world.send(*(one_body(number) for number in range(6)))
    for waiting in world.buffer.messages:
        waiting.receives = ALONE_FROM_RECEIVES - 1
    world.store.before = lambda call: world.clock.sleep(40)
    result = world.invoke(seconds=120)
    assert 0 < len(result.failed) < 6
    assert len(world.files()) == 6 - len(result.failed)
    recover(world)
    assert lake_numbers(world) == list(range(6))


def test_a_delete_that_is_refused_is_made_once_more(world: World) -> None:
    world.send(*(one_body(number) for number in range(6)))
    refused = iter([{1, 3}])
    world.queue.refuse = lambda call, receipts: next(refused, set())
    assert world.invoke(at_most=1).undeleted == 0
    assert world.buffer.messages == []


def test_what_cannot_be_deleted_comes_again_and_changes_nothing(world: World) -> None:
    world.send(*(one_body(number) for number in range(6)))
    world.queue.refuse = lambda call, receipts: set(range(10)) if call == "delete" else set()
    assert world.invoke(at_most=1).undeleted == 5
    assert len(world.buffer.messages) == 5
    recover(world)
    assert set(lake_numbers(world)) == set(range(6))


def test_more_than_ten_deletes_are_made_in_tens(world: World) -> None:
    world.send(*(one_body(number) for number in range(45)))
    result = world.invoke(at_most=1)
    assert (result.undeleted, result.messages) == (0, 45)
    assert world.buffer.messages == []


def test_the_result_tells_the_age_of_the_oldest_record(world: World) -> None:
    world.send(one_body(0, at=START_MS - 50_000), one_body(1, at=START_MS - 10_000))
    assert world.invoke().oldest_age_ms == 50_000
    assert NOW_MS > START_MS


UNREADABLE = {name: one for name, one in REFUSED.items() if one[0] != "ObjectMissing"}
"""A claim that is missing can be put back."""


@pytest.mark.parametrize(("code", "body"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_no_flusher_reads_is_a_dead_letter_within_minutes(world: World, code: str, body: str) -> None:
    """The mapping of the template: ten receives, gathered for 15 seconds each."""
    world.send(body)
    started = world.clock.now_ms()
    while world.buffer.messages and world.clock.now_ms() - started < 600_000:
        world.clock.sleep(15)
        result = world.wake()
        assert result is None or result.refused == {} or set(result.refused.values()) == {code}
    assert [letter.body for letter in world.dead.messages] == [body]
    assert world.clock.now_ms() - started <= 300_000


def test_what_no_flusher_reads_is_given_back_before_the_file_is_full_and_starves_no_neighbour(world: World) -> None:
    world.send(*(["hello"] * 30), one_body(0), one_body(1))
    hidden: list[str] = []
    world.queue.before = hidden.append
    for _ in range(40):
        world.wake(max_seconds=60)
        world.clock.sleep(5)
    assert lake_numbers(world) == [0, 1]
    assert (len(world.dead.messages), world.buffer.messages) == (30, [])
    assert "hide" in hidden


def test_killed_while_it_is_given_back_an_unreadable_message_is_not_lost(world: World) -> None:
    world.send("hello", one_body(0))
    world.queue.before = lambda call: killed(call) if call == "hide" else None
    with pytest.raises(Killed):
        world.wake()
    world.repair()
    world.clock.sleep(VISIBILITY_SECONDS)
    for _ in range(20):
        world.wake()
        world.clock.sleep(15)
    assert lake_numbers(world) == [0]
    assert [letter.body for letter in world.dead.messages] == ["hello"]
