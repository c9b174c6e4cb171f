"""The alarms and dashboards of one stack, by the names that CloudFormation gave them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lakebound.adapters.aws_calls import call

_NAMES_A_CALL: Final = 100
"""The most that DescribeAlarms takes and answers at once (its service model)."""


ALARMS: Final = ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")
DASHBOARDS: Final = ("AWS::CloudWatch::Dashboard",)


def alarms_of(cloudformation: Any, cloudwatch: Any, stack: str) -> list[dict[str, Any]]:
    """Each alarm of the stack as CloudWatch describes it, composite ones too. Raises LakeboundError.

    Not by the prefix `<stack>-`: that of `lake` also begins the alarms of its neighbour `lake-prod`.
    """
    return described_alarms(cloudwatch, names_of(cloudformation, stack, ALARMS))


def described_alarms(cloudwatch: Any, names: Sequence[str]) -> list[dict[str, Any]]:
    """Those of these alarms that exist. Raises LakeboundError."""
    found: list[dict[str, Any]] = []
    for start in range(0, len(names), _NAMES_A_CALL):
        answer = call(
            cloudwatch,
            "describe_alarms",
            "alarms",
            AlarmNames=names[start : start + _NAMES_A_CALL],
            # Without the types CloudWatch tells of metric alarms only.
            AlarmTypes=["MetricAlarm", "CompositeAlarm"],
            MaxRecords=_NAMES_A_CALL,
        )
        found += answer.get("MetricAlarms") or ()
        found += answer.get("CompositeAlarms") or ()
    return found


def is_composite(alarm: Mapping[str, Any]) -> bool:
    """Whether it is an alarm over other alarms."""
    return "AlarmRule" in alarm


@dataclass(frozen=True, slots=True)
class StackAlarms:
    """The names that a stack's alarms were given, and those of them that exist, as CloudWatch describes them."""

    names: tuple[str, ...]
    found: tuple[Mapping[str, Any], ...]

    @staticmethod
    def of(cloudformation: Any, cloudwatch: Any, stack: str) -> StackAlarms:
        """Raises LakeboundError."""
        names = names_of(cloudformation, stack, ALARMS)
        return StackAlarms(tuple(names), tuple(described_alarms(cloudwatch, names)))

    @property
    def gone(self) -> tuple[str, ...]:
        """Somebody deleted these by hand."""
        return tuple(sorted(set(self.names) - {alarm["AlarmName"] for alarm in self.found}))

    @property
    def off(self) -> tuple[str, ...]:
        """Those that notify nobody because their actions are switched off."""
        return tuple(sorted(alarm["AlarmName"] for alarm in self.found if _is_off(alarm)))

    def notifying(self, *, once_on: bool = False) -> dict[str, bool]:
        """Of each that exists, whether somebody is notified: by itself, or by the stack's composite alarm.

        With ``once_on`` as if none was off: whether it has a topic at all.
        """

        def notifies(alarm: Mapping[str, Any]) -> bool:
            return bool(alarm.get("AlarmActions")) and (once_on or not _is_off(alarm))

        composite = any(notifies(alarm) for alarm in self.found if is_composite(alarm))
        return {alarm["AlarmName"]: composite or notifies(alarm) for alarm in self.found}


def _is_off(alarm: Mapping[str, Any]) -> bool:
    """`aws cloudwatch disable-alarm-actions`: its state goes on changing, and nobody hears of it."""
    return not alarm.get("ActionsEnabled", True)


def names_of(cloudformation: Any, stack: str, kinds: Sequence[str]) -> list[str]:
    """The names of the stack's resources of these types, whether they still exist or not. Raises LakeboundError."""
    return [name for kind, name in resources_of(cloudformation, stack) if kind in kinds]


def resources_of(cloudformation: Any, stack: str) -> list[tuple[str, str]]:
    """(type, name) of each resource of the stack. Raises LakeboundError."""
    found: list[tuple[str, str]] = []
    more: dict[str, str] = {}
    while True:
        answer = call(cloudformation, "list_stack_resources", f"stack {stack}", StackName=stack, **more)
        found += [
            (one["ResourceType"], one["PhysicalResourceId"])
            for one in answer.get("StackResourceSummaries") or ()
            # One whose creation failed, or that was deleted by hand, has nothing behind it.
            if one.get("PhysicalResourceId")
        ]
        if not answer.get("NextToken"):
            return found
        more = {"NextToken": answer["NextToken"]}
