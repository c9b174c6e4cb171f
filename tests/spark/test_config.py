"""The configuration is read strictly: each mistake is refused with a sentence that names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lakebound_spark.columns import parse_column, parse_path
from lakebound_spark.config import load_config
from lakebound_spark.errors import Misconfigured
from lakebound_spark.session import local_settings
from lakebound_spark.streams import parse_trigger


def test_the_example_of_the_contract_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "silver.yaml"
    path.write_text(
        "source_table: flights\ncolumns:\n  flight_id: string\n  dep_delay: decimal(10,2)\n"
        "deletes: soft\nhistory: none\n"
    )
    config = load_config(str(path))
    assert config.source_table == "flights"
    assert [(c.name, c.path, c.sql_type) for c in config.columns] == [
        ("flight_id", ("flight_id",), "string"),
        ("dep_delay", ("dep_delay",), "decimal(10,2)"),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "needs the settings"),
        ("columns: {}", "source_table is missing"),
        ("source_table: t\ncolums: {}", "unknown setting colums"),
        ("source_table: t\nsource_table: u", "written twice"),
        ("source_table: t\ncolumns: {a: string, a: int}", "'a' is written twice"),
        ("source_table: t\ncolumns: {Name: string, name: string}", "ignores case"),
        ("source_table: t\ncolumns: {_Key: string}", "uses itself"),
        ("source_table: t\ncolumns: {_commit_version: string}", "uses itself"),
        ("source_table: t\ncolumns: {on: string}", "put quotes around True"),
        ("source_table: t\ncolumns: [a]", "lines of"),
        ("source_table: t\ncolumns: {a: float}", "cannot be cast exactly"),
        ("source_table: t\ncolumns: {a: 'array<string>'}", "cannot be cast exactly"),
        ("source_table: t\ncolumns: {a: 'decimal(39,2)'}", "1 to 38 digits"),
        ("source_table: t\ncolumns: {a: 'decimal(4,5)'}", "1 to 38 digits"),
        ("source_table: t\ncolumns: {a..b: string}", "empty name"),
        ("source_table: t\ndeletes: hard", "deletes: soft"),
        ("source_table: t\npurge_after_days: 3", "deletes: soft"),
        ("source_table: t\nhistory: scd2", "history: none"),
        ("source_table: [", "is not YAML near line"),
        ("source_table: t\n? [a, b]\n: c", "is not YAML"),
    ],
)
def test_a_mistake_is_refused_with_its_name(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "silver.yaml"
    path.write_text(text)
    with pytest.raises(Misconfigured) as refusal:
        load_config(str(path))
    assert says in str(refusal.value)
    assert str(path) in str(refusal.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot read the configuration"):
        load_config(str(tmp_path / "nowhere.yaml"))


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("a", ("a",)),
        ("a.b.c", ("a", "b", "c")),
        (r"a\.b", ("a.b",)),
        (r"a\.b.c\.d", ("a.b", "c.d")),
        (r"back\slash", (r"back\slash",)),
    ],
)
def test_a_dot_goes_into_a_map_unless_it_is_escaped(written: str, path: tuple[str, ...]) -> None:
    assert parse_path(written) == path


def test_types_are_written_one_way() -> None:
    types = [parse_column("a", t).sql_type for t in ("LONG", "Integer", "decimal", "numeric(5)", "DECIMAL( 7 , 2 )")]
    assert types == ["bigint", "int", "decimal(10,0)", "decimal(5,0)", "decimal(7,2)"]


def test_triggers() -> None:
    assert parse_trigger("available-now") == {"availableNow": True}
    assert parse_trigger("processing-time=30s") == {"processingTime": "30 seconds"}
    for wrong in ("once", "processing-time=30", "processing-time=s"):
        with pytest.raises(Misconfigured, match="processing-time=30s"):
            parse_trigger(wrong)


def test_the_jars_are_those_of_the_installed_packages() -> None:
    from importlib.metadata import version

    spark, delta = version("pyspark"), version("delta-spark")
    jars = local_settings()["spark.jars.packages"].split(",")
    assert jars == [
        f"io.delta:delta-spark_{'.'.join(spark.split('.')[:2])}_2.13:{delta}",
        f"org.apache.spark:spark-avro_2.13:{spark}",
    ]
