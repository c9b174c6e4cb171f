"""The demo's source table: made without a stream, as a table is that nobody thought of replicating."""

from __future__ import annotations

from typing import Any

from demo.flights import KEY_SCHEMA


def make_table(client: Any, name: str) -> None:
    """A table keyed as the flights are, without a stream, with the point-in-time recovery that exports need."""
    client.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": kind} for key, _, kind in KEY_SCHEMA],
        KeySchema=[{"AttributeName": key, "KeyType": role} for key, role, _ in KEY_SCHEMA],
    )
    client.get_waiter("table_exists").wait(TableName=name)
    client.update_continuous_backups(
        TableName=name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )


def enable_stream(client: Any, name: str) -> str:
    """Switch the stream on, with both images; its ARN. Nothing of what was written before is ever in it."""
    client.update_table(
        TableName=name, StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    )
    client.get_waiter("table_exists").wait(TableName=name)
    stream: str = client.describe_table(TableName=name)["Table"]["LatestStreamArn"]
    return stream
