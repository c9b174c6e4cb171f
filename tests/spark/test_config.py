"""The configuration is read strictly: each mistake is refused with a sentence that names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lakebound.errors import Misconfigured
from lakebound_spark.platform.session import local_settings
from lakebound_spark.platform.spark_compat import IS_SPARK_35
from lakebound_spark.platform.streams import parse_trigger
from lakebound_spark.silver.columns import parse_column, parse_path
from lakebound_spark.silver.config import load_any_config, of_table, parse_config


def test_the_example_of_the_contract_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "silver.yaml"
    path.write_text(
        "source_table: flights\ncolumns:\n  flight_id: string\n  dep_delay: decimal(10,2)\n"
        "deletes: soft\nhistory: none\n"
    )
    config = of_table(load_any_config(str(path)), str(path), "")
    assert config.source_table == "flights"
    assert [(c.name, c.path, c.sql_type) for c in config.columns] == [
        ("flight_id", ("flight_id",), "string"),
        ("dep_delay", ("dep_delay",), "decimal(10,2)"),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "needs source_table and columns, and may have deletes"),
        ("columns: {}", "source_table is missing"),
        ("source_table: t\ncolums: {}", "unknown setting colums"),
        ("source_table: t\nsource_table: u", "written twice"),
        ("source_table: t\ncolumns: {a: string, a: int}", "'a' is written twice"),
        ("source_table: t\ncolumns: {Name: string, name: string}", "ignores case"),
        ("source_table: t\ncolumns: {_Key: string}", "uses itself"),
        ("source_table: t\ncolumns: {_commit_version: string}", "uses itself"),
        ("source_table: t\ncolumns: {on: string}", "put quotes around True"),
        ("source_table: t\ncolumns: [a]", "lines of"),
        ("source_table: t\ncolumns: {a: variant}", "is none of string"),
        ("source_table: t\ncolumns: {a: 'array<string'}", "is not like any of"),
        ("source_table: t\ncolumns: {a: 'int int'}", "goes on after its end"),
        ("source_table: t\ncolumns: {a: 'map<int,string>'}", "write map<string"),
        ("source_table: t\ncolumns: {a: 'struct<b:int,B:int>'}", "two members 'B'"),
        ("source_table: t\ncolumns: {İd: string, id: string}", "ignores case"),
        ("source_table: t\ncolumns: {'a`b': string}", "has a backtick"),
        ("source_table: t\ncolumns: {a: {type: int, unit: s}}", "timestamp and date only"),
        ("source_table: t\ncolumns: {a: {type: timestamp, unit: h}}", "one of s, ms, us"),
        ("source_table: t\ncolumns: {a: {type: timestamp, unit: s, format: yyyy}}", "stands alone"),
        ("source_table: t\ncolumns: {a: {type: timestamp, format: yyyy-MM-dd}}", "has no offset"),
        ("source_table: t\ncolumns: {a: {type: timestamp, format: yyyy-MM-ddX, zone: Z}}", "takes no zone"),
        ("source_table: t\ncolumns: {a: {type: timestamp, format: yyyy-MM-dd, zone: CET}}", "must be Z or an offset"),
        ("source_table: t\ncolumns: {a: {type: timestamp, format: yyyy-MM-dd hh, zone: Z}}", "'hh' in a format"),
        ("source_table: t\ncolumns: {a: {type: date, format: yyyy-MM}}", "has no day"),
        ("source_table: t\ncolumns: {a: {type: date, format: yyyy-MM-dd HH}}", "use the type timestamp"),
        ('source_table: t\ncolumns: {a: {type: date, format: "yyyy-MM-dd\'T"}}', "does not end"),
        ("source_table: t\ncolumns: {a: {type: date, zone: Z}}", "a date has none"),
        ("source_table: t\ncolumns: {a: {type: timestamp, zone: '+18:30'}}", "at most 18:00"),
        ("source_table: t\ncolumns: {a: {type: array<int>, zone: Z}}", "timestamp and date only"),
        ("source_table: t\ncolumns: {a: {type: timestamp, zone: +10:00}}", "put quotes around it"),
        ("source_table: t\ncolumns: {a: {type: timestamp, fraction: round}}", "fraction can be truncate"),
        ("source_table: t\ncolumns: {a: {type: date, unit: d, fraction: truncate}}", "fraction can be truncate"),
        (
            "source_table: t\ncolumns: {a: {type: timestamp, format: yyyy-MM-ddX, fraction: truncate}}",
            "no digits beyond microseconds",
        ),
        ("source_table: t\ncolumns: {a: {type: timestamp, format: yyyy-MM-dd HH:mm:ss.SSSSSSSSSSX}}", "is not known"),
        ("source_table: t\ncolumns: {a: {type: 'struct<b:date,c:timestamp>', unit: s}}", "declare one by its path"),
        ("source_table: t\ncolumns: {a: {type: int, true: ['1']}}", "the type boolean only"),
        ("source_table: t\ncolumns: {a: {type: boolean, true: Y}}", "must be a list"),
        ("source_table: t\ncolumns: {a: {type: boolean, false: []}}", "must be a list"),
        ("source_table: t\ncolumns: {a: {type: boolean, true: [yes]}}", "put quotes around True"),
        ("source_table: t\ncolumns: {a: {type: boolean, true: [1.5]}}", "put quotes around 1.5"),
        ("source_table: t\ncolumns: {a: {type: boolean, true: [1], false: ['1.0']}}", "in both lists"),
        ("source_table: t\ncolumns: {a: {type: boolean, 'true': [Y], false: [Y]}}", "in both lists"),
        ("source_table: t\ncolumns: {a: {type: boolean, true: ['1E38']}}", "more than 38 digits"),
        ("source_table: t\ncolumns: {a: {typ: int}}", "unknown setting typ"),
        ("source_table: t\ncolumns: {a: {name: b}}", "has no type"),
        ("source_table: t\ncolumns: {a: {type: int, name: b, path: c}}", "both path and name"),
        ("source_table: t\ncolumns: automatic", "or the word auto"),
        ("source_table: t\ncolumns: {a: 'decimal(39,2)'}", "1 to 38 digits"),
        ("source_table: t\ncolumns: {a: 'decimal(4,5)'}", "1 to 38 digits"),
        ("source_table: t\ncolumns: {a..b: string}", "empty name"),
        ("source_table: t\ndeletes: maybe", "soft (tombstones stay) or hard"),
        ("source_table: t\ndeletes: hard", "needs purge_after_days"),
        ("source_table: t\npurge_after_days: 300", "needs `deletes: hard`"),
        (
            "source_table: t\ndeletes: hard\npurge_after_days: 37",
            "stream 1 + queue 14 + dead_letters 14 + backfill 2 + replay 7 = 38 days",
        ),
        ("source_table: t\ndeletes: hard\npurge_after_days: 90\nassumed_days: {replay: 70}", "= 101 days"),
        ("source_table: t\ndeletes: hard\npurge_after_days: 90\nassumed_days: {sqs: 7}", "takes days for stream"),
        ("source_table: t\ndeletes: hard\npurge_after_days: 90\nassumed_days: {queue: 0}", "queue must be"),
        ("source_table: t\nttl_deletes: hide", "ttl_deletes must be delete"),
        ("source_table: t\nhistory: scd3", "use none or scd2"),
        ("source_table: [", "is not YAML near line"),
        ("source_table: t\n? [a, b]\n: c", "is not YAML"),
    ],
)
def test_a_mistake_is_refused_with_its_name(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "silver.yaml"
    path.write_text(text)
    with pytest.raises(Misconfigured) as refusal:
        load_any_config(str(path))
    assert says in str(refusal.value)
    assert str(path) in str(refusal.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot read the configuration"):
        load_any_config(str(tmp_path / "nowhere.yaml"))


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
    nested = parse_column("a", "Struct< `b c`: ARRAY<long>, d: map<string, struct<e:json>> >")
    assert nested.sql_type == "struct<`b c`:array<bigint>,`d`:map<string,struct<`e`:string>>>"
    assert nested.needs_mapping


def test_a_column_reads_another_path_or_bears_another_name() -> None:
    renamed = parse_column("a.b", {"type": "int", "name": "b"})
    assert (renamed.name, renamed.path) == ("b", ("a", "b"))
    assert parse_column("b", {"type": "int", "path": "a.b"}) == renamed
    # What the table's properties keep: an old table's plain type stays plain, whatever reads otherwise says so.
    assert parse_column(r"a\.b", "int").description == "int"
    assert renamed.description == {"type": "int", "path": "a.b"}
    moment = parse_column("at", {"type": "timestamp", "format": "yyyyMMddHHmm", "zone": "+01:00"})
    assert moment.description == {"type": "timestamp", "format": "yyyyMMddHHmm", "zone": "+01:00"}


@pytest.mark.parametrize(
    "how",
    [
        {"type": "timestamp", "zone": "Z", "fraction": "truncate"},
        {"type": "array<timestamp>", "unit": "s", "fraction": "truncate"},
        {"type": "map<string,struct<`at`:timestamp,`n`:int>>", "zone": "-03:30"},
        {"type": "boolean", "true": ["1", "Y"], "false": ["0"]},
        {"type": "struct<`at`:timestamp,`paid`:boolean>", "zone": "Z", "true": ["Y"]},
    ],
)
def test_what_the_table_keeps_of_a_column_reads_it_again(how: dict[str, Any]) -> None:
    column = parse_column("a", how)
    assert column.description == how
    assert parse_column("a", column.description) == column


def test_the_words_true_and_false_need_no_quotes_in_yaml(tmp_path: Path) -> None:
    path = tmp_path / "silver.yaml"
    path.write_text("source_table: t\ncolumns:\n  paid: {type: boolean, true: [1, Y], false: ['0', N]}\n")
    (column,) = of_table(load_any_config(str(path)), str(path), "").columns
    assert column == parse_column("paid", {"type": "boolean", "true": ["1", "Y"], "false": ["0", "N"]})


def test_a_shorter_way_makes_a_shorter_horizon_legal() -> None:
    hard = {"source_table": "t", "deletes": "hard", "purge_after_days": 12}
    config = parse_config({**hard, "assumed_days": {"queue": 4, "dead_letters": 4, "replay": 1}})
    assert config.horizon is not None
    assert config.horizon.floor_ms(13 * 86_400_000) == 86_400_000


def test_triggers() -> None:
    assert parse_trigger("available-now") == {"availableNow": True}
    assert parse_trigger("processing-time=30s") == {"processingTime": "30 seconds"}
    assert parse_trigger("processing-time=2m") == {"processingTime": "120 seconds"}
    for wrong in ("once", "30s", "processing-time=30", "processing-time=s", "processing-time=0s"):
        with pytest.raises(Misconfigured, match="processing-time=30s"):
            parse_trigger(wrong)


def test_the_jars_are_those_of_the_installed_packages() -> None:
    from importlib.metadata import version

    spark, delta = version("pyspark"), version("delta-spark")
    jars = local_settings()["spark.jars.packages"].split(",")
    # Delta 3.3 knows one Spark only, and PySpark 3.5 comes with Scala 2.12.
    which, scala = ("", "2.12") if IS_SPARK_35 else (f"_{'.'.join(spark.split('.')[:2])}", "2.13")
    assert jars == [f"io.delta:delta-spark{which}_{scala}:{delta}", f"org.apache.spark:spark-avro_{scala}:{spark}"]
