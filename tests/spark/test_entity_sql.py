"""The rules' SQL says of generated keys what their plain Python says, and columns take typed parts out of keys."""

from __future__ import annotations

import json
import random
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812

from lakebound.errors import Misconfigured
from lakebound.record.entity_rules import parse_rules
from lakebound_spark.silver.entity_sql import entity_sql
from tests.spark.typed_values import typed_all

TEXTS = ("A", "A#", "A#1", "A*", "a", "AB", "B#'x", "B#\\", "ß", "𝄞#1", "${spark.app.name}", "")
NUMBERS = (
    "0",
    "-0.0",
    "7",
    "7.0",
    "70E-1",
    "6.999",
    "-7",
    "-1E-130",
    "1E-130",
    "9.9E125",
    "-9.9E125",
    "9" * 38,
    "1.5E1",
)
BOUNDS = (-7, 0, "0.5", 7, "6.999", 15, 10**17)


def rules_of(chance: random.Random) -> Any:
    """Up to four rules on a text and a number, none of which another hides."""
    while True:
        wheres: list[tuple[str, Any]] = []
        for place in range(chance.randrange(1, 5)):
            where: dict[str, Any] = {}
            if chance.random() < 0.7:
                text = chance.choice(TEXTS[:-1]).replace("*", r"\*")
                where["p k"] = chance.choice([text, text + "*", "*"])
            if chance.random() < 0.6:
                low, high = (chance.choice(BOUNDS) for _ in range(2))
                where["n"] = chance.choice([{"from": low}, {"below": high}, {"from": low, "below": high}, 7])
            wheres.append((f"t{place}", where or "rest"))
        try:
            return parse_rules(wheres)
        except Misconfigured:
            continue


@pytest.mark.parametrize("files", [3, pytest.param(40, marks=pytest.mark.soak)])
def test_the_sql_of_rules_says_what_plain_python_says(spark: SparkSession, files: int) -> None:
    chance = random.Random(5)
    keys = [{"p k": {"S": text}, "n": {"N": number}} for text in TEXTS for number in NUMBERS]
    keys += [{"p k": {"B": "QQ=="}, "n": {"N": "7"}}, {"n": {"N": "7"}}, {"n": {"S": "7"}, "p k": {"N": "1"}}]
    found = [rules_of(chance) for _ in range(files)]
    rows = spark.createDataFrame([(json.dumps(one),) for one in keys], "keys STRING").coalesce(1)
    answers = rows.select(*[F.expr(entity_sql(rules, "keys")).alias(f"r{n}") for n, rules in enumerate(found)])
    told = answers.collect()
    expected = [
        [next((n for n, rule in enumerate(rules.rules) if rule is rules.rule_of(one)), None) for rules in found]
        for one in keys
    ]
    assert [list(row) for row in told] == expected
    places = [place for row in expected for place in row]
    assert all(places.count(place) > 2 * files for place in (0, 1, None)), "each answer many times, or it proves little"


COLUMNS = {
    "user": {"path": "pk", "after": "USER#"},
    "kind": {"path": "sk", "before": "#"},
    "day": {"path": "sk", "after": "#", "before": "#", "type": "date"},
    "number": {"path": "sk", "split": "#", "part": 3, "type": "int"},
    "price": {"path": "sk", "split": r".\E", "part": 2, "type": "decimal(5,2)"},
    "is_open": {"path": "pk", "after": "=", "type": "boolean", "true": ["Y"], "false": ["N"]},
    "at": {"path": "pk", "after": "@", "type": "timestamp", "unit": "s"},
}


PARTS: list[tuple[str, str, tuple[Any, ...], int]] = [
    ("USER#17", "ORDER#2026-11-01#017", ("17", "ORDER", date(2026, 11, 1), 17, None, None), 3),
    ("USER#17", "ORDER#2026-11-31#x", ("17", "ORDER", None, None, None, None), 5),
    ("USER#", "#2026-11-01", ("", "", None, None, None, None), 5),
    ("xUSER#1USER#2", r"ORDER.\E1.50.\E#", ("1USER#2", r"ORDER.\E1.50.\E", None, None, Decimal("1.50"), None), 4),
    ("=Y", "PROFILE", (None, None, None, None, None, True), 6),
]


def test_a_column_takes_a_typed_part_out_of_a_key(spark: SparkSession) -> None:
    keys = [json.dumps({"pk": {"S": pk}, "sk": {"S": sk}}) for pk, sk, *_ in PARTS]
    both = [(one, image, None) for one in keys for image in (one, None)]
    rows = typed_all(spark, COLUMNS, [*both, ('{"pk":{"S":"@0"},"sk":{"N":"5"}}',) * 2 + (None,)])
    for (_, _, expected, inexact), item, gone in zip(PARTS, rows[:-1:2], rows[1:-1:2], strict=True):
        assert tuple(item["stream_columns"])[:6] == expected
        assert item["inexact"] == inexact, "what lacks its sign is counted as what does not fit"
        assert item["stream_columns"] == gone["stream_columns"], "a delete brings its key"
    number = rows[-1]["stream_columns"]
    assert number[6].timestamp() == 0
    assert tuple(number)[1:5] == (None,) * 4, "a number has no parts"
