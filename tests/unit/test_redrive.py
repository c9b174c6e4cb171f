"""Dead letters come back: nothing is lost on the way, twice changes nothing, an interrupted run goes on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest

from lakebound.errors import LakeboundError, QueueUnavailable
from lakebound.operate.redrive import MoveState, redrive_by_copy, redrive_by_task, redrive_failures, redrive_quarantine
from lakebound.record.redaction import Redaction
from lakebound.transport.dead_letters import peek_dead_letters
from lakebound.transport.object_keys import QUARANTINE
from lakebound.transport.undelivered import FailureObject, pending_failures, pending_quarantine
from tests.support.dead_letters import MAPPING, World, a_body, bodies
from tests.support.local_ports import ManualClock, MemoryQueue
from tests.support.stream_records import LABEL, NOW_MS, TABLE, sequence, stream_record


@pytest.fixture
def world() -> World:
    return World()


def test_copied_dead_letters_are_in_the_buffer_and_no_longer_dead(world: World) -> None:
    sent = [a_body(number) for number in range(25)]
    for body in sent:
        world.dead.send([body])
    result = redrive_by_copy(TABLE, world.dead, world.buffer, world.clock)
    assert sorted(bodies(world.buffer)) == sorted(sent)
    assert world.dead.messages == []
    assert (result.redriven, result.is_done) == (25, True)


def test_a_message_that_no_flusher_reads_stays_dead_and_is_named(world: World) -> None:
    world.dead.send(["not ours", a_body()])
    result = redrive_by_copy(TABLE, world.dead, world.buffer, world.clock)
    assert bodies(world.dead) == ["not ours"]
    assert list(result.kept.values()) == ["message_shape"]
    assert (result.redriven, result.is_done) == (1, False)


class Refusing(MemoryQueue):
    """A buffer that refuses one entry of each batch, or answers not at all after some batches."""

    def __init__(self, clock: ManualClock, *, refuse: int | None = None, batches: int = 1_000) -> None:
        super().__init__(clock)
        self._refuse = refuse
        self._batches = batches

    def send(self, bodies: Sequence[str]) -> list[int]:
        if not self._batches:
            raise QueueUnavailable("The queue did not answer")
        self._batches -= 1
        if self._refuse is None:
            return super().send(bodies)
        super().send([body for place, body in enumerate(bodies) if place != self._refuse])
        return [self._refuse]


def test_an_entry_that_the_buffer_refuses_is_not_deleted(world: World) -> None:
    world.dead.send([a_body(number) for number in range(3)])
    buffer = Refusing(world.clock, refuse=1)
    result = redrive_by_copy(TABLE, world.dead, buffer, world.clock)
    assert len(buffer.messages) == 2
    assert len(world.dead.messages) == 1
    assert list(result.failed.values()) == ["not accepted"]


def test_an_interrupted_copy_goes_on_with_what_is_left(world: World) -> None:
    for number in range(15):
        world.dead.send([a_body(number)])
    with pytest.raises(QueueUnavailable):
        redrive_by_copy(TABLE, world.dead, Refusing(world.clock, batches=1), world.clock)
    assert len(world.dead.messages) == 5
    world.clock.sleep(60)
    assert redrive_by_copy(TABLE, world.dead, world.buffer, world.clock).redriven == 5
    assert world.dead.messages == []


def test_a_copy_keeps_its_rate(world: World) -> None:
    for number in range(30):
        world.dead.send([a_body(number)])
    started = world.clock.now_ms()
    redrive_by_copy(TABLE, world.dead, world.buffer, world.clock, rate=10)
    assert world.clock.now_ms() - started >= 2_000


def test_a_limit_moves_no_more(world: World) -> None:
    world.dead.send([a_body(number) for number in range(8)])
    assert redrive_by_copy(TABLE, world.dead, world.buffer, world.clock, limit=3).redriven == 3
    assert (len(world.dead.messages), len(world.buffer.messages)) == (5, 3)


class Task:
    """SQS's move task, one state a look."""

    def __init__(self, *states: MoveState | None) -> None:
        self._states = list(states)
        self.started: list[int] = []

    def start(self, per_second: int) -> None:
        self.started.append(per_second)

    def state(self) -> MoveState | None:
        return self._states.pop(0) if len(self._states) > 1 else self._states[0]


def test_the_move_task_is_started_at_the_rate_and_waited_for() -> None:
    task = Task(None, MoveState("RUNNING", 3, 9), MoveState("COMPLETED", 9, 9))
    told: list[int] = []
    result = redrive_by_task(task, ManualClock(), rate=50, progress=told.append)
    assert task.started == [50]
    assert (result.redriven, told) == (9, [3, 6])


def test_a_move_task_that_runs_already_is_waited_for() -> None:
    task = Task(MoveState("RUNNING", 3, 9), MoveState("RUNNING", 4, 9), MoveState("COMPLETED", 9, 9))
    assert redrive_by_task(task, ManualClock()).redriven == 9
    assert task.started == []


def test_a_move_task_that_fails_is_an_error_with_its_reason() -> None:
    task = Task(None, MoveState("FAILED", 2, 9, "CouldNotDetermineMessageSource"))
    with pytest.raises(LakeboundError, match=r"FAILED after 2 messages \(CouldNotDetermineMessageSource\)"):
        redrive_by_task(task, ManualClock())


def test_a_look_shows_every_message_and_takes_none_away(world: World) -> None:
    for number in range(12):
        world.dead.send([a_body(number)])
    world.dead.send(["{}"])
    found = peek_dead_letters(TABLE, world.dead, world.store, 50)
    assert sorted(one.verdict for one in found) == ["", *[""] * 11, "message_shape"]
    assert sum(one.records for one in found) == 12
    assert len(world.dead.receive(0)) == 10


def test_records_of_a_failure_object_come_back_with_their_own_sequence_numbers(world: World) -> None:
    world.fail("a", [stream_record(number) for number in range(7)])
    result = redrive_failures(world.ingest, pending_failures(world.store, TABLE, MAPPING))
    assert [record["sequence_number"] for record in world.buffered()] == [sequence(number) for number in range(7)]
    assert {record["version"] for record in world.buffered()} == {
        f"{LABEL}|{sequence(number).zfill(40)}" for number in range(7)
    }
    assert (result.redriven, result.records, result.is_done) == (1, 7, True)


def test_a_second_run_passes_over_what_was_redriven(world: World) -> None:
    world.fail("a", [stream_record()])
    redrive_failures(world.ingest, pending_failures(world.store, TABLE, MAPPING))
    world.buffer.messages.clear()
    again = redrive_failures(world.ingest, pending_failures(world.store, TABLE, MAPPING))
    assert (again.found, again.already, again.redriven) == (0, 1, 0)
    assert world.buffer.messages == []


def test_another_mappings_failure_objects_are_left_alone(world: World) -> None:
    key = world.fail("a", [stream_record()])
    assert pending_failures(world.store, TABLE, "other").objects == ()
    assert [one.key for one in pending_failures(world.store, TABLE, MAPPING).objects] == [key]


def test_a_dry_run_counts_and_sends_nothing(world: World) -> None:
    world.fail("a", [stream_record(1), stream_record(2)])
    before = dict(world.store.objects)
    result = redrive_failures(world.ingest, pending_failures(world.store, TABLE, MAPPING), dry_run=True)
    assert (result.redriven, result.records) == (1, 2)
    assert (world.buffer.messages, world.store.objects) == ([], before)


def test_poison_among_them_goes_to_quarantine_and_its_neighbours_go_on(world: World) -> None:
    bad = stream_record(1)
    bad["dynamodb"]["NewImage"]["id"] = {"S": "another"}
    world.fail("a", [stream_record(0), bad, stream_record(2)])
    result = redrive_failures(world.ingest, pending_failures(world.store, TABLE, MAPPING))
    assert len(world.buffered()) == 2
    assert list(result.kept.values()) == ["keys_differ"]
    assert len(list(world.store.list(QUARANTINE.prefix(TABLE)))) == 1


def test_what_could_not_be_sent_is_not_noted_as_redriven(world: World) -> None:
    world.fail("a", [stream_record(0)])
    world.fail("b", [stream_record(1)])
    down = replace(world.ingest, queue=Refusing(world.clock, batches=0))
    result = redrive_failures(down, pending_failures(world.store, TABLE, MAPPING))
    assert (result.redriven, list(result.failed.values())) == (0, ["queue"])
    assert redrive_failures(world.ingest, pending_failures(world.store, TABLE, MAPPING)).redriven == 2


def test_an_object_without_the_records_is_kept_and_named(world: World) -> None:
    key = world.fail("a", [], payload=None)
    assert redrive_failures(world.ingest, pending_failures(world.store, TABLE, MAPPING)).kept == {key: "no_records"}
    with pytest.raises(LakeboundError, match="is a gap: heal it"):
        FailureObject.decode("x", b"{}")


def far_ahead(number: int) -> dict[str, Any]:
    """Poison today, and none once the clock has moved on: the shape of a fix."""
    return stream_record(number, created=NOW_MS // 1000 + 7_200)


def test_a_quarantined_record_comes_back_from_its_original_bytes_after_the_fix(world: World) -> None:
    world.poison(far_ahead(1))
    still = redrive_quarantine(world.ingest, pending_quarantine(world.store, TABLE))
    assert (still.redriven, list(still.kept.values())) == (0, ["creation_time"])
    world.clock.sleep(7_200)
    fixed = redrive_quarantine(world.ingest, pending_quarantine(world.store, TABLE))
    assert (fixed.redriven, fixed.is_done) == (1, True)
    assert [record["sequence_number"] for record in world.buffered()] == [sequence(1)]
    again = redrive_quarantine(world.ingest, pending_quarantine(world.store, TABLE))
    assert (again.found, again.already) == (0, 1)
    assert len(world.buffered()) == 1


def test_a_record_that_is_still_poison_changes_nothing(world: World) -> None:
    world.poison(stream_record(1, attributes={"lone": {"S": "\ud800"}}))
    before = dict(world.store.objects)
    result = redrive_quarantine(world.ingest, pending_quarantine(world.store, TABLE))
    assert list(result.kept.values()) == ["lone_surrogate"]
    assert (world.store.objects, world.buffer.messages) == (before, [])


def test_only_the_reason_asked_for(world: World) -> None:
    world.poison(far_ahead(1), stream_record(2, attributes={"n": {"S": "\ud800"}}))
    world.clock.sleep(7_200)
    pending = pending_quarantine(world.store, TABLE)
    assert redrive_quarantine(world.ingest, pending, reason="lone_surrogate").redriven == 0
    assert redrive_quarantine(world.ingest, pending, reason="creation_time").redriven == 1


def test_many_are_carried_in_few_messages(world: World) -> None:
    world.poison(*[far_ahead(number) for number in range(60)])
    world.clock.sleep(7_200)
    result = redrive_quarantine(world.ingest, pending_quarantine(world.store, TABLE))
    assert (result.records, result.messages) == (60, 1)


def test_a_record_of_a_backfill_is_told_apart(world: World) -> None:
    world.poison(far_ahead(1))
    key = next(iter(world.store.list(QUARANTINE.prefix(TABLE)))).key
    document = orjson.loads(world.store.get(key, 1 << 20)) | {"stage": "backfill"}
    del world.store.objects[key]
    world.store.put_if_absent(key, orjson.dumps(document), {})
    world.clock.sleep(7_200)
    assert redrive_quarantine(world.ingest, pending_quarantine(world.store, TABLE)).kept == {key: "stage_backfill"}


@pytest.mark.parametrize("run", [redrive_failures, redrive_quarantine], ids=lambda run: run.__name__)
def test_nothing_to_do_is_done(world: World, run: Callable[..., Any]) -> None:
    pending: Mapping[Any, Any] = {
        redrive_failures: pending_failures(world.store, TABLE, MAPPING),
        redrive_quarantine: pending_quarantine(world.store, TABLE),
    }
    result = run(world.ingest, pending[run])
    assert (result.found, result.redriven, result.is_done) == (0, 0, True)


def test_a_hashed_record_is_not_hashed_again_on_its_way_back(world: World) -> None:
    redaction = Redaction.of([], [("id",)], b"k" * 32)
    hashing = replace(world.ingest, rules=replace(world.ingest.rules, redaction=redaction))
    hashing.carry([far_ahead(1)])
    world.clock.sleep(7_200)
    hashing.carry([stream_record(2, keys={"id": {"S": "k1"}})])
    (carried,) = world.buffered()
    world.buffer.messages.clear()
    redrive_quarantine(hashing.for_quarantine(is_redacted=True), pending_quarantine(world.store, TABLE))
    assert [record["key"] for record in world.buffered()] == [carried["key"]]


def test_what_a_copy_leaves_is_seen_by_the_next_command_at_once(world: World) -> None:
    world.dead.send(["hello", a_body(1), a_body(2)])
    assert redrive_by_copy(TABLE, world.dead, world.buffer, world.clock, limit=1).redriven == 1
    assert len(peek_dead_letters(TABLE, world.dead, world.store, 10)) == 2
