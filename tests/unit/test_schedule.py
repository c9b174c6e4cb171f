"""Which step of which table goes next, told by a clock that the test moves."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from lakebound_spark.lake.schedule import LONGEST_RETRY_SECONDS, STEPS, Agenda, Daily, End, Every, Step
from lakebound_spark.lake.turns import ROUND_SECONDS, TURN_SECONDS, turn_seconds

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC).timestamp()
HOUR, DAY = 3600, 86_400
MINUTE = Every(60)


def steps(table: str, **timings: Every | Daily) -> list[Step]:
    return [Step(table, name, timing) for name, timing in timings.items()]


def usual(table: str) -> list[Step]:
    nightly = {"maintain": Daily(180), "audit": Daily(240)}
    return steps(table, bronze=Every(300), silver=MINUTE, history=Every(900), **nightly)


def turns(
    agenda: Agenda, until: float, does: Callable[[Step], tuple[float, End]] = lambda step: (5, End.DONE)
) -> Iterator[tuple[float, Step]]:
    """Each step with the moment of its start, one at a time; ``does`` says how long a turn takes and how it ends."""
    now = NOON
    while now < until:
        step = agenda.take(now)
        if step is None:
            due = agenda.next_due()
            if due is None:
                return
            now = max(now, due)
            continue
        yield now - NOON, step
        seconds, end = does(step)
        now += seconds
        agenda.finish(step, now, end)


@pytest.mark.parametrize(
    ("timing", "text", "after"),
    [
        (Every(45), "every 45s", 45),
        (Every(900), "every 15m", 900),
        (Every(2 * HOUR), "every 2h", 2 * HOUR),
        (Daily(12 * 60), "at 12:00", DAY),
        (Daily(12 * 60 + 1), "at 12:01", 60),
        (Daily(180), "at 03:00", 15 * HOUR),
    ],
)
def test_a_due_time_is_later_and_the_same_after_a_restart(timing: Every | Daily, text: str, after: float) -> None:
    assert (str(timing), timing.after(NOON) - NOON) == (text, after)
    assert timing.after(NOON + 30) == NOON + after


def test_the_steps_of_a_table_go_in_their_order_and_then_each_at_its_own_pace() -> None:
    begun = [(at, step.name) for at, step in turns(Agenda(usual("cars"), NOON), NOON + 16 * 60)]
    assert [name for _, name in begun[:5]] == list(STEPS)
    assert [at for at, name in begun if name == "bronze"] == [0, 300, 600, 900]
    assert [name for at, name in begun if at >= 900][:3] == ["bronze", "silver", "history"]
    assert sum(name == "silver" for _, name in begun) == 16


def test_what_was_done_last_night_is_due_next_night_and_what_was_missed_comes_after_the_streams() -> None:
    table = usual("cars")
    *_, maintain, audit = table
    done = {maintain: NOON - 9 * HOUR + 60, audit: NOON - DAY}
    agenda = Agenda(table, NOON, done)
    assert dict(agenda.due_times()) == {**dict.fromkeys(table, NOON), maintain: NOON + 15 * HOUR}
    assert [step.name for _, step in turns(agenda, NOON + 20)] == ["bronze", "silver", "history", "audit"]


def test_two_turns_of_one_table_never_overlap() -> None:
    agenda = Agenda([*usual("cars"), *usual("vans")], NOON)
    first, second = agenda.take(NOON), agenda.take(NOON)
    assert first is not None
    assert second is not None
    assert (first.table, second.table) == ("cars", "vans")
    assert agenda.take(NOON) is None
    agenda.finish(first, NOON + 1, End.DONE)
    assert agenda.take(NOON + 1) == steps("cars", silver=MINUTE)[0]


def longest_pause(agenda: Agenda, table: str) -> float:
    """The longest time between two turns of ``table`` beside one that never catches up."""

    def does(step: Step) -> tuple[float, End]:
        return (60, End.CUT) if step.table == "busy" else (5, End.DONE)

    begun = [at for at, step in turns(agenda, NOON + 2 * HOUR, does) if step.table == table]
    return max(b - a for a, b in zip(begun, [*begun[1:], 2 * HOUR], strict=True)) if begun else 2 * HOUR


BUSY = [*steps("busy", bronze=MINUTE, silver=MINUTE), *steps("quiet", silver=MINUTE)]


def test_a_busy_table_does_not_starve_a_quiet_one_nor_one_of_its_own_steps() -> None:
    # Two turns of the busy table, and the quiet one's own minute.
    assert longest_pause(Agenda(BUSY, NOON), "quiet") <= 60 + 2 * 60 + 5
    begun = [step.name for _, step in turns(Agenda(BUSY, NOON), NOON + HOUR, lambda step: (60, End.CUT))]
    assert abs(begun.count("bronze") - begun.count("silver") / 2) <= 1


def test_red_control_by_the_order_of_the_file_it_starves() -> None:
    class InOrder(Agenda):
        def _rank(self, entry: object) -> tuple[float, int]:
            return 0, 0  # the first of them

    assert longest_pause(InOrder(BUSY, NOON), "quiet") == 2 * HOUR


FLEET = [
    *(one for number in range(10) for one in steps(f"busy-{number}", silver=MINUTE)),
    *(one for number in range(40) for one in steps(f"quiet-{number}", silver=MINUTE)),
]
"""Ten tables that never catch up beside forty, each of which has two seconds of work a minute."""


def longest_pause_of_a_fleet(turn: Callable[[int], float]) -> float:
    """The longest time between two turns of any quiet table; ``turn`` is how long a stream may run."""
    agenda, now, last, longest = Agenda(FLEET, NOON), NOON, dict.fromkeys([one.table for one in FLEET], NOON), 0.0
    while now < NOON + 2 * HOUR:
        step = agenda.take(now)
        if step is None:
            now = agenda.next_due() or now
            continue
        longest = max(longest, now - last[step.table]) if step.table.startswith("quiet") else longest
        last[step.table] = now
        is_busy = step.table.startswith("busy")
        now += turn(agenda.tables_waiting(step, now)) if is_busy else 2
        agenda.finish(step, now, End.CUT if is_busy else End.DONE)
    return longest


def test_ten_busy_tables_do_not_hold_up_forty_quiet_ones() -> None:
    assert longest_pause_of_a_fleet(turn_seconds) <= ROUND_SECONDS


def test_red_control_with_a_minute_a_turn_they_do() -> None:
    assert longest_pause_of_a_fleet(lambda waiting: TURN_SECONDS) > 2 * ROUND_SECONDS


@pytest.mark.parametrize(("waiting", "seconds"), [(1, 60), (5, 60), (10, 30), (30, 10), (500, 10)])
def test_turns_are_shorter_where_many_wait(waiting: int, seconds: float) -> None:
    assert turn_seconds(waiting) == seconds


def test_a_turn_ends_by_itself_where_nobody_waits() -> None:
    assert turn_seconds(0) == float("inf")


def test_a_turn_is_to_end_only_while_another_step_waits() -> None:
    agenda = Agenda(BUSY[:2], NOON)
    bronze = agenda.take(NOON)
    assert bronze is not None
    assert agenda.tables_waiting(bronze, NOON) == 1
    agenda.finish(bronze, NOON, End.DONE)
    silver = agenda.take(NOON)
    assert silver is not None
    assert agenda.tables_waiting(silver, NOON + 1) == 0
    assert agenda.tables_waiting(silver, NOON + 60) == 1, "bronze is due again"


@pytest.mark.parametrize(("timing", "first"), [(MINUTE, 60), (Every(900), 900), (Daily(180), 60)])
def test_a_failed_step_is_tried_again_after_ever_longer_pauses(timing: Every | Daily, first: float) -> None:
    (step,) = steps("cars", silver=timing)
    agenda, now, pauses = Agenda([step], NOON), NOON, []
    for _ in range(9):
        assert agenda.take(now) == step
        due = agenda.finish(step, now, End.FAILED)
        assert due is not None
        pauses.append(due - now)
        now = due
    assert pauses[0] == first
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_RETRY_SECONDS
    agenda.take(now)
    assert agenda.finish(step, now, End.DONE) == timing.after(now), "a success ends it"


def test_a_broken_table_takes_no_turn_from_another() -> None:
    table = [*steps("broken", silver=MINUTE), *steps("cars", silver=MINUTE)]
    does: Callable[[Step], tuple[float, End]] = lambda step: (1, End.FAILED if step.table == "broken" else End.DONE)  # noqa: E731
    begun = [step.table for _, step in turns(Agenda(table, NOON), NOON + 2 * HOUR, does)]
    assert (begun.count("cars"), begun.count("broken")) == (120, 7)


def test_once_runs_what_is_due_once_and_to_its_end() -> None:
    table = usual("cars")
    agenda = Agenda(table, NOON, {table[3]: NOON - HOUR}, once=True)
    ends = iter([End.CUT, End.FAILED, End.DONE, End.DONE, End.DONE])
    begun = [step.name for _, step in turns(agenda, NOON + DAY, lambda step: (5, next(ends)))]
    assert begun == ["bronze", "silver", "history", "audit", "bronze"]
    assert agenda.next_due() is None
