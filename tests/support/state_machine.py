"""The states of statemachines/backfill.asl.json, run here with one function, and redriven as Step Functions does.

Neither MiniStack nor moto redrives an execution. This runs the states that the file uses (Task, Choice, Wait, Map,
Succeed) by the rules of the Amazon States Language, keeps the input of the state that failed, and `redrive` goes on
from there: in a Map with the children that had not succeeded, each from its own failed state. An unknown field of a
state is an error, so the file cannot use what is not run here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DEFINITION = Path(__file__).resolve().parents[2] / "statemachines" / "backfill.asl.json"
EVENTS = {"Task": 5, "Choice": 2, "Wait": 2, "Map": 5, "Succeed": 2}
"""History events of one pass through a state (a task: entered, scheduled, started, succeeded, exited)."""

STATE_BYTES_MAX = 256 * 1024
HISTORY_EVENTS_MAX = 25_000
"""Step Functions' limits of one state's data and of one execution."""

KNOWN = {
    "Task": {"Resource", "Parameters", "OutputPath", "Retry", "Next"},
    "Choice": {"Choices", "Default"},
    "Wait": {"SecondsPath", "Next"},
    "Map": {
        "Label",
        "ItemsPath",
        "MaxConcurrencyPath",
        "ToleratedFailurePercentage",
        "ItemSelector",
        "ItemProcessor",
        "ResultPath",
        "Next",
    },
    "Succeed": {"OutputPath"},
}

Function = Callable[[dict[str, Any]], dict[str, Any]]


class Failed(Exception):
    """The execution failed; `cause` is what the console shows."""

    def __init__(self, state: str, error: str, cause: str) -> None:
        super().__init__(f"{state}: {error}: {cause}")
        self.state = state
        self.error = error
        self.cause = cause


@dataclass
class Execution:
    """One execution, or one child of a map."""

    states: dict[str, Any]
    at: str
    document: Any
    function: Function
    sleep: Callable[[float], None]
    name: str
    item: Any = None
    events: int = 2
    transitions: int = 0
    largest: int = 0
    longest_child: int = 0
    documents: list[str] = field(default_factory=list)
    children: list[Execution] | None = None
    done: bool = False

    def run(self) -> Any:
        """To the end. Raises Failed; calling it again redrives."""
        while not self.done:
            state = self.states[self.at]
            unknown = set(state) - KNOWN[state["Type"]] - {"Type", "Comment"}
            assert not unknown, f"{self.at} uses {unknown}"
            text = json.dumps(self.document)
            self.largest = max(self.largest, len(text))
            self.documents.append(text)
            self.events += EVENTS[state["Type"]]
            self.transitions += 1
            self._pass(state)
        return self.document

    def _pass(self, state: dict[str, Any]) -> None:
        match state["Type"]:
            case "Task":
                self.document = self._task(state)
            case "Choice":
                self.at = next((rule["Next"] for rule in state["Choices"] if self._holds(rule)), state["Default"])
                return
            case "Wait":
                self.sleep(self._path(state["SecondsPath"]))
            case "Map":
                self._map(state)
            case "Succeed":
                self.document = {} if state.get("OutputPath", "$") is None else self.document
                self.done = True
                return
        self.at = state["Next"]

    def _task(self, state: dict[str, Any]) -> Any:
        payload = json.loads(json.dumps(self._fill(state["Parameters"]["Payload"])))
        retry = state["Retry"]
        attempts: dict[int, int] = {}
        while True:
            try:
                answer = json.loads(json.dumps(self.function(payload)))
                assert state["OutputPath"] == "$.Payload"
                return answer
            except Exception as error:
                kind = type(error).__name__
                rule = next((n for n, one in enumerate(retry) if kind in one["ErrorEquals"]), None)
                if rule is None:
                    raise Failed(self.at, kind, str(error)) from error
                attempts[rule] = attempts.get(rule, 0) + 1
                if attempts[rule] > retry[rule]["MaxAttempts"]:
                    raise Failed(self.at, kind, str(error)) from error
                wait = retry[rule]["IntervalSeconds"] * retry[rule]["BackoffRate"] ** (attempts[rule] - 1)
                self.sleep(min(wait, retry[rule].get("MaxDelaySeconds", wait)))
                self.events += 3

    def _map(self, state: dict[str, Any]) -> None:
        assert state["ItemProcessor"]["ProcessorConfig"] == {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
        assert self._path(state["MaxConcurrencyPath"]) >= 1
        if self.children is None:
            self.children = []
            for item in self._path(state["ItemsPath"]):
                self.item = item
                child = Execution(
                    state["ItemProcessor"]["States"],
                    state["ItemProcessor"]["StartAt"],
                    self._fill(state["ItemSelector"]),
                    self.function,
                    self.sleep,
                    self.name,
                )
                self.children.append(child)
        outputs = []
        for child in self.children:
            try:
                outputs.append(child.run())
            finally:
                self.longest_child = max(self.longest_child, child.events)
                self.largest = max(self.largest, child.largest)
                self.documents += child.documents
                child.documents = []
            self.transitions += child.transitions
        # Without a result writer the children's outputs together are a state's output before ResultPath drops them.
        self.largest = max(self.largest, len(json.dumps(outputs)))
        assert state["ResultPath"] is None
        self.children = None

    def _holds(self, rule: dict[str, Any]) -> bool:
        value = self._path(rule["Variable"])
        if "StringEquals" in rule:
            return bool(value == rule["StringEquals"])
        if "BooleanEquals" in rule:
            return value is rule["BooleanEquals"]
        return bool(value > rule["NumericGreaterThan"])

    def _fill(self, template: Any) -> Any:
        if not isinstance(template, dict):
            return template
        return {
            name.removesuffix(".$"): self._path(value) if name.endswith(".$") else self._fill(value)
            for name, value in template.items()
        }

    def _path(self, path: str) -> Any:
        if path == "$$.Execution.Name":
            return self.name
        if path == "$$.Map.Item.Value":
            return self.item
        value = self.document
        for name in path.removeprefix("$").split("."):
            value = value[name] if name else value
        return value


def start(
    function: Function, value: Any, *, name: str = "run-1", sleep: Callable[[float], None] = lambda seconds: None
) -> Execution:
    """An execution of the real definition that has not run yet."""
    definition = json.loads(DEFINITION.read_text())
    return Execution(definition["States"], definition["StartAt"], value, function, sleep, name)
