"""`lakebound verify` with a share, a moment, a folder and a dry run: a table of moto, a Delta table on the disk."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import orjson
import pyarrow as pa
import pytest
import typer
from deltalake import write_deltalake

from lakebound.cli.moment import Moment
from tests.support.operator_stack import Lakebound

KEYS = [f"k{number}" for number in range(120)]


@pytest.fixture
def target(aws: None, tmp_path: Path) -> str:
    """Silver, in which k7 differs, k8 is missing and there is a k900; k7 changed at 9,000 ms, all others at 1."""
    dynamodb = boto3.client("dynamodb")
    dynamodb.create_table(
        TableName="cars",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    for key in KEYS:
        dynamodb.put_item(TableName="cars", Item=item(key))
    held = {key: item(key) for key in KEYS} | {"k7": item("k7", "2"), "k900": item("k900")}
    del held["k8"]
    constant = {"_is_deleted": False, "_version": "1", "_base": "", "_ttl_expired": False}
    columns = {"_key": [f"id=S:{key}" for key in held], "_item": [json.dumps(one) for one in held.values()]}
    times = {"_stream_time_ms": [9_000 if key == "k7" else 1 for key in held]}
    table = pa.table(columns | times | {name: [value] * len(held) for name, value in constant.items()})
    write_deltalake(tmp_path / "silver", table)
    return str(tmp_path / "silver")


def item(key: str, value: str = "1") -> Mapping[str, Any]:
    return {"id": {"S": key}, "v": {"N": value}}


def verified(lakebound: Lakebound, target: str, *more: str, status: int = 1) -> dict[str, Any]:
    assert lakebound("verify", "--table", "cars", "--target", target, "--no-wait", "--json", *more) == status
    printed = lakebound.printed()
    assert printed.err == ""
    told: dict[str, Any] = orjson.loads(printed.out)
    return told


def test_the_whole_table_and_the_lake(lakebound: Lakebound, target: str) -> None:
    told = verified(lakebound, target)
    assert (told["missing"], told["ghost"], told["different"]) == (["id=S:k8"], ["id=S:k900"], ["id=S:k7"])
    assert (told["keys"], told["compared"]) == (121, "every key")


def test_a_share_of_each_day_finds_all_in_as_many_days(lakebound: Lakebound, target: str) -> None:
    found = set[str]()
    for day in ("2026-11-01", "2026-11-02", "2026-11-03"):
        lakebound("verify", "--table", "cars", "--target", target, "--no-wait", "--json", "--sample", "1/3",
                  "--sample-day", day)  # fmt: skip
        told = orjson.loads(lakebound.out())
        assert told["compared"].endswith(" of 3")
        found.update(told["missing"], told["ghost"], told["different"])
    assert found == {"id=S:k7", "id=S:k8", "id=S:k900"}


@pytest.mark.parametrize(("text", "ago_ms"), [("30s", 30_000), ("10m", 600_000), ("2h", 7_200_000), ("1d", 86_400_000)])
def test_a_moment_may_be_told_by_how_long_ago_it_was(text: str, ago_ms: int) -> None:
    before = time.time_ns() // 1_000_000
    moment = Moment.parse(text).ms
    assert before <= moment + ago_ms <= time.time_ns() // 1_000_000
    assert Moment.parse(f"{10**30}d").ms == 0, "before all that can be stored"


@pytest.mark.parametrize("text", ["0", "0s", "1h30m", "1w", "-1h", "h", "", "yesterday"])
def test_another_moment_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="neither a time like 2026-11-24T03:00:00Z nor so long ago"):
        Moment.parse(text)


def test_since_compares_what_changed(lakebound: Lakebound, target: str) -> None:
    told = verified(lakebound, target, "--since", "1970-01-01T00:00:05Z")
    assert (told["keys"], told["different"]) == (1, ["id=S:k7"])
    assert told["compared"] == "keys of the lake that changed since 1970-01-01T00:00:05Z"


def test_a_dry_run_tells_the_cost_and_compares_nothing(lakebound: Lakebound, target: str) -> None:
    told = verified(lakebound, target, "--dry-run", status=0)
    assert (told["scanned"], told["looked_up"], told["compared"]) == (120, 0, "every key")
    told = verified(lakebound, target, "--dry-run", "--sample", "1/3", status=0)
    assert (told["scanned"], told["looked_up"], told["look_up_units"]) == (40, 40, 40)
    told = verified(lakebound, target, "--dry-run", "--since", "1970-01-01T00:00:05Z", status=0)
    assert (told["scanned"], told["looked_up"], told["look_up_units"]) == (0, 1, 1)


def test_a_folder_is_left_without_chunks_after_the_report(lakebound: Lakebound, target: str, tmp_path: Path) -> None:
    work = tmp_path / "work"
    assert verified(lakebound, target, "--work", str(work)) == verified(lakebound, target)
    assert [path.name for path in work.iterdir()] == [".lock"]
    assert verified(lakebound, target, "--work", str(work))["keys"] == 121


def test_publish_puts_how_many_keys_differ(lakebound: Lakebound, target: str) -> None:
    verified(lakebound, target, "--publish")
    verified(lakebound, target, "--publish", "--sample", "1/1000000", "--sample-day", "2026-11-01", status=0)
    put = boto3.client("cloudwatch").get_metric_data(
        MetricDataQueries=[
            {
                "Id": "unequal",
                "MetricStat": {
                    "Metric": {
                        "Namespace": "Lakebound",
                        "MetricName": "Unequal",
                        "Dimensions": [{"Name": "table", "Value": "cars"}],
                    },
                    "Period": 3600,
                    "Stat": "Maximum",
                },
            }
        ],
        StartTime=0,
        EndTime=4_000_000_000,
    )
    assert put["MetricDataResults"][0]["Values"] == [3.0]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--sample", "1/3", "--since", "2026-11-01"], "choose keys in two ways"),
        (["--sample-day", "2026-11-01"], "--sample-day chooses a share"),
        (["--sample", "all"], "all is no share of the keys"),
        (["--work", "."], "is not empty"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    lakebound: Lakebound, target: str, options: list[str], told: str
) -> None:
    assert told in lakebound.err("verify", "--table", "cars", "--target", target, *options)
