"""How long the state machine goes on trying, by the definition itself; and edits that shorten it."""

import copy
import json
from typing import Any

import pytest

from tests.support.state_machine import DEFINITION, Execution, Failed

THROTTLED = "Lambda.TooManyRequestsException"
UNIT_SECONDS = 900
"""The longest that one invocation runs (template: BackfillTimeout): so long another unit may hold a place."""

Definition = dict[str, Any]


def definition() -> Definition:
    found: Definition = json.loads(DEFINITION.read_text())
    return found


def tasks(states: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every Task, those inside the maps too."""
    found = {name: state for name, state in states.items() if state["Type"] == "Task"}
    for state in states.values():
        if state["Type"] == "Map":
            found |= tasks(state["ItemProcessor"]["States"])
    return found


def error(name: str) -> Exception:
    return type(name, (Exception,), {})("no place")


def seconds_tried(task: dict[str, Any], name: str) -> float:
    """How long a task waits in all for an invocation that fails so every time."""
    waits: list[float] = []

    def refuse(payload: dict[str, Any]) -> dict[str, Any]:
        raise error(name)

    alone = {"task": {**task, "Parameters": {"Payload": {}}, "Next": "end"}, "end": {"Type": "Succeed"}}
    with pytest.raises(Failed):
        Execution(alone, "task", {}, refuse, waits.append, "run").run()
    return sum(waits)


def too_short(found: Definition) -> set[str]:
    """The tasks that give a throttled invocation up before another unit may have ended."""
    # A full jitter waits anything between nothing and the interval: no time is sure with it.
    return {
        name
        for name, task in tasks(found["States"]).items()
        if seconds_tried(task, THROTTLED) < UNIT_SECONDS or any("JitterStrategy" in rule for rule in task["Retry"])
    }


def test_a_throttled_invocation_is_tried_again_for_as_long_as_a_unit_runs() -> None:
    assert len(tasks(definition()["States"])) == 12
    assert too_short(definition()) == set()


@pytest.mark.parametrize(
    ("field", "value"),
    [("MaxAttempts", 10), ("MaxDelaySeconds", 20), ("JitterStrategy", "FULL"), ("ErrorEquals", ["Lambda.Unknown"])],
)
def test_a_shorter_retry_would_be_seen(field: str, value: Any) -> None:
    for name in tasks(definition()["States"]):
        found = copy.deepcopy(definition())
        tasks(found["States"])[name]["Retry"][0][field] = value
        assert name in too_short(found)


def test_a_unit_that_finds_no_place_for_fifteen_minutes_is_read_in_the_end() -> None:
    clock = [0.0]

    def wait(seconds: float) -> None:
        clock[0] += seconds

    def function(payload: dict[str, Any]) -> dict[str, Any]:
        if payload["action"] == "carry" and clock[0] < UNIT_SECONDS:
            raise error(THROTTLED)
        return {
            "done": True,
            "units": [0],
            "concurrency": 1,
            "run": "r",
            "mode": "scan",
            "wait_seconds": 0,
            "request": {},
        }

    found = definition()
    Execution(found["States"], found["StartAt"], {}, function, wait, "run").run()
    assert UNIT_SECONDS <= clock[0] < UNIT_SECONDS + 61


def test_retries_stay_within_a_history() -> None:
    """Three events an attempt; a child of a map has 25,000, and reads one segment in many invocations."""
    for task in tasks(definition()["States"]).values():
        assert sum(rule["MaxAttempts"] for rule in task["Retry"]) * 3 < 150


@pytest.mark.parametrize("name", ["Misconfigured", "NotThere"])
def test_what_no_retry_mends_is_not_tried_again(name: str) -> None:
    assert {seconds_tried(task, name) for task in tasks(definition()["States"]).values()} == {0}


@pytest.mark.parametrize("name", ["Unanswered", "StoreUnavailable", "ObjectDenied", "Lambda.ServiceException"])
def test_an_outage_is_ridden_out(name: str) -> None:
    assert min(seconds_tried(task, name) for task in tasks(definition()["States"]).values()) >= 30
