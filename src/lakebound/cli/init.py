"""`lakebound init`: the few questions that a deployment needs answered, into samconfig.toml."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated

import orjson
import typer

from lakebound.adapters.examiner import examine_table
from lakebound.cli import stacks
from lakebound.cli.stacks import DryRun
from lakebound.cli.telling import AsJson, tell, tell_json
from lakebound.errors import Misconfigured

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,127}").fullmatch


def command(
    table: Annotated[str, typer.Option(prompt="Source table", help="Name of the DynamoDB table.")],
    stack: Annotated[str, typer.Option(help="Name of the stack; lakebound-<table> when not given.")] = "",
    bucket: Annotated[str, typer.Option(help="An existing bucket; a new one when not given.")] = "",
    partition_key: Annotated[str, typer.Option(help="For a new table: its partition key.")] = "",
    key: Annotated[str, typer.Option(help="ARN of a customer KMS key.")] = "",
    topic: Annotated[str, typer.Option(help="ARN of the SNS topic that alarms notify.")] = "",
    file: Annotated[Path, typer.Option(help="The file to write.")] = Path("samconfig.toml"),
    replace: Annotated[bool, typer.Option("--replace", help="Write over a file that deploys a stack already.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Look at the table, and write what `make deploy` and every other verb read.

    An existing table gives its stream and its key; a new one needs --partition-key.
    """
    name = stack or "lakebound-" + re.sub(r"[^A-Za-z0-9-]", "-", table)
    if not _NAME(name):
        raise Misconfigured(f"{name} cannot name a stack", hint="Give --stack: letters, digits and dashes")
    if not replace and not dry_run and _deploys(file):
        raise Misconfigured(f"{file} deploys a stack already", hint="Give --replace, or another --file")
    facts = examine_table(stacks.clients, table, key)
    parameters = {"TableName": table}
    if facts.exists and not facts.stream_arn:
        raise Misconfigured(
            f"The table {table} has no stream",
            hint="Switch it on with NEW_AND_OLD_IMAGES; see lakebound doctor --before",
        )
    if facts.exists:
        parameters["TableStreamArn"] = str(facts.stream_arn)
        if facts.table_key:
            parameters["TableKmsKeyArn"] = facts.table_key
    elif partition_key:
        parameters["PartitionKeyName"] = partition_key
    else:
        raise Misconfigured(
            f"There is no table {table}", hint="Check the region, or give --partition-key for a new one"
        )
    parameters |= {k: v for k, v in (("S3Bucket", bucket), ("KmsKeyArn", key), ("AlarmTopicArn", topic)) if v}
    text = samconfig(name, parameters)
    if not dry_run:
        file.write_text(text)
    if as_json:
        tell_json({"stack": name, "parameters": parameters, "file": str(file), "dry_run": dry_run})
        return
    tell(text if dry_run else f"wrote {file}: stack {name}")
    tell("next: lakebound doctor --before --table " + table + ", then make deploy")


def samconfig(stack: str, parameters: dict[str, str]) -> str:
    """The file's text, as `sam deploy` reads it."""
    overrides = " ".join(f'{name}="{value}"' for name, value in parameters.items())
    lines = [
        "# What `make deploy` uses; written by `lakebound init`.",
        "version = 0.1",
        "",
        "[default.deploy.parameters]",
        f"stack_name = {_quoted(stack)}",
        f"parameter_overrides = {_quoted(overrides)}",
        'capabilities = "CAPABILITY_IAM"',
        "confirm_changeset = true",
        "fail_on_empty_changeset = false",
        "no_progressbar = true",
        "resolve_s3 = true",
    ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    # A JSON string is a TOML basic string.
    return orjson.dumps(text).decode()


def _deploys(file: Path) -> bool:
    try:
        return "stack_name" in tomllib.loads(file.read_text())["default"]["deploy"]["parameters"]
    except (OSError, KeyError, TypeError, ValueError):
        return False
