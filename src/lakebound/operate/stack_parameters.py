"""The parameters that a stack for a table needs, by what the table's description says."""

from __future__ import annotations

from lakebound.errors import Misconfigured
from lakebound.operate.doctor import TableFacts
from lakebound.record.table_identity import Source


def own_parameters(facts: TableFacts, stream: str, partition_key: str) -> dict[str, str]:
    """For a table of this account: one that exists, or one that the stack is to create. Raises Misconfigured."""
    table = facts.table
    if facts.exists:
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


def _followed(asked: str, facts: TableFacts, stream: str) -> dict[str, str]:
    if stream and facts.stream_arn and stream != facts.stream_arn:
        raise Misconfigured(
            f"The table {asked} has the stream {facts.stream_arn}, not {stream}", hint="Leave --stream out"
        )
    given = {"TableStreamArn": stream or facts.stream_arn, "TableKmsKeyArn": facts.table_key}
    return {"TableName": facts.table} | {name: value for name, value in given.items() if value}
