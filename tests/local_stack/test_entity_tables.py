"""A table of several kinds in the local stack: rules proposed from DynamoDB, and real Delta tables in S3 compared.

The YAML that `config infer` proposes is the one that `verify` and `trace` are given.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from deltalake import write_deltalake

from demo.local_stack import ROOT, LocalStack
from lakebound.record.entity_rules import parse_rules
from tests.support.independent_writer import Item, stream, write_records

pytestmark = [pytest.mark.stack, pytest.mark.soak]

COMMAND = "from lakebound.cli.app import main; main()"
USERS, ORDERS = 40, 60

Command = Callable[..., tuple[int, str]]


def items() -> dict[str, Item]:
    """By silver's key: users, their orders, and two whose keys have no pattern."""
    made: list[Item] = []
    for number in range(USERS):
        made.append({"pk": {"S": f"USER#{number}"}, "sk": {"S": "PROFILE"}, "email": {"S": f"{number}@canary"}})
    for number in range(ORDERS):
        order = f"ORDER#2026-11-{1 + number % 28:02}#{number:03}"
        made.append({"pk": {"S": f"USER#{number % USERS}"}, "sk": {"S": order}, "total": {"N": f"{number}.50"}})
    made += [{"pk": {"S": "17"}, "sk": {"S": "18"}}, {"pk": {"S": "19"}, "sk": {"S": "20"}}]
    return {f"pk=S:{one['pk']['S']}|sk=S:{one['sk']['S']}": one for one in made}


def rows_of(items: Mapping[str, Item]) -> pa.Table:
    """Rows of silver."""
    constant = {"_version": "1", "_stream_time_ms": 1, "_base": "", "_ttl_expired": False, "_is_deleted": False}
    columns: dict[str, Any] = {"_key": list(items), "_item": [json.dumps(one) for one in items.values()]}
    return pa.table(columns | {name: [value] * len(items) for name, value in constant.items()})


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack() as stack:
        dynamodb = stack.client("dynamodb")
        names = ("pk", "sk")
        dynamodb.create_table(
            TableName="app",
            KeySchema=[{"AttributeName": n, "KeyType": t} for n, t in zip(names, ("HASH", "RANGE"), strict=True)],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in names],
            BillingMode="PAY_PER_REQUEST",
        )
        for item in items().values():
            dynamodb.put_item(TableName="app", Item=item)
        stack.client("s3").create_bucket(Bucket="lake")
        yield stack


@pytest.fixture(scope="module")
def command(stack: LocalStack) -> Command:
    """Runs the command as a user does; its exit status, and what it printed."""

    def call(*arguments: str) -> tuple[int, str]:
        environment = os.environ | stack.env() | {"JAVA_HOME": "/nowhere"}
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, *arguments],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout or done.stderr

    return call


@pytest.fixture(scope="module")
def config(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `config infer` proposes of the table, with the tables in the stack's S3."""
    path = tmp_path_factory.mktemp("app") / "app.yaml"
    status, said = command("config", "infer", "--table", "app", "--entities", "--output", str(path))
    assert (status, said) == (0, f"{path}: 2 tables from 102 items, of which 2 have a key of no pattern\n")
    assert "canary" not in path.read_text()
    proposed = yaml.safe_load(path.read_text())
    assert list(proposed["tables"]) == ["lake.user_order", "lake.user_profile", "lake.rest"]
    assert proposed["tables"]["lake.user_order"]["columns"]["total"].startswith("decimal(")
    path.write_text(path.read_text().replace("lake.", "s3://lake/silver/"))
    return path


def write_tables(stack: LocalStack, config: Path, found: Mapping[str, Item]) -> dict[str, dict[str, Item]]:
    """Each of the tables in S3 with the rows that its rule takes; they by the name of the table."""
    settings = yaml.safe_load(config.read_text())["tables"]
    rules = parse_rules([(name, one["where"]) for name, one in settings.items()])
    tables: dict[str, dict[str, Item]] = {name: {} for name in settings}
    for key, item in found.items():
        rule = rules.rule_of({"pk": item["pk"], "sk": item["sk"]})
        assert rule is not None
        tables[rule.table][key] = item
    for name, rows in tables.items():
        write_table(stack, name, rows)
    return tables


def write_table(stack: LocalStack, name: str, rows: Mapping[str, Item]) -> None:
    environment = stack.env()
    options = {"AWS_ALLOW_HTTP": "true", "AWS_REGION": environment["AWS_DEFAULT_REGION"]}
    options |= {one: environment[one] for one in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    write_deltalake(name, rows_of(rows), storage_options=options, mode="overwrite")


def test_the_tables_of_a_proposal_are_compared_together(
    stack: LocalStack, command: Command, config: Path, tmp_path: Path
) -> None:
    tables = write_tables(stack, config, items())
    assert [len(rows) for rows in tables.values()] == [ORDERS, USERS, 2]
    verify = ("verify", "--table", "app", "--no-wait", "--json", "--config")
    status, said = command(*verify, str(config))
    assert (status, json.loads(said)["equal"], json.loads(said)["keys"]) == (0, True, USERS + ORDERS + 2), said

    # Without a rest two items belong to no table.
    document = yaml.safe_load(config.read_text())
    del document["tables"]["s3://lake/silver/rest"]
    (tmp_path / "fewer.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    status, said = command(*verify[:4], "--config", str(tmp_path / "fewer.yaml"))
    assert status == 0, said
    assert "not compared: 2 items of the source, of no table" in said

    # A key in a table of others, one in two tables, one in none.
    orders, users = tables["s3://lake/silver/user_order"], tables["s3://lake/silver/user_profile"]
    (astray, _), (double, profile), (missing, _) = list(users.items())[:3]
    write_table(stack, "s3://lake/silver/user_profile", {k: v for k, v in users.items() if k not in (astray, missing)})
    write_table(stack, "s3://lake/silver/user_order", orders | {astray: users[astray], double: profile})
    status, said = command(*verify, str(config))
    told = json.loads(said)
    found = {name: set(told[name]) for name in ("missing", "ghost", "stale", "different")}
    assert (status, found) == (1, {"missing": {missing}, "ghost": set(), "stale": set(), "different": {astray, double}})


def test_a_key_is_traced_to_its_table(command: Command, config: Path, tmp_path: Path) -> None:
    order = {"pk": {"S": "USER#7"}, "sk": {"S": "ORDER#2026-11-08#007"}}
    write_records(tmp_path / "files", [stream(order, 1, order)])
    key = "pk=USER#7,sk=ORDER#2026-11-08#007"
    status, said = command("trace", key, "--files", str(tmp_path / "files"), "--config", str(config))
    assert status == 0, said
    assert "table: s3://lake/silver/user_order, whose where" in said
