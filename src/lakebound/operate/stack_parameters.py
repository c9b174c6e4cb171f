"""What a stack for a table needs: its parameters, and the policies that the owner of another account's table puts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lakebound.errors import Misconfigured
from lakebound.operate.doctor import TableFacts
from lakebound.record.table_identity import Home, Source, TableArn
from lakebound.source.sharing import Policy, key_statement, policies

_PRINCIPAL = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/[A-Za-z0-9+=,.@_/*?-]+").fullmatch


class OwnerPolicies(NamedTuple):
    """The policies of the table and its stream, and a statement for the policy of the table's customer key."""

    resources: tuple[Policy, ...] = ()
    key_statement: dict[str, Any] | None = None


def own_parameters(facts: TableFacts, stream: str, partition_key: str) -> dict[str, str]:
    """For a table of this account: one that exists, or one that the stack is to create. Raises Misconfigured."""
    table = facts.table
    if facts.exists:
        if partition_key:
            raise Misconfigured(f"The table {table} exists, and has its key", hint="Leave --partition-key out")
        if not facts.stream_arn:
            raise Misconfigured(
                f"The table {table} has no stream",
                hint="Switch it on with NEW_AND_OLD_IMAGES; see lakebound doctor --before",
            )
        return _followed(table, facts, stream)
    if stream:
        raise Misconfigured(f"There is no table {table} with a stream", hint="Check the region and --stream")
    if not partition_key:
        raise Misconfigured(
            f"There is no table {table}", hint="Check the region, or give --partition-key for a new one"
        )
    return {"TableName": table, "PartitionKeyName": partition_key}


def foreign_parameters(source: Source, facts: TableFacts | None, stream: str) -> dict[str, str]:
    """For another account's table. `facts` is None where its policy does not let it be described.

    Without TableStreamArn where nobody has given the stream's ARN. Raises Misconfigured.
    """
    return _followed(source.asked, facts or TableFacts(source.table, exists=False), stream)


def owner_policies(
    table: TableArn, parameters: Mapping[str, str], home: Home, stack: str, operators: Sequence[str]
) -> OwnerPolicies:
    """What lets a stack with these parameters, and these roles or users, read another account's table."""
    key = parameters.get("TableKmsKeyArn")
    return OwnerPolicies(
        policies(table, parameters.get("TableStreamArn", ""), home, stack, operators),
        key_statement(home, stack, key, operators) if key else None,
    )


def check_operators(operators: list[str]) -> list[str]:
    """The ARNs as they are. Raises Misconfigured for one that is not of a role or a user."""
    for one in operators:
        if not _PRINCIPAL(one):
            raise Misconfigured(
                f"--operator {one!r} names no role or user", hint="Give arn:aws:iam::ACCOUNT:role/NAME, or user/NAME"
            )
    return operators


def _followed(asked: str, facts: TableFacts, stream: str) -> dict[str, str]:
    if stream and facts.stream_arn and stream != facts.stream_arn:
        raise Misconfigured(
            f"The table {asked} has the stream {facts.stream_arn}, not {stream}", hint="Leave --stream out"
        )
    given = {"TableStreamArn": stream or facts.stream_arn, "TableKmsKeyArn": facts.table_key}
    return {"TableName": facts.table} | {name: value for name, value in given.items() if value}
