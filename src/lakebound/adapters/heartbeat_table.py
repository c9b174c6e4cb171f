"""The heartbeat's table in DynamoDB."""

from __future__ import annotations

from typing import Any

from lakebound.adapters.aws_calls import call


class HeartbeatTable:
    """Port HeartbeatItems over one table."""

    def __init__(self, table: str, client: Any) -> None:
        self._table = table
        self._client = client

    def put(self, item: dict[str, Any]) -> None:
        call(self._client, "put_item", f"table {self._table}", TableName=self._table, Item=item)

    def remove(self, key: dict[str, Any]) -> None:
        call(self._client, "delete_item", f"table {self._table}", TableName=self._table, Key=key)
