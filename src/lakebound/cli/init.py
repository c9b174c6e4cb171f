"""`lakebound init`: the few questions that a deployment needs answered, into samconfig.toml."""

from __future__ import annotations

import re
import tomllib
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer

from lakebound.adapters.doctor_facts import examine_table
from lakebound.cli import deployed
from lakebound.cli.deployed import DryRun
from lakebound.cli.output import AsJson, echo, echo_json
from lakebound.errors import LakeboundError, Misconfigured
from lakebound.record.table_identity import Refused, Source, TableArn, decide, named
from lakebound.source.sharing import Policy, key_statement, policies

_PRINCIPAL = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/[A-Za-z0-9+=,.@_/*?-]+").fullmatch
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,127}").fullmatch
_MAX_NAME: Final = 128
"""Characters of a stack's name, as CloudFormation takes them."""


def command(
    table: Annotated[str, typer.Option(prompt="Source table", help="The DynamoDB table, by name or ARN.")],
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
    file: Annotated[Path, typer.Option(help="The file to write.")] = Path("samconfig.toml"),
    replace: Annotated[bool, typer.Option("--replace", help="Write over a file that deploys a stack already.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Look at the table, and write what `make deploy` and every other verb read.

    An existing table gives its stream and its key; a new one needs --partition-key. For a table of another account
    (--table with its ARN, or --stream) the policies are printed that its owner has to put first.
    """
    arn = TableArn.parse(table) or TableArn.of_stream(stream)
    bare = arn.table if arn and table == str(arn) else table
    name = stack or stack_name(bare)
    if not _NAME(name):
        raise Misconfigured(f"{name} cannot name a stack", hint="Give --stack: letters, digits and dashes")
    if not replace and not dry_run and _deploys(file):
        raise Misconfigured(f"{file} deploys a stack already", hint="Give --replace, or another --file")
    home = deployed.home_of_caller() if arn or stream else None
    decision = decide(bare, stream, home) if stream else named(table, home)
    if isinstance(decision, Source) and arn is not None and TableArn.of_stream(stream) not in (None, arn):
        decision = Refused(f"The stream {stream} is not of {arn}", "Give the stream of that very table")
    if isinstance(decision, Refused):
        raise decision.error()
    if not decision.is_foreign:
        parameters = _own(decision, stream, partition_key, key)
        shared: tuple[Policy, ...] = ()
        for_key = None
    else:
        assert arn is not None
        if home is None:
            raise Misconfigured(
                f"{arn} has an account in it, and whose these credentials are is not known",
                hint="Check them with aws sts get-caller-identity",
            )
        parameters = _foreign(decision, stream, key)
        operators = _checked(operator) if operator is not None else deployed.callers()
        shared = policies(arn, parameters.get("TableStreamArn", ""), home, name, operators)
        table_key = parameters.get("TableKmsKeyArn")
        for_key = key_statement(home, name, table_key, operators) if table_key else None
    parameters |= {k: v for k, v in (("S3Bucket", bucket), ("KmsKeyArn", key), ("AlarmTopicArn", topic)) if v}
    text = samconfig(name, parameters)
    # Without the stream's ARN a deployment would make a new table of that name: no file, no deployment.
    is_whole = bool(parameters.get("TableStreamArn")) or not decision.is_foreign
    if not dry_run and is_whole:
        file.write_text(text)
    if as_json:
        told = {"stack": name, "parameters": parameters, "file": str(file) if is_whole else None, "dry_run": dry_run}
        echo_json(
            told
            | {
                "policies": [{"resource": one.resource, "document": one.document} for one in shared],
                "key_statement": for_key,
            }
        )
        return
    if shared:
        _print_policies(shared, decision, for_key, is_whole=is_whole)
    if is_whole:
        echo(text if dry_run else f"wrote {file}: stack {name}")
        new = " --new-table" if "PartitionKeyName" in parameters else ""
        echo(f"next: lakebound doctor --before --table {decision.asked}{new}, then make deploy")


def _own(source: Source, stream: str, partition_key: str, key: str) -> dict[str, str]:
    """The parameters for a table of this account, there or to be made. Raises Misconfigured."""
    table = source.table
    facts = examine_table(deployed.clients, source, key)
    parameters = {"TableName": table}
    if facts.exists and not facts.stream_arn:
        raise Misconfigured(
            f"The table {table} has no stream",
            hint="Switch it on with NEW_AND_OLD_IMAGES; see lakebound doctor --before",
        )
    if facts.exists:
        if stream and stream != facts.stream_arn:
            raise Misconfigured(
                f"The table {table} has the stream {facts.stream_arn}, not {stream}", hint="Leave --stream out"
            )
        parameters["TableStreamArn"] = str(facts.stream_arn)
        if facts.table_key:
            parameters["TableKmsKeyArn"] = facts.table_key
    elif stream:
        raise Misconfigured(f"There is no table {table} with a stream", hint="Check the region and --stream")
    elif partition_key:
        parameters["PartitionKeyName"] = partition_key
    else:
        raise Misconfigured(
            f"There is no table {table}", hint="Check the region, or give --partition-key for a new one"
        )
    return parameters


def _foreign(source: Source, stream: str, key: str) -> dict[str, str]:
    """The parameters for another account's table, as far as it can be asked: its policy may not be there yet."""
    try:
        facts = examine_table(deployed.clients, source, key)
    except LakeboundError:
        facts = None
    parameters = {"TableName": source.table}
    told = facts.stream_arn if facts is not None else None
    if stream and told and stream != told:
        raise Misconfigured(f"{source.asked} has the stream {told}, not {stream}", hint="Leave --stream out")
    if stream or told:
        parameters["TableStreamArn"] = stream or str(told)
    if facts is not None and facts.table_key:
        parameters["TableKmsKeyArn"] = facts.table_key
    return parameters


def _checked(operators: list[str]) -> list[str]:
    for one in operators:
        if not _PRINCIPAL(one):
            raise Misconfigured(
                f"--operator {one!r} names no role or user", hint="Give arn:aws:iam::ACCOUNT:role/NAME, or user/NAME"
            )
    return operators


def _print_policies(
    shared: tuple[Policy, ...], source: Source, statement: dict[str, Any] | None, *, is_whole: bool
) -> None:
    echo(f"{source.asked} belongs to another account. Its owner runs there, before make deploy:\n")
    for one in shared:
        echo(f"  {one.command}\n")
    echo("Each replaces a policy that is there: add its statements to yours instead if get-resource-policy shows one.")
    if statement is not None:
        echo("Into the policy of the table's KMS key, beside what it has (a key of AWS's own takes none):\n")
        echo(f"  {orjson.dumps(statement).decode()}\n")
    echo("A stack of another account scans: DynamoDB lets nobody else export a table.")
    if not is_whole:
        echo("Nothing is written yet, for the stream's ARN is not known: run this again when the policy is there, or")
        echo("with --stream ARN (aws dynamodb describe-table: LatestStreamArn), which prints the stream's policy too.")


def stack_name(table: str) -> str:
    """`lakebound-<table>`; where that is too long for CloudFormation, cut and told apart by a digest of the whole."""
    name = "lakebound-" + re.sub(r"[^A-Za-z0-9-]", "-", table)
    if len(name) <= _MAX_NAME:
        return name
    digest = sha256(table.encode()).hexdigest()[:8]
    return f"{name[: _MAX_NAME - 9]}-{digest}"


def samconfig(stack: str, parameters: dict[str, str]) -> str:
    """The file's text, as `sam deploy` reads it."""
    overrides = " ".join(_override(name, value) for name, value in parameters.items())
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


def _override(name: str, value: str) -> str:
    # SAM takes a backslash before a quote or a space away, and leaves it before anything else.
    if "\\" in value:
        raise Misconfigured(
            f"{name} has a backslash", hint=f"Leave it out here, and give it: make deploy PARAMETERS='{name}={value}'"
        )
    escaped = value.replace('"', '\\"')
    return f'{name}="{escaped}"'


def _quoted(text: str) -> str:
    # A JSON string is a TOML basic string.
    return orjson.dumps(text).decode()


def _deploys(file: Path) -> bool:
    try:
        return "stack_name" in tomllib.loads(file.read_text())["default"]["deploy"]["parameters"]
    except (OSError, KeyError, TypeError, ValueError):
        return False
