"""DynamoDB of two accounts, each with a table `flights`, behind botocore's last hook before the wire.

DynamoDB Local cuts an ARN down to the table's name, and moto finds no table by another account's ARN. What stands here
answers as AWS documents it: a bare name is the caller's table, an ARN the owner's, another account gets the
operations that "API operations supported by resource-based policies" grants across accounts, and no others. Every
request is kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Final

import boto3
from botocore.awsrequest import AWSResponse

OWN: Final = "arn:aws:dynamodb:us-east-1:123456789012:table/flights"
THEIRS: Final = "arn:aws:dynamodb:us-east-1:111122223333:table/flights"
LABEL: Final = "2026-11-18T09:06:40.000"
OWN_STREAM: Final = f"{OWN}/stream/{LABEL}"
THEIR_STREAM: Final = f"{THEIRS}/stream/{LABEL}"
ACROSS: Final = frozenset(("DescribeTable", "Scan", "BatchGetItem", "GetItem", "PutItem", "DeleteItem"))


class _Body:
    def __init__(self, text: bytes) -> None:
        self._text = text

    def stream(self, *_: Any, **__: Any) -> Any:
        yield self._text


@dataclass
class TwoAccounts:
    """Both tables' items by the value of their key, and what was asked: (operation, table as the request names it)."""

    now_ms: Callable[[], int]
    items: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {OWN: {"mine": {"id": {"S": "mine"}}}, THEIRS: {"theirs": {"id": {"S": "theirs"}}}}
    )
    asked: list[tuple[str, str]] = field(default_factory=list)
    policy_is_there: bool = True

    def client(self) -> Any:
        """A boto3 client of account 123456789012; inside moto's mock as well."""
        made = boto3.client("dynamodb", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
        made.meta.events.register_first("before-send.dynamodb", self._send)
        return made

    def _send(self, request: Any, **_: Any) -> AWSResponse:
        target = request.headers["X-Amz-Target"]
        operation = (target.decode() if isinstance(target, bytes) else target).rpartition(".")[2]
        status, answer = self._answer(operation, json.loads(request.body))
        headers = {"Date": formatdate(self.now_ms() / 1000, usegmt=True), "Content-Type": "application/x-amz-json-1.0"}
        return AWSResponse(request.url, status, headers, _Body(json.dumps(answer).encode()))

    def _answer(self, operation: str, given: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        named = given.get("TableName") or given.get("TableArn") or next(iter(given["RequestItems"]))
        self.asked.append((operation, named))
        arn = OWN if named == "flights" else named
        if arn not in self.items:
            return 400, {"__type": "x#ResourceNotFoundException"}
        if arn == THEIRS and (operation not in ACROSS or not self.policy_is_there):
            return 400, {"__type": "x#AccessDeniedException"}
        items = self.items[arn]
        match operation:
            case "DescribeTable":
                return 200, {
                    "Table": {
                        "TableName": "flights",
                        "TableArn": arn,
                        "TableId": arn,
                        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
                        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
                        "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
                        "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
                        "LatestStreamArn": f"{arn}/stream/{LABEL}",
                        "ItemCount": len(items),
                        "TableSizeBytes": 100 * len(items),
                    }
                }
            case "Scan":
                first = given.get("Segment", 0) == 0
                consumed = {"TableName": named, "CapacityUnits": 1.0}
                return 200, {"Items": list(items.values()) if first else [], "ConsumedCapacity": consumed}
            case "BatchGetItem":
                keys = [key["id"]["S"] for key in given["RequestItems"][named]["Keys"]]
                # DynamoDB names the table in its answer as the request did.
                return 200, {"Responses": {named: [items[key] for key in keys if key in items]}, "UnprocessedKeys": {}}
            case "PutItem":
                items[given["Item"]["id"]["S"]] = given["Item"]
                return 200, {}
            case "DeleteItem":
                items.pop(given["Key"]["id"]["S"], None)
                return 200, {}
            case "DescribeTimeToLive":
                return 200, {"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}}
            case "DescribeContinuousBackups":
                return 200, {"ContinuousBackupsDescription": {"ContinuousBackupsStatus": "ENABLED"}}
        raise AssertionError(f"{operation} is not known here")

    @property
    def names(self) -> set[str]:
        """The tables that were asked for, as the requests named them."""
        return {name for _, name in self.asked}
