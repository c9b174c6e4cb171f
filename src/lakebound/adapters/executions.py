"""The backfill's state machine, and the executions that are its runs."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from lakebound.adapters.aws_calls import attempt, code_of, failed_call
from lakebound.errors import LakeboundError, Misconfigured
from lakebound.times import epoch_ms

_CAUSE_LENGTH: Final = 200
_BEFORE_READING: Final = ("Validate", "Estimate")


@dataclass(frozen=True, slots=True)
class ExecutionState:
    """An execution: `status` as Step Functions says it, `output` when it succeeded, `cause` when it failed."""

    run: str
    status: str
    output: dict[str, Any] | None = None
    cause: str = ""
    error: str = ""
    """The name of what failed it; `Misconfigured` is what a stage refuses."""
    mode: str = ""
    started_ms: int | None = None
    stopped_ms: int | None = None

    @property
    def records(self) -> int | None:
        """What it wrote, once it succeeded."""
        return None if self.output is None else int(self.output.get("records", 0))

    def seconds(self, now_ms: int) -> float | None:
        """How long it took, or has taken until now."""
        if self.started_ms is None:
            return None
        return max(0.0, ((self.stopped_ms or now_ms) - self.started_ms) / 1000)

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self.status not in ("RUNNING", "PENDING_REDRIVE")

    def failure(self, stage: str) -> LakeboundError:
        """The error of a run that did not succeed, with the advice that fits its cause; `stage` is where it failed."""
        if "redrive this execution" in self.cause:
            hint = "docs/OPERATIONS.md#backfill-failed says how"
        elif self.error == "Misconfigured" and stage in _BEFORE_READING:
            hint = "It read nothing, and would be refused again: start another run with other options"
        elif "start a new backfill" in self.cause.lower():
            hint = "Redriving cannot help: lakebound backfill start"
        else:
            hint = (
                "Redriving the execution goes on where it stopped, with the same input: "
                "docs/OPERATIONS.md#backfill-failed"
            )
        cause = _first_sentences(self.cause.strip())
        return LakeboundError(f"Run {self.run} is {self.status}" + (f": {cause}" if cause else ""), hint=hint)


def _first_sentences(cause: str) -> str:
    """As many whole sentences of a cause as fit into 200 characters; at least the first words of the first."""
    if len(cause) > _CAUSE_LENGTH:
        head = cause[:_CAUSE_LENGTH]
        end = max(head.rfind(". "), head.rfind("; "))
        cause = head[:end] if end > 0 else head.rsplit(" ", 1)[0] + " …"
    return cause.rstrip(".")


class Machine:
    """One state machine."""

    def __init__(self, arn: str, client: Any) -> None:
        self.arn = arn
        self._client = client

    def start(self, request: dict[str, Any], name: str | None) -> str:
        """Start an execution; its name, which is the run's. Raises LakeboundError."""
        arguments: dict[str, Any] = {"stateMachineArn": self.arn, "input": json.dumps(request)}
        if name:
            arguments["name"] = name
        return str(self._call("start_execution", **arguments)["executionArn"]).rpartition(":")[2]

    def state(self, run: str) -> ExecutionState:
        """How a run stands. Raises LakeboundError."""
        return _state(run, self._call("describe_execution", executionArn=self._execution(run)))

    def stop(self, run: str) -> None:
        """Stop a run; redriven, it goes on. Raises LakeboundError."""
        self._call("stop_execution", executionArn=self._execution(run))

    def redrive(self, run: str) -> None:
        """Let a run that was stopped or failed go on from where it was. Raises LakeboundError."""
        self._call("redrive_execution", executionArn=self._execution(run))

    def latest(self, count: int) -> list[ExecutionState]:
        """The newest runs, each with its mode and records: a listing has neither. Raises LakeboundError."""
        entries = self._call("list_executions", stateMachineArn=self.arn, maxResults=count)["executions"]
        return [self.state(entry["name"]) for entry in entries]

    def stage(self, run: str) -> str:
        """The state of the machine that a run entered last; "" where that is not to be known."""
        try:
            history = self._call(
                "get_execution_history", executionArn=self._execution(run), reverseOrder=True, maxResults=50
            )
        except LakeboundError:
            return ""  # no reason to end a watch: the right to read the history is another one
        entered = (event.get("stateEnteredEventDetails") for event in history.get("events") or ())
        return next((str(one["name"]) for one in entered if one), "")

    def _execution(self, run: str) -> str:
        return self.arn.replace(":stateMachine:", ":execution:") + f":{run}"

    def _call(self, operation: str, **arguments: Any) -> Any:
        def error_of(failure: Exception) -> LakeboundError:
            match code_of(failure):
                case "ExecutionDoesNotExist":
                    run = str(arguments.get("executionArn", "")).rpartition(":")[2]
                    return Misconfigured(f"There is no run {run}", hint="`lakebound backfill list` names them")
                case "StateMachineDoesNotExist" | "InvalidArn":
                    return Misconfigured(
                        f"There is no state machine {self.arn}", hint="The stack's output BackfillMachineArn names it"
                    )
                case "ExecutionAlreadyExists":
                    return Misconfigured(f"There is a run {arguments['name']} already", hint="Give another --name")
                case _:
                    where = self._client.meta.endpoint_url
                    return failed_call(failure, operation, f"the state machine {self.arn}", where)

        return attempt(self._client, operation, error_of, **arguments)


def _state(run: str, execution: dict[str, Any]) -> ExecutionState:
    cause = str(execution.get("cause", ""))
    with suppress(ValueError, KeyError, TypeError):
        # Lambda's own wrapping of what was raised.
        cause = str(json.loads(cause)["errorMessage"])
    status, output = str(execution["status"]), execution.get("output")
    mode = ""
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        mode = str(json.loads(execution["input"]).get("mode", "scan"))
    return ExecutionState(
        run,
        status,
        # MiniStack repeats the error as the output of a run that failed.
        output=json.loads(output) if output and status == "SUCCEEDED" else None,
        cause=cause,
        error=str(execution.get("error") or ""),
        mode=mode,
        started_ms=_ms(execution.get("startDate")),
        stopped_ms=_ms(execution.get("stopDate")),
    )


def _ms(moment: Any) -> int | None:
    return epoch_ms(moment) if isinstance(moment, datetime) else None
