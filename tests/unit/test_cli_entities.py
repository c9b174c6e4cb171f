"""The operator's commands over a table of several kinds: a proposal from files, and where a key belongs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lakebound_spark.silver.config import EntitiesConfig, parse_any_config
from tests.support.independent_writer import TABLE, stream, write_records
from tests.support.operator_stack import Lakebound


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Batch files of five users with an order each, and of a key that has no pattern."""
    records = []
    for number in range(5):
        profile = {"pk": {"S": f"USER#{number}"}, "sk": {"S": "PROFILE"}}
        order = {"pk": {"S": f"USER#{number}"}, "sk": {"S": f"ORDER#{number:04}"}}
        records.append(stream(profile, len(records) + 1, {**profile, "email": {"S": "canary@x"}}))
        records.append(stream(order, len(records) + 1, {**order, "total": {"N": "1.5"}}))
    odd = {"pk": {"S": "17"}, "sk": {"S": "18"}}
    records.append(stream(odd, len(records) + 1, odd))
    write_records(tmp_path / "source", records)
    return tmp_path / "source"


def test_files_give_a_proposal_that_the_job_takes(files: Path, lakebound: Lakebound, tmp_path: Path) -> None:
    out = tmp_path / "app.yaml"
    said = lakebound.out("config", "infer", "--files", str(files), "--entities", "--output", str(out))
    assert said == f"{out}: 2 tables from 11 items, of which 1 has a key of no pattern\n"
    config = parse_any_config(yaml.safe_load(out.read_text()))
    assert isinstance(config, EntitiesConfig)
    assert config.source_table == TABLE
    assert list(config.tables) == ["lake.user_order", "lake.user_profile", "lake.rest"]
    told = lakebound.document("config", "infer", "--files", str(files), "--entities")
    assert [(table["table"], table["items"]) for table in told["tables"]] == [
        ("lake.user_order", 5),
        ("lake.user_profile", 5),
        ("lake.rest", 1),
    ]
    assert told["tables"][0]["parts"]["order_id"] == {"path": "sk", "after": "ORDER#", "type": "bigint"}
    assert "canary" not in told["yaml"]


def test_trace_tells_the_table_of_a_key(files: Path, lakebound: Lakebound, tmp_path: Path) -> None:
    config = tmp_path / "app.yaml"
    config.write_text(f"source_table: {TABLE}\ntables: {{lake.users: {{where: {{sk: PROFILE}}}}}}")
    key = ("trace", "pk=USER#1,sk=PROFILE", "--files", str(files), "--config", str(config))
    assert lakebound.out(*key).endswith('table: lake.users, whose where {sk: "PROFILE"} takes the key\n')
    told = lakebound.document(*key)
    assert (told["table"], told["where"]) == ("lake.users", '{sk: "PROFILE"}')
    other = ("trace", "pk=17,sk=18", "--files", str(files), "--config", str(config))
    assert lakebound.out(*other).endswith("table: none, since no `where` takes the key\n")
    assert lakebound.document(*other)["table"] is None


@pytest.mark.parametrize("more", [(), ("--target", "lake.users", "--config", "app.yaml")])
def test_verify_is_of_one_table_or_of_the_tables_of_a_file(
    lakebound: Lakebound, more: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("app.yaml").touch()
    assert "Give either --target or --config" in lakebound.err("verify", "--table", "app", *more)
