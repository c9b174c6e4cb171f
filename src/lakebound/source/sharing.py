"""The policies that the owner of another account's table puts, so that a stack of this account may read it.

A role of this account needs the right twice: in its own policy, which the template gives, and in the resource's. The
roles do not exist before the stack does, and DynamoDB refuses a policy that names a role which does not exist: so the
principal is the account, and a condition narrows it to roles by their names.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from lakebound.record.table_identity import Home, TableArn

_READ_STREAM: Final = ("dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator")
_READ_TABLE: Final = ("dynamodb:DescribeTable", "dynamodb:Scan", "dynamodb:BatchGetItem")

_LONGEST_ROLE_NAME: Final = 64
"""IAM's limit. CloudFormation shortens a generated name (`<stack>-<resource>-<12 characters>`) to it."""

_SURE_OF: Final = 20
"""Characters of a long stack name that a shortened role name begins with at least."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A resource-based policy and what it is put on."""

    resource: str
    region: str
    document: dict[str, Any]

    @property
    def command(self) -> str:
        """What the owner pastes. It replaces a policy that is there; no part of it has a single quote."""
        text = json.dumps(self.document, separators=(",", ":"))
        where = f"--region {self.region} --resource-arn '{self.resource}'"
        return f"aws dynamodb put-resource-policy {where} --policy '{text}'"


def policies(
    table: TableArn, stream: str, stack_home: Home, stack: str, operators: Sequence[str] = ()
) -> tuple[Policy, ...]:
    """The table's policy, and the stream's where its ARN is known.

    `operators` are the ARNs of roles or users who run `lakebound verify`, `doctor` and `config infer`.
    """
    ingest, backfill = (_role(stack_home, stack, name) for name in ("StreamIngestRole", "BackfillRole"))
    readers = [backfill, *operators]
    on_table = Policy(
        str(table),
        table.home.region,
        _document(
            _allow("LakeboundReadsTable", stack_home, readers, _READ_TABLE, str(table)),
            # With DropAttributes stream_ingest asks for the key attributes, to be sure that none of them is dropped.
            _allow("LakeboundKnowsKeys", stack_home, [ingest], ("dynamodb:DescribeTable",), str(table)),
        ),
    )
    if not stream:
        return (on_table,)
    statement = _allow("LakeboundReadsStream", stack_home, [ingest], _READ_STREAM, stream)
    return on_table, Policy(stream, table.home.region, _document(statement))


def key_statement(stack_home: Home, stack: str, key: str, operators: Sequence[str] = ()) -> dict[str, Any]:
    """What the policy of the table's customer key gets beside what it has."""
    roles = [_role(stack_home, stack, name) for name in ("StreamIngestRole", "BackfillRole")]
    return _allow("LakeboundDecrypts", stack_home, [*roles, *operators], ("kms:Decrypt",), key)


def _role(home: Home, stack: str, resource: str) -> str:
    whole = f"{stack}-{resource}-"
    name = whole if len(whole) + 12 <= _LONGEST_ROLE_NAME else stack[:_SURE_OF]
    return f"arn:{home.partition}:iam::{home.account}:role/{name}*"


def _document(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _allow(sid: str, home: Home, principals: Sequence[str], actions: Sequence[str], resource: str) -> dict[str, Any]:
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:{home.partition}:iam::{home.account}:root"},
        "Action": list(actions),
        "Resource": resource,
        "Condition": {"ArnLike": {"aws:PrincipalArn": list(principals)}},
    }
