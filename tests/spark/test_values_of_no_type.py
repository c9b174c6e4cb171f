"""Values that DynamoDB never stored, as a forged or a later record may carry them: no error, NULL, and counted.

Every tag, one that nobody knows among them, with every kind of JSON under it, at every depth that a column reaches.
"""

from __future__ import annotations

import json
from itertools import product
from typing import Any, Final

import pytest
from pyspark.sql import SparkSession

from tests.spark.typed_values import plain, typed_all

TAGS: Final = ("S", "N", "BOOL", "B", "NULL", "SS", "NS", "BS", "L", "M", "XX", "s", "")
TEXTS: Final = ("", "x", "5", "true", "AA==", "A", "2025-02-30", "2025-07-10T04:24Z", "NaN", " 1", "1E999999999999")
INSIDE: Final[list[Any]] = [
    *(None, True, False, 5, 1.5, 10**400, *TEXTS),
    *([], [None], [5], ["x"], [[1]], [{"S": "x"}], [{"S": 5}], [{"L": 5}], [{}]),
    *({}, {"a": 1}, {"a": None}, {"S": "x"}, {"a": {"S": "x"}}, {"a": {"N": "5"}}, {"a": {"L": [{"XX": []}]}}),
]
NO_OBJECTS: Final[list[Any]] = [True, 5, 1.5, "x", "", [], [None], [{"S": "x"}]]
KINDS: Final[list[Any]] = [
    *("string", "int", "bigint", "decimal(9,2)", "double", "float", "boolean", "binary", "date", "timestamp", "json"),
    *("array<string>", "array<int>", "array<array<binary>>", "map<string,string>", "map<string,map<string,double>>"),
    *("struct<a:string,b:int>", "array<struct<a:timestamp>>"),
    {"type": "timestamp", "unit": "s", "fraction": "truncate"},
    {"type": "timestamp", "zone": "Z", "fraction": "truncate"},
    {"type": "date", "format": "yyyyMMdd"},
    {"type": "boolean", "true": ["1", "x"], "false": ["5"]},
]
SETS: Final = {"SS": "S", "NS": "N", "BS": "B"}


def is_legal(value: Any) -> bool:
    """Whether DynamoDB could have stored it, by the shape that its documentation gives each tag."""
    if not isinstance(value, dict) or len(value) != 1:
        return False
    ((tag, inner),) = value.items()
    if tag in ("S", "N", "B"):
        return isinstance(inner, str)
    if tag in SETS:
        return isinstance(inner, list) and all(isinstance(member, str) for member in inner)
    if tag == "L":
        return isinstance(inner, list) and all(map(is_legal, inner))
    if tag == "M":
        return isinstance(inner, dict) and all(map(is_legal, inner.values()))
    return (tag == "BOOL" and isinstance(inner, bool)) or (tag == "NULL" and inner is True)


def wrapped(value: Any, depth: int) -> Any:
    for level in range(depth):
        value = {"L": [value]} if level % 2 == 0 else {"M": {"a": value}}
    return value


@pytest.fixture(scope="module")
def seen(spark: SparkSession) -> list[tuple[Any, int, list[Any]]]:
    """(value, what was counted, its columns between those before and after) for every value."""
    values = [{tag: inner} for tag, inner in product(TAGS, INSIDE)]
    values += [wrapped(value, depth) for value, depth in product(values[::5], (1, 2))]
    values += [wrapped(value, depth) for value, depth in product(NO_OBJECTS, (0, 1, 2))]
    columns = {"before": "string", **{f"a{n}": kind for n, kind in enumerate(KINDS)}, "z": "string"}
    images = []
    for value in values:
        image = {"before": {"S": "k"}, **dict.fromkeys((f"a{n}" for n in range(len(KINDS))), value), "z": {"S": "z"}}
        images.append(("{}", json.dumps(image), None))
    rows = sorted(typed_all(spark, columns, images), key=lambda row: int(row["key"]))
    return [(value, row["inexact"], list(row["stream_columns"])) for value, row in zip(values, rows, strict=True)]


def test_a_neighbour_is_never_lost(seen: list[tuple[Any, int, list[Any]]]) -> None:
    assert {(typed[0], typed[-1]) for _, _, typed in seen} == {("k", "z")}


def test_each_column_is_null_and_counted_or_has_the_text_that_came(seen: list[tuple[Any, int, list[Any]]]) -> None:
    wrong = []
    for value, inexact, typed in seen:
        nulls = sum(one is None for one in typed[1:-1])
        is_null = value in ({"NULL": True}, {"NULL": "true"})
        if inexact != (0 if is_null else nulls):
            wrong.append((value, inexact, nulls))
    assert wrong == []


def test_only_its_own_tag_fills_a_column(seen: list[tuple[Any, int, list[Any]]]) -> None:
    fills = {
        "string": "SN",
        "int": "N",
        "double": "N",
        "binary": "B",
        "date": "S",
        "timestamp": "S",
        "boolean": ("BOOL",),
    }
    for value, _, typed in seen:
        for kind, tags in fills.items():
            got = plain(typed[1 + KINDS.index(kind)])
            if got is not None:
                ((tag, inner),) = value.items()
                assert tag in tags, (kind, value, got)
                if is_legal(value) and kind == "string":
                    assert got == inner
        assert typed[1 + KINDS.index("json")] is not None


def test_the_values_reach_both_sides(seen: list[tuple[Any, int, list[Any]]]) -> None:
    """Red control: many that DynamoDB could have stored, more that it could not."""
    legal = sum(is_legal(value) for value, _, _ in seen)
    assert 50 < legal < len(seen) // 2
