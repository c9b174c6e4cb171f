"""stream_ingest carries a delivery: whatever fails, a record the checkpoint passes is in the queue or in quarantine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain, combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakebound.errors import LakeboundError, QueueUnavailable, StoreUnavailable
from lakebound.live.ingest import SEND_ATTEMPTS, IngestResult, IngestRules, ingest
from lakebound.record.stream_records import StreamDecoder
from lakebound.transport.object_keys import partitioner
from tests.support.stream_records import CREATED, TABLE, Record, sequence, stream_record
from tests.support.use_case_world import World, at_calls, noise, queue_down, store_down

SMALL = 65_536
MESSAGE_OF_ITS_OWN = 50_000
"""Noise of this size makes a record's member too large to share a small message."""

FOUR_SUBSETS = [set(subset) for subset in chain.from_iterable(combinations(range(4), size) for size in range(5))]


def deliver(
    world: World, records: Sequence[object], *, seconds: float = 60, by_event_time: bool = False, limit: int = SMALL
) -> IngestResult:
    rules = IngestRules(TABLE, partitioner("dt=%Y-%m-%d/HH=%H"), by_event_time, limit)
    return ingest(
        records, rules, StreamDecoder(TABLE), world.queue, world.store, world.clock, world.seconds_left(seconds)
    )


def large(number: int, **changes: Any) -> Record:
    return stream_record(number, attributes={"noise": {"S": noise(MESSAGE_OF_ITS_OWN, number)}}, **changes)


def poison(number: int) -> Record:
    return stream_record(number, attributes={"n": {"S": "\ud800"}})


def sent(world: World) -> list[str]:
    """The sequence numbers in the buffer queue, as often as they are there."""
    return sorted(json.loads(line)["sequence_number"] for line in world.queue_lines())


def kept(world: World) -> set[str]:
    return {document["source"]["sequence_number"] for document in world.quarantined()}


def numbers(*positions: int) -> list[str]:
    return [sequence(position) for position in positions]


def test_a_delivery_becomes_messages(world: World) -> None:
    result = deliver(world, [stream_record(number) for number in range(1_200)])
    assert sent(world) == numbers(*range(1_200))
    assert (result.delivered, result.sent, result.unsent_from) == (1_200, 1_200, None)
    assert result.messages == len(world.buffer.messages)
    assert result.newest_age_ms == world.clock.now_ms() - CREATED * 1000


@pytest.mark.parametrize("failing", FOUR_SUBSETS, ids=str)
def test_entries_that_stay_refused_are_reported_from_the_lowest(world: World, failing: set[int]) -> None:
    records = [large(number) for number in range(4)]
    marks = [record["dynamodb"]["SequenceNumber"] for record in records]

    def refuse(call: str, entries: Sequence[str]) -> set[int]:
        lowest = [world.members_of(body)[0].min_version for body in entries]
        return {place for place, version in enumerate(lowest) if any(str(version).endswith(marks[n]) for n in failing)}

    world.queue.refuse = refuse
    result = deliver(world, records)
    assert result.unsent_from == (sequence(min(failing)) if failing else None)
    assert sent(world) == numbers(*(number for number in range(4) if number not in failing))
    assert result.unsent_why == ("queue" if failing else "")


@pytest.mark.parametrize("failing", FOUR_SUBSETS, ids=str)
@pytest.mark.parametrize("times", [1, SEND_ATTEMPTS - 1])
def test_entries_refused_for_a_while_are_sent_once(world: World, failing: set[int], times: int) -> None:
    calls = 0

    def refuse(call: str, entries: Sequence[str]) -> set[int]:
        nonlocal calls
        calls += 1
        return (failing if calls == 1 else set(range(len(entries)))) if calls <= times else set()

    world.queue.refuse = refuse
    result = deliver(world, [large(number) for number in range(4)])
    assert result.unsent_from is None
    assert sent(world) == numbers(0, 1, 2, 3)
    assert result.sent == 4


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_call_that_fails_is_made_again(world: World, when: str) -> None:
    """Throttled before anything was taken, or accepted with the answer lost: then records are there twice."""
    setattr(world.queue, when, at_calls({0, 1}, queue_down))
    assert deliver(world, [stream_record(number) for number in range(3)]).unsent_from is None
    assert sent(world) == sorted(numbers(0, 1, 2) * (1 if when == "before" else 3))


def test_a_queue_that_is_gone_returns_the_first_record_and_not_for_ever(world: World) -> None:
    world.queue.before = queue_down
    result = deliver(world, [stream_record(number) for number in range(50)])
    assert (result.unsent_from, result.unsent_why) == (sequence(0), "queue")
    assert world.clock.now_ms() - World().clock.now_ms() < 10_000


@pytest.mark.parametrize("places", [{0}, {3}, {6}, {0, 6}, {2, 3, 4}, set(range(7))], ids=str)
def test_poison_goes_to_quarantine_and_its_neighbours_go_on(world: World, places: set[int]) -> None:
    records = [poison(number) if number in places else stream_record(number) for number in range(7)]
    result = deliver(world, records)
    assert result.unsent_from is None
    assert sent(world) == numbers(*(number for number in range(7) if number not in places))
    assert kept(world) == {sequence(number) for number in places}
    assert result.quarantined == {"lone_surrogate": len(places)}
    assert sorted(document["payload"]["eventID"] for document in world.quarantined()) == sorted(
        records[number]["eventID"] for number in places
    )


def test_poison_delivered_again_meets_its_own_object(world: World) -> None:
    deliver(world, [poison(0)])
    world.clock.sleep(60)
    assert deliver(world, [poison(0)]).unsent_from is None
    assert len(world.quarantined()) == 1


def test_a_quarantine_that_cannot_be_written_stops_the_delivery_there(world: World) -> None:
    world.store.before = store_down
    result = deliver(world, [stream_record(0), stream_record(1), poison(2), stream_record(3), poison(4)])
    assert (result.unsent_from, result.unsent_why) == (sequence(2), "quarantine")
    assert sent(world) == numbers(0, 1), "what comes after it comes again; sending it now would only duplicate it"
    assert kept(world) == set()


def test_poison_without_a_sequence_number_fails_the_whole_delivery(world: World) -> None:
    world.store.before = store_down
    nameless = poison(1)
    del nameless["dynamodb"]["SequenceNumber"]
    with pytest.raises(
        LakeboundError, match=r"could not be kept in quarantine \(sequence_number\)\. The whole delivery"
    ):
        deliver(world, [stream_record(0), nameless, stream_record(2)])
    world.repair()
    assert deliver(world, [stream_record(0), nameless, stream_record(2)]).unsent_from is None
    assert sent(world) == numbers(0, 2)
    assert len(world.quarantined()) == 1


def test_time_that_runs_out_at_poison_without_a_sequence_number_fails_the_whole_delivery(world: World) -> None:
    records = [poison(number) for number in range(2)]
    del records[1]["dynamodb"]["SequenceNumber"]
    world.store.after = lambda call: world.clock.sleep(55)
    result = deliver(world, records)
    assert result.unsent_from == "", "Lambda reads an empty identifier as: nothing of this delivery is done"


def test_a_record_too_large_for_a_message_goes_by_claim_check(world: World) -> None:
    huge = stream_record(1, attributes={"noise": {"S": noise(300_000, 1)}})
    result = deliver(world, [stream_record(0), huge, stream_record(2)])
    assert result.unsent_from is None
    assert result.claims == 1
    assert sent(world) == numbers(0, 1, 2)
    assert max(len(waiting.body) for waiting in world.buffer.messages) <= SMALL


def test_after_a_refusal_nothing_more_is_sent(world: World) -> None:
    """It would come again with the next delivery, and once more with each one that fails."""
    lowest = sequence(3)
    world.queue.refuse = lambda call, entries: {
        place for place, body in enumerate(entries) if str(world.members_of(body)[0].min_version).endswith(lowest)
    }
    assert deliver(world, [large(number) for number in range(25)]).unsent_from == lowest
    assert sent(world) == numbers(*(number for number in range(10) if number != 3)), "the first batch, and no other"


def test_one_poison_record_is_kept_however_little_time_is_left(world: World) -> None:
    assert deliver(world, [poison(0), poison(1), stream_record(2)], seconds=3).unsent_from == sequence(1)
    assert kept(world) == {sequence(0)}


def test_a_claim_that_cannot_be_written_is_not_sent(world: World) -> None:
    world.store.before = store_down
    huge = stream_record(1, attributes={"noise": {"S": noise(300_000, 1)}})
    result = deliver(world, [stream_record(0), huge, stream_record(2)])
    assert (result.unsent_from, result.unsent_why) == (sequence(1), "claim")
    assert sequence(1) not in sent(world)
    assert sequence(0) in sent(world)


def test_the_largest_legal_record_is_carried(world: World) -> None:
    image = {"id": {"S": "k0"}, "nul": {"S": "\0" * 399_000}, "é": {"S": noise(399_000, 0)}}
    assert deliver(world, [stream_record(0, new=image, old=image)]).unsent_from is None
    assert sent(world) == numbers(0)


def test_a_slow_queue_makes_progress_delivery_by_delivery(world: World) -> None:
    """Each call takes 20 of the 60 seconds: the delivery is cut short, and comes again from where it stopped."""
    world.queue.before = lambda call: world.clock.sleep(20)
    records = [large(number) for number in range(45)]
    positions = {record["dynamodb"]["SequenceNumber"]: place for place, record in enumerate(records)}
    start, rounds = 0, 0
    while start < len(records):
        result = deliver(world, records[start:])
        rounds += 1
        if result.unsent_from is None:
            break
        assert result.unsent_why == "time"
        assert positions[result.unsent_from] > start, "no progress"
        start = positions[result.unsent_from]
    assert sent(world) == numbers(*range(45))
    assert rounds > 1


def test_one_batch_is_sent_however_little_time_is_left(world: World) -> None:
    result = deliver(world, [large(number) for number in range(25)], seconds=1)
    assert (result.unsent_why, result.unsent_from) == ("time", sequence(10))
    assert sent(world) == numbers(*range(10))


def test_a_retry_waits_only_while_there_is_time(world: World) -> None:
    world.queue.before = queue_down
    deliver(world, [stream_record(0)], seconds=5.5)
    assert world.clock.now_ms() - World().clock.now_ms() <= 500


def test_event_time_spreads_records_over_their_hours(world: World) -> None:
    hour = 3_600
    records = [stream_record(number, created=CREATED - hour * (number % 3)) for number in range(9)]
    deliver(world, records, by_event_time=True)
    assert sorted((member.partition, member.count) for member in world.queue_members()) == [
        ("dt=2026-11-18/HH=09", 3),
        ("dt=2026-11-18/HH=10", 3),
        ("dt=2026-11-18/HH=11", 3),
    ]


def test_with_event_time_a_later_message_can_hold_the_lowest_record(world: World) -> None:
    """Hours fill at different speeds: record 0 waits in a thin hour while a full one is sent before it."""
    records = [stream_record(0, created=CREATED - 3_600)] + [large(number) for number in range(1, 25)]
    world.queue.before = at_calls(range(1, 1_000), queue_down)
    result = deliver(world, records, by_event_time=True)
    assert sequence(0) not in sent(world)
    assert sent(world) != []
    assert result.unsent_from == sequence(0)


@pytest.mark.parametrize("failing", range(4))
def test_with_event_time_the_lowest_unsent_record_is_reported(world: World, failing: int) -> None:
    records = [large(number, created=CREATED - 3_600 * (3 - number // 2)) for number in range(8)]
    refused = {sequence(2 * failing), sequence(2 * failing + 1)}

    def refuse(call: str, entries: Sequence[str]) -> set[int]:
        return {
            place
            for place, body in enumerate(entries)
            if any(str(member.max_version)[-24:].lstrip("0") in refused for member in world.members_of(body))
        }

    world.queue.refuse = refuse
    assert deliver(world, records, by_event_time=True).unsent_from == sequence(2 * failing)
    assert set(sent(world)) | refused == set(numbers(*range(8)))


@pytest.mark.parametrize("limit", [65_536, 262_144, 1_048_576])
def test_batches_keep_within_what_sqs_takes(world: World, limit: int) -> None:
    """The twin refuses more than ten entries and more than 1 MiB in all, as SQS does."""
    assert deliver(world, [large(number) for number in range(60)], limit=limit).unsent_from is None
    assert sent(world) == numbers(*range(60))


def test_an_empty_delivery_is_carried(world: World) -> None:
    result = deliver(world, [])
    assert (result.delivered, result.unsent_from, result.newest_age_ms) == (0, None, None)
    assert world.buffer.messages == []


def test_a_keys_only_stream_is_quarantined_and_still_makes_progress(world: World) -> None:
    records = []
    for number in range(40):
        record = stream_record(number)
        record["dynamodb"]["StreamViewType"] = "KEYS_ONLY"
        del record["dynamodb"]["NewImage"]
        records.append(record)
    world.store.before = lambda call: world.clock.sleep(5)
    start = 0
    for _ in range(20):
        result = deliver(world, records[start:])
        assert set(result.quarantined) == {"view_type"}
        if result.unsent_from is None:
            break
        start = next(n for n in range(40) if sequence(n) == result.unsent_from)
    assert kept(world) == {sequence(number) for number in range(40)}
    assert world.buffer.messages == []


def test_the_same_delivery_twice_gives_the_same_claims_and_quarantine(world: World) -> None:
    records = [poison(0), stream_record(1, attributes={"noise": {"S": noise(300_000, 1)}}), stream_record(2)]
    deliver(world, records)
    objects = dict(world.bucket.objects)
    deliver(world, records)
    assert world.bucket.objects == objects
    assert sent(world) == sorted(numbers(1, 2) * 2)


@settings(max_examples=60)
@given(
    kinds=st.lists(st.sampled_from(["plain", "large", "poison", "huge"]), min_size=1, max_size=8),
    fates=st.lists(st.sampled_from(["fine", "fine", "throttled", "lost", "some", "slow"]), max_size=12),
    by_event_time=st.booleans(),
)
def test_no_record_that_the_checkpoint_passes_is_lost(kinds: list[str], fates: list[str], by_event_time: bool) -> None:
    """G1 under random faults of queue and bucket: at every checkpoint, and in the end all is carried."""
    world = World()
    make = {
        "plain": stream_record,
        "large": large,
        "poison": poison,
        "huge": lambda number, **_: stream_record(number, attributes={"noise": {"S": noise(100_000, number)}}),
    }
    records = [make[kind](number) for number, kind in enumerate(kinds)]
    for number, record in enumerate(records):
        record["dynamodb"]["ApproximateCreationDateTime"] -= 3_600 * (number % 2)
    script = iter(fates)
    fate = "fine"

    def before(call: str) -> None:
        nonlocal fate
        fate = next(script, "fine")
        if fate == "throttled":
            raise StoreUnavailable("503") if "/" in call else QueueUnavailable("503")
        if fate == "slow":
            world.clock.sleep(30)

    def after(call: str) -> None:
        if fate == "lost":
            raise StoreUnavailable("lost") if "/" in call else QueueUnavailable("lost")

    world.queue.before = world.store.before = before
    world.queue.after = world.store.after = after
    world.queue.refuse = lambda call, entries: {0} if fate == "some" else set()
    start = 0
    for _ in range(len(fates) + 2):
        result = deliver(world, records[start:], by_event_time=by_event_time)
        if result.unsent_from is None:
            start = len(records)
        else:
            start = next(n for n in range(len(records)) if sequence(n) == result.unsent_from)
        assert set(sent(world)) | kept(world) >= {sequence(number) for number in range(start)}
        if start == len(records):
            break
    assert start == len(records), "a delivery without further faults must end"
    assert kept(world) == {sequence(number) for number, kind in enumerate(kinds) if kind == "poison"}
