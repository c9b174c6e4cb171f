"""A stack's life in which every role does all that it is there for; what Lambda, DynamoDB and Step Functions do under
our roles is asked for here, by the pages that are named."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from tempfile import TemporaryDirectory
from typing import Any

import boto3
import pyarrow as pa
from deltalake import write_deltalake

from lakebound.adapters.documents import S3Documents
from lakebound.adapters.s3 import S3Store
from lakebound.backfill.exports import FULL
from lakebound.source.gaps import Gap, GapBook
from lakebound.times import TimeRange, iso
from tests.roles.deployed import Deployed, Right, deployed, owner_of
from tests.roles.judging import ACCOUNT, Request
from tests.support import state_machine
from tests.support.export_files import layout
from tests.support.rendered_template import DEPLOYMENTS, KEY, NEW, STREAM
from tests.support.stream_records import stream_record
from tests.support.use_case_world import noise

SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:hash-key-AbCdEf"
PARAMETER = "arn:aws:ssm:us-east-1:123456789012:parameter/hash-key"
HIDDEN = {"DropAttributes": "dropped", "HashAttributes": "hashed"}
TARGET = "s3://lake/silver/flights"
SWITCHED_ON = {"HeartbeatMinutes": "5", "VerifyTarget": TARGET}
QUICK = {"MaxSeconds": "0"}
"""So that a flusher does not wait for more; no right depends on it."""

SILVER = {
    "_key": pa.string(),
    "_item": pa.string(),
    "_is_deleted": pa.bool_(),
    "_ttl_expired": pa.bool_(),
    "_version": pa.string(),
    "_base": pa.string(),
    "_stream_time_ms": pa.int64(),
}
"""The columns of silver that are compared."""

MOST_WAITS = 30
"""Of one run; the longest here is a window's end, in steps of a quarter of an hour and less."""

LIVES: dict[str, dict[str, str]] = {
    "everything-new": NEW,
    "customer-key": {**NEW, "KmsKeyArn": KEY, **HIDDEN, "HashKeyArn": SECRET, **SWITCHED_ON},
    "readers": DEPLOYMENTS["readers"],
    "existing": {
        "TableName": "flights",
        "TableStreamArn": STREAM,
        "S3Bucket": "lake-files",
        "TableKmsKeyArn": f"{KEY}-of-the-table",
        "VerifyTarget": TARGET,
        **HIDDEN,
        "HashKeyArn": PARAMETER,
    },
}
OWNER = "210987654321"
LIVES["another-account"] = {
    "TableName": "flights",
    "TableStreamArn": STREAM.replace("123456789012", OWNER),
    "DropAttributes": "dropped",
}
"""The sets of policies that are lived through. Together they hold every statement of every role."""


@dataclass
class Lived:
    """What a life came to: the stack with all that was asked and denied, and what went wrong in words."""

    here: Deployed
    wrong: list[str] = field(default_factory=list)

    @property
    def denied(self) -> list[str]:
        return [f"{role}: {request}" for role, request in self.here.denied]


@contextmanager
def begun(parameters: Mapping[str, str], taken: Right | None = None) -> Iterator[Life]:
    """A life that has not done anything yet."""
    with deployed({**parameters, **QUICK}, taken) as here:
        life = Life(here)
        life.keep_secrets()
        yield life


def live(parameters: Mapping[str, str], taken: Right | None = None) -> Lived:
    """The whole life. What fails does not end it: each part is tried."""
    with deployed({**parameters, **QUICK}, taken) as here:
        lived = Lived(here)
        life = Life(here)
        live_path = (life.keep_secrets, life.ingest, life.flush, life.outage, life.lose_a_claim)
        exports = () if life.is_foreign else (life.export, life.increment)
        heartbeat = (life.heartbeat,) if "Heartbeat" in here.resources else ()
        verify = (life.verify,) if "Verify" in here.resources else ()
        for part in (*live_path, *heartbeat, life.look, life.scan, *verify, *exports, life.heal):
            try:
                part()
            except Exception as failure:
                lived.wrong.append(f"{part.__name__}: {type(failure).__name__}: {failure}")
        return lived


class Life:
    def __init__(self, here: Deployed) -> None:
        self.here = here
        self.s3 = boto3.client("s3")
        self.sqs = boto3.client("sqs")
        self.buffer = here.names["BufferQueue"]
        self.exports: dict[str, dict[str, Any]] = {}
        self.mapped = datetime.fromtimestamp(here.now_ms() / 1000 - 3600, UTC)
        here.answers |= {
            "GetEventSourceMapping": self.mapping,
            "ExportTableToPointInTime": self.start_export,
            "DescribeExport": self.describe_export,
            "DescribeTable": self.describe_table,
            "GetAccountSettings": lambda given: {
                "AccountLimit": {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": 1000}
            },
        }

    def mapping(self, given: dict[str, Any]) -> dict[str, Any]:
        return {
            "UUID": given["UUID"],
            "EventSourceArn": self.here.stream,
            "State": "Enabled",
            "LastModified": self.mapped,
            "LastProcessingResult": "OK",
        }

    def describe_table(self, given: dict[str, Any]) -> dict[str, Any]:
        told: Any = boto3.client("dynamodb").describe_table(TableName=self.here.table)
        its = {"LatestStreamArn": self.here.stream, "TableArn": self.here.table_arn, "TableId": "table-1"}
        return {"Table": told["Table"] | its}

    def start_export(self, given: dict[str, Any]) -> dict[str, Any]:
        table = self.describe_table({"TableName": self.here.table})["Table"]
        items = boto3.client("dynamodb").scan(TableName=self.here.table)["Items"]
        arn = f"{table['TableArn']}/export/{len(self.exports)}"
        # A line whose key is none goes to quarantine.
        window, lines = None, [{"Item": item} for item in [*items, {"id": {"BOOL": True}}]]
        at_ms = self.here.now_ms() // 1000 * 1000
        if span := given.get("IncrementalExportSpecification"):
            edges = [int(span[name].timestamp() * 1000) for name in ("ExportFromTime", "ExportToTime")]
            window = TimeRange(*edges)
            stamp = {"WriteTimestampMicros": {"N": str(edges[0] * 1000 + 1)}}
            lines = [{"Metadata": stamp, "Keys": {"id": item["id"]}, "NewImage": item} for item in items]
        prefix = f"{given['S3Prefix']}"
        for key, body in layout(prefix, lines, given["ExportType"], at_ms, window, table_id=table["TableId"]).items():
            if key.endswith("manifest-summary.json"):
                summary = json.loads(body) | {"tableArn": table["TableArn"], "s3Bucket": given["S3Bucket"]}
                body, manifest = json.dumps(summary).encode(), key
            self.s3.put_object(Bucket=given["S3Bucket"], Key=key, Body=body)
        moment = datetime.fromtimestamp(at_ms / 1000, UTC)
        self.exports[arn] = {"ExportArn": arn, "ExportStatus": "COMPLETED", "ExportManifest": manifest}
        if given["ExportType"] == FULL:
            self.exports[arn]["ExportTime"] = moment
        return {"ExportDescription": {"ExportArn": arn, "ExportStatus": "IN_PROGRESS"}}

    def describe_export(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"ExportDescription": self.exports[given["ExportArn"]]}

    def keep_secrets(self) -> None:
        """Not ours to judge: the owner of the key puts it there."""
        boto3.client("ssm").put_parameter(Name="hash-key", Value="0123456789abcdef", Type="SecureString")
        self.here.answers["GetSecretValue"] = lambda given: {"SecretString": "0123456789abcdef"}

    @property
    def is_foreign(self) -> bool:
        """Whether the table is of another account: then it is not exported, and a gap is healed by a scan."""
        return owner_of(self.here.table_arn) != ACCOUNT

    def ingest(self) -> None:
        """Small records, poison, one too large for a message; and what the stream mapping does under the role."""
        here, role = self.here, self.here.role_of("StreamIngest")
        self.platform(
            role,
            "an event source mapping polls a stream (Lambda developer guide, AWSLambdaDynamoDBExecutionRole)",
            [(f"dynamodb:{one}", here.stream) for one in ("DescribeStream", "GetRecords", "GetShardIterator")],
        )
        self.platform(
            role,
            "a mapping lists the table's streams (Lambda developer guide, AWSLambdaDynamoDBExecutionRole)",
            # Of another account's table nobody can: a resource's policy cannot grant it.
            [("dynamodb:ListStreams", here.stream)] if not self.is_foreign else [],
        )
        if here.around.table_key:
            self.platform(role, "reading an encrypted table's stream", [("kms:Decrypt", here.around.table_key)])
        failed = f"aws/lambda/{here.names['StreamMapping']}/shard/2026/11/26/x"
        owner = {"s3__ResourceAccount": "123456789012"}
        why = "a mapping's on-failure destination in S3 (Lambda developer guide, retaining discarded records)"
        here.may(role, Request.of("s3:PutObject", here.around.object(here.bucket, failed), why, **owner))
        here.may(role, Request.of("s3:ListBucket", here.around.bucket(here.bucket), why, **owner))
        if key := here.around.bucket_keys.get(here.bucket):
            here.may(role, Request.of("kms:GenerateDataKey", key, why))
        app = here.load("stream_ingest", "StreamIngest")
        records = [
            self.record(0),
            self.record(1, attributes={"large": {"S": noise(900_000, 1)}}),
            self.record(2, keys={"id": {"BOOL": True}}),
        ]
        answer = here.call(app, "StreamIngest", {"Records": records})
        assert answer == {"batchItemFailures": []}, answer
        assert self.keys("claims"), "nothing was claimed"
        assert self.keys("quarantine"), "nothing was quarantined"

    def flush(self) -> None:
        """A delivery with a claim, one whose claim is gone, a message that waits in the queue; then what is written."""
        here, role = self.here, self.here.role_of("Flusher")
        why = "a mapping polls a queue (Lambda developer guide, AWSLambdaSQSQueueExecutionRole)"
        queue = here.around.queues[self.buffer]
        self.platform(
            role, why, [(f"sqs:{one}", queue) for one in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")]
        )
        if here.around.queue_key:
            self.platform(role, why, [("kms:Decrypt", here.around.queue_key)])
        app = here.load("flusher", "Flusher")
        delivery = self.receive()
        assert len(delivery) >= 2, "the delivery has small messages and a claim"
        waiting = self.small()
        self.sqs.send_message(QueueUrl=self.buffer, MessageBody=waiting)
        answer = here.call(app, "Flusher", {"Records": delivery})
        assert answer == {"batchItemFailures": []}, answer
        assert self.keys_of_data(), "no file was written"
        for message in delivery:
            # The mapping deletes what the answer does not name.
            self.sqs.delete_message(QueueUrl=self.buffer, ReceiptHandle=message["receiptHandle"])

    def outage(self) -> None:
        """S3 does not take the file: the message is hidden for a while."""
        app = self.here.load("flusher", "Flusher")
        self.here.call(self.here.load("stream_ingest", "StreamIngest"), "StreamIngest", {"Records": [self.record(8)]})
        (message,) = self.receive()
        self.here.broken = "PutObject"
        answer = self.here.call(app, "Flusher", {"Records": [message]})
        self.here.broken = ""
        assert answer == {"batchItemFailures": [{"itemIdentifier": message["messageId"]}]}, answer
        self.sqs.delete_message(QueueUrl=self.buffer, ReceiptHandle=message["receiptHandle"])

    def record(self, number: int, **told: Any) -> dict[str, Any]:
        """A record of the stack's stream, written now."""
        return stream_record(number, created=self.here.now_ms() // 1000, **told) | {"eventSourceARN": self.here.stream}

    def small(self) -> str:
        """A message of one more record, made by the real stream_ingest."""
        self.here.call(self.here.load("stream_ingest", "StreamIngest"), "StreamIngest", {"Records": [self.record(7)]})
        (made,) = self.receive()
        self.sqs.delete_message(QueueUrl=self.buffer, ReceiptHandle=made["receiptHandle"])
        return str(made["body"])

    def flush_without_a_claim(self) -> dict[str, Any]:
        """A message whose claim is gone, beside a good neighbour: the flusher's answer with the names of both."""
        ingest, flusher = self.here.load("stream_ingest", "StreamIngest"), self.here.load("flusher", "Flusher")
        large = self.record(11, attributes={"large": {"S": noise(900_000, 2)}})
        before = set(self.keys("claims"))
        self.here.call(ingest, "StreamIngest", {"Records": [large]})
        (claim,) = set(self.keys("claims")) - before
        (gone,) = self.receive()
        self.s3.delete_object(Bucket=self.here.bucket, Key=claim)
        good = {**gone, "messageId": "good", "receiptHandle": "good", "body": self.small()}
        answer = self.here.call(flusher, "Flusher", {"Records": [gone, good]})
        return {"answer": answer, "gone": gone["messageId"], "good": "good"}

    def lose_a_claim(self) -> None:
        """The flusher hears that the claim is gone, and writes its neighbour."""
        told = self.flush_without_a_claim()
        assert {one["itemIdentifier"] for one in told["answer"]["batchItemFailures"]} == {told["gone"]}, told
        self.sqs.purge_queue(QueueUrl=self.buffer)

    def heartbeat(self) -> None:
        """Written, changed and removed; its stream's records through the queue into the folder beside the data."""
        here, role = self.here, self.here.role_of("HeartbeatIngest")
        here.call(here.load("heartbeat", "Heartbeat"), "Heartbeat", {})
        stream = here.names["HeartbeatTable.StreamArn"]
        why = "an event source mapping polls a stream (Lambda developer guide, AWSLambdaDynamoDBExecutionRole)"
        actions = ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")
        self.platform(role, why, [(f"dynamodb:{one}", stream) for one in actions])
        if here.around.table_key:
            self.platform(role, "reading an encrypted table's stream", [("kms:Decrypt", here.around.table_key)])
        record = self.record(20, attributes={"written_ms": {"N": str(here.now_ms())}}) | {"eventSourceARN": stream}
        answer = here.call(here.load("stream_ingest", "HeartbeatIngest"), "HeartbeatIngest", {"Records": [record]})
        assert answer == {"batchItemFailures": []}, answer
        delivery = self.receive()
        answer = here.call(here.load("flusher", "Flusher"), "Flusher", {"Records": delivery})
        assert answer == {"batchItemFailures": []}, answer
        assert self.keys("heartbeat"), "no heartbeat is in the bucket"
        for message in delivery:
            self.sqs.delete_message(QueueUrl=self.buffer, ReceiptHandle=message["receiptHandle"])

    def verify(self) -> None:
        """A night over what the scan's table holds; the lake is a Delta table without a row, and all keys differ."""
        here, role = self.here, self.here.role_of("Verify")
        bucket, _, path = TARGET.removeprefix("s3://").partition("/")
        why = "deltalake reads the log and the files of the table and of _changes, and asks for the bucket's region"
        for folder in (path, f"{path}_changes"):
            here.may(role, Request.of("s3:GetObject", here.around.object(bucket, f"{folder}/_delta_log/x"), why))
        here.may(role, Request.of("s3:ListBucket", here.around.bucket(bucket), why))
        if key := here.around.bucket_keys.get(here.bucket):
            here.may(role, Request.of("kms:Decrypt", key, "a lake that the stack's key encrypts"))
        with TemporaryDirectory() as folder:
            empty = pa.table({name: pa.array([], kind) for name, kind in SILVER.items()})
            write_deltalake(f"{folder}/silver", empty)
            variables = here.resources["Verify"]["Properties"]["Environment"]["Variables"]
            kept, variables["VERIFY_TARGET"], variables["VERIFY_SHARE"] = dict(variables), f"{folder}/silver", "1/2"
            try:
                app: Any = here.load("verify", "Verify")
                told = [here.call(app, "Verify", {}, seconds=900)]
                here.sleep(86_400)
                told.append(here.call(app, "Verify", {}, seconds=900))
            finally:
                variables.update(kept)
        assert sum(one["unequal"] for one in told) == 5, told

    def platform(self, role: str, why: str, rights: list[tuple[str, str]]) -> None:
        for action, resource in rights:
            self.here.may(role, Request.of(action, resource, why))

    def receive(self) -> list[dict[str, Any]]:
        """What the queue mapping would hand over: all that is visible."""
        found: list[dict[str, Any]] = []
        while True:
            answer: Any = self.sqs.receive_message(
                QueueUrl=self.buffer, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"]
            )
            if not answer.get("Messages"):
                return found
            found += [
                {
                    "messageId": message["MessageId"],
                    "receiptHandle": message["ReceiptHandle"],
                    "body": message["Body"],
                    "attributes": message["Attributes"],
                }
                for message in answer["Messages"]
            ]

    def keys(self, folder: str) -> list[str]:
        return self.listed(f"_lakebound/{self.here.table}/{folder}/")

    def keys_of_data(self) -> list[str]:
        return self.listed(f"ddb/{self.here.table}/")

    def listed(self, prefix: str) -> list[str]:
        found = self.s3.list_objects_v2(Bucket=self.here.bucket, Prefix=prefix).get("Contents", [])
        return [one["Key"] for one in found]

    def look(self) -> None:
        """Twice, for the second one replaces what the first one saw."""
        self.here.answers["GetMetricData"] = lambda given: {"MetricDataResults": []}
        app = self.here.load("backfill", "Backfill")
        for _ in range(2):
            answer = self.here.call(app, "Backfill", {"action": "look"})
            assert not answer["unknown"], answer
            self.here.sleep(300)

    def fill(self) -> None:
        table = boto3.client("dynamodb")
        for number in range(5):
            table.put_item(TableName=self.here.table, Item={"id": {"S": f"k{number}"}, "hashed": {"S": "x"}})

    def scan(self) -> None:
        self.fill()
        assert self.run({}, "scan-1")["records"] == 5

    def export(self) -> None:
        told = self.run({"mode": "export"}, "export-1")
        assert (told["records"], told["quarantined"]) == (5, 1), told

    def increment(self) -> None:
        """A window in which a batch file was written, whose keys are read again."""
        begin = self.here.now_ms() // 1000 + 60
        self.here.sleep(120)
        self.ingest()
        self.flush()
        moments = [iso((begin + more) * 1000) for more in (0, 1200)]
        told = self.run({"mode": "incremental_export", "from": moments[0], "to": moments[1]}, "increment-1")
        assert told["records"] >= 5, told

    def heal(self) -> None:
        """Of a recorded gap, after a look at what is still on its way."""
        now = self.here.now_ms()
        store, documents = S3Store(self.here.bucket, self.s3), S3Documents(self.here.bucket, self.s3)
        GapBook(self.here.table, store, documents).record(Gap(now - 1_800_000, now - 600_000, "mapping_behind"))
        assert self.run({"mode": "heal"}, "heal-1")["records"] == 5

    def run(self, request: dict[str, Any], name: str) -> dict[str, Any]:
        """An execution of the real state machine over the real handler, the machine's own calls judged too."""
        app = self.here.load("backfill", "Backfill")
        role, arn = self.here.resources["BackfillMachine"]["Properties"]["RoleArn"], self.here.names["BackfillMachine"]
        child = f"{arn.replace(':stateMachine:', ':execution:')}/Map:00000000-0000-4000-8000-000000000000"

        def step(action: str, resource: str, why: str) -> None:
            if not self.here.may(role, Request.of(action, resource, why)):
                raise PermissionError(f"{role} may not {action}")

        def function(event: dict[str, Any]) -> dict[str, Any]:
            step("lambda:InvokeFunction", self.here.names["Backfill.Arn"], "a task")
            if event["action"] == "carry":
                # By the developer guide's page on policies for Distributed Maps: a child is the machine's execution.
                step("states:StartExecution", arn, "a map starts a child")
                step("states:DescribeExecution", child, "a map follows its children")
            return self.here.call(app, "Backfill", event)

        waits = count(1)

        def sleep(seconds: float) -> None:
            assert next(waits) <= MOST_WAITS, f"{name} waits for what never comes"
            self.here.sleep(seconds)

        execution = state_machine.start(function, request, name=name, sleep=sleep)
        result: dict[str, Any] = execution.run()
        # What a run that fails and is redriven does besides (the same page).
        step("states:StopExecution", child, "a map that failed stops its other children")
        step("states:RedriveExecution", child, "a redriven map redrives its children")
        return result
