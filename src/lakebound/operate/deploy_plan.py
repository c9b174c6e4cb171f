"""What `lakebound deploy` is to do: which stack, with which parameters, and how SAM CLI is called for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from lakebound.operate.parameter_values import refuse_values
from lakebound.operate.sam_parameters import kept, overrides, refuse_unknown, refused

SAMCONFIG: Final = "samconfig.toml"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a deployment was asked for. `where` names the option that gave the parameters."""

    stack: str
    parameters: Mapping[str, str]
    runtime: str
    architecture: str
    yes: bool
    where: str = "-p"


@dataclass(frozen=True, slots=True)
class Plan:
    """Which stack, with which parameters, and the arguments of `sam deploy`. No stack: SAM asks for all of it."""

    stack: str
    parameters: dict[str, str]
    arguments: list[str]

    def layer(self, defaults: Mapping[str, Any]) -> dict[str, str]:
        """The variables that tell the makefile of the layer what it builds for."""
        return {
            "LAKEBOUND_RUNTIME": self.parameters["Runtime"],
            "LAKEBOUND_ARCHITECTURE": self.parameters["Architecture"],
            "LAKEBOUND_FILE_FORMAT": self.parameters.get("FileFormat") or str(defaults["FileFormat"]["Default"]),
            "LAKEBOUND_VERIFY": "on" if self.parameters.get("VerifyTarget") else "off",
        }


def plan(asked: Asked, settings: Mapping[str, Any], defaults: Mapping[str, Any], *, terminal: bool) -> Plan:
    """`settings` is what samconfig.toml keeps for deploying, `defaults` the template's parameters.

    Raises Misconfigured for what SAM would not get as it was given, and where nobody is there whom it could ask.
    """
    stack = asked.stack or str(settings.get("stack_name", ""))
    # What was kept for another stack is that stack's: its table, its bucket, its privacy.
    before = kept(settings.get("parameter_overrides", "")) if stack == settings.get("stack_name", stack) else {}
    refuse_unknown(before, defaults, SAMCONFIG)
    refuse_unknown(asked.parameters, defaults, asked.where)
    parameters = {**before, **asked.parameters}
    # The layer is built for them, so they are always said.
    for name, wanted in (("Runtime", asked.runtime), ("Architecture", asked.architecture)):
        parameters[name] = wanted or parameters.get(name) or str(defaults[name]["Default"])
    refuse_values(parameters, defaults)
    said = overrides(parameters)
    if not stack:
        if asked.yes or not terminal:
            raise refused(
                "No stack is named, and there is nobody to ask",
                "Write samconfig.toml with lakebound init, or say it all:"
                " lakebound deploy --yes --stack lakebound-cars -p TableName=cars -p PartitionKeyName=vin"
                " (make deploy YES=1 STACK=lakebound-cars PARAMETERS='TableName=cars PartitionKeyName=vin')",
            )
        return Plan("", parameters, ["--guided", "--parameter-overrides", *said])
    confirms = bool(settings.get("confirm_changeset", False))
    if confirms and not asked.yes and not terminal:
        raise refused(
            "There is no terminal to confirm the change set on",
            "Say lakebound deploy --yes (make deploy YES=1) to deploy without being asked",
        )
    arguments = ["--stack-name", stack, "--parameter-overrides", *said]
    return Plan(stack, parameters, [*arguments, "--no-confirm-changeset"] if asked.yes else arguments)


def refuse_stuck(stack: str, status: str, program: str) -> None:
    """Raises Misconfigured for a stack that CloudFormation would not change, told before minutes of building.

    `status` is CloudFormation's, "" where there is no such stack yet.
    """
    if status == "ROLLBACK_COMPLETE":
        # CloudFormation takes no second try for a stack whose creation it rolled back.
        raise refused(
            f"The first deployment of {stack} was rolled back, and CloudFormation takes no second into what is left",
            f"Delete it, then repeat: {program} delete --stack-name {stack}",
        )
    if status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS":
        raise refused(
            f"CloudFormation is still at work on {stack} ({status})",
            f"Wait for its end, then repeat: aws cloudformation describe-stacks --stack-name {stack}",
        )
