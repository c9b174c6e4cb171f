"""Scenes that chance would seldom play: one cause, one course, over the real use cases."""

from __future__ import annotations

from typing import Any

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
