"""Every verb of the command on a stack that has lived, each call judged by what the operator may.

The table holds items, the bucket files, poison and failure objects, the queues good and bad messages. What Spark would
read is empty here, for no right of the operator's decides what is in silver.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import boto3
import pytest

from lakebound.backfill.gap_closing import RunMergeCheck
from lakebound.cli import app, silver_table
from lakebound.operate.run_merge import check_run_merge
from lakebound.transport.object_keys import RunFolder
from tests.roles.deployed import Deployed, Right, filled
from tests.roles.judging import ACCOUNT, Request, Statement
from tests.roles.lives import Life, begun
from tests.support.command_verbs import VERBS as COMMANDS
from tests.support.rendered_template import render
from tests.support.translated_template import translated
from tests.support.use_case_world import noise

OPERATOR = "Operator"
STACK = "lake"
RUN = "heal-1"

READING: dict[str, Sequence[str]] = {
    "init": ("--table flights --dry-run",),
    "doctor": ("", "--before --table flights --key KEY"),
    "doctor --all": ("",),
    "status": ("",),
    "status --all": ("",),
    "verify": ("--target /nowhere/silver --no-wait",),
    "trace": ("id=S:k1",),
    "cost": ("", "--table flights --writes 10"),
    "cost --all": ("",),
    "report": ("--out FOLDER/report.html",),
    "files mirror": ("DATA FOLDER/mirror",),
    "files check": ("DATA",),
    "files flatten": ("DATA FOLDER/flat",),
    "backfill estimate": ("",),
    "backfill list": ("",),
    "backfill watch": (f"--run {RUN}",),
    "config infer": ("--table flights", "--files DATA"),
    "dlq list": ("--from buffer", "--from stream", "--from quarantine"),
    "dlq show": ("--from stream FAILURE", "--from quarantine POISON"),
}
"""Command lines of the verbs that change nothing."""

CHANGING: dict[str, Sequence[str]] = {
    "doctor --smoke": ("--limit 5",),
    "status --publish": ("",),
    "verify --publish": ("--target /nowhere/silver --no-wait",),
    "verify --repair": ("--target /nowhere/silver --lag 1 --limit 3",),
    "replay": ("--from 2020-01-01T00:00:00Z",),
    "backfill start": ("--name another",),
    "dlq redrive": ("--from buffer --by task", "--from buffer --by copy", "--from stream", "--from quarantine --raw"),
    "dlq discard": ("--from buffer --all --yes", "--from stream --all --yes", "--from quarantine --all --yes"),
    "backfill close": (f"--run {RUN} --source DATA --target /nowhere/silver",),
    "smoke": ("--limit 5 --export-limit 60",),
}
"""Command lines of the verbs that change something; an option stands where only it makes the verb one of them."""

VERBS = READING | CHANGING


@dataclass
class Operated:
    """What each verb asked for, and its exit statuses."""

    here: Deployed
    asked: dict[str, list[Request]] = field(default_factory=dict)
    denied: dict[str, list[Request]] = field(default_factory=dict)
    statuses: dict[str, list[int]] = field(default_factory=dict)
    told: dict[str, list[str]] = field(default_factory=dict)
    """What each command line of a verb wrote to stdout."""
    printed: str = ""
    """What the functions wrote to stdout before that."""


def rights_of(statements: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> Iterator[tuple[Right, Statement]]:
    """Each action on each resource by itself: what can be taken away, in the policy's own words, and its statement."""
    for written in statements:
        whole = Statement.of(written)
        for action in whole.actions:
            for resource in whole.resources:
                told = re.sub(r"\$\{(\w+)\}", lambda found: names[found[1]], resource)
                one = replace(whole, actions=(action,), resources=(told,))
                yield Right(OPERATOR, whole.sid, action, resource), one


def operate(
    parameters: Mapping[str, str],
    statements: Sequence[Mapping[str, Any]],
    folder: Path,
    verbs: Mapping[str, Sequence[str]] = VERBS,
    taken: Right | None = None,
) -> Operated:
    """Run the verbs, one after the other, with the rights of these statements, their placeholders filled.

    Each is run with `--json` where it has that option. `taken` is a right that is taken away.
    """
    with begun(parameters) as life, pytest.MonkeyPatch.context() as patch:
        with redirect_stdout(StringIO()) as printed:
            words = _prepare(life, parameters, folder)
        here = life.here
        here.roles[OPERATOR] = list(rights_of(statements, placeholders(here, parameters)))
        here.taken = taken
        patch.setattr(silver_table, "open_silver", lambda target, engine, live=True: nullcontext(_Empty()))
        patch.setattr(silver_table, "_open_in_deltalake", lambda target, live: _Empty())
        patch.setattr(silver_table, "check_run_merge", _all_merged)
        patch.setenv("LAKEBOUND_STACK", STACK)
        patch.chdir(folder)
        operated = Operated(here, printed=printed.getvalue())
        for verb, lines in verbs.items():
            for line in lines:
                told = [words.get(word, word).replace("FOLDER", str(folder)) for word in line.split()]
                here.asked.pop(OPERATOR, None)
                here.denied.clear()
                patch.setattr(sys, "argv", ["lakebound", *verb.split(), *told, *json_option(verb)])
                with here.acting(OPERATOR), redirect_stdout(StringIO()) as stdout:
                    status = app.run()
                operated.told.setdefault(verb, []).append(stdout.getvalue())
                operated.statuses.setdefault(verb, []).append(status)
                operated.asked.setdefault(verb, []).extend(here.asked.get(OPERATOR, ()))
                operated.denied.setdefault(verb, []).extend(one for _, one in here.denied)
        return operated


def json_option(verb: str) -> list[str]:
    """`--json` for a verb, named with an option or without, that has it."""
    path = tuple(word for word in verb.split() if not word.startswith("--"))
    return ["--json"] if any("--json" in one.opts for one in COMMANDS[path].params) else []


def placeholders(here: Deployed, parameters: Mapping[str, str]) -> dict[str, str]:
    """What stands in the policy for what differs from deployment to deployment."""
    names = here.names
    return {
        "Region": here.around.region,
        "Account": ACCOUNT,
        "StackName": STACK,
        "TableName": here.table,
        "BucketName": here.bucket,
        "DataPrefix": f"ddb/{here.table}",
        "BufferQueue": names["BufferQueue.QueueName"],
        "DeadLetterQueue": names["DeadLetterQueue.QueueName"],
        "StreamMappingId": names["StreamMapping"],
        "QueueMappingId": names["QueueMapping"],
        "StreamIngestName": names["StreamIngest"],
        "BackfillMachine": names["BackfillMachine"].rpartition(":")[2],
    } | {name: parameters.get(name, "none") for name in ("KmsKeyArn", "TableKmsKeyArn", "HashKeyArn")}


def _all_merged(*given: Any) -> RunMergeCheck:
    """A run whose files are read, as if silver had their records."""
    return replace(check_run_merge(*given), unmerged=0, ghosts=0)


class _Empty:
    """Silver without a row."""

    def rows(self, selection: object = None) -> Iterator[Any]:
        return iter(())

    def read(self, keys: Sequence[str]) -> Iterator[Any]:
        return iter(())

    def registers(self) -> Iterator[Any]:
        return iter(())

    def left_out(self) -> frozenset[str]:
        return frozenset()


def _prepare(life: Life, parameters: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Lets the stack live, and puts what waits in each place; what the words of the command lines stand for."""
    here = life.here
    life.ingest()
    life.flush()
    life.look()
    life.fill()
    life.heal()
    failed = f"aws/lambda/{here.names['StreamMapping']}/shardId-1/2026/11/26/x"
    # Of a delivery that is redriven one record needs a claim, and one goes to quarantine.
    large, poison = {"large": {"S": noise(900_000, 3)}}, {"id": {"BOOL": True}}
    records = [life.record(20), life.record(21, attributes=large), life.record(22, keys=poison)]
    payload = json.dumps({"Records": records})
    life.s3.put_object(Bucket=here.bucket, Key=failed, Body=json.dumps({"payload": payload}))
    life.s3.put_object(Bucket=here.bucket, Key=failed + "-junk", Body=b"junk")
    life.sqs.send_message(QueueUrl=here.names["DeadLetterQueue"], MessageBody=life.small())
    life.sqs.send_message(QueueUrl=here.names["DeadLetterQueue"], MessageBody="junk")
    here.answers |= _Answers(here, parameters).all()
    # The functions have run: only then `cost` asks for their memory.
    ran = {"MetricName": "Duration", "Value": 5.0, "Timestamp": datetime.now(UTC) - timedelta(minutes=5)}
    dimensions = [{"Name": "FunctionName", "Value": here.names["StreamIngest"]}]
    boto3.client("cloudwatch").put_metric_data(Namespace="AWS/Lambda", MetricData=[{**ran, "Dimensions": dimensions}])
    return {
        "DATA": f"s3://{here.bucket}/ddb/{here.table}",
        "FAILURE": failed,
        "POISON": life.keys("quarantine")[0].rpartition("/")[2].removesuffix(".json"),
        "KEY": parameters.get("KmsKeyArn", ""),
    }


class _Answers:
    """What moto lacks, as CloudFormation, Lambda and Step Functions tell of this stack."""

    def __init__(self, here: Deployed, parameters: Mapping[str, str]) -> None:
        self.here = here
        told = filled(render(translated(), parameters)["Outputs"], here.names)
        self.outputs = [{"OutputKey": name, "OutputValue": one["Value"]} for name, one in told.items()]
        self.parameters = [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()]
        self.parameters += [{"ParameterKey": "MessageBytes", "ParameterValue": "262144"}]
        self.status = "SUCCEEDED"
        self.variables: dict[str, Any] = {}

    def all(self) -> dict[str, Any]:
        started = datetime.fromtimestamp(self.here.now_ms() / 1000, UTC)
        return {
            "DescribeStacks": lambda given: {
                "Stacks": [
                    {
                        "StackId": f"arn:aws:cloudformation:us-east-1:{ACCOUNT}:stack/{STACK}/x",
                        "StackStatus": "UPDATE_COMPLETE",
                        "Outputs": self.outputs,
                        "Parameters": self.parameters,
                    }
                ]
            },
            "GetResources": lambda given: {
                "ResourceTagMappingList": [{"Tags": [{"Key": "lakebound:stack", "Value": STACK}]}]
            },
            "ListStackResources": lambda given: {
                "StackResourceSummaries": [
                    {"ResourceType": "AWS::CloudWatch::Alarm", "PhysicalResourceId": "lake-alarm"}
                ]
            },
            "DescribeStackResourceDrifts": lambda given: {"StackResourceDrifts": []},
            "DescribeAlarms": lambda given: {"MetricAlarms": [{"AlarmName": "lake-alarm", "StateValue": "OK"}]},
            "GetFunctionConfiguration": self.function,
            "UpdateFunctionConfiguration": self.function,
            "ListTags": lambda given: {"Tags": {"lakebound:stack": STACK}},
            "UpdateEventSourceMapping": self.here.answers["GetEventSourceMapping"],
            "ListEventSourceMappings": lambda given: {"EventSourceMappings": []},
            "StartExecution": self.start,
            "StopExecution": self.turn("ABORTED"),
            "RedriveExecution": self.turn("SUCCEEDED"),
            "DescribeExecution": lambda given: {
                "status": self.status,
                "input": "{}",
                "output": '{"records": 5}',
                "startDate": started,
            },
            "GetExecutionHistory": lambda given: {"events": []},
            "ListExecutions": lambda given: {"executions": [{"name": RUN}]},
            "StartMessageMoveTask": lambda given: {"TaskHandle": "task"},
            "ListMessageMoveTasks": lambda given: {"Results": [{"Status": "COMPLETED"}]},
            "DescribeKey": lambda given: {"KeyMetadata": {"Enabled": True, "KeyState": "Enabled"}},
            "DescribeLogGroups": lambda given: {
                "logGroups": [{"logGroupName": given["logGroupNamePrefix"], "kmsKeyId": "other"}]
            },
        }

    def function(self, given: dict[str, Any]) -> dict[str, Any]:
        logical = given["FunctionName"].removeprefix("lake-")
        variables = self.here.resources[logical]["Properties"]["Environment"]["Variables"]
        texts = {name: str(value) for name, value in variables.items()}
        told = {"FunctionName": given["FunctionName"], "State": "Active", "Environment": {"Variables": texts}}
        return told | {"FunctionArn": f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:{given['FunctionName']}"}

    def start(self, given: dict[str, Any]) -> dict[str, Any]:
        self.status = "RUNNING"
        key = RunFolder.of(self.here.table, given["name"]).work("export-0")
        boto3.client("s3").put_object(Bucket=self.here.bucket, Key=key, Body=b"{}")
        return {"executionArn": f"{given['stateMachineArn'].replace(':stateMachine:', ':execution:')}:{given['name']}"}

    def turn(self, status: str) -> Any:
        def answer(given: dict[str, Any]) -> dict[str, Any]:
            self.status = status
            return {}

        return answer
