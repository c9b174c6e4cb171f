"""Tables of DynamoDB Local, and clients to them."""

from dataclasses import dataclass
from typing import Any

import boto3

from lakebound.adapters.backfill_table import BackfillTable, ScanSegment
from lakebound.adapters.clock import SystemClock
from lakebound.record.base_records import SnapshotDecoder

KEY = [{"AttributeName": "id", "KeyType": "HASH"}]
TEXT = [{"AttributeName": "id", "AttributeType": "S"}]
STREAM = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}


class Turning(SystemClock):
    """The real clock, on which nothing waits long."""

    def sleep(self, seconds: float) -> None:
        super().sleep(min(seconds, 0.01))


@dataclass
class Source:
    """A table of DynamoDB Local and clients to it."""

    name: str
    endpoint: str
    client: Any

    def new_client(self, service: str = "dynamodb") -> Any:
        return client_of(self.endpoint, service)

    def table(self, *, pass_through: bool = True) -> BackfillTable:
        return BackfillTable(self.name, self.new_client(), Turning(), pass_through=pass_through)

    def segment(
        self, number: int = 0, total: int = 1, *, pass_through: bool = True, keys: Any = ("id",)
    ) -> ScanSegment:
        decoder = SnapshotDecoder(self.name, "run", "scan", keys)
        return ScanSegment(self.table(pass_through=pass_through), decoder, number, total, True, 60_000)

    def put(self, **item: Any) -> None:
        self.client.put_item(TableName=self.name, Item=item)


def client_of(endpoint: str, service: str = "dynamodb") -> Any:
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name="eu-west-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
