"""The backfill function's actions: each state of statemachines/backfill.asl.json, and the scheduled stream check.

A state's document carries the run, counts and times; never a key. Every action can be called again: it finds what it
did before and goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from lakebound.backfill import export_states, segment_states, start_states
from lakebound.backfill.finish_state import finish
from lakebound.backfill.run_context import RunContext
from lakebound.backfill.run_state import RunState
from lakebound.backfill.stream_check import check_stream
from lakebound.errors import Misconfigured
from lakebound.ports import SecondsLeft

Action = Callable[[RunContext, Mapping[str, Any], SecondsLeft], dict[str, Any]]
"""(context, the function's event, seconds that the invocation has left) to the function's answer."""


def _of_state(step: Callable[[RunContext, RunState], RunState]) -> Action:
    return lambda context, event, _: step(context, RunState.parse(event["state"])).document()


ACTIONS: Final[dict[str, Action]] = {
    "validate": lambda context, event, _: start_states.validate(
        context, event.get("input"), str(event.get("execution", ""))
    ).document(),
    "estimate": _of_state(start_states.estimate),
    "cover": _of_state(start_states.wait_for_coverage),
    "plan_scan": _of_state(segment_states.plan_scan),
    "start_exports": _of_state(export_states.start_exports),
    "check_exports": _of_state(export_states.check_exports),
    "plan_files": _of_state(export_states.plan_files),
    "plan_reread": _of_state(export_states.plan_reread),
    "carry": lambda context, event, seconds_left: segment_states.read_segment(
        context, str(event["run"]), int(event["unit"]), seconds_left
    ),
    "finish": lambda context, event, _: finish(context, str(event["state"]["run"])),
    "look": lambda context, event, _: check_stream(context),
}


def perform(context: RunContext, event: Mapping[str, Any], seconds_left: SecondsLeft) -> dict[str, Any]:
    """Perform the action that the event names, and answer its document. Raises LakeboundError with the next step."""
    action = ACTIONS.get(str(event.get("action")))
    if action is None:
        raise Misconfigured(
            f"there is no action {event.get('action')!r}", hint="Start backfills through the state machine"
        )
    return action(context, event, seconds_left)
