"""`lakebound query` over tables that deltalake wrote: live and current, what is printed, and what is refused."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from typer.testing import CliRunner, Result

from lakebound.cli.app import app
from lakebound.errors import Misconfigured

LABEL = "000001795732428"
SILVER = pa.schema(
    [
        ("_key", pa.string()),
        ("_item", pa.string()),
        ("_is_deleted", pa.bool_()),
        ("_version", pa.string()),
        ("_stream_time_ms", pa.int64()),
        ("_base", pa.string()),
        ("_ttl_expired", pa.bool_()),
        ("soc", pa.decimal128(38, 10)),
        ("seen", pa.timestamp("us", tz="UTC")),
        ("raw", pa.binary()),
    ]
)
CHANGES = pa.schema(
    [
        ("key", pa.string()),
        ("register", pa.string()),
        ("version", pa.string()),
        ("stream_time_ms", pa.int64()),
        ("item", pa.string()),
        ("ttl_expired", pa.bool_()),
        ("columns", pa.struct([("soc", pa.decimal128(38, 10)), ("raw", pa.binary())])),
    ]
)
SEEN = datetime.datetime(2026, 11, 1, 8, tzinfo=datetime.UTC)


@pytest.fixture
def target(tmp_path: Path) -> str:
    """Two cars and a tombstone; a change of one car waits, a delete of the other, and a new car."""
    path = str(tmp_path / "cars")
    rows = [
        ("vin=S:a", "{}", False, "1", 1, "", False, Decimal("1.5"), SEEN, b"\x00\xff"),
        ("vin=S:b", "{}", False, "1", 1, "", False, None, None, None),
        ("vin=S:gone", None, True, "2", 2, "", False, None, None, None),
    ]
    write(path, SILVER, rows, {"lakebound.changes_id": "1", "lakebound.stale_since": "2026-11-01T08:00:00Z"})
    changes = [
        ("vin=S:a", "stream", "2", 2, "{}", False, {"soc": Decimal("12345678901234567890.5"), "raw": None}),
        ("vin=S:b", "stream", "2", 2, None, False, None),
        ("vin=S:c", "base", LABEL, None, "{}", False, {"soc": Decimal(3), "raw": None}),
    ]
    write(f"{path}_changes", CHANGES, changes, {})
    return path


def write(path: str, schema: pa.Schema, rows: list[tuple[Any, ...]], properties: dict[str, str]) -> None:
    columns = [pa.array([row[place] for row in rows], field.type) for place, field in enumerate(schema)]
    write_deltalake(path, pa.table(columns, schema=schema))
    if properties:
        DeltaTable(path).alter.set_table_properties(properties, raise_if_not_exists=False)


def query(target: str, sql: str, *options: str) -> Result:
    return CliRunner().invoke(app, ["query", "--target", target, sql, *options])


def objects(target: str, sql: str) -> list[Any]:
    done = query(target, sql, "--json")
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_help_tells_the_json_that_is_written(target: str) -> None:
    """Two rows are no JSON document, which the help of the other verbs' --json promises."""
    told = " ".join(CliRunner().invoke(app, ["query", "--help"], env={"COLUMNS": "300"}).output.split())
    assert len(objects(target, "SELECT _key FROM live")) == 2
    assert "Tell each row as a JSON object on a line of its own." in told
    assert "one JSON document" not in told


def test_live_has_what_waits_and_current_has_not(target: str) -> None:
    assert objects(target, "SELECT _key, soc FROM live ORDER BY _key") == [
        {"_key": "vin=S:a", "soc": "12345678901234567890.5000000000"},
        {"_key": "vin=S:c", "soc": "3.0000000000"},
    ]
    assert objects(target, "SELECT _key, soc FROM current ORDER BY _key") == [
        {"_key": "vin=S:a", "soc": "1.5000000000"},
        {"_key": "vin=S:b", "soc": None},
    ]


def test_the_rows_below_the_views_have_tombstones(target: str) -> None:
    both = "SELECT count(*) AS n, count(*) FILTER (WHERE _is_deleted) AS gone FROM"
    assert objects(target, f"{both} live_rows") == [{"n": 4, "gone": 2}]
    assert objects(target, f"{both} silver_rows") == [{"n": 3, "gone": 1}]


def test_a_query_may_have_tables_of_its_own(target: str) -> None:
    sql = "with few AS (SELECT * FROM live WHERE soc < 10) SELECT count(*) AS n, max(_stale_since) AS since FROM few"
    assert objects(target, sql) == [{"n": 1, "since": "2026-11-01T08:00:00"}]


def test_a_value_of_every_type_is_printed_as_it_is(target: str) -> None:
    [row] = objects(target, "SELECT * FROM current WHERE _key = 'vin=S:a'")
    assert (row["seen"], row["raw"], row["_is_deleted"]) == ("2026-11-01T08:00:00+00:00", "AP8=", False)
    done = query(target, "SELECT _key, raw, _is_deleted, soc, seen FROM current ORDER BY _key")
    assert done.stdout.splitlines()[2:] == [
        "vin=S:a  AP8=  false        1.5000000000  2026-11-01T08:00:00+00:00",
        "vin=S:b  NULL  false                NULL  NULL",
    ]


def test_more_rows_than_the_limit_are_told_of(target: str) -> None:
    assert "There are more rows" in query(target, "SELECT _key FROM live", "--limit", "1").stdout
    assert "There are more rows" not in query(target, "SELECT _key FROM live", "--limit", "2").stdout


@pytest.mark.parametrize(
    ("sql", "word"),
    [("SELECT nix FROM live", "nix"), ("SELECT * FROM nowhere", "nowhere"), ("SELEKT 1", "SELEKT"), ("", "query")],
)
def test_a_query_that_cannot_be_planned_is_refused_in_its_own_words(target: str, sql: str, word: str) -> None:
    done = query(target, sql)
    assert isinstance(done.exception, Misconfigured)
    assert word in str(done.exception)


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        (
            "SELECT * FROM live JOIN nowhere ON true",
            "no table nowhere; the tables are live, current, live_rows",
        ),
        ("SELECT sum(_key) FROM live", "No function matches"),
        ("SELEKT 1", "found: SELEKT at Line: 1, Column: 1"),
        ("\n\n  SELEKT 1", "at Line: 3, Column: 3"),
        ("WITH few AS (SELECT 1) SELEKT 1", "at Line: 1, Column: 24"),
        ("\n-- few\nwith few AS (SELECT 1)\nSELEKT 1", "at Line: 4, Column: 1"),
    ],
)
def test_a_refusal_speaks_of_the_persons_own_query(target: str, sql: str, told: str) -> None:
    words = str(query(target, sql).exception)
    assert told in words
    assert not any(inside in words for inside in ("datafusion", "DataFusion", "Error during", "ParserError", "bug"))


def test_each_table_that_a_refusal_names_can_be_read(target: str) -> None:
    named = str(query(target, "SELECT * FROM nowhere").exception).split("the tables are ")[1]
    tables = named.replace(" and ", ", ").split(", ")
    assert len(tables) == 4
    for name in tables:
        assert objects(target, f"SELECT count(*) > 0 AS any FROM {name}") == [{"any": True}]


@pytest.mark.parametrize("sql", ["DROP TABLE live", "INSERT INTO live VALUES (1)", "COPY live TO 'copy.parquet'"])
def test_a_query_only_reads(target: str, sql: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert isinstance(query(target, sql).exception, Misconfigured)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_table_that_is_none_of_ours_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "other")
    write(path, pa.schema([("a", pa.int64())]), [(1,)], {})
    Path(f"{path}_file").touch()
    nowhere = [(f"{path}_{what}", "There is no Delta table at") for what in ("nowhere", "file")]
    for place, word in ((path, "without silver's columns"), *nowhere, ("", "an empty text is a name that only")):
        assert word in str(query(place, "SELECT 1").exception)
