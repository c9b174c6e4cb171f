"""A stack's own alarms: those that CloudFormation made for it, by their names."""

from __future__ import annotations

from typing import Any, Final

from lakebound.adapters.calls import call

_NAMES_A_CALL: Final = 100
"""DescribeAlarms takes at most so many AlarmNames (CloudWatch API reference)."""


def alarm_names(cloudformation: Any, stack: str) -> tuple[str, ...]:
    """The names of the alarms that are resources of the stack. Raises LakeboundError.

    Asked of CloudFormation, not by the prefix `<stack>-`: a stack `lake-prod` beside `lake` has alarms whose names
    begin with `lake-`, and they would be counted, and their ALARM be told, as those of `lake`.
    """
    names: list[str] = []
    more: dict[str, str] = {}
    while True:
        answer = call(cloudformation, "list_stack_resources", f"stack {stack}", StackName=stack, **more)
        for one in answer.get("StackResourceSummaries") or ():
            # A resource whose creation failed has no physical id; a deleted one is told of for a while.
            gone = str(one.get("ResourceStatus", "")).startswith("DELETE_COMPLETE")
            if one.get("ResourceType") == "AWS::CloudWatch::Alarm" and one.get("PhysicalResourceId") and not gone:
                # Either the name itself, or an ARN that ends with it.
                names.append(str(one["PhysicalResourceId"]).rpartition(":alarm:")[2])
        if not answer.get("NextToken"):
            return tuple(names)
        more = {"NextToken": answer["NextToken"]}


def describe_alarms(cloudwatch: Any, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """CloudWatch's description of each that exists. Raises LakeboundError."""
    found: list[dict[str, Any]] = []
    # Without names CloudWatch would tell of every alarm of the account: with none the loop asks nothing.
    for begin in range(0, len(names), _NAMES_A_CALL):
        page = list(names[begin : begin + _NAMES_A_CALL])
        # MaxRecords is 50 unless given: a stack of 60 alarms would lose ten.
        answer = call(cloudwatch, "describe_alarms", "alarms", AlarmNames=page, MaxRecords=_NAMES_A_CALL)
        found += answer.get("MetricAlarms") or []
    return found
