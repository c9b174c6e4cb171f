"""A deployed stack as CloudFormation tells of it: the way from its name to everything that belongs to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lakebound.adapters.aws_calls import NotThere, call
from lakebound.errors import Misconfigured
from lakebound.record.table_identity import Home, Refused, Source, decide


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack's outputs and parameters."""

    name: str
    status: str
    outputs: Mapping[str, str]
    parameters: Mapping[str, str]
    home: Home | None = None
    """Where the stack is, as its id says."""

    def output(self, name: str) -> str:
        """One output. Raises Misconfigured for a stack that is not ours, or from before the output."""
        try:
            return self.outputs[name]
        except KeyError:
            raise Misconfigured(
                f"The stack {self.name} has no output {name}",
                hint="Is it a Lakebound stack? Deploy it again if it is old",
            ) from None

    @property
    def table(self) -> str:
        return self.output("TableName")

    @property
    def source(self) -> Source:
        """The table that the stack reads, and by what name. Raises Misconfigured for a stream of another table or
        region than the stack's."""
        decision = decide(self.table, self.outputs.get("TableStreamArn", ""), self.home)
        if isinstance(decision, Refused):
            raise decision.error()
        return decision

    @property
    def bucket(self) -> str:
        return self.output("BucketName")

    @property
    def prefix(self) -> str:
        return self.output("DataPrefix")

    @property
    def buffer_dimensions(self) -> dict[str, str]:
        """The dimensions of the buffer queue's metrics."""
        return {"QueueName": self.output("BufferQueueUrl").rpartition("/")[2]}

    @property
    def stream_mapping(self) -> str:
        return self.output("StreamMappingId")

    @property
    def command(self) -> str:
        """How the stack is named in a command to copy."""
        return f"--stack {self.name}"


def describe_stack(client: Any, name: str) -> Stack:
    """Raises Misconfigured when there is none of that name."""
    try:
        answer = call(client, "describe_stacks", f"stack {name}", StackName=name)
    except NotThere:
        raise Misconfigured(
            f"There is no stack {name} at {client.meta.endpoint_url}",
            hint="Check --stack, the region and AWS_ENDPOINT_URL",
        ) from None
    if not answer.get("Stacks"):
        raise Misconfigured(f"There is no stack {name}", hint="Check --stack and the region")
    found = answer["Stacks"][0]
    return Stack(
        name=name,
        status=str(found.get("StackStatus", "")),
        outputs={one["OutputKey"]: one["OutputValue"] for one in found.get("Outputs", ())},
        parameters={one["ParameterKey"]: one.get("ParameterValue", "") for one in found.get("Parameters", ())},
        home=Home.of(str(found.get("StackId", ""))),
    )


def stack_status(client: Any, name: str) -> str:
    """CloudFormation's status of the stack; "" when there is none of that name. Raises what `call` raises."""
    try:
        found = call(client, "describe_stacks", f"stack {name}", StackName=name).get("Stacks", [])
    except NotThere:
        return ""
    return str(found[0].get("StackStatus", "")) if found else ""


def function_environment(client: Any, function: str) -> dict[str, str]:
    """The variables that a function runs with: the settings, as deployed."""
    answer = call(client, "get_function_configuration", f"function {function}", FunctionName=function)
    return dict(answer.get("Environment", {}).get("Variables", {}))
