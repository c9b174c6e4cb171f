"""`lakebound init`: the few questions that a deployment needs answered, into samconfig.toml."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import orjson
import typer

from lakebound.adapters.doctor_facts import examine_table
from lakebound.adapters.samconfig import configured_stack, samconfig, stack_name
from lakebound.cli import deployed
from lakebound.cli.deployed import DryRun
from lakebound.cli.given_options import refuse_without
from lakebound.cli.output import AsJson, echo, echo_json
from lakebound.cli.paths import file_to_write
from lakebound.errors import LakeboundError, Misconfigured
from lakebound.operate.stack_parameters import (
    OwnerPolicies,
    check_operators,
    foreign_parameters,
    own_parameters,
    owner_policies,
)
from lakebound.record.table_identity import Refused, TableArn

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,127}").fullmatch


def command(
    context: typer.Context,
    table: Annotated[
        str, typer.Option(help="The DynamoDB table, by name or ARN; asked for when not given.", show_default=False)
    ] = "",
    stream: Annotated[str, typer.Option(help="ARN of its stream, where the table cannot be asked for it yet.")] = "",
    stack: Annotated[str, typer.Option(help="Name of the stack; lakebound-<table> when not given.")] = "",
    bucket: Annotated[str, typer.Option(help="An existing bucket; a new one when not given.")] = "",
    partition_key: Annotated[str, typer.Option(help="For a new table: its partition key.")] = "",
    key: Annotated[str, typer.Option(help="ARN of a customer KMS key.")] = "",
    topic: Annotated[str, typer.Option(help="ARN of the SNS topic that alarms notify.")] = "",
    operator: Annotated[
        list[str] | None,
        typer.Option(help="Another account's table: ARNs of who runs verify and doctor; your own when not given."),
    ] = None,
    file: Annotated[Path, typer.Option(dir_okay=False, callback=file_to_write, help="The file to write.")] = Path(
        "samconfig.toml"
    ),
    replace: Annotated[bool, typer.Option("--replace", help="Write over a file that deploys a stack already.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Look at the table, and write what `lakebound deploy` and every other verb read.

    An existing table gives its stream and its key; a new one needs --partition-key. For a table of another account
    (--table with its ARN, or --stream) the policies are printed that its owner has to put first.
    """
    table = table or _asked_table()
    arn = TableArn.parse(table) or TableArn.of_stream(stream)
    bare = arn.table if arn and table == str(arn) else table
    name = stack or stack_name(bare)
    if not _NAME(name):
        raise Misconfigured(f"{name} cannot name a stack", hint="Give --stack: letters, digits and dashes")
    if not replace and not dry_run and configured_stack(file):
        raise Misconfigured(f"{file} deploys a stack already", hint="Give --replace, or another --file")
    source = deployed.followed_table(table, stream)
    if isinstance(source, Refused):
        raise source.error()
    if not source.is_foreign:
        refuse_without(context, "a table of another account", "operator")
    shared = OwnerPolicies()
    if not source.is_foreign:
        parameters = own_parameters(examine_table(deployed.clients, source, key), stream, partition_key)
    else:
        home = deployed.home_of_caller()
        assert arn is not None
        if home is None:
            raise Misconfigured(
                f"{arn} names an account, and the account of these credentials is not known",
                hint="Check them with aws sts get-caller-identity",
            )
        facts = None
        with suppress(LakeboundError):  # the policy that allows it may not be there yet
            facts = examine_table(deployed.clients, source, key)
        parameters = foreign_parameters(source, facts, stream)
        operators = check_operators(operator) if operator is not None else deployed.callers()
        shared = owner_policies(arn, parameters, home, name, operators)
    parameters |= {k: v for k, v in (("S3Bucket", bucket), ("KmsKeyArn", key), ("AlarmTopicArn", topic)) if v}
    text = samconfig(name, parameters)
    # Without the stream's ARN a deployment would make a new table of that name: no file, no deployment.
    is_whole = bool(parameters.get("TableStreamArn")) or not source.is_foreign
    if not dry_run and is_whole:
        file.write_text(text)
    if as_json:
        echo_json(
            {
                "stack": name,
                "parameters": parameters,
                "file": str(file) if is_whole else None,
                "dry_run": dry_run,
                "policies": [{"resource": one.resource, "document": one.document} for one in shared.resources],
                "key_statement": shared.key_statement,
            }
        )
        return
    if source.is_foreign:
        _print_policies(shared, source.asked, is_whole=is_whole)
    if is_whole:
        echo(text if dry_run else f"wrote {file}: stack {name}")
        new = " --new-table" if "PartitionKeyName" in parameters else ""
        echo(f"next: lakebound doctor --before --table {source.asked}{new}, then lakebound deploy")


def _print_policies(shared: OwnerPolicies, table: str, *, is_whole: bool) -> None:
    echo(f"{table} belongs to another account. Its owner runs there, before lakebound deploy:\n")
    for one in shared.resources:
        echo(f"  {one.command}\n")
    echo("Each replaces a policy that is there: add its statements to yours instead if get-resource-policy shows one.")
    if shared.key_statement is not None:
        echo("Into the policy of the table's KMS key, beside what it has (a key of AWS's own takes none):\n")
        echo(f"  {orjson.dumps(shared.key_statement).decode()}\n")
    echo("A stack of another account scans: DynamoDB lets nobody else export a table.")
    if not is_whole:
        echo("Nothing is written yet, for the stream's ARN is not known: run this again when the policy is there, or")
        echo("with --stream ARN (aws dynamodb describe-table: LatestStreamArn), which prints the stream's policy too.")


def _asked_table() -> str:
    try:
        return str(typer.prompt("Source table", err=True))
    except typer.Abort:
        if sys.stdin.isatty():
            raise
        # A scheduler's standard input is empty: its log would end with "Aborted." and no reason.
        raise Misconfigured("No table is named, and there is nobody to ask", hint="Give --table TABLE") from None
