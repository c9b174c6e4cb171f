"""The stack that a verb is about, with its store, its queues and its pipeline, all made from its name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from lakebound.adapters.aws_calls import call
from lakebound.adapters.bootstrap import ingest_rules
from lakebound.adapters.clock import SystemClock
from lakebound.adapters.s3 import S3Store
from lakebound.adapters.samconfig import configured_stack
from lakebound.adapters.sqs import SqsQueue
from lakebound.adapters.stack import Stack, describe_stack, function_environment
from lakebound.cli.output import aws_client
from lakebound.errors import LakeboundError, Misconfigured
from lakebound.operate.redrive import IngestPipeline
from lakebound.record.stream_records import StreamDecoder
from lakebound.record.table_identity import Home, Refused, Source, TableArn, decide, is_table_name, named
from lakebound.settings import IngestSettings

SAMCONFIG: Final = Path("samconfig.toml")

StackName = Annotated[
    str,
    typer.Option(
        "--stack",
        envvar="LAKEBOUND_STACK",
        help="Name of the stack; without it, the one that samconfig.toml of this folder deploys.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and change nothing.")]


def clients(service: str) -> Any:
    """A client of the service. A function of its own, so that tests can replace it."""
    return aws_client(service)


def find_stack(name: str) -> Stack:
    """The stack of that name, or the one of this folder's samconfig.toml. Raises Misconfigured."""
    stack = name or configured_stack(SAMCONFIG)
    client = aws_client("cloudformation")
    if not stack:
        raise Misconfigured(
            f"No stack is named, and {SAMCONFIG} names none", hint="Give --stack NAME, or set LAKEBOUND_STACK"
        )
    return describe_stack(client, stack)


def table_named(text: str) -> Source:
    """The table that somebody names by its name or its ARN, as it is asked for from here. Raises Misconfigured.

    Whose an ARN is, is found out from the credentials (sts:GetCallerIdentity, which needs no right).
    """
    decision = named(text, None if is_table_name(text) else home_of_caller())
    if isinstance(decision, Refused):
        raise decision.error()
    return decision


def followed_table(text: str, stream: str) -> Source | Refused:
    """The table that somebody names by its name or its ARN, with the ARN of its stream or ""."""
    arn, followed = TableArn.parse(text), TableArn.of_stream(stream)
    home = home_of_caller() if arn or stream else None
    if arn and followed and followed != arn:
        return Refused(f"The stream is of {followed}, and --table is {arn}", "Give the stream of that very table")
    return decide(arn.table if arn else text, stream, home) if stream else named(text, home)


def home_of_caller() -> Home | None:
    """Account of the credentials and region of the clients; None where STS does not say. Raises Misconfigured."""
    parts = _caller().split(":")
    return Home.parse(f"{parts[1]}:{clients('dynamodb').meta.region_name}:{parts[4]}") if len(parts) > 5 else None


def callers() -> list[str]:
    """The role or user of the credentials, as patterns for a policy: a session does not tell its role's path."""
    parts = _caller().split(":")
    if len(parts) <= 5 or parts[5] == "root":
        return []
    begin, name = ":".join((*parts[:2], "iam", *parts[3:5])), parts[5]
    if name.startswith("assumed-role/"):
        role = name.split("/")[1]
        return [f"{begin}:role/{role}", f"{begin}:role/*/{role}"]
    return [f"{begin}:{name}"]


def _caller() -> str:
    try:
        return str(call(clients("sts"), "get_caller_identity", "caller").get("Arn", ""))
    except LakeboundError:
        return ""


def store_of(stack: Stack) -> S3Store:
    """The stack's bucket."""
    return S3Store(stack.bucket, aws_client("s3"))


def buffer_of(stack: Stack) -> SqsQueue:
    """The buffer queue."""
    return SqsQueue(stack.output("BufferQueueUrl"), aws_client("sqs"))


def dead_letters_of(stack: Stack) -> SqsQueue:
    """The dead-letter queue."""
    return SqsQueue(stack.output("DeadLetterQueueUrl"), aws_client("sqs"))


def ingest_pipeline(stack: Stack) -> IngestPipeline:
    """The pipeline from `stream_ingest` on, with the settings of the deployed function. Raises Misconfigured."""
    settings = IngestSettings.read(function_environment(aws_client("lambda"), stack.output("StreamIngestName")))
    rules = ingest_rules(settings, clients)
    return IngestPipeline(rules, StreamDecoder(settings.table), buffer_of(stack), store_of(stack), SystemClock())
