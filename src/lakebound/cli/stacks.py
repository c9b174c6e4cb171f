"""The stack that a verb is about, and what stands on its roads, made from its name."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from lakebound.adapters.clock import SystemClock
from lakebound.adapters.s3 import S3Store
from lakebound.adapters.secrets import AwsSecrets, key_attributes, redaction_at_start
from lakebound.adapters.sqs import SqsQueue
from lakebound.adapters.stack import Stack, describe_stack, function_environment
from lakebound.cli.telling import aws_client
from lakebound.errors import Misconfigured
from lakebound.events import StreamDecoder
from lakebound.ingest import IngestRules
from lakebound.layout import partitioner
from lakebound.redrive import Road
from lakebound.settings import IngestSettings

StackName = Annotated[
    str,
    typer.Option(
        "--stack",
        envvar="LAKEBOUND_STACK",
        help="Name of the stack; without it, the one that samconfig.toml of this folder deploys.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Tell what would be done, and do nothing.")]


def clients(service: str) -> Any:
    """The clients that an Observer looks through."""
    return aws_client(service)


def find_stack(name: str) -> Stack:
    """The stack of that name, or the one of this folder's samconfig.toml. Raises Misconfigured."""
    return describe_stack(aws_client("cloudformation"), name or configured_name(Path("samconfig.toml")))


def configured_name(path: Path) -> str:
    """The stack's name that `sam deploy` keeps. Raises Misconfigured."""
    try:
        parameters = tomllib.loads(path.read_text())["default"]["deploy"]["parameters"]
        return str(parameters["stack_name"])
    except (OSError, KeyError, TypeError, ValueError):
        raise Misconfigured(
            f"No stack is named, and {path} names none", hint="Give --stack NAME, or set LAKEBOUND_STACK"
        ) from None


def store_of(stack: Stack) -> S3Store:
    """The stack's bucket."""
    return S3Store(stack.bucket, aws_client("s3"))


def buffer_of(stack: Stack) -> SqsQueue:
    """The buffer queue."""
    return SqsQueue(stack.output("BufferQueueUrl"), aws_client("sqs"))


def dead_letters_of(stack: Stack) -> SqsQueue:
    """The dead-letter queue."""
    return SqsQueue(stack.output("DeadLetterQueueUrl"), aws_client("sqs"))


def road_of(stack: Stack) -> Road:
    """The road from `stream_ingest` on, with the settings of the deployed function. Raises Misconfigured."""
    settings = IngestSettings.read(function_environment(aws_client("lambda"), stack.output("StreamIngestName")))
    rules = IngestRules(
        table=settings.table,
        partition=partitioner(settings.partition_template),
        by_event_time=settings.partition_by_event,
        message_bytes=settings.message_bytes,
        file_format=settings.file_format,
        redaction=redaction_at_start(
            settings.redaction, AwsSecrets(clients), lambda: key_attributes(clients("dynamodb"), settings.table)
        ),
    )
    return Road(rules, StreamDecoder(settings.table), buffer_of(stack), store_of(stack), SystemClock())
