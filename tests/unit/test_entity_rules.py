"""Which table a key belongs to: what the rules take, and each mistake in them with the sentence that names it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from lakebound.errors import Misconfigured
from lakebound.record.entity_rules import EntityRules, parse_rules
from lakebound_spark.silver.config import EntitiesConfig, MergeConfig, load_any_config, of_table, parse_any_config

SHOP = """
source_table: app
tables:
  lake.users:
    where: {pk: "USER#*", sk: PROFILE}
    columns: {user_id: {path: pk, after: "USER#"}, email: string}
  lake.rest: {where: rest}
  lake.orders:
    where: {sk: "ORDER#*"}
    columns: {day: {path: sk, split: "#", part: 2, type: date}, total: "decimal(12,2)"}
    history: scd2
"""


def rules(*wheres: Any) -> EntityRules:
    return parse_rules([(f"t{place}", where) for place, where in enumerate(wheres)])


def table(found: EntityRules, **keys: Any) -> str | None:
    tagged = {name: {"N" if isinstance(value, int) else "S": str(value)} for name, value in keys.items()}
    rule = found.rule_of(tagged)
    return None if rule is None else rule.table


def test_the_first_rule_that_takes_a_key_wins_and_the_rest_comes_last() -> None:
    config = parse_any_config(yaml.safe_load(SHOP))
    assert isinstance(config, EntitiesConfig)
    assert list(config.tables) == ["lake.users", "lake.orders", "lake.rest"]
    assert table(config.rules, pk="USER#1", sk="PROFILE") == "lake.users"
    assert table(config.rules, pk="USER#1", sk="ORDER#2026-11-01#7") == "lake.orders"
    assert table(config.rules, pk="USER#1", sk="profile") == "lake.rest"
    assert (config.tables["lake.orders"].history, config.tables["lake.users"].history) == ("scd2", "none")
    assert config.tables["lake.rest"].source_table == "app"


def test_without_a_rest_a_key_can_belong_to_no_table() -> None:
    found = rules({"sk": "A#*"}, {"sk": r"B\*"})
    assert [table(found, sk=sk) for sk in ("A#1", "A", "B*", "B#")] == ["t0", None, "t1", None]


def test_numbers_are_compared_by_value() -> None:
    found = rules({"id": 7}, {"id": {"from": 1, "below": "9.5"}}, {"id": {"from": 100}})
    taken = {text: found.rule_of({"id": {"N": text}}) for text in ("7.0", "70E-1", "1", "9.49", "9.5", "1E40", "-1")}
    assert {text: rule and rule.table for text, rule in taken.items()} == {
        "7.0": "t0",
        "70E-1": "t0",
        "1": "t1",
        "9.49": "t1",
        "9.5": None,
        "1E40": "t2",
        "-1": None,
    }


@pytest.mark.parametrize(
    ("wheres", "says"),
    [
        (["rest", "rest"], "t0 takes already"),
        ([None], "t0: where is missing"),
        ([{}], "t0: where is missing"),
        ([{"pk": "A*B"}], "has a * that is not its end"),
        ([{"pk": ""}], "no key attribute is an empty text"),
        ([{"pk": 1.5}], "is no condition"),
        ([{"pk": True}], "YAML takes it for True, which is no text; put quotes around it"),
        ([yaml.safe_load("pk: 2026-11-01")], "YAML takes it for 2026-11-01, which is no text"),
        ([yaml.safe_load("pk: 2026-11-01T03:00:00Z")], "YAML takes it for 2026-11-01 03:00:00"),
        ([{"pk": ["A"]}], "is no condition"),
        ([{"pk": {"from": 1, "to": 2}}], "is no condition"),
        ([{"pk": {"from": 0.1}}], "write a whole one, or one with a point in quotes"),
        ([{"pk": {"from": 5, "below": 5}}], "no number is from 5 on and below 5"),
        ([{"pk": {"from": 10**18}}], "more than 18 digits"),
        ([{"pk": "A#*"}, {"pk": {"from": 1}}], "pk is a number here and a text in t0"),
        ([{"pk": "A*"}, {"pk": "AB", "sk": "x"}], "t1 would get no key, since t0 comes before it"),
        ([{"pk": {"from": 1}}, {"pk": {"from": 2, "below": 3}}], "t1 would get no key"),
        ([{"pk": "*"}, {"pk": "AB"}], "t1 would get no key"),
    ],
)
def test_a_mistake_in_a_rule_is_refused_with_its_reason(wheres: list[Any], says: str) -> None:
    with pytest.raises(Misconfigured, match=says.replace("*", r"\*")):
        rules(*wheres)


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ({"status": "open"}, r"looks at status, which is no key attribute of app \(pk, n\); a delete brings nothing"),
        ({"pk": {"from": 1}}, "takes pk for a number, but in app it is a text; write a text or a prefix"),
        ({"n": "A*"}, "takes n for a text, but in app it is a number"),
    ],
)
def test_a_rule_that_the_keys_of_the_source_contradict_is_refused(where: Any, says: str) -> None:
    with pytest.raises(Misconfigured, match=says):
        rules(where).check_keys({"pk": "S", "n": "N"}, "app")
    rules({"pk": "A*", "n": {"below": 3}}).check_keys({"pk": "S", "n": "N"}, "app")


def test_only_rules_that_could_take_a_tables_keys_decide_what_it_gets() -> None:
    before = rules({"pk": "A#*"}, {"pk": "B#*"}, "rest")
    after = rules({"pk": "A#*"}, {"pk": "B#*", "sk": "X"}, "rest")
    assert before.extent_of("t0") == after.extent_of("t0")
    assert before.extent_of("t1") != after.extent_of("t1")
    assert before.extent_of("t2") != after.extent_of("t2")
    overlapping = rules({"sk": "X"}, {"pk": "B#*"})
    assert overlapping.extent_of("t1") == ['{pk: "B#*"}', '{sk: "X"}']


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tables: []", "tables must be a mapping"),
        ("tables: {a: {where: rest}}\ncolumns: {}", "unknown setting columns beside tables; give it to each"),
        ("tables: {a: {where: rest, source_table: t}}", "a: source_table stands above tables"),
        ("tables: {a: {where: rest, colums: {}}}", "a: unknown setting colums"),
        ("tables: {a: rest}", "with its settings"),
        ("tables: {a: {where: rest, columns: {u: {path: pk, after: 7}}}}", "after must be text"),
        ("tables: {a: {where: rest, columns: {u: {path: pk, split: '#'}}}}", "split and part go together"),
        ("tables: {a: {where: rest, columns: {u: {path: pk, split: '#', part: 0}}}}", "whole number from 1 on"),
        ("tables: {a: {where: rest, columns: {u: {path: pk, after: x, type: json}}}}", "the type cannot hold it"),
    ],
)
def test_a_mistake_in_the_tables_is_refused(text: str, says: str) -> None:
    with pytest.raises(Misconfigured, match=says):
        parse_any_config(yaml.safe_load(f"source_table: app\n{text}"))


def test_a_job_of_one_table_takes_its_part_of_the_file(tmp_path: Any) -> None:
    path = tmp_path / "app.yaml"
    path.write_text(SHOP)
    assert of_table(load_any_config(str(path)), str(path), "lake.orders").history == "scd2"
    with pytest.raises(Misconfigured, match="has several tables"):
        of_table(load_any_config(str(path)), str(path), "lake.app")
    path.write_text("source_table: app\ncolumns: {a: int}")
    assert isinstance(load_any_config(str(path)), MergeConfig)
