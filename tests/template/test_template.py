"""What template.yaml promises, asserted on what CloudFormation gets; and for each promise an edit that breaks it."""

import copy
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from lakebound.adapters.nightly_verify import RESERVE_SECONDS
from lakebound.adapters.tagged_stacks import STACK_TAG
from lakebound.operate.sample import parse_share
from lakebound.record.table_identity import Source
from lakebound.settings import SETTINGS, BackfillSettings, HeartbeatSettings, IngestSettings, VerifySettings
from lakebound.transport.object_keys import heartbeat_prefix
from tests.support.rendered_template import (
    DEPLOYMENTS,
    FOREIGN_STREAM,
    FOREIGN_TABLE,
    KEY,
    NEW,
    STREAM,
    Edit,
    Resources,
    broken_rules,
    listed,
    of_type,
    properties,
    render,
    setting,
)
from tests.support.translated_template import translated

TABLE = "arn:aws:dynamodb:us-east-1:123456789012:table/flights"
SIX_TIMES_ONLY = {"Fn::FindInMap": ["VisibilityTimeout", "60", "Seconds"]}
POLICY = "Properties.Policies.0.PolicyDocument.Statement"
BUCKET = "BucketPolicy.Properties.PolicyDocument.Statement"
ENCRYPTION = "Bucket.Properties.BucketEncryption.ServerSideEncryptionConfiguration.0.ServerSideEncryptionByDefault"
STATES = "arn:aws:states:us-east-1:123456789012"
MACHINE = "lakebound-backfill-51af3dc0-da77-11e4-872e-1234567db123"


def removing(path: str) -> Edit:
    def edit(template: dict[str, Any]) -> None:
        node: Any = template["Resources"]
        *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        for part in parents:
            node = node[part]
        del node[last]

    return edit


@dataclass(frozen=True, slots=True)
class Promise:
    holds: Callable[[Resources], None]
    broken_by: tuple[Edit, ...]


PROMISES: list[Promise] = []


def broken_by(*edits: Edit) -> Callable[[Callable[[Resources], None]], Callable[[Resources], None]]:
    """Makes a promise of a function that asserts it; each of these edits of the template has to break it."""

    def promise(holds: Callable[[Resources], None]) -> Callable[[Resources], None]:
        PROMISES.append(Promise(holds, edits))
        return holds

    return promise


def statements(resources: Resources, role: str) -> list[dict[str, Any]]:
    return [
        statement
        for policy in properties(resources, role)["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
    ]


# ── promises, each with edits of the template that break it ──


@broken_by(
    setting("DeadLetterQueue.DeletionPolicy", "Delete"),
    setting("Table.DeletionPolicy", "Retain"),
    setting("BucketPolicy.DeletionPolicy", "Delete"),
    setting("Bucket.UpdateReplacePolicy", "Delete"),
)
def nothing_that_holds_data_goes_with_the_stack(resources: Resources) -> None:
    kinds = ("AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::SQS::Queue")
    # The heartbeat's table holds one item for a moment.
    holders = {name: one for name, one in resources.items() if one["Type"] in kinds and name != "HeartbeatTable"}
    assert {"BufferQueue", "DeadLetterQueue"} <= set(holders)
    for name, one in holders.items():
        # A failed first deployment takes what it made along: else the next one meets its table, bucket and queues.
        assert one["DeletionPolicy"] == "RetainExceptOnCreate", name
        assert one["UpdateReplacePolicy"] == "Retain", name
    # The bucket's policy stays with it.
    if "BucketPolicy" in resources:
        assert resources["BucketPolicy"]["DeletionPolicy"] == resources["Bucket"]["DeletionPolicy"]


@broken_by(
    setting("StreamIngest.Properties.Tags", [{"Key": "lambda:createdBy", "Value": "SAM"}]),
    setting("Flusher.Properties.Tags", [{"Key": "lambda:createdBy", "Value": "SAM"}]),
    setting("Backfill.Properties.Tags", [{"Key": "lakebound:stack", "Value": "lake"}]),
)
def two_functions_bear_the_name_of_the_stack(resources: Resources) -> None:
    functions = of_type(resources, "AWS::Lambda::Function")
    borne = [(name, tag["Value"]) for name, one in functions.items() for tag in one["Tags"] if tag["Key"] == STACK_TAG]
    assert sorted(borne) == [("Flusher", "lake"), ("StreamIngest", "lake")]


@broken_by(
    setting("Table.Properties.StreamSpecification.StreamViewType", "NEW_IMAGE"),
    removing("Table.Properties.PointInTimeRecoverySpecification"),
    setting("HeartbeatTable.Properties.StreamSpecification.StreamViewType", "NEW_IMAGE"),
)
def a_new_table_has_both_images_recovery_and_encryption(resources: Resources) -> None:
    for name, table in of_type(resources, "AWS::DynamoDB::Table").items():
        assert table["StreamSpecification"]["StreamViewType"] == "NEW_AND_OLD_IMAGES"
        if name == "Table":
            assert table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True
        assert table["SSESpecification"]["SSEEnabled"] is True
        assert table["BillingMode"] == "PAY_PER_REQUEST"


@broken_by(
    setting("Bucket.Properties.PublicAccessBlockConfiguration.BlockPublicPolicy", False),
    removing("Bucket.Properties.BucketEncryption"),
)
def a_new_bucket_is_encrypted_and_closed(resources: Resources) -> None:
    for bucket in of_type(resources, "AWS::S3::Bucket").values():
        assert all(bucket["PublicAccessBlockConfiguration"].values())
        assert len(bucket["PublicAccessBlockConfiguration"]) == 4
        rules = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert all(rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] in ("AES256", "aws:kms") for rule in rules)
        assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]


@broken_by(
    removing(f"{BUCKET}.2"),
    removing(f"{BUCKET}.3"),
    setting(f"{BUCKET}.4.Fn::If.1.Action", "s3:*"),
    setting(f"{BUCKET}.4.Fn::If.1.Resource", {"Fn::Sub": "${Bucket.Arn}/*"}),
)
def readers_of_other_accounts_read_data_and_nothing_else(resources: Resources) -> None:
    """By the statements' own logic: what an outside role that its account allows everything may still do."""
    for policy in of_type(resources, "AWS::S3::BucketPolicy").values():
        found = policy["PolicyDocument"]["Statement"]
        allows = [one for one in found if one["Effect"] == "Allow"]
        (bound,) = [one for one in found if one["Sid"] == "ThisAccountOnly"]
        known = listed(bound["Condition"]["StringNotEquals"]["aws:PrincipalAccount"])
        assert sorted({account for one in allows for account in one["Principal"]["AWS"]}) == sorted(known[1:])
        assert all(set(listed(one["Action"])) <= READS for one in allows)
        for one in allows:
            data = [resource for resource in listed(one["Resource"]) if resource != "<Bucket.Arn>"]
            assert all(
                re.match(r"<Bucket.Arn>/(ddb/flights|_lakebound/flights/(manifests|gaps))(/\*)?$", r) for r in data
            )
        if known[1:]:
            outside = {"aws:PrincipalAccount": "123456789012"}
            others = [one for one in found if one["Sid"] != "ThisAccountOnly"]
            denies = [one for one in others if one.get("Condition", {}).get("StringNotEquals") == outside]
            assert [set(one["NotAction"]) for one in denies if "NotAction" in one] == [READS]
            data = [one["Resource"] for one in allows if one["Action"] == "s3:GetObject"]
            assert [one["NotResource"] for one in denies if one.get("Action") == "s3:GetObject"] == data


READS = {"s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation"}


@broken_by(
    setting("Bucket.Properties.LifecycleConfiguration.Rules.1.Prefix", ""),
    setting("Bucket.Properties.LifecycleConfiguration.Rules.2.Prefix", "_lakebound/"),
)
def only_failure_objects_and_heartbeats_expire(resources: Resources) -> None:
    for bucket in of_type(resources, "AWS::S3::Bucket").values():
        expiring = [rule for rule in bucket["LifecycleConfiguration"]["Rules"] if "ExpirationInDays" in rule]
        assert [rule["Prefix"] for rule in expiring] == ["aws/lambda/", f"{heartbeat_prefix('flights')}/"]


@broken_by(removing("BucketPolicy"), setting("BufferQueuePolicy.Properties.PolicyDocument.Statement.0.Effect", "Allow"))
def everything_is_tls_only(resources: Resources) -> None:
    policies = [
        *of_type(resources, "AWS::S3::BucketPolicy").values(),
        *of_type(resources, "AWS::SQS::QueuePolicy").values(),
    ]
    covered = set()
    for policy in policies:
        for statement in policy["PolicyDocument"]["Statement"]:
            if statement["Effect"] == "Deny" and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}:
                assert statement["Principal"] == "*"
                assert statement["Action"] in ("s3:*", "sqs:*")
                covered |= set(listed(statement["Resource"]))
    wanted = {f"<{name}.Arn>" for kind in ("AWS::S3::Bucket", "AWS::SQS::Queue") for name in of_type(resources, kind)}
    wanted |= {f"<{name}.Arn>/*" for name in of_type(resources, "AWS::S3::Bucket")}
    assert covered == wanted


@broken_by(
    setting("BufferQueuePolicy.Properties.Queues", [{"Ref": "BufferQueue"}, {"Ref": "DeadLetterQueue"}]),
    setting("DeadLetterQueuePolicy.Properties.Queues", [{"Ref": "BufferQueue"}]),
    setting(
        "DeadLetterQueuePolicy.Properties.PolicyDocument.Statement.1.Resource",
        [{"Fn::GetAtt": ["DeadLetterQueue", "Arn"]}, {"Fn::GetAtt": ["BufferQueue", "Arn"]}],
    ),
    removing("DeadLetterQueuePolicy"),
)
def each_queue_has_a_policy_of_its_own(resources: Resources) -> None:
    """SQS refuses a policy with a statement about another queue than the one it is put on."""
    found = {}
    for policy in of_type(resources, "AWS::SQS::QueuePolicy").values():
        assert len(policy["Queues"]) == 1
        queue = policy["Queues"][0]
        assert queue not in found
        found[queue] = {name for one in policy["PolicyDocument"]["Statement"] for name in listed(one["Resource"])}
    assert found == {f"<{name}>": {f"<{name}.Arn>"} for name in of_type(resources, "AWS::SQS::Queue")}


@broken_by(
    removing("BufferQueue.Properties.SqsManagedSseEnabled"),
    removing("DeadLetterQueue.Properties.MessageRetentionPeriod"),
)
def queues_are_encrypted_and_keep_messages_for_fourteen_days(resources: Resources) -> None:
    for name, queue in of_type(resources, "AWS::SQS::Queue").items():
        assert queue.get("SqsManagedSseEnabled") is True or queue.get("KmsMasterKeyId") == KEY, name
        assert queue["MessageRetentionPeriod"] == 14 * 86_400, name


@broken_by(setting("BufferQueue.Properties.MaximumMessageSize", 262144))
def queues_take_the_largest_message(resources: Resources) -> None:
    for queue in of_type(resources, "AWS::SQS::Queue").values():
        assert queue["MaximumMessageSize"] == 1_048_576


@broken_by(setting("BufferQueue.Properties.RedrivePolicy.maxReceiveCount", 3))
def an_outage_is_no_poison(resources: Resources) -> None:
    redrive = properties(resources, "BufferQueue")["RedrivePolicy"]
    assert int(redrive["maxReceiveCount"]) >= 10
    assert redrive["deadLetterTargetArn"] == "<DeadLetterQueue.Arn>"


@broken_by(
    setting("DeadLetterQueue.Properties.RedriveAllowPolicy.redrivePermission", "allowAll"),
    setting("BufferQueue.Properties.QueueName", "another"),
)
def dead_letters_can_be_redriven_to_the_buffer_only(resources: Resources) -> None:
    allow = properties(resources, "DeadLetterQueue")["RedriveAllowPolicy"]
    buffer = properties(resources, "BufferQueue")["QueueName"]
    assert allow["redrivePermission"] == "byQueue"
    assert allow["sourceQueueArns"] == [f"arn:aws:sqs:us-east-1:123456789012:{buffer}"]


@broken_by(
    setting("DeadLetterQueue.Properties.QueueName", "lake-dead"),
    setting("BackfillMachine.Properties.StateMachineName", "lake-backfill"),
)
def a_stack_made_again_does_not_meet_what_the_first_one_left(resources: Resources) -> None:
    """Queues stay, and Step Functions deletes a machine in its own time: their names are those of one stack alone."""
    names = [queue["QueueName"] for queue in of_type(resources, "AWS::SQS::Queue").values()]
    names += [
        machine["StateMachineName"] for machine in of_type(resources, "AWS::StepFunctions::StateMachine").values()
    ]
    names.append(properties(resources, "Flusher")["Environment"]["Variables"]["HEARTBEAT_TABLE"])
    of_the_stack = "51af3dc0-da77-11e4-872e-1234567db123"
    assert sorted(names) == [f"lakebound-{what}-{of_the_stack}" for what in ("backfill", "buffer", "dead", "heartbeat")]


@broken_by(
    setting("StreamMapping.Properties.StartingPosition", "LATEST"),
    removing("StreamMapping.Properties.FunctionResponseTypes"),
    setting("StreamMapping.Properties.BisectBatchOnFunctionError", False),
    setting("StreamMapping.Properties.MaximumRetryAttempts", -1),
    setting("StreamMapping.Properties.MaximumRecordAgeInSeconds", -1),
    removing("StreamMapping.Properties.DestinationConfig"),
)
def the_stream_mapping_loses_nothing_and_blocks_nobody(resources: Resources) -> None:
    mapping = properties(resources, "StreamMapping")
    assert mapping["StartingPosition"] == "TRIM_HORIZON"
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["BisectBatchOnFunctionError"] is True
    assert 0 <= int(mapping["MaximumRetryAttempts"]) <= 10_000
    assert 60 <= int(mapping["MaximumRecordAgeInSeconds"]) < 86_400
    bucket = "<Bucket>" if "Bucket" in resources else "lake-files"
    assert mapping["DestinationConfig"] == {"OnFailure": {"Destination": f"arn:aws:s3:::{bucket}"}}
    given = properties(resources, "Backfill")["Environment"]["Variables"]["TABLE_STREAM_ARN"]
    assert mapping["EventSourceArn"] == ("<Table.StreamArn>" if "Table" in resources else given)
    assert given in ("", STREAM, FOREIGN_STREAM)


@broken_by(removing("QueueMapping.Properties.FunctionResponseTypes"), removing("QueueMapping.Properties.ScalingConfig"))
def the_queue_mapping_names_each_failure_and_leaves_messages_for_topping_up(resources: Resources) -> None:
    mapping = properties(resources, "QueueMapping")
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert int(mapping["ScalingConfig"]["MaximumConcurrency"]) >= 2
    # Lambda refuses more than ten messages a delivery without a window.
    assert int(mapping["MaximumBatchingWindowInSeconds"]) >= 1
    assert mapping["EventSourceArn"] == "<BufferQueue.Arn>"


@broken_by(setting("BufferQueue.Properties.VisibilityTimeout", SIX_TIMES_ONLY))
def messages_stay_hidden_while_their_flusher_may_run(resources: Resources) -> None:
    visibility = properties(resources, "BufferQueue")["VisibilityTimeout"]
    window = int(properties(resources, "QueueMapping")["MaximumBatchingWindowInSeconds"])
    assert visibility >= 6 * int(properties(resources, "Flusher")["Timeout"]) + window


ROLES = {"StreamIngest": "StreamIngestRole", "Flusher": "FlusherRole", "Backfill": "BackfillRole"}
OF_THE_HEARTBEAT = {"Heartbeat": "HeartbeatRole", "HeartbeatIngest": "HeartbeatIngestRole"}


@broken_by(setting("Flusher.Properties.Role", {"Fn::GetAtt": ["StreamIngestRole", "Arn"]}))
def each_function_has_a_role_of_its_own(resources: Resources) -> None:
    functions = of_type(resources, "AWS::Lambda::Function")
    roles = ROLES | OF_THE_HEARTBEAT | {"Verify": "VerifyRole"} if "HeartbeatTable" in resources else ROLES
    assert {name: one["Role"] for name, one in functions.items()} == {n: f"<{r}.Arn>" for n, r in roles.items()}
    assert properties(resources, "BackfillMachine")["RoleArn"] == "<BackfillMachineRole.Arn>"
    for name, role in of_type(resources, "AWS::IAM::Role").items():
        service = "states" if name == "BackfillMachineRole" else "lambda"
        assert "ManagedPolicyArns" not in role
        assert role["AssumeRolePolicyDocument"]["Statement"] == [
            {"Effect": "Allow", "Principal": {"Service": f"{service}.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ]


RIGHTS = {
    "StreamIngestRole": {
        "dynamodb:DescribeStream": {"<stream>"},
        "dynamodb:GetRecords": {"<stream>"},
        "dynamodb:GetShardIterator": {"<stream>"},
        "dynamodb:ListStreams": {"<table>/stream/*"},
        "sqs:SendMessage": {"<BufferQueue.Arn>"},
        "s3:PutObject": {
            "<bucket>/_lakebound/flights/claims/*",
            "<bucket>/_lakebound/flights/quarantine/*",
            "<bucket>/aws/lambda/*",
        },
        "s3:ListBucket": {"<bucket>"},
        "logs:CreateLogStream": {"<StreamIngestLogs.Arn>"},
        "logs:PutLogEvents": {"<StreamIngestLogs.Arn>"},
    },
    "FlusherRole": {
        "sqs:ReceiveMessage": {"<BufferQueue.Arn>"},
        "sqs:DeleteMessage": {"<BufferQueue.Arn>"},
        "sqs:ChangeMessageVisibility": {"<BufferQueue.Arn>"},
        "sqs:GetQueueAttributes": {"<BufferQueue.Arn>"},
        "s3:PutObject": {"<bucket>/ddb/flights/*", "<bucket>/_lakebound/flights/heartbeat/*"},
        "s3:GetObject": {"<bucket>/_lakebound/flights/claims/*"},
        "s3:ListBucket": {"<bucket>"},
        "logs:CreateLogStream": {"<FlusherLogs.Arn>"},
        "logs:PutLogEvents": {"<FlusherLogs.Arn>"},
    },
    "BackfillRole": {
        "dynamodb:DescribeTable": {"<table>"},
        "dynamodb:DescribeContinuousBackups": {"<table>"},
        "dynamodb:Scan": {"<table>"},
        "dynamodb:BatchGetItem": {"<table>"},
        "dynamodb:ExportTableToPointInTime": {"<table>"},
        "dynamodb:DescribeExport": {"<table>/export/*"},
        "lambda:GetEventSourceMapping": {"arn:aws:lambda:us-east-1:123456789012:event-source-mapping:<StreamMapping>"},
        "sqs:GetQueueAttributes": {"<BufferQueue.Arn>", "<DeadLetterQueue.Arn>"},
        "cloudwatch:GetMetricData": {"*"},
        "lambda:GetAccountSettings": {"*"},
        "s3:PutObject": {
            "<bucket>/ddb/flights/*",
            "<bucket>/_lakebound/flights/manifests/*",
            "<bucket>/_lakebound/flights/quarantine/*",
            "<bucket>/_lakebound/flights/backfills/*",
            "<bucket>/_lakebound/flights/exports/*",
            "<bucket>/_lakebound/flights/gaps/*",
        },
        "s3:PutObjectAcl": {"<bucket>/_lakebound/flights/exports/*"},
        "s3:AbortMultipartUpload": {"<bucket>/_lakebound/flights/exports/*"},
        "s3:GetObject": {"<bucket>/ddb/flights/*", "<bucket>/_lakebound/flights/*"},
        "s3:ListBucket": {"<bucket>"},
        "logs:CreateLogStream": {"<BackfillLogs.Arn>"},
        "logs:PutLogEvents": {"<BackfillLogs.Arn>"},
    },
    "BackfillMachineRole": {
        "lambda:InvokeFunction": {"<Backfill.Arn>"},
        "states:StartExecution": {f"{STATES}:stateMachine:{MACHINE}"},
        "states:DescribeExecution": {f"{STATES}:execution:{MACHINE}/*"},
        "states:StopExecution": {f"{STATES}:execution:{MACHINE}/*"},
        "states:RedriveExecution": {f"{STATES}:execution:{MACHINE}/*"},
    },
    "VerifyRole": {
        "dynamodb:DescribeTable": {"<table>"},
        "dynamodb:Scan": {"<table>"},
        "dynamodb:BatchGetItem": {"<table>"},
        "sqs:GetQueueAttributes": {"<BufferQueue.Arn>"},
        "s3:GetObject": {"arn:aws:s3:::lake/silver/flights/*", "arn:aws:s3:::lake/silver/flights_changes/*"},
        "s3:ListBucket": {"arn:aws:s3:::lake"},
        "logs:CreateLogStream": {"<VerifyLogs.Arn>"},
        "logs:PutLogEvents": {"<VerifyLogs.Arn>"},
    },
    "HeartbeatRole": {
        "dynamodb:PutItem": {"<HeartbeatTable.Arn>"},
        "dynamodb:DeleteItem": {"<HeartbeatTable.Arn>"},
        "logs:CreateLogStream": {"<HeartbeatLogs.Arn>"},
        "logs:PutLogEvents": {"<HeartbeatLogs.Arn>"},
    },
    "HeartbeatIngestRole": {
        "dynamodb:DescribeStream": {"<HeartbeatTable.StreamArn>"},
        "dynamodb:GetRecords": {"<HeartbeatTable.StreamArn>"},
        "dynamodb:GetShardIterator": {"<HeartbeatTable.StreamArn>"},
        "dynamodb:ListStreams": {"<HeartbeatTable.Arn>/stream/*"},
        "sqs:SendMessage": {"<BufferQueue.Arn>"},
        "logs:CreateLogStream": {"<HeartbeatIngestLogs.Arn>"},
        "logs:PutLogEvents": {"<HeartbeatIngestLogs.Arn>"},
    },
}


@broken_by(
    setting(f"FlusherRole.{POLICY}.1.Action", "s3:*"),
    setting(f"StreamIngestRole.{POLICY}.2.Resource", "*"),
    removing(f"StreamIngestRole.{POLICY}.4"),
    setting(f"BackfillRole.{POLICY}.0.Resource", TABLE),
    setting(f"HeartbeatRole.{POLICY}.0.Action", "dynamodb:*"),
    setting(f"VerifyRole.{POLICY}.2.Resource", {"Fn::Sub": "arn:${AWS::Partition}:s3:::lake/*"}),
)
def roles_have_exactly_these_rights(resources: Resources) -> None:
    bucket = "arn:aws:s3:::" + ("<Bucket>" if "Bucket" in resources else "lake-files")
    stream = properties(resources, "StreamMapping")["EventSourceArn"]
    # Of another account's table the roles may read that table, and none of this account's that bears its name.
    table = TABLE if "Table" in resources else stream.partition("/stream/")[0]
    there = of_type(resources, "AWS::IAM::Role")
    assert there.keys() <= RIGHTS.keys()
    for role in there:
        wanted = RIGHTS[role]
        found: dict[str, set[str]] = {}
        for statement in statements(resources, role):
            assert statement["Effect"] == "Allow"
            for action in listed(statement["Action"]):
                if not action.startswith("kms:"):
                    found.setdefault(action, set()).update(listed(statement["Resource"]))
        assert found == {
            action: {
                name.replace("<bucket>", bucket).replace("<stream>", stream).replace("<table>", table) for name in names
            }
            for action, names in wanted.items()
        }


@broken_by(removing(f"FlusherRole.{POLICY}.5"))
def roles_may_use_no_key_but_the_given_one(resources: Resources) -> None:
    encrypted = any("KmsMasterKeyId" in queue for queue in of_type(resources, "AWS::SQS::Queue").values())
    for role in of_type(resources, "AWS::IAM::Role").keys() - {"BackfillMachineRole", "HeartbeatRole", "VerifyRole"}:
        keys = [one for one in statements(resources, role) if any(a.startswith("kms:") for a in listed(one["Action"]))]
        assert all(one["Resource"] == KEY for one in keys)
        assert not encrypted or {"kms:Decrypt", "kms:GenerateDataKey"} <= set(listed(keys[0]["Action"]))


@broken_by(
    removing("DeadLetterQueue.Properties.KmsMasterKeyId"),
    removing("BackfillLogs.Properties.KmsKeyId"),
    removing("Table.Properties.SSESpecification.KMSMasterKeyId"),
    removing(f"{ENCRYPTION}.KMSMasterKeyID"),
    setting("Backfill.Properties.Environment.Variables.EXPORT_KMS_KEY", ""),
    setting("StreamMapping.Properties.DestinationConfig.OnFailure.Destination", "arn:aws:s3:::another"),
)
def a_customer_key_is_on_all_that_the_stack_creates(resources: Resources) -> None:
    """Table, bucket (what Lambda gives up on goes there too), queues, logs, and what DynamoDB exports."""
    places: dict[str, Any] = {
        f"queue {name}": queue.get("KmsMasterKeyId") for name, queue in of_type(resources, "AWS::SQS::Queue").items()
    }
    groups = of_type(resources, "AWS::Logs::LogGroup")
    places |= {f"logs {name}": group.get("KmsKeyId") for name, group in groups.items()}
    for name, bucket in of_type(resources, "AWS::S3::Bucket").items():
        (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        places[f"bucket {name}"] = rule["ServerSideEncryptionByDefault"].get("KMSMasterKeyID")
    for name, table in of_type(resources, "AWS::DynamoDB::Table").items():
        places[f"table {name}"] = table["SSESpecification"].get("KMSMasterKeyId")
    places["exports"] = properties(resources, "Backfill")["Environment"]["Variables"]["EXPORT_KMS_KEY"] or None
    assert len(set(places.values())) == 1, places
    if None not in places.values():
        assert all("SqsManagedSseEnabled" not in queue for queue in of_type(resources, "AWS::SQS::Queue").values())
        # Lambda writes failure objects with the role of the function, into the bucket whose default the key is.
        destination = properties(resources, "StreamMapping")["DestinationConfig"]["OnFailure"]["Destination"]
        assert not of_type(resources, "AWS::S3::Bucket") or destination == "arn:aws:s3:::<Bucket>"


@broken_by(
    removing(f"FlusherRole.{POLICY}.3"),
    setting(f"FlusherRole.{POLICY}.3.Condition", {"StringLike": {"s3:prefix": "_lakebound/flights/claims/*"}}),
    setting(f"BackfillRole.{POLICY}.10.Action", "s3:ListBucketVersions"),
)
def who_gets_objects_is_told_which_are_missing(resources: Resources) -> None:
    """S3 answers 404 for a missing key only to who may list the bucket, and 403 to others, as in an outage."""
    for role in ROLES.values():
        rights: dict[str, list[dict[str, Any]]] = {}
        for statement in statements(resources, role):
            for action in listed(statement["Action"]):
                rights.setdefault(action, []).append(statement)
        assert {name.split("/")[0] for one in rights.get("s3:GetObject", []) for name in listed(one["Resource"])} <= {
            name
            for one in rights.get("s3:ListBucket", [])
            # A condition on s3:prefix would take the right away: a GetObject has no prefix.
            if set(one["Condition"]) == {"StringEquals"} and set(one["Condition"]["StringEquals"]) == {RESOURCE_ACCOUNT}
            for name in listed(one["Resource"])
        }, role


RESOURCE_ACCOUNT = "s3:ResourceAccount"


@broken_by(
    setting("HeartbeatSchedule.Properties.ScheduleExpression", "rate(5 minutes)"),
    removing("HeartbeatPermission.Properties.SourceArn"),
    setting("HeartbeatMapping.Properties.FunctionName", {"Ref": "StreamIngest"}),
    setting("HeartbeatIngest.Properties.Environment.Variables.TABLE_NAME", {"Ref": "TableName"}),
    setting("HeartbeatIngest.Properties.Environment.Variables.POWERTOOLS_METRICS_DISABLED", "false"),
    setting("Heartbeat.Properties.Environment.Variables.HEARTBEAT_TABLE", {"Ref": "TableName"}),
    setting("Flusher.Properties.Environment.Variables.HEARTBEAT_TABLE", ""),
    setting("HeartbeatTable.Properties.TableName", {"Ref": "TableName"}),
)
def a_heartbeat_goes_its_own_way_into_the_buffer_and_is_no_data(resources: Resources) -> None:
    """Its stream's reader is another function than the source's, whose metrics prove what was delivered of that."""
    table = properties(resources, "Flusher")["Environment"]["Variables"]["HEARTBEAT_TABLE"]
    # Also where there is none any more: its last messages may be on their way.
    assert table.startswith("lakebound-heartbeat-")
    names = {name for name in resources if name.startswith("Heartbeat")}
    if not names:
        return
    assert properties(resources, "HeartbeatTable")["TableName"] == table
    assert properties(resources, "Heartbeat")["Environment"]["Variables"]["HEARTBEAT_TABLE"] == table
    ingest = properties(resources, "HeartbeatIngest")
    variables = ingest["Environment"]["Variables"]
    assert (variables["TABLE_NAME"], variables["QUEUE_URL"]) == (table, "<BufferQueue>")
    assert variables["POWERTOOLS_METRICS_DISABLED"] == "true"
    # Where `status` looks for its files.
    wanted = properties(resources, "StreamIngest")["Environment"]["Variables"]
    assert all(variables[name] == wanted[name] for name in ("PARTITION_TEMPLATE", "FILE_FORMAT", "MESSAGE_BYTES"))
    mapping = properties(resources, "HeartbeatMapping")
    assert (mapping["FunctionName"], mapping["EventSourceArn"]) == ("<HeartbeatIngest>", "<HeartbeatTable.StreamArn>")
    assert properties(resources, "StreamMapping")["FunctionName"] == "<StreamIngest>"
    rule = properties(resources, "HeartbeatSchedule")
    assert (rule["ScheduleExpression"], rule["Targets"][0]["Arn"]) == ("rate(10 minutes)", "<Heartbeat.Arn>")
    permission = properties(resources, "HeartbeatPermission")
    assert (permission["FunctionName"], permission["SourceArn"]) == ("<Heartbeat>", "<HeartbeatSchedule.Arn>")
    assert permission["Principal"] == "events.amazonaws.com"
    HeartbeatSettings.read({name: str(value) for name, value in variables.items()} | {"HEARTBEAT_TABLE": table})
    IngestSettings.read({name: str(value) for name, value in variables.items()})


@broken_by(
    setting("Verify.Properties.Layers", [{"Ref": "LakeboundLayer"}]),
    setting("Verify.Properties.Timeout", 300),
    setting("VerifySchedule.Properties.ScheduleExpression", "rate(7 days)"),
    removing("VerifyPermission.Properties.SourceArn"),
)
def a_night_compares_a_share_within_one_invocation(resources: Resources) -> None:
    if "Verify" not in resources:
        return
    function = properties(resources, "Verify")
    assert {"<DeltaLayer" in layer for layer in function["Layers"]} == {True, False}, "ours, and what reads Delta"
    # The first look needs time before what is kept back for keys that change, and the disk holds a share of both sides.
    assert int(function["Timeout"]) >= RESERVE_SECONDS + 9 * 60
    assert int(function["EphemeralStorage"]["Size"]) >= 2 * 75 * 10_000_000 / 1024**2
    # VerifyMissing waits for 26 hours.
    assert properties(resources, "VerifySchedule")["ScheduleExpression"] == "cron(0 5 * * ? *)"
    permission = properties(resources, "VerifyPermission")
    assert (permission["FunctionName"], permission["SourceArn"]) == ("<Verify>", "<VerifySchedule.Arn>")
    variables = {name: str(value) for name, value in function["Environment"]["Variables"].items()}
    settings = VerifySettings.read(variables)
    assert (settings.target, parse_share(settings.share)) == ("s3://lake/silver/flights", 30)


@broken_by(removing(f"FlusherRole.{POLICY}.1.Condition.Null"))
def our_objects_are_never_replaced(resources: Resources) -> None:
    """G4 once more, outside the code: without If-None-Match the role may not write where our objects are."""
    puts = [
        one for role in ROLES.values() for one in statements(resources, role) if "s3:PutObject" in listed(one["Action"])
    ]
    assert len(puts) == 5
    # Lambda's failure objects; checkpoints and gaps, which change (with If-Match); what DynamoDB itself exports.
    not_ours = ("/aws/lambda/*", *(f"/_lakebound/flights/{name}/*" for name in ("backfills", "exports", "gaps")))
    for put in puts:
        assert put["Condition"]["StringEquals"] == {"s3:ResourceAccount": "123456789012"}
        exempt = all(name.endswith(not_ours) for name in listed(put["Resource"]))
        assert exempt or put["Condition"]["Null"] == {"s3:if-none-match": "false"}


@broken_by(
    setting("LookSchedule.Properties.ScheduleExpression", "rate(1 hour)"),
    setting("LookSchedule.Properties.Targets.0.Input", "{}"),
    removing("LookPermission.Properties.SourceArn"),
)
def the_stream_is_looked_at_every_five_minutes_by_nobody_else(resources: Resources) -> None:
    rule = properties(resources, "LookSchedule")
    assert rule["ScheduleExpression"] == "rate(5 minutes)"
    assert rule.get("State", "ENABLED") == "ENABLED"
    (target,) = rule["Targets"]
    assert (target["Arn"], json.loads(target["Input"])) == ("<Backfill.Arn>", {"action": "look"})
    permission = properties(resources, "LookPermission")
    assert (permission["Action"], permission["FunctionName"]) == ("lambda:InvokeFunction", "<Backfill>")
    assert permission["Principal"] == "events.amazonaws.com"
    assert permission["SourceArn"] == "<LookSchedule.Arn>"


@broken_by(removing("FlusherLogs.Properties.RetentionInDays"))
def logs_are_kept_for_a_stated_time(resources: Resources) -> None:
    for function in of_type(resources, "AWS::Lambda::Function").values():
        group = resources[function["LoggingConfig"]["LogGroup"].strip("<>")]
        assert group["Type"] == "AWS::Logs::LogGroup"
        assert int(group["Properties"]["RetentionInDays"]) > 0


@broken_by(
    removing("StreamIngest.Properties.Environment.Variables.MESSAGE_BYTES"),
    setting("Flusher.Properties.Environment.Variables.S3_PREFIX", ""),
)
def functions_get_every_setting_they_read(resources: Resources) -> None:
    names = {"stream_ingest": "StreamIngest", "flusher": "Flusher", "backfill": "Backfill"}
    if "Heartbeat" in resources:
        names |= {"heartbeat": "Heartbeat", "verify": "Verify"}
    for name, logical in names.items():
        variables = properties(resources, logical)["Environment"]["Variables"]
        ours = {key for key in variables if not key.startswith("POWERTOOLS_")}
        common = {"TABLE_NAME", "S3_BUCKET", "S3_PREFIX", "QUEUE_URL", "FILE_FORMAT"}
        assert ours == common | {setting.name for setting in SETTINGS if name in setting.functions}
        assert variables["POWERTOOLS_SERVICE_NAME"] == name
        assert variables["POWERTOOLS_METRICS_NAMESPACE"] == "Lakebound"
        assert variables["S3_PREFIX"] == "ddb/flights"


@broken_by(
    setting("Backfill.Properties.Environment.Variables.TABLE_STREAM_ARN", ""),
    setting("StreamIngest.Properties.Environment.Variables.STACK_HOME", "aws:eu-west-1:123456789012"),
)
def functions_know_whose_table_it_is(resources: Resources) -> None:
    """Both functions decide at start; the mapping reads the stream that they are told of."""
    stream = properties(resources, "StreamMapping")["EventSourceArn"]
    for name in ("StreamIngest", "Backfill"):
        variables = properties(resources, name)["Environment"]["Variables"]
        assert variables["TABLE_STREAM_ARN"] == ("" if "Table" in resources else stream)
        assert variables["STACK_HOME"] == "aws:us-east-1:123456789012"


named = pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.holds.__name__)


@named
@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_the_template_keeps_its_promise(promise: Promise, deployment: str) -> None:
    promise.holds(render(translated(), DEPLOYMENTS[deployment])["Resources"])


@named
def test_each_edit_breaks_the_promise_in_some_deployment(promise: Promise) -> None:
    for edit in promise.broken_by:
        template = copy.deepcopy(translated())
        edit(template)
        assert any(_is_broken(promise, template, given) for given in DEPLOYMENTS.values())


def _is_broken(promise: Promise, template: dict[str, Any], given: dict[str, str]) -> bool:
    try:
        promise.holds(render(template, given)["Resources"])
    except (AssertionError, KeyError, IndexError):
        return True
    return False


def test_every_visibility_timeout_fits_every_timeout_and_window() -> None:
    template = translated()
    window = template["Parameters"]["QueueWindowSeconds"]["MaxValue"]
    choices = template["Mappings"]["VisibilityTimeout"]
    assert sorted(choices) == sorted(template["Parameters"]["FlusherTimeout"]["AllowedValues"])
    for timeout, found in choices.items():
        assert 6 * int(timeout) + window <= found["Seconds"] <= 43_200


@pytest.mark.parametrize(
    "setting", [one for one in SETTINGS if one.default is not None and not one.wired], ids=lambda one: one.name
)
def test_a_parameter_offers_what_the_setting_takes(setting: Any) -> None:
    parameter = translated()["Parameters"]["".join(part.capitalize() for part in setting.name.split("_"))]
    assert str(parameter["Default"]) == setting.default
    if setting.choices:
        assert tuple(parameter["AllowedValues"]) == setting.choices
    assert parameter.get("MinValue") == setting.least
    assert parameter.get("MaxValue") == setting.most


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"TableName": "flights"}, "Give TableStreamArn for an existing table, or PartitionKeyName for a new one."),
        ({**NEW, "TableStreamArn": STREAM}, "leave PartitionKeyName and SortKeyName empty"),
        ({**NEW, "TableKmsKeyArn": KEY}, "TableKmsKeyArn is the key of an existing table"),
        (
            {**NEW, "VerifyTarget": "s3://lake/cars", "Runtime": "python3.11"},
            "VerifyTarget needs the Runtime python3.12",
        ),
    ],
)
def test_contradicting_parameters_are_refused(given: dict[str, str], complaint: str) -> None:
    broken = broken_rules(translated(), given)
    assert len(broken) == 1
    assert complaint in broken[0]


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_sensible_parameters_break_no_rule(deployment: str) -> None:
    assert broken_rules(translated(), DEPLOYMENTS[deployment]) == []


def test_every_parameter_is_described_and_bounded() -> None:
    for name, parameter in translated()["Parameters"].items():
        assert parameter["Description"], name
        if parameter["Type"] == "Number":
            assert "AllowedValues" in parameter or "MinValue" in parameter, name
        else:
            assert {"AllowedValues", "AllowedPattern", "MaxLength"} & set(parameter), name


def test_what_the_template_renders_for_another_accounts_table_is_what_the_functions_decide() -> None:
    variables = properties(render(translated(), DEPLOYMENTS["another account's table"])["Resources"], "Backfill")[
        "Environment"
    ]["Variables"]
    settings = BackfillSettings.read({name: str(value) for name, value in variables.items()})
    assert settings.source == Source("flights", FOREIGN_TABLE, is_foreign=True)
    assert (settings.table, settings.prefix) == ("flights", "ddb/flights")


def test_no_name_of_a_table_or_bucket_is_a_default() -> None:
    parameters = translated()["Parameters"]
    assert "Default" not in parameters["TableName"]
    assert parameters["S3Bucket"]["Default"] == ""


def test_an_existing_table_and_bucket_are_used_and_not_created() -> None:
    rendered = render(translated(), DEPLOYMENTS["existing table and bucket"])
    assert not {"Table", "Bucket", "BucketPolicy"} & set(rendered["Resources"])
    outputs = {name: output["Value"] for name, output in rendered["Outputs"].items()}
    assert (outputs["TableStreamArn"], outputs["BucketName"]) == (STREAM, "lake-files")
    assert outputs["MergeSource"] == "s3://lake-files/ddb/flights"


def test_a_new_table_has_the_keys_that_were_asked_for() -> None:
    table = properties(render(translated(), DEPLOYMENTS["new with a sort key"])["Resources"], "Table")
    assert table["KeySchema"] == [
        {"AttributeName": "flight_id", "KeyType": "HASH"},
        {"AttributeName": "day", "KeyType": "RANGE"},
    ]
    assert table["AttributeDefinitions"] == [
        {"AttributeName": "flight_id", "AttributeType": "S"},
        {"AttributeName": "day", "AttributeType": "N"},
    ]
    without = properties(render(translated(), NEW)["Resources"], "Table")
    assert [key["KeyType"] for key in without["KeySchema"]] == ["HASH"]
