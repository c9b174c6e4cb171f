"""docs/ENTITIES.md: its example, its conditions and its settings are what the job and the command take."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from lakebound.cli.entity_tables import load_rules
from lakebound.errors import Misconfigured
from lakebound.record.entity_rules import parse_rules
from lakebound_spark.silver.column_options import PART_OPTIONS
from lakebound_spark.silver.columns import parse_column
from lakebound_spark.silver.config import _OF_A_TABLE, EntitiesConfig, load_any_config

PAGE = (Path(__file__).parents[2] / "docs" / "ENTITIES.md").read_text("utf-8")
EXAMPLE = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)[0]


def first_cells(anchor: str) -> list[str]:
    """The first column of the first table after an anchor, as it stands in the code marks."""
    table = PAGE.split(f'<a id="{anchor}"></a>')[1].partition("\n|")[2].partition("\n\n")[0]
    return [row.strip("|").split("|")[0].strip().strip("`") for row in table.splitlines()[2:]]


def test_the_job_and_the_command_take_the_example(tmp_path: Path) -> None:
    path = tmp_path / "app.yaml"
    path.write_text(EXAMPLE)
    config = load_any_config(str(path))
    assert isinstance(config, EntitiesConfig)
    assert load_rules(path) == config.rules
    found = {
        table: config.rules.rule_of({"pk": {"S": pk}, "sk": {"S": sk}})
        for table, pk, sk in (
            ("lake.users", "USER#17", "PROFILE"),
            ("lake.orders", "USER#17", "ORDER#2026-11-01#017"),
            ("lake.rest", "USER#17", "x"),
        )
    }
    assert {table: rule and rule.table for table, rule in found.items()} == {table: table for table in found}


def test_each_condition_is_one() -> None:
    conditions = first_cells("where")
    assert len(conditions) == 5
    for text in conditions:
        assert len(parse_rules([("a", {"pk": yaml.safe_load(text)})]).rules) == 1


def test_the_settings_of_a_table_are_all_named() -> None:
    said = PAGE.split("Each has settings of its\nown: ")[1].partition(".")[0]
    assert re.findall(r"`(\w+)`", said) == list(_OF_A_TABLE)


def test_each_way_to_take_a_part_is_a_column() -> None:
    ways = [yaml.safe_load(f"{{{text}}}") for text in first_cells("parts")]
    assert {name for way in ways for name in way} - {"type"} == set(PART_OPTIONS)
    assert [parse_column("day", {"path": "sk", **way}).sql_type for way in ways] == ["string", "string", "date", "int"]


def test_red_control_what_the_page_calls_no_condition_is_none() -> None:
    with pytest.raises(Misconfigured):
        parse_rules([("a", {"pk": yaml.safe_load("[PROFILE]")})])
