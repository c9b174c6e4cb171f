"""The stack that a verb is about, and what stands on its roads, made from its name."""

from __future__ import annotations

import shlex
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from lakebound.adapters.aws_calls import call
from lakebound.adapters.bootstrap import ingest_rules
from lakebound.adapters.clock import SystemClock
from lakebound.adapters.s3 import S3Store
from lakebound.adapters.sqs import SqsQueue
from lakebound.adapters.stack import Stack, describe_stack, function_environment
from lakebound.cli.output import aws_client
from lakebound.errors import LakeboundError, Misconfigured
from lakebound.operate.redrive import IngestPipeline
from lakebound.record.stream_records import StreamDecoder
from lakebound.record.table_identity import Home, Refused, Source, is_table_name, named
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


def table_named(text: str) -> Source:
    """The table that somebody names by its name or its ARN, as it is asked for from here. Raises Misconfigured.

    Whose an ARN is, is found out from the credentials (sts:GetCallerIdentity, which needs no right).
    """
    decision = named(text, None if is_table_name(text) else home_of_caller())
    if isinstance(decision, Refused):
        raise decision.error()
    return decision


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


def configured_table(path: Path) -> tuple[str, str]:
    """(TableName, TableStreamArn) that `make deploy` would use, as samconfig.toml keeps them; empty for none."""
    try:
        overrides = tomllib.loads(path.read_text())["default"]["deploy"]["parameters"]["parameter_overrides"]
        texts = shlex.split(overrides) if isinstance(overrides, str) else [str(one) for one in overrides]
    except (OSError, KeyError, TypeError, ValueError):
        return "", ""
    given = {name: value.strip('"') for name, _, value in (text.partition("=") for text in texts)}
    return given.get("TableName", ""), given.get("TableStreamArn", "")


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


def ingest_pipeline(stack: Stack) -> IngestPipeline:
    """The pipeline from `stream_ingest` on, with the settings of the deployed function. Raises Misconfigured."""
    settings = IngestSettings.read(function_environment(aws_client("lambda"), stack.output("StreamIngestName")))
    rules = ingest_rules(settings, clients)
    return IngestPipeline(rules, StreamDecoder(settings.table), buffer_of(stack), store_of(stack), SystemClock())
