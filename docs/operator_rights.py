"""What who operates a stack may do: the policy of docs/RIGHTS.md. tests/roles runs every verb under it.

Statements that begin with Look are all that the verbs need which change nothing; those with Act are for the others.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

_TABLE: Final = "arn:aws:dynamodb:${Region}:${Account}:table/${TableName}"
_BUCKET: Final = "arn:aws:s3:::${BucketName}"
_ASIDE: Final = f"{_BUCKET}/_lakebound/${{TableName}}"
_BUFFER: Final = "arn:aws:sqs:${Region}:${Account}:${BufferQueue}"
_DEAD: Final = "arn:aws:sqs:${Region}:${Account}:${DeadLetterQueue}"
_MACHINE: Final = "arn:aws:states:${Region}:${Account}:stateMachine:${BackfillMachine}"
_EXECUTIONS: Final = "arn:aws:states:${Region}:${Account}:execution:${BackfillMachine}:*"
_LAMBDA: Final = "arn:aws:lambda:${Region}:${Account}"
_STREAM_MAPPING: Final = f"{_LAMBDA}:event-source-mapping:${{StreamMappingId}}"


@dataclass(frozen=True, slots=True)
class Allowed:
    """One statement of the policy, and what for."""

    sid: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    why: str
    verbs: tuple[str, ...]
    """The verbs that are denied something without it; an option stands where only it asks for that."""
    condition: dict[str, dict[str, str]] = field(default_factory=dict)

    def statement(self) -> dict[str, Any]:
        """As it stands in the policy."""
        told: dict[str, Any] = {
            "Sid": self.sid,
            "Effect": "Allow",
            "Action": list(self.actions),
            "Resource": list(self.resources),
        }
        return told | ({"Condition": self.condition} if self.condition else {})


OPERATOR: Final = (
    Allowed(
        "LookStack",
        (
            "cloudformation:DescribeStacks",
            "cloudformation:ListStackResources",
            "cloudformation:DescribeStackResourceDrifts",
        ),
        ("arn:aws:cloudformation:${Region}:${Account}:stack/${StackName}/*",),
        "the stack's outputs, alarms and drift",
        (
            "doctor",
            "doctor --all",
            "status",
            "status --all",
            "verify",
            "verify --publish",
            "trace",
            "cost",
            "cost --all",
            "report",
            "backfill estimate",
            "backfill list",
            "backfill watch",
            "dlq list",
            "dlq show",
            "doctor --smoke",
            "status --publish",
            "verify --repair",
            "replay",
            "backfill start",
            "dlq redrive",
            "dlq discard",
            "backfill close",
            "smoke",
        ),
    ),
    Allowed(
        "LookFleet",
        ("tag:GetResources",),
        ("*",),
        "which stacks there are; it cannot be limited to a resource",
        ("doctor --all", "status --all", "cost --all"),
    ),
    Allowed(
        "LookAccount",
        (
            "cloudwatch:DescribeAlarms",
            "cloudwatch:GetMetricData",
            "cloudwatch:GetMetricStatistics",
            "lambda:GetAccountSettings",
            "lambda:ListEventSourceMappings",
            "logs:DescribeLogGroups",
        ),
        ("*",),
        "metrics, alarms, concurrency, the stream's other readers, the logs' keys; none can be limited to a resource",
        (
            "init",
            "doctor",
            "doctor --all",
            "status",
            "status --all",
            "cost",
            "cost --all",
            "report",
            "doctor --smoke",
            "status --publish",
            "smoke",
        ),
    ),
    Allowed(
        "LookFunctions",
        ("lambda:GetFunctionConfiguration", "lambda:ListTags"),
        (f"{_LAMBDA}:function:${{StackName}}-*",),
        "state, settings and tags of the functions",
        (
            "doctor",
            "doctor --all",
            "status",
            "status --all",
            "verify",
            "verify --publish",
            "cost",
            "cost --all",
            "report",
            "doctor --smoke",
            "status --publish",
            "verify --repair",
            "dlq redrive",
            "dlq discard",
            "smoke",
        ),
    ),
    Allowed(
        "LookMappings",
        ("lambda:GetEventSourceMapping",),
        (_STREAM_MAPPING, f"{_LAMBDA}:event-source-mapping:${{QueueMappingId}}"),
        "state of the two mappings",
        ("doctor", "doctor --all", "status", "status --all", "report", "doctor --smoke", "status --publish", "smoke"),
    ),
    Allowed(
        "LookQueues",
        ("sqs:GetQueueAttributes",),
        (_BUFFER, _DEAD),
        "how many messages wait",
        (
            "doctor",
            "doctor --all",
            "status",
            "status --all",
            "verify",
            "verify --publish",
            "report",
            "dlq list",
            "doctor --smoke",
            "status --publish",
            "verify --repair",
            "dlq redrive",
            "backfill close",
            "smoke",
        ),
    ),
    Allowed(
        "LookDeadLetters",
        ("sqs:ReceiveMessage", "sqs:ChangeMessageVisibility"),
        (_DEAD,),
        "reading dead letters, which are given back at once",
        ("dlq list", "dlq redrive", "dlq discard"),
    ),
    Allowed(
        "LookTable",
        ("dynamodb:DescribeTable", "dynamodb:DescribeContinuousBackups", "dynamodb:DescribeTimeToLive"),
        (_TABLE,),
        "key, stream, size, recovery and time to live of the table",
        (
            "init",
            "doctor",
            "doctor --all",
            "status",
            "status --all",
            "verify",
            "verify --publish",
            "cost",
            "report",
            "backfill estimate",
            "config infer",
            "doctor --smoke",
            "status --publish",
            "verify --repair",
            "dlq redrive",
            "dlq discard",
            "smoke",
        ),
    ),
    Allowed(
        "LookItems",
        ("dynamodb:Scan", "dynamodb:BatchGetItem"),
        (_TABLE,),
        "the table's items",
        ("verify", "verify --publish", "config infer", "verify --repair"),
    ),
    Allowed(
        "LookBucket",
        ("s3:ListBucket",),
        (_BUCKET,),
        "what lies in the bucket, and 404 for what does not",
        (
            "doctor",
            "doctor --all",
            "status",
            "status --all",
            "trace",
            "report",
            "files mirror",
            "files check",
            "files flatten",
            "backfill watch",
            "config infer",
            "dlq list",
            "doctor --smoke",
            "status --publish",
            "replay",
            "dlq redrive",
            "dlq discard",
            "backfill close",
            "smoke",
        ),
    ),
    Allowed(
        "LookFiles",
        ("s3:GetObject",),
        (f"{_BUCKET}/${{DataPrefix}}/*", f"{_ASIDE}/*", f"{_BUCKET}/aws/lambda/${{StreamMappingId}}/*"),
        "batch files, gaps, manifests, quarantine, failure objects",
        (
            "status",
            "status --all",
            "trace",
            "report",
            "files mirror",
            "files check",
            "files flatten",
            "backfill watch",
            "config infer",
            "dlq list",
            "dlq show",
            "doctor --smoke",
            "status --publish",
            "replay",
            "dlq redrive",
            "dlq discard",
            "backfill close",
            "smoke",
        ),
    ),
    Allowed(
        "LookRuns",
        ("states:DescribeExecution", "states:GetExecutionHistory"),
        (_EXECUTIONS,),
        "how a backfill stands",
        ("backfill list", "backfill watch", "smoke"),
    ),
    Allowed("LookMachine", ("states:ListExecutions",), (_MACHINE,), "which backfills there are", ("backfill list",)),
    Allowed(
        "LookKey",
        ("kms:Decrypt", "kms:DescribeKey"),
        ("${KmsKeyArn}",),
        "only with KmsKeyArn: reading what it encrypts",
        (
            "doctor",
            "doctor --all",
            "status",
            "status --all",
            "verify",
            "verify --publish",
            "trace",
            "report",
            "files mirror",
            "files check",
            "files flatten",
            "backfill watch",
            "config infer",
            "dlq list",
            "dlq show",
            "doctor --smoke",
            "status --publish",
            "verify --repair",
            "replay",
            "dlq redrive",
            "dlq discard",
            "backfill close",
            "smoke",
        ),
    ),
    Allowed(
        "LookTableKey",
        ("kms:Decrypt",),
        ("${TableKmsKeyArn}",),
        "only with TableKmsKeyArn: the items of a table that it encrypts",
        ("verify", "verify --publish", "config infer", "verify --repair", "doctor --smoke", "smoke"),
    ),
    Allowed(
        "LookHashKey",
        ("secretsmanager:GetSecretValue", "ssm:GetParameter"),
        ("${HashKeyArn}",),
        "only with HashAttributes: what is compared or carried is hashed as the functions hash it",
        ("verify", "verify --publish", "doctor --smoke", "verify --repair", "dlq redrive", "dlq discard", "smoke"),
    ),
    Allowed(
        "ActOnFiles",
        ("s3:PutObject",),
        (
            f"{_BUCKET}/${{DataPrefix}}/*",
            *(f"{_ASIDE}/{name}/*" for name in ("claims", "discarded", "gaps", "quarantine", "redriven", "replays")),
        ),
        "files of a repair or a replay, notes of what was redriven or discarded, closing a gap",
        ("verify --repair", "replay", "dlq redrive", "dlq discard", "backfill close"),
    ),
    Allowed("ActOnBuffer", ("sqs:SendMessage",), (_BUFFER,), "records on their way again", ("dlq redrive",)),
    Allowed(
        "ActOnDeadLetters",
        ("sqs:DeleteMessage", "sqs:StartMessageMoveTask", "sqs:ListMessageMoveTasks"),
        (_DEAD,),
        "moving dead letters, or putting them aside",
        ("dlq redrive", "dlq discard"),
    ),
    Allowed(
        "ActOnMachine", ("states:StartExecution",), (_MACHINE,), "starting a backfill", ("backfill start", "smoke")
    ),
    Allowed(
        "ActOnRuns",
        ("states:StopExecution", "states:RedriveExecution"),
        (_EXECUTIONS,),
        "stopping and redriving a backfill",
        ("smoke",),
    ),
    Allowed(
        "ActOnTable",
        ("dynamodb:PutItem", "dynamodb:DeleteItem"),
        (_TABLE,),
        "one test item, which is removed",
        ("doctor --smoke", "smoke"),
    ),
    Allowed(
        "ActOnIngest",
        ("lambda:UpdateFunctionConfiguration",),
        (f"{_LAMBDA}:function:${{StreamIngestName}}",),
        "a delivery that fails on purpose, for a minute",
        ("smoke",),
    ),
    Allowed(
        "ActOnMapping",
        ("lambda:UpdateEventSourceMapping",),
        (_STREAM_MAPPING,),
        "that delivery is not repeated",
        ("smoke",),
    ),
    Allowed(
        "ActOnMetrics",
        ("cloudwatch:PutMetricData",),
        ("*",),
        "the metrics Gap and Unequal",
        ("status --publish", "verify --publish", "backfill close"),
        {"StringEquals": {"cloudwatch:namespace": "Lakebound"}},
    ),
    Allowed(
        "ActOnKey",
        ("kms:GenerateDataKey",),
        ("${KmsKeyArn}",),
        "only with KmsKeyArn: writing under it",
        ("verify --repair", "replay", "dlq redrive", "dlq discard", "backfill close"),
    ),
)


def policy() -> str:
    """The policy document, a fenced block."""
    document = {"Version": "2012-10-17", "Statement": [one.statement() for one in OPERATOR]}
    return f"```json\n{json.dumps(document, indent=1)}\n```"


def table() -> str:
    """What each statement is for, and the verbs that need it."""
    rows = [f"| `{one.sid}` | {one.why} | {', '.join(f'`{verb}`' for verb in one.verbs)} |" for one in OPERATOR]
    return "\n".join(["| statement | what for | verbs |", "|---|---|---|", *rows])
