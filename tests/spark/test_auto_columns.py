"""`columns: auto`: attributes become columns as they appear, types widen, nothing is rounded or stops the stream."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession
from pyspark.sql.types import StructType

from lakebound_spark.platform import spark_compat
from lakebound_spark.platform.metrics import MicroBatch
from lakebound_spark.silver import auto_columns
from lakebound_spark.silver.auto_columns import AttributeUsage, Growth, attribute_columns, plan_growth
from lakebound_spark.silver.columns import DeclaredColumn
from lakebound_spark.silver.types import Scalar
from tests.spark.silver import Silver
from tests.support.independent_writer import Record, item, stream, write_records

AWKWARD = "a b,;{}()\n\t="


def put(key: str, sequence: int, **attributes: Any) -> Record:
    return stream(key, sequence, item(key, **attributes))


# What each micro-batch delivers.
FIRST = [
    put("whole", 1, n={"N": "7"}, s={"S": "text"}, yes={"BOOL": True}, b={"B": "AP8="}, later={"NULL": True}),
    put("sets", 1, ss={"SS": ["b", "a"]}, ns={"NS": ["10", "9.5"]}, l={"L": [{"N": "1"}]}, m={"M": {"x": {"S": "y"}}}),
    put("mixed", 1, mix={"N": "1"}),
    put("mixed too", 1, mix={"BOOL": False}, text={"S": "a"}),
    put("number as text", 1, text={"N": "1.50"}),
    put("case", 1, Name={"S": "upper"}, name={"S": "lower"}),
    put("awkward", 1, **{AWKWARD: {"S": "spaces"}, "x.y": {"S": "dot"}, "`": {"S": "tick"}, "_key": {"S": "mine"}}),
    put("case again", 1, Name={"S": "upper"}),
    stream("gone", 1, None),
]
SECOND = [
    put("wider", 1, n={"N": "0.000000000000000001"}),
    put("too small", 1, n={"N": "1E-19"}, yes={"S": "true"}),
    put("whole", 2, n={"N": "8"}, later={"N": "99999999999999999999"}),
    put("null", 1, n={"NULL": True}, note={"S": "theirs"}),
]


@pytest.fixture(scope="module")
def grown(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Silver, list[MicroBatch]]:
    folder: Path = tmp_path_factory.mktemp("auto")
    silver = Silver.create(spark, folder / "silver", "auto")
    done = [silver.merge(write_records(folder, FIRST))]
    spark.sql(f"ALTER TABLE delta.`{silver.path}` ADD COLUMNS (note STRING)")
    done.append(silver.merge(write_records(folder, SECOND, hour="2")))
    # Every later micro-batch meets a table that is full.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auto_columns, "MAX_COLUMNS", len(attribute_columns(table(silver))))
        done.append(
            silver.merge(write_records(folder, [put("over", 1, over={"S": "no room"}, n={"N": "2"})], hour="3"))
        )
    before = silver.version()
    again = silver.merge(write_records(folder, [*SECOND, *FIRST], hour="4"))
    assert (again.inserted, again.updated, silver.version()) == (0, 0, before), "a replay changes nothing"
    return silver, done


def table(silver: Silver) -> StructType:
    return silver.spark.read.format("delta").load(silver.path).schema


@pytest.fixture(scope="module")
def rows(grown: tuple[Silver, list[MicroBatch]]) -> dict[str, Row]:
    return {key.removeprefix("id=S:"): row for key, row in grown[0].rows().items()}


def test_each_attribute_has_the_column_of_its_kind(grown: tuple[Silver, list[MicroBatch]]) -> None:
    types = {field.name: field.dataType.simpleString() for field in table(grown[0]).fields}
    assert {name: kind for name, kind in types.items() if not name.startswith("_")} == {
        "id": "string",
        "n": "decimal(38,18)",  # made as bigint, widened
        "s": "string",
        "yes": "boolean",
        "b": "binary",
        "later": "decimal(38,18)",
        "ss": "array<string>",
        "ns": "array<decimal(38,18)>",
        "l": "string",
        "m": "string",
        "mix": "string",
        "text": "string",
        "Name": "string",  # in more images than `name`
        AWKWARD: "string",
        "x.y": "string",
        "note": "string",  # a person's own
    }


def test_values_are_exact(rows: dict[str, Row]) -> None:
    assert (rows["whole"]["n"], rows["wider"]["n"]) == (Decimal(8), Decimal("1E-18"))
    assert (rows["whole"]["later"], bytes(rows["awkward"][AWKWARD], "utf-8")) == (Decimal(10**20 - 1), b"spaces")
    assert (rows["sets"]["ss"], rows["sets"]["ns"]) == (["a", "b"], [Decimal("9.5"), Decimal(10)])
    assert (rows["sets"]["l"], rows["sets"]["m"]) == ('{"L":[{"N":"1"}]}', '{"M":{"x":{"S":"y"}}}')
    assert (rows["mixed"]["mix"], rows["mixed too"]["mix"]) == ('{"N":"1"}', '{"BOOL":false}')
    assert (rows["number as text"]["text"], rows["awkward"]["x.y"]) == ("1.50", "dot")
    assert (rows["gone"]["id"], rows["gone"]["_is_deleted"], rows["gone"]["_rescued"]) == ("gone", True, None)


def test_what_has_no_column_is_rescued_and_counted(
    rows: dict[str, Row], grown: tuple[Silver, list[MicroBatch]]
) -> None:
    rescued = {key: json.loads(row["_rescued"]) for key, row in rows.items() if row["_rescued"] is not None}
    assert rescued == {
        "case": {"name": {"S": "lower"}},
        "awkward": {"`": {"S": "tick"}, "_key": {"S": "mine"}},
        "too small": {"n": {"N": "1E-19"}, "yes": {"S": "true"}},
        "null": {"note": {"S": "theirs"}},
        "over": {"over": {"S": "no room"}},
    }
    assert (rows["too small"]["n"], rows["too small"]["yes"], rows["null"]["note"]) == (None, None, None)
    assert [one.rescued for one in grown[1]] == [3, 3, 1]


def test_the_whole_item_stands_beside_the_columns(rows: dict[str, Row]) -> None:
    last = {record["new_image"]["id"]["S"]: record["new_image"] for record in [*FIRST, *SECOND] if record["new_image"]}
    assert {key: json.loads(rows[key]["_item"]) for key in last} == last


def test_the_plan_depends_on_what_was_seen_and_not_on_its_order() -> None:
    seen = [AttributeUsage(f"a{number}", number % 7, frozenset(("S",))) for number in range(5_000)]
    seen += [
        AttributeUsage("A1", 9, frozenset(("S",))),
        AttributeUsage("x" * 256, 9, frozenset(("S",))),
        AttributeUsage("_ITEM", 9, frozenset(("S",))),
    ]
    plan = plan_growth(StructType(), seen)
    assert plan == plan_growth(StructType(), reversed(seen))
    names = [column.name for column in plan.added]
    assert len(names) == auto_columns.MAX_COLUMNS
    assert names[0] == "A1", "the most frequent first"
    assert not {"a1", "x" * 256, "_ITEM"} & set(names)


def test_a_number_starts_wide_where_delta_cannot_widen(monkeypatch: pytest.MonkeyPatch) -> None:
    for can, name in ((True, "bigint"), (False, "decimal(38,18)")):
        monkeypatch.setattr(spark_compat, "CAN_WIDEN", can)
        (column,) = plan_growth(StructType(), [AttributeUsage("n", 1, frozenset(("whole",)))]).added
        assert column.sql_type == name


def test_only_a_whole_number_widens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spark_compat, "CAN_WIDEN", True)
    schema = (
        StructType()
        .add("n", "long", True, {"comment": auto_columns.COMMENT})
        .add("s", "string", True, {"comment": auto_columns.COMMENT})
    )
    wide = DeclaredColumn("n", ("n",), Scalar("decimal", 38, 18))
    assert plan_growth(schema, [AttributeUsage("n", 1, frozenset(("whole", "exact")))]) == Growth((), (wide,))
    for name, kinds in (("n", ("S", "beyond")), ("s", ("exact",))):
        assert plan_growth(schema, [AttributeUsage(name, 1, frozenset(kinds))]) == Growth((), ())
