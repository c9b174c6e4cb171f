"""The source table through boto3, on moto: items come as DynamoDB said them, whatever a page holds."""

import threading
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from lakebound.adapters.verify_table import DynamoDBTable
from lakebound.errors import LakeboundError, Misconfigured
from lakebound.record.attributes import canonical_key


class Time:
    """A clock that nobody waits for."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now_ms(self) -> int:
        return 0

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with mock_aws():
        made = boto3.client("dynamodb", region_name="us-east-1")
        made.create_table(
            TableName="parts",
            KeySchema=[{"AttributeName": "part", "KeyType": "HASH"}, {"AttributeName": "at", "KeyType": "RANGE"}],
            AttributeDefinitions=[
                {"AttributeName": "part", "AttributeType": "B"},
                {"AttributeName": "at", "AttributeType": "N"},
            ],
            BillingMode="PAY_PER_REQUEST",
        )
        yield made


def table(client: Any, **options: Any) -> DynamoDBTable:
    return DynamoDBTable("parts", client, Time(), segments=1, **options)


def put(client: Any, part: bytes, at: str, **more: Any) -> None:
    client.put_item(TableName="parts", Item={"part": {"B": part}, "at": {"N": at}, **more})


def test_items_come_as_json_with_binary_as_base64(client: Any) -> None:
    put(client, b"\x00\xff", "1", sets={"BS": [b"a", b"\xfe"]}, nothing={"NULL": True}, nested={"L": [{"B": b"x"}]})
    source = table(client)
    (item,) = source.scan()
    assert source.key_names == ("part", "at")
    assert item["part"] == {"B": b64encode(b"\x00\xff").decode()}
    assert (sorted(item["sets"]["BS"]), item["nothing"]) == (["/g==", "YQ=="], {"NULL": True})
    assert item["nested"] == {"L": [{"B": "eA=="}]}
    assert canonical_key({name: item[name] for name in source.key_names}) == "at=N:1|part=B:AP8="


def test_a_scan_turns_every_page(client: Any) -> None:
    for number in range(12):
        put(client, bytes([number]), "1", filler={"S": "x" * 300_000})
    assert len({item["part"]["B"] for item in table(client).scan()}) == 12


def test_segments_side_by_side_give_every_item_once(client: Any) -> None:
    client.create_table(
        TableName="flights",
        KeySchema=[{"AttributeName": "flight_id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "flight_id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    for number in range(200):
        client.put_item(TableName="flights", Item={"flight_id": {"S": f"UA{number}"}})
    source = DynamoDBTable("flights", client, Time(), segments=5)
    found = [item["flight_id"]["S"] for item in source.scan()]
    assert sorted(found) == sorted(f"UA{number}" for number in range(200))
    # Fewer threads than parts: each thread reads one part after the other to its end.
    pages = list(source.pages(range(12), 12))
    assert sorted(page.part for page in pages if page.is_last) == list(range(12))
    assert sorted(item["flight_id"]["S"] for page in pages for item in page.items) == sorted(found)
    some = [item for page in source.pages([4, 7], 12) for item in page.items]
    assert 0 < len(some) < len(found)
    assert sorted(item["flight_id"]["S"] for item in some) == sorted(
        item["flight_id"]["S"] for page in pages if page.part in (4, 7) for item in page.items
    )


def test_a_scan_of_an_empty_table_is_empty(client: Any) -> None:
    assert list(table(client).scan()) == []


def test_a_scan_that_is_given_up_leaves_no_thread_behind(client: Any) -> None:
    threads = threading.active_count()
    for number in range(12):
        put(client, bytes([number]), "1", filler={"S": "x" * 300_000})
    scan = table(client).scan()
    next(scan)
    scan.close()  # type: ignore[attr-defined]
    assert threading.active_count() == threads


def test_read_finds_more_keys_than_one_request_holds_and_passes_over_those_that_are_gone(client: Any) -> None:
    for number in range(150):
        put(client, b"\xff", str(number))
    keys = [{"part": {"B": "/w=="}, "at": {"N": str(number)}} for number in range(250)]
    assert {int(item["at"]["N"]) for item in table(client).read(keys)} == set(range(150))


def test_read_asks_again_for_keys_that_were_not_processed(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put(client, b"a", "1")
    source = table(client)
    answered = client.batch_get_item
    answers: list[dict[str, Any]] = []

    def throttled(**request: Any) -> Any:
        if len(answers) < 3:
            answers.append(request)
            return {"Responses": {}, "UnprocessedKeys": request["RequestItems"]}
        return answered(**request)

    monkeypatch.setattr(client, "batch_get_item", throttled)
    assert len(list(source.read([{"part": {"B": "YQ=="}, "at": {"N": "1"}}]))) == 1
    assert len(answers) == 3


def test_read_gives_up_on_a_table_that_answers_nothing(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source = table(client)
    monkeypatch.setattr(
        client, "batch_get_item", lambda **request: {"Responses": {}, "UnprocessedKeys": request["RequestItems"]}
    )
    with pytest.raises(LakeboundError, match="answers no more reads"):
        list(source.read([{"part": {"B": "YQ=="}, "at": {"N": "1"}}]))


def test_a_table_that_is_not_there_is_misconfigured(client: Any) -> None:
    with pytest.raises(Misconfigured, match="There is no table none"):
        DynamoDBTable("none", client, Time())


def test_a_table_that_goes_while_it_is_scanned_is_an_error_not_an_empty_table(client: Any) -> None:
    source = table(client)
    client.delete_table(TableName="parts")
    with pytest.raises(Misconfigured):
        list(source.scan())
