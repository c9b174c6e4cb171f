"""Typed columns: exact, or NULL and counted."""

from __future__ import annotations

import json
from contextlib import nullcontext
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession

from lakebound_spark.silver import rows as rows_module
from lakebound_spark.silver.columns import parse_column
from lakebound_spark.silver.rows import typed_rows
from tests.spark.generated_code import generated_code
from tests.spark.typed_values import LATEST, plain, typed_all

N38 = "12345678901234567890123456789012345678"
UNFIT = object()
"""Present, but not exactly of the declared type: NULL and counted."""

VALUES: list[tuple[str | dict[str, Any], dict[str, Any], Any]] = [
    ("string", {"S": "81.50"}, "81.50"),
    ("string", {"S": ""}, ""),
    ("string", {"S": "é\u2028\u0000\r\n"}, "é\u2028\u0000\r\n"),
    ("string", {"N": "1.50"}, "1.50"),
    ("string", {"N": "1E+2"}, "1E+2"),
    ("string", {"B": "AA=="}, UNFIT),
    ("string", {"BOOL": True}, UNFIT),
    ("string", {"SS": ["a"]}, UNFIT),
    ("string", {"M": {"S": {"S": "x"}}}, UNFIT),
    ("string", {"NULL": True}, None),
    ("decimal(3,1)", {"N": "1.5"}, Decimal("1.5")),
    ("decimal(3,1)", {"N": "1.55"}, UNFIT),
    ("decimal(3,1)", {"N": "-99.9"}, Decimal("-99.9")),
    ("decimal(3,1)", {"N": "100"}, UNFIT),
    ("decimal(3,1)", {"N": "1.50000"}, Decimal("1.5")),
    ("decimal(3,1)", {"N": "155E-1"}, Decimal("15.5")),
    ("decimal(3,1)", {"N": "1550E-2"}, Decimal("15.5")),
    ("decimal(3,1)", {"N": "1555E-2"}, UNFIT),
    ("decimal(3,1)", {"N": "1.5E1"}, Decimal("15.0")),
    ("decimal(3,1)", {"N": "1E-130"}, UNFIT),
    ("decimal(3,1)", {"N": "-0"}, Decimal("0.0")),
    ("decimal(3,1)", {"N": "0.000"}, Decimal("0.0")),
    ("decimal(3,1)", {"S": "1.5"}, UNFIT),
    ("decimal(3,1)", {"NS": ["1.5"]}, UNFIT),
    ("decimal(38,0)", {"N": N38}, Decimal(N38)),
    ("decimal(38,0)", {"N": "1E+30"}, Decimal(10**30)),
    ("decimal(38,0)", {"N": "9." + "9" * 37 + "E+125"}, UNFIT),
    ("decimal(38,0)", {"N": "9." + "9" * 37 + "E+37"}, Decimal("9" * 38)),
    ("decimal(38,38)", {"N": "0." + N38}, Decimal("0." + N38)),
    ("decimal(38,37)", {"N": "0." + N38}, UNFIT),
    ("bigint", {"N": "9223372036854775807"}, 2**63 - 1),
    ("bigint", {"N": "9223372036854775808"}, UNFIT),
    ("bigint", {"N": "-9223372036854775808"}, -(2**63)),
    ("bigint", {"N": "1.0"}, 1),
    ("bigint", {"N": "1E2"}, 100),
    ("bigint", {"N": "1.7"}, UNFIT),
    ("int", {"N": "2147483648"}, UNFIT),
    ("smallint", {"N": "32767"}, 32767),
    ("tinyint", {"N": "128"}, UNFIT),
    ("double", {"N": "0.1"}, 0.1),
    ("double", {"N": "9007199254740993"}, 9007199254740992.0),
    ("double", {"N": "1E-130"}, 1e-130),
    ("double", {"S": "0.1"}, UNFIT),
    ("boolean", {"BOOL": False}, False),
    ("boolean", {"S": "true"}, UNFIT),
    ("boolean", {"N": "1"}, UNFIT),
    ("binary", {"B": "AP8="}, b"\x00\xff"),
    ("binary", {"B": ""}, b""),
    ("binary", {"S": "AP8="}, UNFIT),
    ("date", {"S": "2013-01-31"}, date(2013, 1, 31)),
    ("date", {"S": "2013-02-30"}, UNFIT),
    ("date", {"S": "2013-1-3"}, UNFIT),
    ("date", {"S": "2013-01-31T00:00:00Z"}, UNFIT),
    ("timestamp", {"S": "2013-01-01T05:15:00Z"}, datetime(2013, 1, 1, 5, 15, tzinfo=UTC)),
    ("timestamp", {"S": "2013-01-01T05:15:00.123456+05:00"}, datetime(2013, 1, 1, 0, 15, 0, 123456, tzinfo=UTC)),
    ("timestamp", {"S": "2013-01-01T05:15:00"}, UNFIT),
    ("timestamp", {"S": "2013-01-01T05:15:00.1234567Z"}, UNFIT),
    ("timestamp", {"S": "2013-01-01T05:15:00Z\n"}, UNFIT),
    ("timestamp", {"N": "1357017300"}, UNFIT),
    # ISO 8601 in its forms
    ("timestamp", {"S": "2025-07-10T04:24:32.123456Z"}, datetime(2025, 7, 10, 4, 24, 32, 123456, tzinfo=UTC)),
    ("timestamp", {"S": "2025-07-10T04:24Z"}, datetime(2025, 7, 10, 4, 24, tzinfo=UTC)),
    ("timestamp", {"S": "2025-07-10T04Z"}, datetime(2025, 7, 10, 4, tzinfo=UTC)),
    ("timestamp", {"S": "2025-07-10t04:24:32z"}, datetime(2025, 7, 10, 4, 24, 32, tzinfo=UTC)),
    ("timestamp", {"S": "2025-07-10 04:24:32.5+0000"}, datetime(2025, 7, 10, 4, 24, 32, 500000, tzinfo=UTC)),
    ("timestamp", {"S": "2025-07-10T04:24:32-0330"}, datetime(2025, 7, 10, 7, 54, 32, tzinfo=UTC)),
    ("timestamp", {"S": "2025-07-10T04:24-03:30"}, datetime(2025, 7, 10, 7, 54, tzinfo=UTC)),
    ("timestamp", {"S": "20250710T042432,25+01"}, datetime(2025, 7, 10, 3, 24, 32, 250000, tzinfo=UTC)),
    ("timestamp", {"S": "2025-07-10T04:24:32.123456000Z"}, datetime(2025, 7, 10, 4, 24, 32, 123456, tzinfo=UTC)),
    ("timestamp", {"S": "2025-07-10T04:24:32.123456789Z"}, UNFIT),
    ("timestamp", {"S": "2025-07-10"}, UNFIT),
    ("timestamp", {"S": "2025-0710T04:24:32Z"}, UNFIT),
    ("timestamp", {"S": "2025-07-10T04:2432Z"}, UNFIT),
    ("timestamp", {"S": "2025-07-10T04:24:60Z"}, UNFIT),
    ("timestamp", {"S": "2025-07-10T24:00:00Z"}, UNFIT),
    ("timestamp", {"S": "2025-07-10T04:24:32+19:00"}, UNFIT),
    ("timestamp", {"S": "2025-07-10T04:24:32 Z"}, UNFIT),
    ("timestamp", {"S": "2025-07-10T04:24:32.Z"}, UNFIT),
    ("timestamp", {"S": "9999-12-31T23:00:00-05:00"}, UNFIT),
    ("timestamp", {"S": "0000-12-31T23:00:00Z"}, UNFIT),
    ("date", {"S": "0000-12-31"}, UNFIT),
    (
        {"type": "timestamp", "zone": "+02:00"},
        {"S": "2025-07-10T04:24:32"},
        datetime(2025, 7, 10, 2, 24, 32, tzinfo=UTC),
    ),
    (
        {"type": "timestamp", "zone": "+02:00"},
        {"S": "2025-07-10 04:24:32Z"},
        datetime(2025, 7, 10, 4, 24, 32, tzinfo=UTC),
    ),
    ({"type": "timestamp", "zone": "+02:00"}, {"S": "20250710T0424"}, datetime(2025, 7, 10, 2, 24, tzinfo=UTC)),
    ({"type": "timestamp", "zone": "+02:00"}, {"S": "2025-07-10"}, UNFIT),
    (
        {"type": "timestamp", "fraction": "truncate"},
        {"S": "2025-07-10T04:24:32.123456789Z"},
        datetime(2025, 7, 10, 4, 24, 32, 123456, tzinfo=UTC),
    ),
    ({"type": "timestamp", "fraction": "truncate"}, {"S": "2025-07-10T04:24:32.123456789"}, UNFIT),
    (
        {"type": "timestamp", "format": "yyyy-MM-dd HH:mm:ss.SSSSSSSSSX"},
        {"S": "2025-07-10 04:24:32.123456000Z"},
        datetime(2025, 7, 10, 4, 24, 32, 123456, tzinfo=UTC),
    ),
    ({"type": "timestamp", "format": "yyyy-MM-dd HH:mm:ss.SSSSSSSX"}, {"S": "2025-07-10 04:24:32.1234561Z"}, UNFIT),
    (
        {"type": "timestamp", "format": "yyyy-MM-dd HH:mm:ss.SSSSSSSX", "fraction": "truncate"},
        {"S": "2025-07-10 04:24:32.1234561Z"},
        datetime(2025, 7, 10, 4, 24, 32, 123456, tzinfo=UTC),
    ),
    ({"type": "timestamp", "unit": "s"}, {"N": "1720585472.123"}, datetime(2024, 7, 10, 4, 24, 32, 123000, tzinfo=UTC)),
    (
        {"type": "timestamp", "unit": "s", "fraction": "truncate"},
        {"N": "1720585472.1234567"},
        datetime(2024, 7, 10, 4, 24, 32, 123456, tzinfo=UTC),
    ),
    (
        {"type": "timestamp", "unit": "s", "fraction": "truncate"},
        {"N": "-0.0000001"},
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    ),
    ({"type": "timestamp", "unit": "s", "fraction": "truncate"}, {"N": "9.9E125"}, UNFIT),
    # booleans by their lists
    ("boolean", {"BOOL": "yes"}, UNFIT),
    ({"type": "boolean", "true": ["1", "true", "Y"], "false": ["0"]}, {"BOOL": True}, True),
    ({"type": "boolean", "true": ["1", "true", "Y"], "false": ["0"]}, {"S": "Y"}, True),
    ({"type": "boolean", "true": ["1", "true", "Y"], "false": ["0"]}, {"S": "y"}, UNFIT),
    ({"type": "boolean", "true": ["1", "true", "Y"], "false": ["0"]}, {"N": "1.0"}, True),
    ({"type": "boolean", "true": ["1", "true", "Y"], "false": ["0"]}, {"S": "1.0"}, UNFIT),
    ({"type": "boolean", "true": ["1", "true", "Y"], "false": ["0"]}, {"N": "0E5"}, False),
    ({"type": "boolean", "true": ["1", "true", "Y"], "false": ["0"]}, {"N": "2"}, UNFIT),
    # what no type takes
    ("double", {"N": "NaN"}, UNFIT),
    ("double", {"N": "1d"}, UNFIT),
    ("float", {"N": "Infinity"}, UNFIT),
    ("bigint", {"N": " 1 "}, UNFIT),
    ("string", {"NULL": False}, UNFIT),
    # options reach into what holds the values
    (
        {"type": "array<timestamp>", "zone": "Z"},
        {"SS": ["2025-07-10T04:24"]},
        [datetime(2025, 7, 10, 4, 24, tzinfo=UTC)],
    ),
    ({"type": "array<timestamp>", "zone": "Z"}, {"L": [{"S": "2025-07-10T04:24"}, {"S": "soon"}]}, UNFIT),
    ({"type": "array<boolean>", "true": ["Y"]}, {"L": [{"S": "Y"}, {"BOOL": False}]}, [True, False]),
    ({"type": "map<string,boolean>", "true": [1]}, {"M": {"a": {"N": "1"}}}, {"a": True}),
    # float: the nearest; what lies beyond the greatest float is no float
    ("float", {"N": "0.5"}, 0.5),
    ("float", {"N": "1E39"}, UNFIT),
    # json: anything, as its text
    ("json", {"N": "1.50"}, '{"N":"1.50"}'),
    ("json", {"L": [{"S": "é"}, {"NULL": True}]}, '{"L":[{"S":"é"},{"NULL":true}]}'),
    # numbers since 1970, whole microseconds only, within the years 1 to 9999
    ({"type": "timestamp", "unit": "s"}, {"N": "1357017300"}, datetime(2013, 1, 1, 5, 15, tzinfo=UTC)),
    ({"type": "timestamp", "unit": "s"}, {"N": "-0.000001"}, datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
    ({"type": "timestamp", "unit": "s"}, {"N": "0.0000001"}, UNFIT),
    ({"type": "timestamp", "unit": "s"}, {"N": "253402300800"}, UNFIT),
    ({"type": "timestamp", "unit": "s"}, {"S": "1357017300"}, UNFIT),
    ({"type": "timestamp", "unit": "ms"}, {"N": "1357017300001.5"}, datetime(2013, 1, 1, 5, 15, 0, 1500, tzinfo=UTC)),
    ({"type": "timestamp", "unit": "us"}, {"N": "1.357017300000001E15"}, datetime(2013, 1, 1, 5, 15, 0, 1, tzinfo=UTC)),
    ({"type": "timestamp", "unit": "us"}, {"N": "9.9E125"}, UNFIT),
    ({"type": "date", "unit": "d"}, {"N": "15706"}, date(2013, 1, 1)),
    ({"type": "date", "unit": "d"}, {"N": "0.5"}, UNFIT),
    # formats, to the letter
    (
        {"type": "timestamp", "format": "yyyy-MM-dd'T'HH:mm:ssX"},
        {"S": "2013-01-01T05:15:00+01"},
        datetime(2013, 1, 1, 4, 15, tzinfo=UTC),
    ),
    (
        {"type": "timestamp", "format": "dd.MM.yyyy HH:mm:ss.SSSXXX"},
        {"S": "31.01.2013 05:15:00.250-05:30"},
        datetime(2013, 1, 31, 10, 45, 0, 250000, tzinfo=UTC),
    ),
    (
        {"type": "timestamp", "format": "yyyyMMddHHmm", "zone": "+01:00"},
        {"N": "201301010515"},
        datetime(2013, 1, 1, 4, 15, tzinfo=UTC),
    ),
    ({"type": "timestamp", "format": "yyyy-MM-dd", "zone": "Z"}, {"S": "2013-02-30"}, UNFIT),
    ({"type": "timestamp", "format": "yyyy-MM-dd", "zone": "Z"}, {"S": "2013-02-28 "}, UNFIT),
    ({"type": "date", "format": "d/M/yyyy"}, {"S": "1/12/2013"}, date(2013, 12, 1)),
    ({"type": "date", "format": "d/M/yyyy"}, {"S": "1/13/2013"}, UNFIT),
    # arrays: a list in its order, a set ascending; one member that does not fit and the whole is NULL
    ("array<string>", {"L": [{"S": "b"}, {"NULL": True}, {"S": "a"}]}, ["b", None, "a"]),
    ("array<string>", {"SS": ["b", "a"]}, ["a", "b"]),
    ("array<string>", {"NS": ["2", "10"]}, ["10", "2"]),
    ("array<string>", {"BS": ["AA=="]}, UNFIT),
    ("array<string>", {"L": [{"S": "b"}, {"BOOL": True}]}, UNFIT),
    ("array<decimal(3,1)>", {"NS": ["10", "-2.5", "9"]}, [Decimal("-2.5"), Decimal("9.0"), Decimal("10.0")]),
    ("array<decimal(3,1)>", {"NS": ["10", "2.55"]}, UNFIT),
    ("array<binary>", {"BS": ["/w==", "AA=="]}, [b"\x00", b"\xff"]),
    ("array<int>", {"L": []}, []),
    ("array<int>", {"M": {}}, UNFIT),
    ("array<array<int>>", {"L": [{"L": [{"N": "1"}]}, {"L": []}]}, [[1], []]),
    ("array<array<int>>", {"L": [{"L": [{"N": "1.5"}]}]}, UNFIT),
    ("array<json>", {"L": [{"N": "1"}, {"S": "a"}]}, ['{"N":"1"}', '{"S":"a"}']),
    ("array<int>", {"NULL": True}, None),
    # maps and structs
    ("map<string,int>", {"M": {"a": {"N": "1"}, "A": {"NULL": True}}}, {"a": 1, "A": None}),
    ("map<string,int>", {"M": {"a": {"N": "1.5"}}}, UNFIT),
    ("map<string,int>", {"M": {}}, {}),
    ("struct<x:int,y:struct<z:array<int>>>", {"M": {"x": {"N": "1"}, "more": {"S": "?"}}}, (1, None)),
    ("struct<x:int,y:struct<z:array<int>>>", {"M": {"y": {"M": {"z": {"NS": ["2", "1"]}}}}}, (None, ([1, 2],))),
    ("struct<x:int,y:struct<z:array<int>>>", {"M": {"y": {"M": {"z": {"NS": ["0.5"]}}}}}, UNFIT),
    ("struct<x:int>", {"S": "no map"}, UNFIT),
]


def typed(spark: SparkSession, columns: dict[str, Any], image: str, base_image: str | None = None) -> Row:
    (row,) = typed_all(spark, columns, [("{}", image, base_image)])
    return row


@pytest.mark.parametrize(
    ("few", "compiled"),
    [(0, False), (1_000, False), (1_000, True)],
    ids=["many columns", "few columns", "few columns, compiled"],
)
def test_every_type_takes_what_fits_exactly_and_counts_the_rest(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, few: int, compiled: bool
) -> None:
    """One column for each type, and as many rows as the type with the most cases has."""
    monkeypatch.setattr(rows_module, "_FEW", few)
    cases: dict[str, list[tuple[dict[str, Any], Any]]] = {}
    types: dict[str, Any] = {}
    for type_, value, expected in VALUES:
        cases.setdefault(str(type_), []).append((value, expected))
        types[str(type_)] = type_
    columns = {f"a{number}": types[name] for number, name in enumerate(cases)}
    lines: list[dict[str, tuple[dict[str, Any], Any]]] = [
        {f"a{number}": found[line] for number, found in enumerate(cases.values()) if line < len(found)}
        for line in range(max(map(len, cases.values())))
    ]
    images = [json.dumps({name: value for name, (value, _) in line.items()}) for line in lines]
    with generated_code(spark) if compiled else nullcontext():
        rows = typed_all(spark, columns, [("{}", image, None) for image in images])
    wrong = []
    for line, row in zip(lines, sorted(rows, key=lambda row: int(row["key"])), strict=True):
        for number, (name, type_) in enumerate(columns.items()):
            value, expected = line.get(name, (None, None))
            got = plain(row["stream_columns"][f"c{number}"])
            if got != (None if expected is UNFIT else expected):
                wrong.append((type_, value, got))
        assert row["inexact"] == sum(expected is UNFIT for _, expected in line.values())
    assert wrong == []


def test_before_and_after(spark: SparkSession) -> None:
    columns = {"id": "string", "a": "decimal(3,1)"}
    fits, rounds, gone = typed_all(
        spark,
        columns,
        [
            ("{}", '{"id":{"S":"k"},"a":{"N":"1.5"}}', None),
            ("{}", '{"id":{"S":"m"},"a":{"N":"1.55"}}', None),
            ('{"id":{"S":"n"}}', None, None),  # a tombstone has its key attributes and nothing else
        ],
    )
    assert (tuple(fits["stream_columns"]), fits["inexact"]) == (("k", Decimal("1.5")), 0)
    assert (tuple(rounds["stream_columns"]), rounds["inexact"]) == (("m", None), 1)
    assert (tuple(gone["stream_columns"]), gone["inexact"]) == (("n", None), 0)


def test_both_registers_are_typed_and_counted(spark: SparkSession) -> None:
    row = typed(spark, {"a": "int"}, '{"a":{"N":"1"}}', base_image='{"a":{"N":"2.5"}}')
    assert (row["stream_columns"]["c0"], row["base_columns"]["c0"], row["inexact"]) == (1, None, 1)


def test_paths_reach_into_maps_and_missing_is_not_inexact(spark: SparkSession) -> None:
    image = '{"m":{"M":{"a.b":{"N":"1"},"c":{"M":{"d":{"S":"deep"}}}}},"m.a":{"S":"dotted"},"s":{"S":"x"}}'
    columns = {r"m.a\.b": "int", "m.c.d": "string", r"m\.a": "string", "m.gone": "int", "gone.x": "int", "s.x": "int"}
    row = typed(spark, columns, image)
    assert tuple(row["stream_columns"]) == (1, "deep", "dotted", None, None, None)
    assert row["inexact"] == 0


def test_names_that_mean_something_elsewhere(spark: SparkSession) -> None:
    names = [
        "`tick`",
        "a b,;{}()\n\t=",
        "$ref",
        "_corrupt_record",
        "😀",
        "value",
        "new_image",
        "key",
        "M",
        "NULL",
        "c0",
    ]
    row = typed(spark, dict.fromkeys(names, "string"), json.dumps({name: {"S": f"<{name}>"} for name in names}))
    assert list(row["stream_columns"]) == [f"<{name}>" for name in names]


def test_one_attribute_read_in_several_ways(spark: SparkSession) -> None:
    image = '{"m":{"M":{"a":{"N":"1"},"b":{"N":"2"}}}}'
    columns = {"m": "map<string,int>", "m.a": "string", "whole": {"type": "json", "path": "m"}}
    row = typed(spark, columns, image)
    assert tuple(row["stream_columns"]) == ({"a": 1, "b": 2}, "1", '{"M":{"a":{"N":"1"},"b":{"N":"2"}}}')


def test_names_that_differ_only_by_case_stay_apart(spark: SparkSession) -> None:
    image = json.dumps({"Name": {"S": "upper"}, "name": {"S": "lower"}, "NAME": {"M": {"a": {"S": "map"}}}})
    assert typed(spark, {"name": "string"}, image)["stream_columns"]["c0"] == "lower"
    assert typed(spark, {"Name": "string"}, image)["stream_columns"]["c0"] == "upper"
    assert tuple(typed(spark, {"name": "string", "NAME.a": "string"}, image)["stream_columns"]) == ("lower", "map")


def test_five_thousand_attributes_and_a_deep_item(spark: SparkSession) -> None:
    deep: dict[str, Any] = {"S": "bottom"}
    for _ in range(32):
        deep = {"L": [deep]}
    image = {f"a{i}": {"N": str(i)} for i in range(5000)} | {"deep": deep}
    row = typed(spark, {"a4999": "int", "deep": "string"}, json.dumps(image))
    assert tuple(row["stream_columns"]) == (4999, None)
    assert row["inexact"] == 1


@pytest.mark.classic("a plan is shown by the classic session only")
def test_a_column_more_of_a_type_is_no_cast_more(spark: SparkSession) -> None:
    """Spark plans and compiles each expression anew in each micro-batch: 500 columns took 40 s before the first row.

    Only of a table of many columns: that of few has an expression for each.
    """

    def casts(types: list[str]) -> int:
        columns = [parse_column(f"a{number}", kind) for number, kind in enumerate(types)]
        typed = typed_rows(spark.createDataFrame([], LATEST), columns)
        return str(typed._jdf.queryExecution().analyzed().treeString()).count("cast(")

    assert casts(["double"] * 200) == casts(["double"] * 100) > 0
    assert casts(["double", "decimal(9,2)"]) > casts(["double"])


def test_two_columns_of_one_attribute(spark: SparkSession) -> None:
    """Their attribute is read once, by a schema with the tags of both."""
    columns: dict[str, Any] = {"a": "string", "n": {"type": "bigint", "path": "a"}, "b": "string", "m": "bigint"}
    row = typed(spark, columns, '{"a":{"N":"7"},"b":{"S":"x"},"m":{"S":"8"}}')
    assert (tuple(row["stream_columns"]), row["inexact"]) == (("7", 7, "x", None), 1)
