"""Turns of steps in threads: what fails stops no other, a long one gives way, two tables at a time if asked."""

import threading
from dataclasses import dataclass, field

import pytest

from lakebound_spark.lake.schedule import Agenda, Daily, End, Every, Step
from lakebound_spark.lake.turns import TURN_SECONDS, Ended, Turn, run_turns

CARS, VANS = Step("cars", "silver", Every(60)), Step("vans", "silver", Every(60))
NIGHTLY = Step("cars", "maintain", Daily(180))


@dataclass
class Hand:
    """A clock that moves when it is told to."""

    now: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> float:
        return self.now


def run(hand: Hand, steps: list[Step], work: object, parallel: int = 1) -> list[Ended[str]]:
    """Every turn of one round."""
    told: list[Ended[str]] = []
    run_turns(Agenda(steps, hand.now, once=True), work, told.append, hand.stop, hand, parallel)  # type: ignore[arg-type]
    return told


def test_a_step_that_fails_stops_no_other() -> None:
    def work(step: Step, turn: Turn) -> str:
        if step is CARS:
            raise OSError("no such bucket")
        return step.table

    first, *others = run(Hand(), [CARS, NIGHTLY, VANS], work)
    assert (first.step, first.end, str(first.error), first.outcome) == (CARS, End.FAILED, "no such bucket", None)
    assert [(one.step, one.end, one.outcome) for one in others] == [
        (VANS, End.DONE, "vans"),
        (NIGHTLY, End.DONE, "cars"),
    ]


def test_a_long_turn_gives_way_goes_on_later_and_a_daily_step_ends_whole() -> None:
    hand, orders = Hand(), list[tuple[str, bool]]()

    def work(step: Step, turn: Turn) -> str:
        assert not turn.is_set()
        hand.now += TURN_SECONDS
        orders.append((step.name, turn.is_set()))
        return ""

    told = run(hand, [CARS, NIGHTLY], work)
    assert orders == [("silver", True), ("maintain", False), ("silver", False)], "at last nobody waits"
    assert [one.end for one in told] == [End.CUT, End.DONE, End.DONE]
    assert told[0].due == TURN_SECONDS, "it is due again at once"


def overlap(parallel: int) -> list[End]:
    """How the turns of two tables end that wait for each other."""
    meeting = threading.Barrier(2)

    def work(step: Step, turn: Turn) -> str:
        meeting.wait(timeout=5 if parallel > 1 else 0.05)
        return ""

    return [one.end for one in run(Hand(), [CARS, VANS], work, parallel)]


def test_two_tables_run_at_a_time_if_asked_and_the_red_control_one_by_one() -> None:
    assert overlap(2) == [End.DONE, End.DONE]
    assert overlap(1) == [End.FAILED, End.FAILED]


def test_told_to_stop_the_turns_under_way_end_and_none_begins() -> None:
    hand = Hand()

    def work(step: Step, turn: Turn) -> str:
        hand.stop.set()
        assert turn.is_set()
        return ""

    assert [one.step for one in run(hand, [CARS, VANS, NIGHTLY], work)] == [CARS]


def test_what_the_teller_raises_ends_the_others_first() -> None:
    hand, ends = Hand(), list[str]()

    def work(step: Step, turn: Turn) -> str:
        if step is CARS:
            raise OSError("the session is gone")
        assert hand.stop.wait(10)
        ends.append(step.table)
        return ""

    def tell(ended: Ended[str]) -> None:
        if ended.error:
            raise ended.error

    with pytest.raises(OSError, match="the session is gone"):
        run_turns(Agenda([CARS, VANS], 0, once=True), work, tell, hand.stop, hand, 2)
    assert ends == ["vans"]
