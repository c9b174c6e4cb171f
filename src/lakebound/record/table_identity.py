"""Which table is meant, whose it is, and by what name DynamoDB is asked for it: decided before anything is created.

A name alone means the table of the asker's own account and region. A stream of account B deployed in account A would be
followed, while a backfill or a heal by the bare name would read A's own table of that name into the same lake. So the
name of another account's table is its ARN in every call.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from lakebound.errors import Misconfigured

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{3,255}").fullmatch
_HOME: Final = re.compile(r"(aws[a-z-]*):([a-z0-9-]+):([0-9]{12})").fullmatch
_ANY_ARN: Final = re.compile(r"arn:(aws[a-z-]*):[a-z0-9-]+:([a-z0-9-]+):([0-9]{12}):.+").fullmatch
_ARN: Final = re.compile(
    r"arn:(?P<home>aws[a-z-]*:dynamodb:[a-z0-9-]+:[0-9]{12}):table/(?P<table>[A-Za-z0-9_.-]{3,255})"
    r"(?:/stream/(?P<label>[A-Za-z0-9:.+_-]+))?"
).fullmatch


class Home(NamedTuple):
    """A partition, a region and an account: where a stack or a table is."""

    partition: str
    region: str
    account: str

    @staticmethod
    def parse(text: str) -> Home | None:
        """The place behind `aws:us-east-1:123456789012`, or None."""
        parts = _HOME(text)
        return Home(*parts.groups()) if parts else None

    @staticmethod
    def of(arn: str) -> Home | None:
        """Where the resource of an ARN is; None for what is no ARN of a region and an account."""
        parts = _ANY_ARN(arn)
        return Home(*parts.groups()) if parts else None

    def __str__(self) -> str:
        return f"{self.partition}:{self.region}:{self.account}"


class TableArn(NamedTuple):
    """A table by its full name."""

    home: Home
    table: str

    @staticmethod
    def parse(text: str) -> TableArn | None:
        """The table of a table's ARN, or None."""
        parts = _ARN(text)
        return TableArn._made(parts) if parts and parts["label"] is None else None

    @staticmethod
    def of_stream(text: str) -> TableArn | None:
        """The table of a stream's ARN, or None."""
        parts = _ARN(text)
        return TableArn._made(parts) if parts and parts["label"] is not None else None

    @staticmethod
    def _made(parts: re.Match[str]) -> TableArn:
        partition, _, region, account = parts["home"].split(":")
        return TableArn(Home(partition, region, account), parts["table"])

    def __str__(self) -> str:
        home = self.home
        return f"arn:{home.partition}:dynamodb:{home.region}:{home.account}:table/{self.table}"


class Source(NamedTuple):
    """A table that can be the source. `asked` is its name in calls to DynamoDB; records bear `table`, the bare name."""

    table: str
    asked: str
    is_foreign: bool = False
    """Whether another account owns it: no export, no look at its backups or its time to live."""

    @staticmethod
    def own(table: str) -> Source:
        """A table of the asker's own account and region."""
        return Source(table, table)

    def check_told(self, arn: str) -> None:
        """Raises Misconfigured where the table that a service describes is not the one that was asked for.

        An emulator, or whatever stands before DynamoDB, that cuts the ARN down to the name tells of this account's
        table of that name; its items would land as the other's.
        """
        if self.is_foreign and arn != self.asked:
            raise Misconfigured(
                f"{self.asked} was asked for, and {arn or 'a table without an ARN'} was told of",
                hint="What answers here knows no tables of other accounts: check AWS_ENDPOINT_URL",
            )


class Refused(NamedTuple):
    """Why a table cannot be the source of a stack, and what to do instead."""

    what: str
    hint: str

    def error(self) -> Misconfigured:
        """As an error to raise."""
        return Misconfigured(self.what, hint=self.hint)


def is_table_name(text: str) -> bool:
    """Whether DynamoDB takes it for a table's name (an ARN is none)."""
    return bool(_NAME(text))


def decide(table: str, stream_arn: str, home: Home | None) -> Source | Refused:
    """May a stack at `home` follow this stream and read this table? Total: any three values have an answer.

    `table` is TableName, `stream_arn` TableStreamArn (empty where the stack creates the table). Where `home` is None
    nobody knows the stack's account, and only the names are compared.
    """
    if not is_table_name(table):
        return Refused(
            f"TableName is {table!r}", "Use the table's name, not its ARN: 3 to 255 letters, digits, _ . and -"
        )
    if not stream_arn:
        return Source.own(table)
    arn = TableArn.of_stream(stream_arn)
    if arn is None:
        return Refused(
            f"TableStreamArn is {stream_arn!r}", "Give the table's LatestStreamArn, as describe-table tells it"
        )
    if arn.table != table:
        return Refused(
            f"The stream is of table {arn.table}, and TableName is {table}: a backfill would read another table than "
            "the stream tells of",
            f"Give TableName={arn.table}, or the LatestStreamArn of {table}",
        )
    return _placed(arn, home)


def named(text: str, home: Home | None) -> Source | Refused:
    """The table that somebody at `home` names by its name or its ARN. Total.

    With an ARN and an unknown home the table counts as another account's: the ARN means it either way.
    """
    if is_table_name(text):
        return Source.own(text)
    arn = TableArn.parse(text)
    if arn is None:
        return Refused(
            f"{text!r} names no table",
            "Give its name (3 to 255 letters, digits, _ . and -), or arn:aws:dynamodb:REGION:ACCOUNT:table/NAME",
        )
    return Source(arn.table, str(arn), is_foreign=True) if home is None else _placed(arn, home)


def _placed(arn: TableArn, home: Home | None) -> Source | Refused:
    if home is None or arn.home == home:
        return Source.own(arn.table)
    if (arn.home.partition, arn.home.region) != (home.partition, home.region):
        return Refused(
            f"The table {arn.table} is in {_where(arn.home)}, and this is {_where(home)}",
            f"Work in {arn.home.region} (AWS_REGION={arn.home.region}): Lambda reads streams of its own region only",
        )
    return Source(arn.table, str(arn), is_foreign=True)


def _where(home: Home) -> str:
    return home.region if home.partition == "aws" else f"{home.region} of {home.partition}"
