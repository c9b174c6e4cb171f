"""A stack as an operator's command sees it: moto's queues, bucket and table; CloudFormation and Lambda scripted.

moto's CloudFormation and Lambda need packages that nothing else here does. What the command asks of those two services
(and of the tagging service about functions) is a description each, and is answered from `answers`, by operation.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from lakebound.cli import app, deployed
from lakebound.source.delivery_proof import StreamCheck
from lakebound.transport.object_keys import StreamCheckKey

STACK = "lake"
TABLE = "flights"
BUCKET = "lake-files"
MAPPING = "11111111-2222-3333-4444-555555555555"
QUEUE_MAPPING = "66666666-7777-8888-9999-000000000000"


@dataclass(frozen=True, slots=True)
class Lakebound:
    """The command in this process: a call runs it with these arguments and returns its exit status."""

    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> int:
        self.monkeypatch.setattr(sys, "argv", ["lakebound", *arguments])
        with pytest.raises(SystemExit) as left:
            app.main()
        return int(left.value.code or 0)

    def printed(self) -> Any:
        """What was written to stdout (`out`) and stderr (`err`) since the last reading; each method below reads too.

        With arguments they first run the command, which has to end with `status`.
        """
        return self.capsys.readouterr()

    def out(self, *arguments: str, status: int = 0) -> str:
        assert not arguments or self(*arguments) == status
        return self.capsys.readouterr().out

    def err(self, *arguments: str, status: int = 2) -> str:
        assert not arguments or self(*arguments) == status
        return self.capsys.readouterr().err

    def document(self, *arguments: str, status: int = 0) -> Any:
        """The JSON document on stdout (arguments go without `--json`)."""
        return json.loads(self.out(*arguments, *(("--json",) if arguments else ()), status=status))


@dataclass(slots=True)
class Operated:
    """What a test looks at, and what the scripted services answer."""

    dead_url: str
    buffer_url: str
    stream_arn: str
    outputs: dict[str, str]
    answers: dict[str, Callable[..., dict[str, Any]]] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    alarms: list[str] = field(default_factory=list)
    """Names of the alarms that belong to the stack, and that `make_alarm` made."""
    others: list[tuple[str, str]] = field(default_factory=list)
    """(type, name) of more resources of the stack."""
    neighbours: dict[str, dict[str, Any] | str] = field(default_factory=dict)
    """Other stacks with our tag: what differs in their outputs and parameters, or the code of a refusal."""

    def make_alarm(self, name: str, *, on: bool = False, ours: bool = True, topic: str = "") -> None:
        """An alarm in moto's CloudWatch, in the state ALARM or OK."""
        cloudwatch = self.client("cloudwatch")
        cloudwatch.put_metric_alarm(
            AlarmName=name,
            MetricName="Errors",
            Namespace="AWS/Lambda",
            Period=300,
            EvaluationPeriods=1,
            Threshold=0,
            Statistic="Sum",
            ComparisonOperator="GreaterThanThreshold",
            AlarmActions=[topic] if topic else [],
        )
        cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM" if on else "OK", StateReason="test")
        if ours:
            self.alarms.append(name)

    def client(self, service: str) -> Any:
        return _client(service)

    def scripted(self, service: str) -> Any:
        """The client that the command gets."""
        if service in ("cloudformation", "lambda", "resourcegroupstaggingapi"):
            return SimpleNamespace(meta=SimpleNamespace(endpoint_url=f"https://{service}"), **self.answers)
        return self.client(service)

    def measure(self, name: str, value: float, unit: str = "Count", function: str = "ingest") -> None:
        """CloudWatch has this value of a function's metric, of now."""
        dimensions = [{"Name": "FunctionName", "Value": function}]
        at = datetime.now(UTC) - timedelta(minutes=1)
        metric = {"MetricName": name, "Dimensions": dimensions, "Value": value, "Unit": unit, "Timestamp": at}
        self.client("cloudwatch").put_metric_data(Namespace="AWS/Lambda", MetricData=[metric])

    def look(self, minutes_ago: float = 1, delivered_minutes_ago: float = 50) -> None:
        """The backfill function looked at the stream."""
        now = time.time() * 1000
        delivered, looked = (int(now - ago * 60_000) for ago in (delivered_minutes_ago, minutes_ago))
        body = StreamCheck(self.stream_arn, delivered, {}, looked).encode()
        self.client("s3").put_object(Bucket=BUCKET, Key=StreamCheckKey(TABLE).format(), Body=body)


@cache
def _client(service: str) -> Any:
    """One for the whole process, as making one takes longer than most answers; moto forgets its state between tests."""
    return boto3.client(service)  # type: ignore[call-overload]


def deploy() -> Operated:
    """Make it, well and read a moment ago; inside `mock_aws`, with region and credentials in the environment."""
    sqs, dynamodb = boto3.client("sqs"), boto3.client("dynamodb")
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    table = dynamodb.create_table(
        TableName=TABLE,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )["TableDescription"]
    dead = sqs.create_queue(QueueName="lake-dead")["QueueUrl"]
    dead_arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 10})
    buffer = sqs.create_queue(QueueName="lake-buffer", Attributes={"RedrivePolicy": policy})["QueueUrl"]
    outputs = {
        "TableName": TABLE,
        "TableStreamArn": table["LatestStreamArn"],
        "BucketName": BUCKET,
        "DataPrefix": f"ddb/{TABLE}",
        "BufferQueueUrl": buffer,
        "DeadLetterQueueUrl": dead,
        "StreamIngestName": "ingest",
        "FlusherName": "flusher",
        "StreamMappingId": MAPPING,
        "QueueMappingId": QUEUE_MAPPING,
    }
    operated = Operated(dead, buffer, table["LatestStreamArn"], outputs)
    operated.answers = _answers(operated)
    operated.measure("IteratorAge", 2_000, "Milliseconds")
    operated.look()
    return operated


def _answers(operated: Operated) -> dict[str, Callable[..., dict[str, Any]]]:
    def describe_stacks(StackName: str) -> dict[str, Any]:  # noqa: N803
        differs = {} if StackName == STACK else operated.neighbours.get(StackName, "ValidationError")
        if isinstance(differs, str):
            raise ClientError({"Error": {"Code": differs, "Message": "no"}}, "DescribeStacks")
        told = {name: differs.get(name, value) for name, value in operated.outputs.items()}
        outputs = [{"OutputKey": name, "OutputValue": value} for name, value in told.items() if value]
        own = operated.parameters | {name: value for name, value in differs.items() if name not in told}
        given = [{"ParameterKey": name, "ParameterValue": value} for name, value in own.items()]
        return {"Stacks": [{"StackStatus": "UPDATE_COMPLETE", "Outputs": outputs, "Parameters": given}]}

    def get_function_configuration(FunctionName: str) -> dict[str, Any]:  # noqa: N803
        variables = {"TABLE_NAME": TABLE, "S3_BUCKET": BUCKET, "QUEUE_URL": operated.buffer_url}
        return {
            "FunctionName": FunctionName,
            "FunctionArn": f"arn:aws:lambda:us-east-1:123456789012:function:{FunctionName}",
            "State": "Active",
            "LastUpdateStatus": "Successful",
            "Runtime": "python3.13",
            "Environment": {"Variables": variables},
        }

    def get_event_source_mapping(UUID: str) -> dict[str, Any]:  # noqa: N803
        source = operated.stream_arn if UUID == MAPPING else "arn:aws:sqs:us-east-1:123456789012:lake-buffer"
        return {"UUID": UUID, "State": "Enabled", "EventSourceArn": source, "LastProcessingResult": "OK"}

    def list_stack_resources(StackName: str, NextToken: str = "") -> dict[str, Any]:  # noqa: N803
        # A page each, as CloudFormation does for large stacks.
        made = [{"ResourceType": "AWS::SQS::Queue", "PhysicalResourceId": operated.dead_url}]
        made += [{"ResourceType": "AWS::CloudWatch::Alarm", "PhysicalResourceId": name} for name in operated.alarms]
        made += [{"ResourceType": kind, "PhysicalResourceId": name} for kind, name in operated.others]
        at = int(NextToken or 0)
        more = {"NextToken": str(at + 1)} if at + 1 < len(made) else {}
        return {"StackResourceSummaries": made[at : at + 1], **more}

    def get_resources(
        TagFilters: list[dict[str, Any]],  # noqa: N803
        ResourceTypeFilters: list[str],  # noqa: N803
        ResourcesPerPage: int,  # noqa: N803
        PaginationToken: str = "",  # noqa: N803
    ) -> dict[str, Any]:
        assert (TagFilters, ResourceTypeFilters) == ([{"Key": "lakebound:stack"}], ["lambda:function"])
        assert 1 <= ResourcesPerPage <= 100
        # Two a page, in no order: the service may give fewer than it was asked for, and says nothing of an order.
        names, at = sorted([STACK, *operated.neighbours], reverse=True), int(PaginationToken or 0)
        own = [{"Key": "aws:cloudformation:logical-id", "Value": "StreamIngest"}]
        found = [{"Tags": [*own, {"Key": "lakebound:stack", "Value": name}]} for name in names[at : at + 2]]
        # Each of a stack's two functions bears the tag.
        return {"ResourceTagMappingList": found * 2, "PaginationToken": str(at + 2) if at + 2 < len(names) else ""}

    return {
        "get_resources": get_resources,
        "describe_stacks": describe_stacks,
        "list_stack_resources": list_stack_resources,
        "get_function_configuration": get_function_configuration,
        "list_tags": lambda Resource: {"Tags": {"lakebound:stack": STACK}},  # noqa: N803
        "get_event_source_mapping": get_event_source_mapping,
        "list_event_source_mappings": lambda EventSourceArn: {"EventSourceMappings": []},  # noqa: N803
        "get_account_settings": lambda: {"AccountLimit": {"UnreservedConcurrentExecutions": 900}},
        "describe_stack_resource_drifts": lambda **_: {"StackResourceDrifts": []},
    }


def refused(operation: str, code: str = "AccessDeniedException") -> Callable[..., Any]:
    """An answer that is this error."""

    def answer(*_: Any, **__: Any) -> Any:
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, operation)

    return answer


def take_away(operated: Operated, monkeypatch: pytest.MonkeyPatch, service: str, operation: str) -> None:
    """The service refuses this operation to the command's credentials."""
    if service in ("lambda", "cloudformation"):
        operated.answers[operation] = refused(operation)
        return
    given = operated.scripted

    def scripted(name: str) -> Any:
        client = given(name)
        if name == service:
            monkeypatch.setattr(client, operation, refused(operation))
        return client

    monkeypatch.setattr(deployed, "aws_client", scripted)


def remove(operated: Operated, part: str) -> None:
    """Somebody deletes a part of the stack by hand: table, bucket, buffer, dead, mapping or function."""
    if part == "table":
        operated.client("dynamodb").delete_table(TableName=TABLE)
    elif part == "bucket":
        boto3.resource("s3").Bucket(BUCKET).objects.all().delete()
        operated.client("s3").delete_bucket(Bucket=BUCKET)
    elif part in ("mapping", "function"):
        operation = {"mapping": "get_event_source_mapping", "function": "get_function_configuration"}[part]
        operated.answers[operation] = refused(operation, "ResourceNotFoundException")
    else:
        operated.client("sqs").delete_queue(QueueUrl=operated.buffer_url if part == "buffer" else operated.dead_url)


def waiting(operated: Operated, url: str) -> int:
    found = operated.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
    return int(found["Attributes"]["ApproximateNumberOfMessages"])
