"""Which rights an AWS call needs: botocore's operation and arguments in, IAM requests out.

An operation's name is its action but for the exceptions below. A call that makes a service use a customer's key in the
caller's name asks for the key too. From the Service Authorization Reference, and for the keys from the guides of S3
(SSE-KMS), SQS (key management) and DynamoDB (encryption at rest). An operation that is not here is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.roles.judging import ACCOUNT, Request

Arguments = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What decides, besides the arguments, what a call needs."""

    partition: str
    region: str
    queues: Mapping[str, str]
    """URL to ARN."""
    bucket_keys: Mapping[str, str] = field(default_factory=dict)
    """Bucket to the customer's key that encrypts it."""
    queue_key: str = ""
    table_key: str = ""
    bucket_owner: Mapping[str, str] = field(default_factory=dict)
    """Buckets of other accounts."""

    def arn(self, service: str, rest: str) -> str:
        return f"arn:{self.partition}:{service}:{self.region}:{ACCOUNT}:{rest}"

    def table(self, name: str) -> str:
        """A table's ARN by its name, or by itself: DynamoDB takes either."""
        return name if name.startswith("arn:") else self.arn("dynamodb", f"table/{name}")

    def object(self, bucket: str, key: str) -> str:
        return f"arn:{self.partition}:s3:::{bucket}/{key}"

    def bucket(self, bucket: str) -> str:
        return f"arn:{self.partition}:s3:::{bucket}"


def asked(service: str, operation: str, arguments: Arguments, here: Surroundings) -> list[Request]:
    """The requests that IAM judges for one call. Raises AssertionError for a call that is not known here."""
    if (service, operation) in _ASK_NOBODY:
        return []
    reader = _READERS.get(service)
    assert reader is not None, f"nothing is known here of the service {service} ({operation})"
    found = list(reader(operation, arguments, here))
    assert found, f"nothing is known here of {service} {operation}: add what it needs to tests/roles/asking.py"
    return found


def to_know_that_it_is_missing(bucket: str, here: Surroundings) -> Request:
    """Without this right S3 answers 403 for a key that is not there (S3 user guide, GetObject). It is judged for the
    bucket, without a prefix: a condition on `s3:prefix` does not grant it."""
    owner = here.bucket_owner.get(bucket, ACCOUNT)
    return Request.of("s3:ListBucket", here.bucket(bucket), "404 for a missing key", s3__ResourceAccount=owner)


def _s3(operation: str, given: Arguments, here: Surroundings) -> Iterator[Request]:
    bucket = given["Bucket"]
    owner = {"s3__ResourceAccount": here.bucket_owner.get(bucket, ACCOUNT)}
    key = here.bucket_keys.get(bucket)
    match operation:
        case "PutObject":
            headers = {"IfNoneMatch": "s3__if_none_match", "IfMatch": "s3__if_match"}
            told = {name: str(given[argument]) for argument, name in headers.items() if argument in given}
            yield Request.of("s3:PutObject", here.object(bucket, given["Key"]), operation, **owner, **told)
            if key:
                yield Request.of("kms:GenerateDataKey", key, operation)
        case "GetObject" | "HeadObject":
            yield Request.of("s3:GetObject", here.object(bucket, given["Key"]), operation, **owner)
            if key and operation == "GetObject":
                yield Request.of("kms:Decrypt", key, operation)
        case "DeleteObject":
            yield Request.of("s3:DeleteObject", here.object(bucket, given["Key"]), operation, **owner)
        case "ListObjectsV2":
            prefix = given.get("Prefix", "")
            yield Request.of("s3:ListBucket", here.bucket(bucket), operation, **owner, s3__prefix=prefix)
        case "HeadBucket":
            yield Request.of("s3:ListBucket", here.bucket(bucket), operation, **owner)


_ASK_NOBODY = {("sts", "GetCallerIdentity")}
"""Calls that need no right (IAM user guide: whoever has credentials may ask whose they are)."""

_SQS = {
    "SendMessage": ("SendMessage", ("kms:GenerateDataKey", "kms:Decrypt")),
    "SendMessageBatch": ("SendMessage", ("kms:GenerateDataKey", "kms:Decrypt")),
    "ReceiveMessage": ("ReceiveMessage", ("kms:Decrypt",)),
    "DeleteMessage": ("DeleteMessage", ()),
    "DeleteMessageBatch": ("DeleteMessage", ()),
    "ChangeMessageVisibility": ("ChangeMessageVisibility", ()),
    "ChangeMessageVisibilityBatch": ("ChangeMessageVisibility", ()),
    "GetQueueAttributes": ("GetQueueAttributes", ()),
}


def _sqs(operation: str, given: Arguments, here: Surroundings) -> Iterator[Request]:
    if operation in _SQS:
        action, keys = _SQS[operation]
        yield Request.of(f"sqs:{action}", here.queues[given["QueueUrl"]], operation)
        if here.queue_key:
            yield from (Request.of(one, here.queue_key, operation) for one in keys)
    elif operation == "ListMessageMoveTasks":
        yield Request.of(f"sqs:{operation}", given["SourceArn"], operation)
    elif operation == "StartMessageMoveTask":
        # What the task does, it does in the caller's name (SQS developer guide, required permissions of a redrive).
        source = given["SourceArn"]
        for action in ("StartMessageMoveTask", "ReceiveMessage", "DeleteMessage", "GetQueueAttributes"):
            yield Request.of(f"sqs:{action}", source, operation)
        yield from (
            Request.of("sqs:SendMessage", other, operation) for other in here.queues.values() if other != source
        )
        if here.queue_key:
            yield from (Request.of(one, here.queue_key, operation) for one in ("kms:GenerateDataKey", "kms:Decrypt"))


_OF_A_TABLE = {
    "DescribeTable",
    "DescribeContinuousBackups",
    "DescribeTimeToLive",
    "Scan",
    "PutItem",
    "DeleteItem",
    "ExportTableToPointInTime",
}
_OF_ITEMS = {"Scan", "BatchGetItem", "PutItem", "DeleteItem", "ExportTableToPointInTime"}


def _dynamodb(operation: str, given: Arguments, here: Surroundings) -> Iterator[Request]:
    if operation in _OF_A_TABLE:
        yield Request.of(f"dynamodb:{operation}", here.table(given.get("TableName") or given["TableArn"]), operation)
    elif operation == "BatchGetItem":
        yield from (Request.of("dynamodb:BatchGetItem", here.table(one), operation) for one in given["RequestItems"])
    elif operation == "DescribeExport":
        yield Request.of("dynamodb:DescribeExport", given["ExportArn"], operation)
    if operation in _OF_ITEMS and here.table_key:
        yield Request.of("kms:Decrypt", here.table_key, operation)
    if operation == "ExportTableToPointInTime":
        # DynamoDB writes the files in the caller's name (developer guide, S3DataExport.Requesting).
        bucket = given["S3Bucket"]
        written = here.object(bucket, f"{given['S3Prefix']}/AWSDynamoDB/data/x.json.gz")
        owner = {"s3__ResourceAccount": here.bucket_owner.get(bucket, ACCOUNT)}
        for action in ("s3:PutObject", "s3:PutObjectAcl", "s3:AbortMultipartUpload"):
            yield Request.of(action, written, operation, **owner)
        if key := given.get("S3SseKmsKeyId") or here.bucket_keys.get(bucket):
            # The files are uploaded in parts: S3 decrypts the parts to put them together.
            yield from (Request.of(one, key, operation) for one in ("kms:GenerateDataKey", "kms:Decrypt"))


def _lambda(operation: str, given: Arguments, here: Surroundings) -> Iterator[Request]:
    match operation:
        case "GetEventSourceMapping" | "UpdateEventSourceMapping":
            yield Request.of(
                f"lambda:{operation}", here.arn("lambda", f"event-source-mapping:{given['UUID']}"), operation
            )
        case "GetFunctionConfiguration" | "UpdateFunctionConfiguration":
            yield Request.of(f"lambda:{operation}", here.arn("lambda", f"function:{given['FunctionName']}"), operation)
        case "ListTags":
            yield Request.of("lambda:ListTags", given["Resource"], operation)
        case "ListEventSourceMappings" | "GetAccountSettings":
            yield Request.of(f"lambda:{operation}", "*", operation)


def _cloudwatch(operation: str, given: Arguments, here: Surroundings) -> Iterator[Request]:
    if operation in ("GetMetricData", "GetMetricStatistics", "DescribeAlarms"):
        yield Request.of(f"cloudwatch:{operation}", "*", operation)
    elif operation == "PutMetricData":
        yield Request.of(f"cloudwatch:{operation}", "*", operation, cloudwatch__namespace=given["Namespace"])


def _states(operation: str, given: Arguments, here: Surroundings) -> Iterator[Request]:
    if operation in ("StartExecution", "ListExecutions"):
        yield Request.of(f"states:{operation}", given["stateMachineArn"], operation)
    elif operation in ("DescribeExecution", "GetExecutionHistory", "StopExecution", "RedriveExecution"):
        yield Request.of(f"states:{operation}", given["executionArn"], operation)


def _cloudformation(operation: str, given: Arguments, here: Surroundings) -> Iterator[Request]:
    if operation in ("DescribeStacks", "DescribeStackResourceDrifts", "ListStackResources"):
        yield Request.of(
            f"cloudformation:{operation}", here.arn("cloudformation", f"stack/{given['StackName']}/x"), operation
        )


def _on_named(action: str, argument: str) -> Callable[[str, Arguments, Surroundings], Iterator[Request]]:
    """For a service of which one operation is used: its resource is what an argument names."""

    def requests(operation: str, given: Arguments, here: Surroundings) -> Iterator[Request]:
        if action.endswith(f":{operation}"):
            yield Request.of(action, given[argument], operation)

    return requests


def _logs(operation: str, given: Arguments, here: Surroundings) -> Iterator[Request]:
    if operation == "DescribeLogGroups":
        # Whatever the prefix, it lists the account's groups: a statement for some of them does not allow it.
        yield Request.of(f"logs:{operation}", "*", operation)


def _tagging(operation: str, given: Arguments, here: Surroundings) -> Iterator[Request]:
    if operation == "GetResources":
        yield Request.of(f"tag:{operation}", "*", operation)


_READERS: Mapping[str, Callable[[str, Arguments, Surroundings], Iterator[Request]]] = {
    "s3": _s3,
    "sqs": _sqs,
    "dynamodb": _dynamodb,
    "lambda": _lambda,
    "cloudwatch": _cloudwatch,
    "stepfunctions": _states,
    "cloudformation": _cloudformation,
    "secretsmanager": _on_named("secretsmanager:GetSecretValue", "SecretId"),
    "ssm": _on_named("ssm:GetParameter", "Name"),
    "kms": _on_named("kms:DescribeKey", "KeyId"),
    "logs": _logs,
    "resourcegroupstaggingapi": _tagging,
}
