"""`lakebound config infer --table` against a table that speaks DynamoDB: DynamoDB Local, through the command itself."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from lakebound.adapters import clients
from lakebound_spark.silver.config import parse_config
from tests.contract.local_tables import Source
from tests.support.operator_stack import Lakebound


@pytest.fixture
def source(make: Callable[..., Source], monkeypatch: pytest.MonkeyPatch) -> Source:
    made = make()
    clients._session.cache_clear()  # what it knows of another test's region and credentials
    monkeypatch.setenv("AWS_ENDPOINT_URL", made.endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    return made


def test_columns_are_proposed_with_what_would_not_fit(source: Source, lakebound: Lakebound, tmp_path: Path) -> None:
    for number in range(60):
        source.put(
            id={"S": f"k{number:02}"},
            soc={"N": f"{number}.5"},
            km={"N": str(number)} if number else {"S": "none"},
            doors={"SS": ["left", "right"]},
            pos={"M": {"lat": {"N": "47.1"}}},
            broken={"BOOL": number % 2 == 0},
        )
    out = tmp_path / "cars.yaml"
    assert lakebound("config", "infer", "--table", source.name, "--output", str(out)) == 0
    lakebound.printed()
    proposed = yaml.safe_load(out.read_text())
    assert proposed["source_table"] == source.name
    columns = proposed["columns"]
    assert (columns["id"], columns["broken"], columns["doors"]) == ("string", "boolean", "array<string>")
    assert columns["soc"].startswith("decimal")
    # What is written is what the merge job takes.
    assert {column.name for column in parse_config(proposed).columns} >= {"id", "soc", "km", "doors", "broken"}

    told = lakebound.document("config", "infer", "--table", source.name)
    assert told["items"] == 60
    by_path = {one["path"]: one for one in told["columns"]}
    assert (by_path["soc"]["exceptions"], by_path["km"]["seen"]) == (0, 60)


def test_a_sample_reads_no_more_than_was_asked_for(source: Source, lakebound: Lakebound) -> None:
    for number in range(40):
        source.put(id={"S": f"k{number:02}"}, v={"N": str(number)})
    assert lakebound.document("config", "infer", "--table", source.name, "--sample", "7")["items"] == 7


def test_a_table_without_items_and_one_that_is_not_there_are_told(source: Source, lakebound: Lakebound) -> None:
    assert "holds no item" in lakebound.err("config", "infer", "--table", source.name)
    assert "nowhere" in lakebound.err("config", "infer", "--table", "nowhere")
