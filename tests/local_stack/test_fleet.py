"""Two stacks, one of which somebody breaks by hand: what each verb with --all tells of both, and its exit status.

The local stack's CloudFormation drops the functions' tags, so the test puts those of the template.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from demo.local_stack import LocalStack
from lakebound.adapters.tagged_stacks import STACK_TAG
from tests.support.translated_template import translated

pytestmark = [pytest.mark.stack, pytest.mark.soak]

WELL, BROKEN = "lakebound-cars", "lakebound-trips"

Run = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module")
def outputs(stack: LocalStack) -> Mapping[str, Mapping[str, str]]:
    """Of each stack, whose functions bear the tags that the template gives them."""
    tagged = [
        name
        for name, one in translated()["Resources"].items()
        if one["Type"] == "AWS::Lambda::Function"
        and STACK_TAG in [tag["Key"] for tag in one["Properties"].get("Tags", ())]
    ]
    assert len(tagged) == 2
    topic = stack.client("sns").create_topic(Name="oncall")["TopicArn"]
    found = {}
    for name, table in ((WELL, "cars"), (BROKEN, "trips")):
        given = {"TableName": table, "PartitionKeyName": "id", "AlarmTopicArn": topic}
        found[name] = stack.deploy(given, stack_name=name).outputs
        for function in tagged:
            arn = function_arn(stack, found[name][f"{function}Name"])
            stack.client("lambda").tag_resource(Resource=arn, Tags={STACK_TAG: name})
    return found


@pytest.fixture
def run(stack: LocalStack, outputs: Mapping[str, Mapping[str, str]], tmp_path: Path) -> Run:
    """Runs a verb in an empty folder; its exit status, and its JSON or else its sentence."""

    def call(*arguments: str) -> tuple[int, Any]:
        command = [sys.executable, "-c", "from lakebound.cli.app import main; main()", *arguments, "--json"]
        environment = os.environ | stack.env()
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr
        return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr

    return call


def function_arn(stack: LocalStack, name: str) -> str:
    found = stack.client("lambda").get_function_configuration(FunctionName=name)
    return str(found["FunctionArn"])


def resource(stack: LocalStack, logical: str) -> str:
    found = stack.client("cloudformation").describe_stack_resources(StackName=BROKEN)["StackResources"]
    return next(str(one["PhysicalResourceId"]) for one in found if one["LogicalResourceId"] == logical)


def worst(checks: list[dict[str, str]], level: str) -> dict[str, str]:
    return {one["name"]: one["told"] for one in checks if one["level"] == level}


def test_one_broken_stack_is_told_beside_one_that_is_well(
    run: Run, stack: LocalStack, outputs: Mapping[str, Mapping[str, str]]
) -> None:
    status, told = run("doctor", "--all")
    assert status == 0
    assert {one["stack"]: one["level"] for one in told["stacks"]} == {WELL: "warn", BROKEN: "warn"}

    # An alarm off and one gone.
    cloudwatch, gone = stack.client("cloudwatch"), resource(stack, "StatusGap")
    off = resource(stack, "DeadLetters")
    cloudwatch.disable_alarm_actions(AlarmNames=[off])
    cloudwatch.delete_alarms(AlarmNames=[gone])
    status, told = run("doctor", "--all")
    assert (status, [one["stack"] for one in told["stacks"]]) == (1, [BROKEN, WELL])
    assert worst(told["stacks"][0]["checks"], "bad") == {"alarms gone": f"1: {gone}"}
    assert off in worst(told["stacks"][0]["checks"], "warn")["alarms off"]

    # The function that bore the only tag, before another one did.
    stack.client("lambda").delete_function(FunctionName=outputs[BROKEN]["StreamIngestName"])
    status, told = run("status", "--all")
    assert (status, [one["stack"] for one in told["stacks"]]) == (1, [BROKEN, WELL])
    assert told["stacks"][0]["state"] == "LAGGING"
    assert told["stacks"][0]["findings"][0]["what"].startswith("the function stream_ingest is gone")

    # A queue that was deleted, and the costs that are told all the same.
    stack.client("sqs").delete_queue(QueueUrl=outputs[BROKEN]["BufferQueueUrl"])
    status, told = run("status", "--all")
    findings = [one["what"] for one in told["stacks"][0]["findings"]]
    assert "the buffer queue is gone: no delivery can be sent" in findings
    status, told = run("cost", "--all")
    assert (status, told["is_minimum"], [one["refused"] for one in told["stacks"]]) == (0, True, ["", ""])

    # Without any tag the stack is passed over, and doctor of it alone says so.
    arn = function_arn(stack, outputs[BROKEN]["FlusherName"])
    stack.client("lambda").untag_resource(Resource=arn, TagKeys=[STACK_TAG])
    status, told = run("status", "--all")
    assert [one["stack"] for one in told["stacks"]] == [WELL]
    status, told = run("doctor", "--stack", BROKEN)
    assert (status, "tag" in worst(told["checks"], "warn")) == (1, True)

    # A tag of a stack that is no more.
    stack.client("lambda").tag_resource(Resource=arn, Tags={STACK_TAG: "lakebound-gone"})
    for verb in ("status", "doctor", "cost"):
        status, told = run(verb, "--all")
        refused = {one["stack"]: one["refused"] for one in told["stacks"]}
        assert (status, refused[WELL]) == (1, "")
        assert "There is no stack lakebound-gone" in refused["lakebound-gone"]
