"""The stack's own verify: the real function over a table of moto's and a Delta table on the disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import Any

import boto3
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from lakebound.adapters import nightly_verify
from lakebound.adapters.nightly_verify import RESERVE_SECONDS
from lakebound.adapters.silver_table import SilverTable
from lakebound.errors import LakeboundError, Misconfigured
from lakebound.operate.sides import LakeRow
from lakebound.settings import VerifySettings
from tests.support.function_stack import Context
from tests.support.local_ports import ManualClock
from tests.support.stream_records import TABLE

DAY_MS = 86_400_000
KEYS = [f"k{number}" for number in range(60)]


def item(key: str, value: str = "1") -> dict[str, Any]:
    return {"id": {"S": key}, "v": {"N": value}}


def write_silver(folder: Path, held: Mapping[str, Any]) -> None:
    constant = {"_is_deleted": False, "_version": "1", "_base": "", "_ttl_expired": False, "_stream_time_ms": 1}
    columns = {"_key": [f"id=S:{key}" for key in held], "_item": [json.dumps(one) for one in held.values()]}
    write_deltalake(folder, pa.table(columns | {name: [value] * len(held) for name, value in constant.items()}))


class Nights:
    """The function, started once; each night is an invocation on another day, on a clock that waits for nobody."""

    def __init__(self, app: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
        self.app: Any = app
        self.app.CLOCK = ManualClock()
        self._capsys = capsys

    def night(self, context: object = None) -> tuple[dict[str, Any], str]:
        """The answer, and what was printed; then it is the next day."""
        self._capsys.readouterr()
        today = self.app.CLOCK.ms
        answer = self.app.handler({}, context or LongContext())
        self.app.CLOCK.ms = today + DAY_MS
        return answer, self._capsys.readouterr().out


class LongContext(Context):
    def get_remaining_time_in_millis(self) -> int:
        return 900_000


def metrics(printed: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in printed.splitlines() if '"_aws"' in line]


@pytest.fixture
def nights(
    environment: dict[str, str],
    load: Callable[[str], ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[[Mapping[str, Any]], Nights]:
    def started(held: Mapping[str, Any], items: Iterable[str] = KEYS) -> Nights:
        dynamodb = boto3.client("dynamodb")
        dynamodb.create_table(
            TableName=TABLE,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        for key in items:
            dynamodb.put_item(TableName=TABLE, Item=item(key))
        boto3.client("sqs").create_queue(QueueName="buffer")
        write_silver(tmp_path / "silver", held)
        monkeypatch.setenv("VERIFY_TARGET", str(tmp_path / "silver"))
        monkeypatch.setenv("VERIFY_SHARE", "1/2")
        return Nights(load("verify"), capsys)

    return started


def test_two_nights_of_halves_find_every_key_that_differs(nights: Callable[..., Nights]) -> None:
    held = {key: item(key) for key in KEYS} | {"k7": item("k7", "2"), "k900": item("k900")}
    del held["k8"]
    nightly = nights(held)
    told = [nightly.night() for _ in range(2)]
    assert sorted(answer["compared"] for answer, _ in told) == ["share 1 of 2", "share 2 of 2"]
    assert sum(answer["unequal"] for answer, _ in told) == 3
    put = [metrics(printed) for _, printed in told]
    assert [[one["Unequal"] for one in each] for each in put] == [[[answer["unequal"]]] for answer, _ in told]
    for each in put:
        # The dimensions of the alarm, which `lakebound verify --publish` puts too.
        (directive,) = each[0]["_aws"]["CloudWatchMetrics"]
        assert (directive["Namespace"], directive["Dimensions"], each[0]["table"]) == ("Lakebound", [["table"]], TABLE)


def test_an_equal_table_puts_a_zero_every_night(nights: Callable[..., Nights]) -> None:
    nightly = nights({key: item(key) for key in KEYS})
    for _ in range(2):
        answer, printed = nightly.night()
        assert answer["unequal"] == 0
        assert answer["keys"] > 0
        assert [one["Unequal"] for one in metrics(printed)] == [[0.0]]


def test_no_key_is_told(nights: Callable[..., Nights]) -> None:
    nightly = nights({}, ["k-of-a-person"])
    for _ in range(2):
        answer, printed = nightly.night()
        assert "k-of-a-person" not in printed
        assert "k-of-a-person" not in json.dumps(answer)


class ShortContext(Context):
    def get_remaining_time_in_millis(self) -> int:
        return int(RESERVE_SECONDS * 1000) - 1


def test_a_share_that_takes_too_long_is_not_judged(nights: Callable[..., Nights]) -> None:
    """No metric: after 26 hours VerifyMissing is on, and the log says what to do."""
    nightly = nights({})
    with pytest.raises(LakeboundError, match=r"too much for one invocation.*smaller VerifyShare"):
        nightly.night(ShortContext())


def test_a_query_that_gives_no_row_does_not_outlast_the_invocation(
    nights: Callable[..., Nights], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a pass over a large table does, of which the share has few rows: no progress, and Lambda's end comes."""
    end = Event()

    def rows(self: SilverTable, selection: object) -> Iterable[LakeRow]:
        assert end.wait(60)
        return iter(())

    monkeypatch.setattr(SilverTable, "rows", rows)
    # All of the invocation but half a second is left for saying it.
    monkeypatch.setattr(nightly_verify, "LAST_SECONDS", 899.5)
    with pytest.raises(LakeboundError, match=r"items and 0 rows had been read\. Nothing was judged") as told:
        nights({key: item(key) for key in KEYS}).night()
    end.set()
    assert "VerifyShare (1/4)" in told.value.hint


def test_without_a_target_it_does_not_start() -> None:
    with pytest.raises(Misconfigured, match="VERIFY_TARGET is not set"):
        VerifySettings.read({"TABLE_NAME": TABLE, "QUEUE_URL": "https://sqs/buffer"})
