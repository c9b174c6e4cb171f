"""Whatever a YAML file holds, each reader of it takes it or refuses it in a sentence that names the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lakebound.cli.entity_tables import load_rules
from lakebound.errors import Misconfigured
from lakebound.yaml_file import load_yaml
from lakebound_spark.lake.fleet_config import load_fleet
from lakebound_spark.silver.config import load_any_config

READERS: dict[str, Callable[[str], Any]] = {
    "merge_changes": load_any_config,
    "run": load_fleet,
    "verify, trace and close": lambda path: load_rules(Path(path)),
}
TAGS = sorted(tag.rpartition(":")[2] for tag in yaml.SafeLoader.yaml_constructors if tag)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.dates(),
    st.datetimes(),
    st.binary(max_size=4),
    st.text(max_size=8),
    st.sampled_from(
        ["rest", "auto", "USER#*", "*", "int", "decimal(10,2)", "scd2", "hard", "lake.cars", "/lake/{table}"]
    ),
)
WORDS = (
    *("source_table", "tables", "columns", "deletes", "purge_after_days", "assumed_days", "ttl_deletes", "history"),
    *("comment", "properties", "where", "lakes", "table", "config", "source", "target", "bronze", "silver", "maintain"),
    *("every", "type", "path", "name", "after", "split", "part", "unit", "from", "below"),
)
NAMES = st.one_of(st.sampled_from(WORDS), st.text(max_size=4), st.integers(0, 9), st.dates())
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=16
)
MANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(path: Path, text: str | bytes) -> list[str]:
    """What each reader says of the file; no reader may fail otherwise. A lone surrogate is no text of a file."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    said = []
    for reader in READERS.values():
        try:
            reader(str(path))
        except Misconfigured as refused:
            said.append(str(refused))
            assert str(path) in said[-1]
    return said


@MANY
@given(text=st.text(alphabet="abt:-[]{}&*!|>'\"%@`#?, \n\t0123456789._~=<", max_size=40) | st.binary(max_size=30))
@example(text="tables: {a: {where: {day: 2026-11-31}}}")
@example(text="tables: " + "9" * 5_000)
@example(text="[" * 1_000)
@example(text="{a: " * 1_000)
@example(text="? [a]\n: b")
@example(text="tables: &a {b: *a}")
@example(text="a\0b")
def test_no_text_makes_a_reader_fail(tmp_path: Path, text: str | bytes) -> None:
    read(tmp_path / "any.yaml", text)


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("value", ["x", '""', "[]", "[x]", "{}", "{a: b}", "1_", "2026-13-45", "0x", "1:99", "é"])
def test_no_tag_makes_a_reader_fail(tmp_path: Path, tag: str, value: str) -> None:
    read(tmp_path / "any.yaml", f"source_table: a\ntables: {{lake.a: {{where: {{pk: !!{tag} {value}}}}}}}")


@MANY
@given(document=VALUES)
def test_no_document_makes_a_reader_fail(tmp_path: Path, document: Any) -> None:
    read(tmp_path / "any.yaml", yaml.safe_dump(document))


@MANY
@given(where=VALUES, columns=VALUES, other=st.dictionaries(NAMES, VALUES, max_size=2))
def test_no_settings_of_a_table_make_a_reader_fail(tmp_path: Path, where: Any, columns: Any, other: Any) -> None:
    table = {**other, "where": where, "columns": columns}
    read(tmp_path / "any.yaml", yaml.safe_dump({"source_table": "app", "tables": {"lake.a": table}}))
    read(tmp_path / "any.yaml", yaml.safe_dump({"source_table": "app", **other, "columns": columns}))


def test_a_value_that_only_looks_like_a_date_is_named_by_its_line(tmp_path: Path) -> None:
    told = read(tmp_path / "app.yaml", "source_table: a\ntables:\n  lake.a:\n    where: {day: 2026-11-31}\n")
    assert len(told) == len(READERS)
    assert all("the value near line 4 looks like a date or a number and is none; put quotes" in one for one in told)


@pytest.mark.parametrize("reader", READERS)
def test_a_name_written_twice_is_refused_by_each_reader(tmp_path: Path, reader: str) -> None:
    """A command that took the last one would tell of other tables than the job merges into."""
    path = tmp_path / "app.yaml"
    path.write_text("tables: {lake.a: {where: {pk: 'A*'}}}\ntables: {lake.b: {where: rest}}")
    with pytest.raises(Misconfigured, match="'tables' is written twice"):
        READERS[reader](str(path))


def test_what_is_merged_into_a_mapping_is_not_written_twice(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("one: &one {a: 1, b: 2}\ntwo: {<<: *one, b: 3}")
    assert load_yaml(str(path), lambda found: found, "")["two"] == {"a": 1, "b": 3}


def test_red_control_a_reader_that_fails_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(READERS, "careless", lambda path: yaml.safe_load(Path(path).read_text()))
    with pytest.raises(ValueError, match="day"):
        read(tmp_path / "any.yaml", "2026-11-31")
