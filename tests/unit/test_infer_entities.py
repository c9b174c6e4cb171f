"""Tables proposed from the patterns of keys: the job takes the proposal, and every item goes to its kind."""

from __future__ import annotations

from typing import Any

import yaml

from lakebound.operate.infer_entities import MOST_WORDS, EntityInference
from lakebound_spark.silver.config import EntitiesConfig, parse_any_config


def inferred(items: list[dict[str, Any]], *keys: str) -> EntityInference:
    inference = EntityInference()
    for item in items:
        inference.add(item, keys)
    return inference


def shop(users: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for number in range(users):
        pk = {"S": f"USER#{number}"}
        found.append({"pk": pk, "sk": {"S": "PROFILE"}, "email": {"S": f"{number}@x"}})
        for day in (1, 2):
            total = {"N": f"{number}.5"}
            found.append({"pk": pk, "sk": {"S": f"ORDER#2026-11-0{day}#{day:05}"}, "total": total})
        found.append({"pk": {"S": f"{number}-no-kind"}, "sk": {"N": "1"}})
    return found


def test_the_job_takes_the_proposal_and_each_kind_is_a_table() -> None:
    inference = inferred(shop(10), "pk", "sk")
    config = parse_any_config(yaml.safe_load(inference.yaml("app")))
    assert isinstance(config, EntitiesConfig)
    assert {rule.table: str(rule) for rule in config.rules.rules} == {
        "lake.user_order": '{pk: "USER#*", sk: "ORDER#*"}',
        "lake.user_profile": '{pk: "USER#*", sk: "PROFILE"}',
        "lake.rest": "rest",
    }
    assert [(one.rule.table, one.items) for one in inference.tables()] == [
        ("lake.user_order", 20),
        ("lake.user_profile", 10),
        ("lake.rest", 10),
    ]
    assert {column.name: column.sql_type for column in config.tables["lake.user_order"].columns} == {
        "user_id": "bigint",
        "order_1": "date",
        "order_2": "bigint",
        "pk": "string",
        "sk": "string",
        "total": "decimal(12,2)",
    }
    assert "email" in {column.name for column in config.tables["lake.user_profile"].columns}
    assert "email" not in {column.name for column in config.tables["lake.user_order"].columns}


def test_every_item_is_taken_by_the_rule_that_counted_it() -> None:
    items = shop(5)
    inference = inferred(items, "pk", "sk")
    config = parse_any_config(yaml.safe_load(inference.yaml("app")))
    assert isinstance(config, EntitiesConfig)
    rules = [config.rules.rule_of({name: item[name] for name in ("pk", "sk")}) for item in items]
    counted = {one.rule.table: one.items for one in inference.tables()}
    assert {table: sum(rule is not None and rule.table == table for rule in rules) for table in counted} == counted


def test_names_are_no_kinds_where_there_are_many() -> None:
    names = [f"{first}{second}" for first in "abcdefgh" for second in "rstuvwxyz"]
    assert len(names) > MOST_WORDS
    items = [{"pk": {"S": name}, "sk": {"S": "PROFILE"}} for name in names]
    found = inferred([*items, {"pk": {"S": "#"}, "sk": {"S": "x1"}}], "pk", "sk").tables()
    assert [(str(one.rule), one.items) for one in found] == [('{sk: "PROFILE"}', len(names)), ("rest", 1)]


def test_what_only_some_keys_have_is_no_column_and_names_are_free() -> None:
    items = [{"pk": {"S": text}, "user_1": {"N": "1"}} for text in ("USER#a#b", "USER#c#d", "USER#e")]
    (users, rest) = inferred(items, "pk").tables()
    assert {part.name: part.how for part in users.parts} == {"user_1_key": {"path": "pk", "split": "#", "part": 2}}
    assert rest.items == 0
