"""The backfill's state machine through boto3."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from lakebound.adapters.calls import FAILURES, code_of, failed_call
from lakebound.errors import Misconfigured


@dataclass(frozen=True, slots=True)
class ExecutionState:
    """An execution: `status` as Step Functions says it, `output` when it succeeded, `cause` when it failed."""

    run: str
    status: str
    output: dict[str, Any] | None = None
    cause: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self.status not in ("RUNNING", "PENDING_REDRIVE")


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
        told = self._call("describe_execution", executionArn=self._execution(run))
        return _state(run, told)

    def latest(self, count: int) -> list[ExecutionState]:
        """The newest runs. Raises LakeboundError."""
        told = self._call("list_executions", stateMachineArn=self.arn, maxResults=count)["executions"]
        return [ExecutionState(entry["name"], entry["status"]) for entry in told]

    def _execution(self, run: str) -> str:
        return self.arn.replace(":stateMachine:", ":execution:") + f":{run}"

    def _call(self, operation: str, **arguments: Any) -> Any:
        try:
            return getattr(self._client, operation)(**arguments)
        except FAILURES as failure:
            code = code_of(failure)
            error = failed_call(failure, operation, f"the state machine {self.arn}", self._client.meta.endpoint_url)
        match code:
            case "ExecutionDoesNotExist":
                raise Misconfigured("there is no such run", hint="`lakebound backfill list` names them")
            case "StateMachineDoesNotExist" | "InvalidArn":
                raise Misconfigured(
                    f"there is no state machine {self.arn}", hint="The stack's output BackfillMachineArn names it"
                )
            case "ExecutionAlreadyExists":
                raise Misconfigured("a run of that name exists", hint="Give another --name")
            case _:
                raise error


def _state(run: str, told: dict[str, Any]) -> ExecutionState:
    cause = str(told.get("cause", ""))
    with suppress(ValueError, KeyError, TypeError):
        # Lambda's own wrapping of what was raised.
        cause = str(json.loads(cause)["errorMessage"])
    status, output = str(told["status"]), told.get("output")
    # MiniStack repeats the error as the output of a run that failed.
    return ExecutionState(run, status, json.loads(output) if output and status == "SUCCEEDED" else None, cause)
