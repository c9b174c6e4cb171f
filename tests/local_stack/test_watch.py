"""Watch lean, deployed: one alarm that notifies over the eight that do not, and the way from full to lean and back.

The local stack keeps the composite alarm as the template writes it, and refuses a rule that names what is not there. It
does not work the rule out: that CloudWatch raises Trouble when one of the eight is raised is not shown here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import WaiterError

from demo.local_stack import LocalStack
from lakebound import prices
from lakebound.operate.cost import WATCHES, Watched

pytestmark = [pytest.mark.stack, pytest.mark.soak]

TABLE = {"TableName": "flights", "PartitionKeyName": "flight_id"}
LEAN = (
    "StreamLagging",
    "BufferOld",
    "DeadLetters",
    "FailureObjects",
    "Quarantine",
    "ChainBreaks",
    "StatusGap",
    "LooksMissing",
)


@dataclass(frozen=True)
class Watch:
    """What watches the stack, as CloudWatch and CloudFormation tell it."""

    alarms: dict[str, dict[str, Any]]
    composites: list[dict[str, Any]]
    dashboards: list[str]
    resources: dict[str, str]

    @property
    def counted(self) -> Watched:
        return Watched(len(self.alarms), len(self.composites), len(self.dashboards))

    def others(self) -> dict[str, str]:
        """Every resource that watches nothing."""
        kinds = ("AWS::CloudWatch::",)
        return {name: kind for name, kind in self.resources.items() if not kind.startswith(kinds)}


def watch(stack: LocalStack) -> Watch:
    found = stack.client("cloudformation").describe_stack_resources(StackName="lakebound")["StackResources"]
    logical = {one["PhysicalResourceId"]: one["LogicalResourceId"] for one in found}
    cloudwatch = stack.client("cloudwatch")
    told = cloudwatch.describe_alarms(AlarmTypes=["MetricAlarm", "CompositeAlarm"])
    return Watch(
        {logical.get(one["AlarmName"], f"left over: {one['AlarmName']}"): one for one in told["MetricAlarms"]},
        told["CompositeAlarms"],
        [one["DashboardName"] for one in cloudwatch.list_dashboards()["DashboardEntries"]],
        {one["LogicalResourceId"]: f"{one['ResourceType']} {one['PhysicalResourceId']}" for one in found},
    )


def command(stack: LocalStack, *arguments: str) -> Any:
    code = "from lakebound.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, "--stack", "lakebound", "--json"],
        env=os.environ | stack.env(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def told_of_alarms(stack: LocalStack) -> dict[str, str]:
    """What doctor says of them."""
    checks = command(stack, "doctor")["checks"]
    return {one["name"]: one["told"] for one in checks if one["name"].startswith("alarm")}


def test_from_full_to_lean_and_back(stack: LocalStack) -> None:
    topic = stack.client("sns").create_topic(Name="oncall")["TopicArn"]
    given = TABLE | {"AlarmTopicArn": topic}

    stack.deploy(given)
    full = watch(stack)
    assert full.counted == WATCHES["full"]
    assert {tuple(one["AlarmActions"]) for one in full.alarms.values()} == {(topic,)}
    assert told_of_alarms(stack) == {"alarms": f"{len(full.alarms)} alarms"}

    stack.deploy(given | {"Watch": "lean"})
    lean = watch(stack)
    assert lean.counted == WATCHES["lean"]
    assert sorted(lean.alarms) == sorted(LEAN)
    assert [name for name, one in lean.alarms.items() if one["AlarmActions"] or one["OKActions"]] == []
    (trouble,) = lean.composites
    assert (trouble["AlarmActions"], trouble["OKActions"]) == ([topic], [topic])
    in_rule = re.findall(r'ALARM\("([^"]+)"\)', trouble["AlarmRule"])
    assert sorted(in_rule) == sorted(one["AlarmName"] for one in lean.alarms.values())
    assert told_of_alarms(stack) == {"alarms": "9 alarms"}
    cost = {one["part"]: one["dollars"] for one in command(stack, "cost")["lines"]}
    assert (cost["composite alarms"], "dashboards" in cost) == (prices.COMPOSITE_ALARM_MONTH, False)

    # The alarms that both have are the same ones, so their history is not lost; nothing else is made anew.
    assert {one["AlarmName"] for one in lean.alarms.values()} <= {one["AlarmName"] for one in full.alarms.values()}
    assert lean.others() == full.others()

    stack.deploy(given | {"Watch": "full"})
    back = watch(stack)
    assert back.counted == WATCHES["full"]
    assert {tuple(one["AlarmActions"]) for one in back.alarms.values()} == {(topic,)}
    assert back.resources == full.resources
    assert told_of_alarms(stack) == {"alarms": f"{len(full.alarms)} alarms"}


def test_red_control_a_rule_that_names_no_alarm_fails_the_deployment(stack: LocalStack) -> None:
    template = {
        "Resources": {
            "Trouble": {"Type": "AWS::CloudWatch::CompositeAlarm", "Properties": {"AlarmRule": 'ALARM("gone")'}}
        }
    }
    cloudformation = stack.client("cloudformation")
    cloudformation.create_stack(StackName="broken", TemplateBody=json.dumps(template))
    with pytest.raises(WaiterError):
        cloudformation.get_waiter("stack_create_complete").wait(
            StackName="broken", WaiterConfig={"Delay": 1, "MaxAttempts": 20}
        )
    events = cloudformation.describe_stack_events(StackName="broken")["StackEvents"]
    told = [one.get("ResourceStatusReason", "") for one in events]
    assert any("AlarmRule of Trouble names alarms that do not exist: gone" in one for one in told), told
