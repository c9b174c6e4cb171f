"""The alarms of one stack, by the names that CloudFormation gave them."""

from __future__ import annotations

from typing import Any, Final

from lakebound.adapters.aws_calls import call

_NAMES_A_CALL: Final = 100
"""The most that DescribeAlarms takes and answers at once (its service model)."""


def alarms_of(cloudformation: Any, cloudwatch: Any, stack: str) -> list[dict[str, Any]]:
    """Each alarm of the stack as CloudWatch describes it. Raises LakeboundError.

    Not by the prefix `<stack>-`: that of `lake` also begins the alarms of its neighbour `lake-prod`.
    """
    names = alarm_names(cloudformation, stack)
    found: list[dict[str, Any]] = []
    for start in range(0, len(names), _NAMES_A_CALL):
        some = names[start : start + _NAMES_A_CALL]
        answer = call(cloudwatch, "describe_alarms", "alarms", AlarmNames=some, MaxRecords=_NAMES_A_CALL)
        found += answer.get("MetricAlarms") or ()
    return found


def alarm_names(cloudformation: Any, stack: str) -> list[str]:
    """The names that the stack's alarms were given, whether they still exist or not. Raises LakeboundError."""
    names: list[str] = []
    more: dict[str, str] = {}
    while True:
        answer = call(cloudformation, "list_stack_resources", f"stack {stack}", StackName=stack, **more)
        names += [
            one["PhysicalResourceId"]
            for one in answer.get("StackResourceSummaries") or ()
            # One whose creation failed, or that was deleted by hand, has no alarm behind it.
            if one["ResourceType"] == "AWS::CloudWatch::Alarm" and one.get("PhysicalResourceId")
        ]
        if not answer.get("NextToken"):
            return names
        more = {"NextToken": answer["NextToken"]}
