"""Scenes that chance would seldom play: one cause, one course, over the real use cases."""

from __future__ import annotations

from typing import Any

import pytest

from tests.simulation.choices import Choices
from tests.simulation.world import HOUR, MINUTE, SECOND, World


def scene(**settings: Any) -> World:
    """A world in which nothing happens by chance."""
    return World(Choices(0, script=[[]]), pause_rate=0.0, rates={}, **settings)


def test_an_hour_of_s3_outage_leaves_the_dlq_empty() -> None:
    world = scene()
    for _ in range(5):
        world.step_write()
        while world.poll_stream():
            pass
    world.s3_down_until_ms = world.now_ms + HOUR
    try:
        while world.now_ms < world.s3_down_until_ms:
            if not world.poll_queue():
                world.advance(SECOND)
        assert world.sqs.ever_dead == 0
        world.come_to_rest()
        world.check()
        assert world.sqs.ever_dead == 0
    finally:
        world.close()


def test_a_writers_clock_an_hour_behind_keeps_good_records() -> None:
    world = scene()
    world.skew_ms = lambda: -59 * MINUTE  # type: ignore[method-assign]
    world.step_write()
    try:
        world.come_to_rest()
        world.check()
    finally:
        world.close()


def test_an_hour_of_s3_outage_over_claim_checks_leaves_the_dlq_empty() -> None:
    world = scene(message_bytes=900, max_receives=10)
    for _ in range(3):
        entry = world.table.write(0, world.table.new_image(0, flavour=3), world.now_ms, 0, ttl=False)
        assert entry is not None
        world.ledger.written(entry)
        while world.poll_stream():
            pass
    assert any("/claims/" in key for key in world.s3.objects)
    world.s3_down_until_ms = world.now_ms + HOUR
    try:
        while world.now_ms < world.s3_down_until_ms:
            if not world.poll_queue():
                world.advance(SECOND)
        world.come_to_rest()
        world.check()
        assert world.sqs.ever_dead == 0
    finally:
        world.close()


@pytest.mark.parametrize("view", ["KEYS_ONLY", "OLD_IMAGE"])
def test_a_stream_without_images_goes_to_quarantine(view: str) -> None:
    world = scene()
    try:
        for number in range(3):
            entry = world.table.write(0, world.table.new_image(0, flavour=0), world.now_ms + number, 0, ttl=False)
            assert entry is not None
            body = entry.record["dynamodb"]
            body["StreamViewType"] = view
            del body["NewImage"]
            entry.poison = True
            world.ledger.written(entry)
        while world.poll_stream():
            pass
        assert all(entry.in_quarantine for entry in world.ledger.entries.values())
        assert not world.sqs.messages
    finally:
        world.close()
