"""The picture of the backfill in OPERATIONS has the states and the transitions of the state machine, and no others."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "OPERATIONS.md").read_text("utf-8")
MACHINE = json.loads((ROOT / "statemachines" / "backfill.asl.json").read_text("utf-8"))
END = "[*]"

Picture = tuple[set[str], set[tuple[str, str]]]


def drawn(page: str) -> Picture:
    """(states, transitions) of the page's state diagram; `[*]` is where one begins or ends."""
    (picture,) = re.findall(r"```mermaid\nstateDiagram-v2\n(.*?)```", page, re.DOTALL)
    names = {short: name for name, short in re.findall(r'state "([^"]+)" as (\w+)', picture)} | {END: END}
    return set(names.values()), {
        (names[before], names[after]) for before, after in re.findall(r"(\S+) --> ([^\s:]+)", picture)
    }


def built(machine: dict[str, Any]) -> Picture:
    """(states, transitions) of a state machine and of what its Map states run."""
    states, transitions = {END}, {(END, machine["StartAt"])}
    for name, state in machine["States"].items():
        states.add(name)
        transitions |= {(name, after) for after in followers(state)}
        if inner := state.get("ItemProcessor"):
            more_states, more_transitions = built(inner)
            states |= more_states
            transitions |= more_transitions
    return states, transitions


def followers(state: dict[str, Any]) -> Iterator[str]:
    if state["Type"] == "Succeed" or state.get("End"):
        yield END
    yield from (choice["Next"] for choice in [*state.get("Choices", ()), *state.get("Catch", ())])
    yield from (state[name] for name in ("Next", "Default") if name in state)


def test_the_picture_is_the_state_machine() -> None:
    assert drawn(PAGE) == built(MACHINE)


def test_a_state_or_a_transition_that_is_only_on_one_side_would_be_seen() -> None:
    assert drawn(PAGE.replace('state "Read pages"', 'state "Read a page"')) != built(MACHINE)
    assert drawn(PAGE.replace("    wait --> stream\n", "")) != built(MACHINE)
    states = MACHINE["States"] | {"Sweep": {"Type": "Succeed"}}
    assert drawn(PAGE) != built(MACHINE | {"States": states})
