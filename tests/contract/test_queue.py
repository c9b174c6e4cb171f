"""What every Queue does: SQS as moto and ElasticMQ play it, and the twin."""

from typing import Any

import pytest

from lakebound.errors import QueueUnavailable
from lakebound.ports import Queue, ReceivedMessage
from tests.support.local_ports import ManualClock, MemoryQueue

Queues = Any


def receive_all(queue: Queue, expected: int) -> list[ReceivedMessage]:
    """Receive until so many are in hand: one receive may give fewer than there are."""
    taken: list[ReceivedMessage] = []
    for _ in range(20):
        if len(taken) >= expected:
            break
        taken += queue.receive(1)
    return taken


def test_a_body_comes_as_it_was_sent(queues: Queues) -> None:
    queue, _ = queues.make(30, 0)
    bodies = ['{"v":1,"data":"AA=="}', "plain", "a" * 262_144, " spaces kept \t\n"]
    assert queue.send(bodies[:2]) == []
    assert queue.send(bodies[2:3]) == []
    assert queue.send(bodies[3:]) == []
    received = receive_all(queue, 4)
    assert sorted(message.body for message in received) == sorted(bodies)
    assert {message.receives for message in received} == {1}
    assert len({message.message_id for message in received}) == 4
    assert len({message.receipt for message in received}) == 4


def test_the_largest_body_passes(queues: Queues) -> None:
    queue, _ = queues.make(30, 0)
    body = "x" * queues.largest_body
    assert queue.send([body]) == []
    (message,) = receive_all(queue, 1)
    assert message.body == body


def test_a_batch_over_the_limits_is_refused_whole(queues: Queues) -> None:
    queue, _ = queues.make(30, 0)
    with pytest.raises(QueueUnavailable):
        queue.send(["x"] * 11)
    with pytest.raises(QueueUnavailable):
        queue.send(["x" * 131_072] * 9)
    assert queue.receive(0) == []


def test_ten_at_most_come_at_once(queues: Queues) -> None:
    queue, _ = queues.make(30, 0)
    queue.send([str(number) for number in range(10)])
    queue.send([str(number) for number in range(10, 14)])
    first = queue.receive(1)
    assert 1 <= len(first) <= 10
    assert {message.body for message in first + receive_all(queue, 14 - len(first))} == {str(n) for n in range(14)}


def test_an_empty_queue_gives_nothing(queues: Queues) -> None:
    queue, dead = queues.make(30, 0)
    assert queue.receive(1) == []
    assert dead.receive(0) == []


def test_a_received_message_is_out_of_sight_and_comes_again(queues: Queues) -> None:
    # Time is real here but for the twin: a busy machine must reach the next line before the message is visible again.
    queue, _ = queues.make(3, 0)
    queue.send(["one"])
    (first,) = receive_all(queue, 1)
    assert queue.receive(0) == []
    (second,) = queue.receive(10)
    assert (second.message_id, second.body, second.receives) == (first.message_id, "one", 2)
    assert second.receipt != first.receipt


def test_deleted_messages_never_come_again_and_a_receipt_that_is_none_is_named(queues: Queues) -> None:
    queue, _ = queues.make(3, 0)
    queue.send(["one", "two"])
    received = receive_all(queue, 2)
    assert queue.delete([received[0].receipt, "no-such-message#1", received[1].receipt]) == [1]
    assert queue.receive(4) == []


def test_hiding_for_no_time_brings_a_message_back(queues: Queues) -> None:
    queue, _ = queues.make(600, 0)
    queue.send(["one"])
    (first,) = receive_all(queue, 1)
    queue.hide([first.receipt], 0)
    (second,) = queue.receive(5)
    assert (second.message_id, second.receives) == (first.message_id, 2)


def test_hiding_counts_from_now(queues: Queues) -> None:
    queue, _ = queues.make(600, 0)
    queue.send(["one"])
    (first,) = receive_all(queue, 1)
    queue.hide([first.receipt], 3)
    assert queue.receive(0) == []
    (second,) = queue.receive(10)
    assert second.message_id == first.message_id


def test_a_message_received_too_often_becomes_a_dead_letter(queues: Queues) -> None:
    queue, dead = queues.make(600, 3)
    queue.send(["poison"])
    for receives in (1, 2, 3):
        (message,) = queue.receive(5)
        assert message.receives == receives
        queue.hide([message.receipt], 0)
    assert queue.receive(1) == []
    (letter,) = receive_all(dead, 1)
    assert letter.body == "poison"


def test_a_batch_of_deletes_has_ten_entries_at_most(queues: Queues) -> None:
    queue, _ = queues.make(30, 0)
    if queues.name == "moto":
        # moto takes batches of any size here, AWS does not: it is no oracle for this.
        return
    with pytest.raises(QueueUnavailable):
        queue.delete([f"receipt-{number}" for number in range(11)])
    with pytest.raises(QueueUnavailable):
        queue.hide([f"receipt-{number}" for number in range(11)], 0)


def test_a_wait_is_at_most_twenty_seconds(queues: Queues) -> None:
    queue, _ = queues.make(30, 0)
    with pytest.raises(QueueUnavailable):
        queue.receive(21)


def test_control_characters_are_refused_by_entry(queues: Queues) -> None:
    if queues.name == "moto":
        # moto takes raw control characters, AWS does not: it is no oracle for this.
        return
    queue, _ = queues.make(30, 0)
    assert queue.send(["one", "a\x01b", "two"]) == [1]
    assert sorted(message.body for message in receive_all(queue, 2)) == ["one", "two"]


@pytest.mark.parametrize("body", ["", "\x00", "a\x1b", "\ufffe", "\uffff", "\ud800"])
def test_the_twin_refuses_what_aws_refuses(body: str) -> None:
    queue = MemoryQueue()
    assert queue.send(["fine", body]) == [1]
    with pytest.raises(QueueUnavailable):
        queue.send([])


def test_the_twin_forgets_a_receipt_once_the_message_came_again() -> None:
    clock = ManualClock()
    queue = MemoryQueue(clock, visibility_seconds=30)
    queue.send(["one"])
    (first,) = queue.receive(0)
    clock.sleep(30)
    (second,) = queue.receive(0)
    assert queue.delete([first.receipt]) == []
    assert [waiting.receives for waiting in queue.messages] == [2], "an old receipt answers well and deletes nothing"
    assert queue.delete([second.receipt]) == []
    assert queue.messages == []
    assert queue.delete([second.receipt, first.receipt]) == []


def test_the_twin_keeps_a_hidden_message_away_beyond_its_visibility() -> None:
    clock = ManualClock(0)
    queue = MemoryQueue(clock, visibility_seconds=30)
    queue.send(["one"])
    (first,) = queue.receive(0)
    queue.hide([first.receipt], 900)
    clock.sleep(899)
    assert queue.receive(0) == []
    clock.sleep(1)
    assert [message.receives for message in queue.receive(0)] == [2]


def test_the_twins_waiting_moves_its_clock_to_the_moment_a_message_is_visible() -> None:
    clock = ManualClock(0)
    queue = MemoryQueue(clock, visibility_seconds=7)
    queue.send(["one"])
    queue.receive(0)
    assert [message.receives for message in queue.receive(20)] == [2]
    assert clock.ms == 7_000
    assert queue.receive(3) == []
    assert clock.ms == 10_000
