"""What `lakebound config infer` proposes, and that the merge job's own parser takes it back."""

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from lakebound.cli.app import app
from lakebound.operate.infer_columns import Guess, Inference, path_text, type_of
from lakebound_spark.silver.columns import parse_column
from lakebound_spark.silver.config import load_any_config, of_table, parse_config
from tests.support.independent_writer import item, stream, write_records


def inferred(items: Iterable[dict[str, Any]]) -> Inference:
    inference = Inference()
    for one in items:
        inference.add(one)
    return inference


CASES: list[tuple[list[dict[str, Any]], str, int]] = [
    ([{"N": "1"}, {"N": "-9223372036854775808"}], "bigint", 0),
    ([{"N": "9223372036854775808"}], "decimal(38,0)", 0),
    ([{"N": "1"}, {"N": "81.50"}, {"N": "0.125"}], "decimal(15,5)", 0),
    ([{"N": "1E+2"}], "bigint", 0),
    ([{"N": "1.5"}] * 9 + [{"N": "1E-130"}], "decimal(12,2)", 1),
    ([{"N": "1E-130"}], "json", 0),
    ([{"S": "a"}, {"N": "1"}], "string", 0),
    ([{"S": "2013-01-31"}, {"NULL": True}], "date", 0),
    ([{"S": "2013-01-31"}, {"S": "2013-02-30"}], "string", 0),
    ([{"S": "2013-01-31T05:00:00Z"}, {"S": "2013-01-31T05:00:00.5+01:00"}], "timestamp", 0),
    ([{"S": "2013-01-31T05:00:00"}], "timestamp", 0),
    ([{"BOOL": True}] * 19 + [{"N": "2"}], "boolean", 1),
    ([{"BOOL": True}, {"N": "2"}], "json", 0),
    ([{"B": "AA=="}], "binary", 0),
    # what a record may carry though DynamoDB would not have stored it
    ([{"XX": "a"}], "json", 0),
    ([{"S": ["a"]}, {"N": 5}, {"SS": [1]}, {"S": "a", "N": "1"}, {}], "json", 0),
    ([{"S": "a"}] * 19 + [{"S": {}}], "string", 1),
    ([{"SS": ["a"]}, {"SS": ["b", "c"]}], "array<string>", 0),
    ([{"NS": ["1", "2.5"]}], "array<decimal(12,2)>", 0),
    ([{"L": [{"N": "1"}]}, {"L": []}], "array<bigint>", 0),
    ([{"L": [{"N": "1"}, {"S": "a"}]}], "array<string>", 0),
    ([{"L": [{"M": {}}]}], "json", 0),
    ([{"M": {f"k{n}": {"N": "1"} for n in range(17)}}], "map<string,bigint>", 0),
    ([{"M": {f"k{n}": {"N": "2"} if n else {"BOOL": True} for n in range(17)}}], "json", 0),
]


@pytest.mark.parametrize(("values", "kind", "exceptions"), CASES)
def test_the_type_of_what_was_seen(values: list[dict[str, Any]], kind: str, exceptions: int) -> None:
    (column,) = inferred({"a": value} for value in values).columns()
    assert (path_text(column.path), column.type, column.exceptions) == ("a", kind, exceptions)


def test_members_of_maps_become_columns_and_names_that_clash_get_another() -> None:
    nested = {"m": {"M": {"a.b": {"N": "1"}, "n": {"M": {"x": {"S": "y"}}}}}, "only": {"NULL": True}}
    clashing = {"Name": {"S": "u"}, "name": {"S": "l"}, "_key": {"S": "k"}, "`": {"S": "t"}, "on": {"BOOL": True}}
    config = parse_config(yaml.safe_load(inferred([nested, clashing]).yaml("cars")))
    assert {column.name: (column.path, column.sql_type) for column in config.columns} == {
        r"m.a\.b": (("m", "a.b"), "bigint"),
        "m.n.x": (("m", "n", "x"), "string"),
        "Name": (("Name",), "string"),
        "name_2": (("name",), "string"),
        "_key_2": (("_key",), "string"),
        "__2": (("`",), "string"),
        "on": (("on",), "boolean"),
    }


ISO = [{"S": "2025-07-10T04:24:32.123456Z"}, {"S": "2025-07-10T04:24+00"}, {"S": "2025-07-10 04:24:32+0000"}]
MOMENT = {"type": "timestamp"}
CUT = {"fraction": "truncate"}
FINER = "1 finer than microseconds are cut off"
IN_UTC = "1 without an offset are taken for UTC"
OPTIONS: list[tuple[str, list[dict[str, Any]], dict[str, Any], str]] = [
    ("a", ISO, MOMENT, ""),
    ("a", [*ISO, {"S": "2025-07-10T04:24:32"}], MOMENT | {"zone": "Z"}, IN_UTC),
    ("a", [*ISO, {"S": "2025-07-10T04:24:32.123456789Z"}], MOMENT | CUT, FINER),
    ("a", [*ISO, {"S": "2025-07-10T04:24:32.123456000Z"}], MOMENT, ""),
    ("a", [*ISO, {"S": "soon"}], {"type": "string"}, ""),
    ("a", [{"L": [{"S": "2025-07-10T04:24"}]}], {"type": "array<timestamp>", "zone": "Z"}, IN_UTC),
    # numbers since 1970: by their name, or by a fraction of a second
    ("created_at", [{"N": "1720585472"}], MOMENT | {"unit": "s"}, ""),
    ("createdAt", [{"N": "1720585472123"}], MOMENT | {"unit": "ms"}, ""),
    ("event_ts", [{"N": "1720585472123456"}], MOMENT | {"unit": "us"}, ""),
    ("ttl", [{"N": "1720585472"}], MOMENT | {"unit": "s"}, ""),
    ("a", [{"N": "1720585472.123"}], MOMENT | {"unit": "s"}, ""),
    ("a", [{"N": "1720585472.1234567"}], MOMENT | CUT | {"unit": "s"}, FINER),
    ("phone", [{"N": "1720585472"}], {"type": "bigint"}, ""),
    ("flat", [{"N": "1720585472"}], {"type": "bigint"}, ""),
    ("FORMAT", [{"N": "1720585472"}], {"type": "bigint"}, ""),
    ("created_at", [{"N": "1720585472"}, {"N": "1720585472123"}], {"type": "bigint"}, ""),
    ("created_at", [{"N": "1720585472"}, {"N": "0"}], {"type": "bigint"}, ""),
    # booleans by their lists
    ("a", [{"S": "Y"}, {"S": "N"}], {"type": "boolean", "true": ["Y"], "false": ["N"]}, ""),
    ("a", [{"S": "True"}, {"S": "False"}], {"type": "boolean", "true": ["True"], "false": ["False"]}, ""),
    ("a", [{"BOOL": True}, {"N": "1"}], {"type": "boolean", "true": ["1"], "false": ["0"]}, ""),
    (
        "a",
        [{"N": "1"}, {"S": "true"}, {"S": "false"}],
        {"type": "boolean", "true": ["1", "true"], "false": ["0", "false"]},
        "",
    ),
    ("a", [{"BOOL": True}, {"S": "no"}], {"type": "boolean", "true": ["yes"], "false": ["no"]}, ""),
    ("a", [{"S": "Y"}, {"S": "F"}], {"type": "string"}, ""),
    ("a", [{"S": "Y"}], {"type": "string"}, ""),
    ("a", [{"S": "1"}, {"S": "0"}], {"type": "string"}, ""),
    ("a", [{"N": "1"}, {"N": "0"}], {"type": "bigint"}, ""),
    # room for more digits than were seen
    (
        "a",
        [{"N": "12.5"}, {"N": "12.55"}],
        {"type": "decimal(12,2)"},
        "digits before and after the point: at most 2 and 2",
    ),
    (
        "a",
        [{"N": "12345678.5"}],
        {"type": "decimal(14,2)"},
        "digits before and after the point: at most 8 and 1",
    ),
    ("a", [{"N": "9" * 36 + ".5"}], {"type": "decimal(38,1)"}, "digits before and after the point: at most 36 and 1"),
    ("a", [{"N": "0." + "9" * 38}], {"type": "decimal(38,38)"}, "digits before and after the point: at most 0 and 38"),
    (
        "a",
        [{"N": "1.5"}, {"N": "22.5"}],
        {"type": "decimal(12,2)"},
        "digits before and after the point: at most 2 and 1",
    ),
    ("a", [{"N": "9" * 30 + ".5"}], {"type": "decimal(36,2)"}, "digits before and after the point: at most 30 and 1"),
    (
        "a",
        [{"N": "9" * 20 + "." + "9" * 18}],
        {"type": "decimal(38,18)"},
        "digits before and after the point: at most 20 and 18",
    ),
    # names
    ("path", [{"S": "x"}], {"type": "string", "name": "path_2"}, ""),
    ("__IS_CDC", [{"S": "x"}], {"type": "string", "name": "__IS_CDC_2"}, ""),
]


@pytest.mark.parametrize(("name", "values", "expected", "remark"), OPTIONS)
def test_options_are_proposed(name: str, values: list[dict[str, Any]], expected: dict[str, Any], remark: str) -> None:
    inference = inferred({name: value} for value in values)
    (column,) = inference.columns()
    assert (column.how, column.remark) == (expected, remark)
    assert parse_config(yaml.safe_load(inference.yaml("cars"))).columns == (parse_column(name, expected),)


def test_each_line_says_how_many_values_it_was_proposed_from() -> None:
    items = ({"a": {"N": f"{n}.5"}, "b": {"N": "1"} if n % 100 else {"BOOL": True}} for n in range(1_200))
    lines = inferred(items).yaml("cars").splitlines()
    assert lines[0].startswith("# Proposed from 1,200 items. Each line says how many values")
    assert "needs a new target" in lines[3]
    assert lines[6:8] == [
        '  a: "decimal(12,2)"  # takes all 1,200 values seen; digits before and after the point: at most 4 and 1',
        '  b: {type: boolean, true: ["1"], false: ["0"]}  # takes all 1,200 values seen',
    ]


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300)
SCALARS = st.one_of(
    st.text(max_size=3).map(lambda text: {"S": text}),
    st.sampled_from(
        ["Y", "N", "true", "no", "1", "2025-07-10", "2025-07-10T04:24", "2025-07-10T04:24:32.1234567Z"]
    ).map(lambda text: {"S": text}),
    st.sampled_from(["1", "0", "1720585472", "1720585472.5"]).map(lambda token: {"N": token}),
    st.decimals(allow_nan=False, allow_infinity=False, places=3).map(lambda number: {"N": format(number, "f")[:38]}),
    st.booleans().map(lambda yes: {"BOOL": yes}),
    st.just({"NULL": True}),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda members: {"L": members}),
        st.dictionaries(NAMES, inner, max_size=3).map(lambda members: {"M": members}),
    ),
    max_leaves=6,
)


@settings(max_examples=40)
@given(st.lists(st.dictionaries(NAMES, VALUES, max_size=4), max_size=5))
def test_whatever_is_proposed_is_a_configuration(items: list[dict[str, Any]]) -> None:
    inference = inferred(items)
    config = parse_config(yaml.safe_load(inference.yaml("cars")))
    assert list(config.columns) == [parse_column(path_text(one.path), one.how) for one in inference.columns()]


def test_a_type_nobody_would_take_is_not_proposed() -> None:
    """Red control of the exceptions' count: with one value in three of another type, `json` is told instead."""
    inference = inferred({"a": value} for value in ({"N": "1"}, {"N": "2"}, {"BOOL": True}))
    assert type_of(inference._root.members["a"]) == Guess("json")


def test_the_command_proposes_from_files(tmp_path: Path) -> None:
    write_records(tmp_path / "data", [stream("k", 1, item("k", v={"N": "1.5"})), stream("gone", 2, None)])
    target = tmp_path / "cars.yaml"
    done = CliRunner().invoke(app, ["config", "infer", "--files", str(tmp_path / "data"), "--output", str(target)])
    assert (done.exit_code, done.output) == (0, f"{target}: 2 columns from 1 item\n")
    told_of_v = "takes the one value seen; digits before and after the point: at most 1 and 1"
    assert f'  v: "decimal(12,2)"  # {told_of_v}\n' in target.read_text()
    config = of_table(load_any_config(str(target)), str(target), "")
    assert [column.sql_type for column in config.columns] == ["string", "decimal(12,2)"]
    told = CliRunner().invoke(app, ["config", "infer", "--files", str(tmp_path / "data"), "--json"])
    assert [column["path"] for column in json.loads(told.output)["columns"]] == ["id", "v"]


@pytest.mark.parametrize("arguments", [[], ["--table", "t", "--files", "f"]])
def test_one_thing_is_looked_at(arguments: list[str]) -> None:
    done = CliRunner().invoke(app, ["config", "infer", *arguments])
    assert "Nothing to look at, or two things" in str(done.exception)


def test_files_without_an_item_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.gz").write_bytes(gzip.compress(b""))
    assert "holds no item" in str(CliRunner().invoke(app, ["config", "infer", "--files", str(tmp_path)]).exception)
