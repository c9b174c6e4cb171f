"""Every incident ends equal by its page's command; the page that tells of them is not stale; the red controls."""

from __future__ import annotations

import pytest

from lakebound.operate.status import GAP, OK
from lakebound_spark.silver.due_merge import MergeSchedule
from tests.incidents.__main__ import DOCUMENT, document, row_of
from tests.incidents.incidents import HEAL, HOUR, INCIDENTS, REDRIVE_BUFFER, assert_well, on_call, plant
from tests.incidents.oncall import alarms, is_on, sections, stands_on
from tests.incidents.plant import RETENTION_MS


@pytest.mark.parametrize("name", INCIDENTS)
def test_the_incident_is_repaired_by_its_page(name: str) -> None:
    row = row_of(name)
    assert row.page in sections()
    assert row.alarm in alarms() or row.alarm.startswith("none: ")
    assert row.commands or row.seconds is None


def test_the_page_of_incidents_is_not_stale() -> None:
    """`python -m tests.incidents` writes it. Seconds are the pipeline's own, so every run gives the same."""
    assert DOCUMENT.read_text() == document()


def test_a_gap_is_not_closed_while_dead_letters_wait() -> None:
    made = plant()
    made.make_stream_anew()
    made.run(600)
    made.mapped_arn = made.stream_arn
    made.run(2 * HOUR, step=60)
    manifest = made.healing.heal("heal-3")
    made.dead.send(["a message of another sender"])
    (refused,) = made.healing.close(manifest).refusals
    assert "lakebound dlq redrive --from buffer" in refused.command
    assert made.status().state == GAP


def test_a_loss_that_nobody_heals_is_not_called_equal() -> None:
    """The red control of every incident above: a change that never arrives keeps the two unequal."""
    made = plant()
    made.write("k1", "lost")
    made.stream.clear()
    made.clock.sleep(RETENTION_MS / 1000)
    made.run(600)
    assert not made.compare().is_equal
    with pytest.raises(AssertionError):
        assert_well(made)


def test_a_quiet_alarm_and_a_command_of_another_page_are_noticed() -> None:
    made = plant()
    call = on_call("nothing is wrong", made)
    with pytest.raises(AssertionError, match="DeadLetters is not on"):
        call.called("DeadLetters")
    made.dead.send(["a message"])
    call.called("DeadLetters")
    with pytest.raises(AssertionError, match="stands neither on #dead-letters"):
        call.follow(HEAL, lambda: None)
    assert stands_on(REDRIVE_BUFFER, "dead-letters")
    with pytest.raises(AssertionError, match="DeadLetters is still on"):
        call.over()
    assert not is_on("StatusGap", made.measured())


def test_a_merge_job_that_works_calls_nobody_and_one_that_stops_is_seen_in_a_quarter_of_an_hour() -> None:
    made = plant()
    job = made.start_merge_job(MergeSchedule(600))
    for _ in range(4):
        made.write("k1", "while it works")
        made.run(600)
        assert made.status().state == OK
        assert not any(is_on(name, made.measured()) for name in ("MergeMissing", "SilverLag", "SilverPending"))
    job.is_running = False
    made.run(780)
    assert not is_on("MergeMissing", made.measured())
    made.run(180)
    assert is_on("MergeMissing", made.measured())
