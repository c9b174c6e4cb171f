"""Silver through deltalake and through Spark: one contract over tables that Spark wrote, and one report of `verify`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession

from lakebound.adapters.clock import SystemClock
from lakebound.adapters.delta_table import DeltaVersion
from lakebound.adapters.live_table import LiveTable
from lakebound.backfill.gap_closing import RunMergeCheck
from lakebound.cli.silver_table import Engine, open_healed, open_silver
from lakebound.errors import LakeboundError, Misconfigured
from lakebound.operate.sample import Selection, Stratum
from lakebound.operate.sides import LakeRow, Page
from lakebound.operate.verify import Patience, verify
from lakebound.record.attributes import Image
from lakebound.record.column_names import SILVER_COLUMNS
from lakebound.source.gaps import Gap
from lakebound_spark.reading.bad_files import record_bad_files
from lakebound_spark.reading.files import BadFile
from lakebound_spark.reading.schema import SILVER
from lakebound_spark.silver.live_rows import live_rows
from lakebound_spark.silver.stale_mark import mark_stale
from tests.spark.silver import Silver
from tests.spark.sweep_run import BEFORE, LABEL, manifest_of
from tests.support.independent_writer import Record, base, item, stream, write_records

BOTH = list(Engine)
AWKWARD = "a b,;{}()\n\t="
HOMONYMS = ("change key", "new time", "silver small", "stream small", "newer", "register", "version", "columns", "k'1")
EXACT = "1234567890123456789012345678.0123456789"

DECLARED: Mapping[str, Any] = {
    "exact": "decimal(38,10)",
    "small": "decimal(5,2)",
    "moment": {"type": "timestamp", "unit": "ms"},
    "yes": "boolean",
    "bytes": "binary",
    "words": "array<string>",
    "numbers": "array<decimal(38,10)>",
    "nested": "struct<x: string, more: array<int>>",
    "by_name": "map<string, decimal(5,2)>",
}
FULL: Mapping[str, Mapping[str, Any]] = {
    "exact": {"N": EXACT},
    "small": {"N": "-1.25"},
    "moment": {"N": "1795732428353"},
    "yes": {"BOOL": True},
    "bytes": {"B": "AP8="},
    "words": {"SS": ["b", "a"]},
    "numbers": {"NS": ["10", "9.5"]},
    "nested": {"M": {"x": {"S": "é"}, "more": {"L": [{"N": "1"}, {"NULL": True}]}}},
    "by_name": {"M": {"k": {"N": "1.50"}}},
}
FIRST: Sequence[Record] = [
    stream("full", 1, item("full", **FULL)),
    stream("null", 1, item("null", **{name: {"NULL": True} for name in FULL})),
    stream("it's", 1, item("it's")),
    stream("changed", 1, item("changed", small={"N": "1"})),
    stream("gone", 1, item("gone")),
    stream("expired", 1, item("expired")),
    base("of the backfill", 5, item("of the backfill")),
    base("absent", 5, None, origin="sweep"),
    *(stream(f"k{number}", 1, item(f"k{number}")) for number in range(1_100)),
]
SECOND: Sequence[Record] = [
    stream("changed", 2, item("changed", small={"N": "2"})),
    stream("gone", 2, None),
    stream("expired", 2, None, ttl_expired=True, old_image=item("expired")),
    stream("of the backfill", 1, item("of the backfill"), time_ms=1),
    base("of another backfill", 5, item("of another backfill")),
]


@dataclass(frozen=True)
class Tables:
    """What Spark wrote: silver with declared columns, merged and appended; with `columns: auto` and a stale mark; with
    columns called as the query of `_live` calls its own; all types; a wider one."""

    declared: Silver
    appended: Silver
    auto: Silver
    homonyms: Silver
    typed: str
    widened: str


@pytest.fixture(scope="module")
def tables(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    files, folder = tmp_path_factory.mktemp("files"), tmp_path_factory.mktemp("a folder#é")
    declared = Silver.create(spark, folder / "declared", DECLARED, ttl_deletes="keep")
    done = [declared.merge(write_records(files, FIRST)), declared.merge(write_records(files, SECOND, hour="2"))]
    assert [one.records for one in done] == [len(FIRST), len(SECOND)]
    appended = Silver.create(spark, folder / "appended", DECLARED, ttl_deletes="keep", appends=True)
    appended.append(write_records(files, FIRST))
    appended.merge_pending()
    appended.append(write_records(files, SECOND, hour="2"))
    homonyms = Silver.create(spark, folder / "homonyms", dict.fromkeys(HOMONYMS, "string"), appends=True)
    homonyms.append(
        write_records(files, [stream("old", 1, homonym("old")), base("both", 5, homonym("both"))], hour="5")
    )
    homonyms.merge_pending()
    homonyms.append(write_records(files, [stream("new", 1, homonym("new")), stream("both", 2, homonym("B"))], hour="6"))
    auto = Silver.create(spark, folder / "auto", "auto")
    others = [stream(f"k{number}", 1, item(f"k{number}")) for number in range(20)]
    full = stream("full", 1, item("full", **FULL, **{AWKWARD: {"S": "tick"}}))
    auto.merge(write_records(files, [full, *others], hour="3"))
    auto.merge(write_records(files, [stream("full", 2, item("full", wider={"N": EXACT}))], hour="4"))
    mark_stale(spark, auto.path, [Gap(1_762_000_000_000, None, "mapping_behind", detected_at_ms=1)])
    typed, widened = str(folder / "typed"), str(folder / "widened")
    make_typed(spark, typed)
    spark.sql(
        f"CREATE TABLE delta.`{widened}` USING delta TBLPROPERTIES ('delta.enableTypeWidening' = 'true') "
        "AS SELECT 1S AS n, 'k' AS _key, CAST(NULL AS STRING) AS _item, true AS _is_deleted, '' AS _version, "
        "CAST(1 AS BIGINT) AS _stream_time_ms, '' AS _base, false AS _ttl_expired"
    )
    spark.sql(f"ALTER TABLE delta.`{widened}` ALTER COLUMN n TYPE INT")
    return Tables(declared, appended, auto, homonyms, typed, widened)


def homonym(key: str) -> dict[str, Any]:
    return item(key, **{name: {"S": f"{name} of {key}"} for name in HOMONYMS})


def make_typed(spark: SparkSession, path: str) -> None:
    """Every type of Delta, with columns that were renamed and dropped, and rows that deletion vectors hide."""
    spark.sql(
        f"CREATE TABLE delta.`{path}` (k STRING NOT NULL, `a b;{{}}` STRING, d DECIMAL(38,10), ts TIMESTAMP, "
        "ntz TIMESTAMP_NTZ, day DATE, bin BINARY, l BIGINT, i INT, si SMALLINT, ti TINYINT, f DOUBLE, r FLOAT, "
        "yes BOOLEAN, arr ARRAY<STRING>, st STRUCT<`x y`: INT, z: ARRAY<DECIMAL(38,0)>>, "
        "m MAP<STRING, STRUCT<q: INT>>) USING delta "
        "TBLPROPERTIES ('delta.columnMapping.mode' = 'name', 'delta.enableDeletionVectors' = 'true')"
    )
    spark.sql(
        f"INSERT INTO delta.`{path}` SELECT concat('k', id), 'é', CAST('{EXACT}' AS DECIMAL(38,10)), "
        "TIMESTAMP'2026-01-01 00:00:00.123456', TIMESTAMP_NTZ'1500-01-01 00:00:00', DATE'0001-01-01', X'00ff', id, id, "
        "id, 1, 1.5, 1.5, true, array('b', null), named_struct('x y', 1, 'z', array(CAST(1 AS DECIMAL(38,0)), NULL)), "
        "map('k', named_struct('q', 2)) FROM range(10)"
    )
    spark.sql(f"INSERT INTO delta.`{path}` (k) VALUES ('nulls')")
    spark.sql(f"DELETE FROM delta.`{path}` WHERE k IN ('k3', 'k4')")
    spark.sql(f"UPDATE delta.`{path}` SET l = 100 WHERE k = 'k5'")
    spark.sql(f"ALTER TABLE delta.`{path}` RENAME COLUMN l TO `l 2`")
    spark.sql(f"ALTER TABLE delta.`{path}` DROP COLUMN i")


def rows(path: str, engine: Engine, keys: Sequence[str] | None = None) -> list[LakeRow]:
    with open_silver(path, engine) as silver:
        return sorted(silver.rows() if keys is None else silver.read(keys), key=lambda row: row.key)


def rows_of(path: str, engine: Engine, selection: Selection) -> list[LakeRow]:
    with open_silver(path, engine) as silver:
        return sorted(silver.rows(selection), key=lambda row: row.key)


def has_deletion_vectors(path: str) -> bool:
    return any('"deletionVector":{' in log.read_text() for log in Path(path, "_delta_log").glob("*.json"))


def test_both_engines_give_the_same_rows(tables: Tables) -> None:
    for silver in (tables.declared, tables.auto):
        assert has_deletion_vectors(silver.path)
        assert rows(silver.path, Engine.DELTALAKE) == rows(silver.path, Engine.SPARK)
    by_key = {row.key.removeprefix("id=S:"): row for row in rows(tables.declared.path, Engine.DELTALAKE)}
    assert len(by_key) == len(FIRST) + 1
    assert {key for key, row in by_key.items() if row.item is None} == {"gone", "expired", "absent"}
    assert {key for key, row in by_key.items() if row.from_base} == {"absent", "of another backfill"}
    assert '"small":{"N":"2"}' in str(by_key["changed"].item)


@pytest.mark.parametrize("engine", BOTH)
def test_what_waits_for_a_merge_counts_as_merged(tables: Tables, engine: Engine) -> None:
    merged = rows(tables.declared.path, engine)
    assert rows(tables.appended.path, engine) == merged
    keys = ["id=S:changed", "id=S:of another backfill", "id=S:gone"]
    assert rows(tables.appended.path, engine, keys) == [row for row in merged if row.key in keys]
    with open_silver(tables.appended.path, engine, live=False) as silver:
        assert {row.key for row in silver.read(keys)} == {"id=S:changed", "id=S:gone"}, "silver alone is older"


@pytest.mark.parametrize("count", [1, 1_000, 1_001])
def test_both_engines_read_keys_again(tables: Tables, count: int) -> None:
    some = ["id=S:it's", "id=S:nowhere", *(f"id=S:k{number}" for number in range(count - 2))][:count]
    deltalake, spark = (rows(tables.declared.path, engine, some) for engine in BOTH)
    assert deltalake == spark
    assert len(deltalake) == (1 if count == 1 else count - 1)
    assert rows(tables.declared.path, Engine.DELTALAKE, []) == []


def moments(path: str) -> list[int]:
    """Each time that a register of the table holds, and one after all of them."""
    told = DeltaVersion(path).query("SELECT _stream_time_ms, try_cast(substr(_base, 1, 15) AS BIGINT) FROM delta")
    held = {moment for row in told for moment in row if moment is not None}
    return sorted(held | {max(held) + 1})


def test_both_engines_choose_the_same_share_and_the_same_changes(tables: Tables) -> None:
    for table in (tables.declared, tables.appended):
        every = rows(table.path, Engine.SPARK)
        shares = list[LakeRow]()
        for number in range(3):
            chosen = Selection(Stratum(number, 3))
            deltalake, spark = (rows_of(table.path, engine, chosen) for engine in BOTH)
            assert deltalake == spark == [row for row in every if Stratum(number, 3).holds(row.key)]
            shares += spark
        assert len(shares) == len(every)
        counts = set[int]()
        for since_ms in moments(table.path):
            deltalake, spark = (rows_of(table.path, engine, Selection(since_ms=since_ms)) for engine in BOTH)
            assert deltalake == spark
            counts.add(len(spark))
        assert len(counts) > 2


def plain(value: Any) -> Any:
    """A value of either engine: Spark gives rows, maps and naive moments of UTC, arrow dicts, pairs and aware ones."""
    if isinstance(value, Row | dict):
        pairs = value.asDict().items() if isinstance(value, Row) else value.items()
        return [(key, plain(one)) for key, one in pairs]
    if isinstance(value, list | tuple):
        return [
            tuple(map(plain, one)) if isinstance(one, tuple) and not isinstance(one, Row) else plain(one)
            for one in value
        ]
    if isinstance(value, bytearray):
        return bytes(value)
    return value.replace(tzinfo=None) if hasattr(value, "tzinfo") else value


def test_both_engines_give_every_column_of_live_as_the_same_value(tables: Tables, spark: SparkSession) -> None:
    for silver in (tables.appended, tables.homonyms):
        rows = live_rows(spark, silver.path)
        live = LiveTable(silver.path)
        names = ", ".join('"' + name.replace('"', '""') + '"' for name in rows.columns)
        found, read = live.query(f"SELECT {names} FROM live_rows")
        assert found == tuple(rows.columns)
        shown = sorted([list(map(plain, row)) for row in read], key=repr)
        assert shown == sorted([list(map(plain, row)) for row in rows.collect()], key=repr)
        assert shown != sorted([list(map(plain, row)) for row in silver.rows().values()], key=repr), "nothing waited"


def test_both_engines_give_every_column_as_the_same_value(tables: Tables, spark: SparkSession) -> None:
    for path in (tables.declared.path, tables.auto.path, tables.typed):
        assert has_deletion_vectors(path)
        table = spark.read.format("delta").load(path)
        version = DeltaVersion(path)
        assert version.column_names == tuple(table.columns)
        names = ", ".join('"' + name.replace('"', '""') + '"' for name in table.columns)
        read = sorted([list(map(plain, row)) for row in version.query(f"SELECT {names} FROM delta")], key=repr)
        assert read == sorted([list(map(plain, row)) for row in table.collect()], key=repr)


class Items:
    """Port SourceTable over a list."""

    key_names = ("id",)

    def __init__(self, items: Sequence[Image]) -> None:
        self._items = items

    def pages(self, parts: Sequence[int], of: int) -> Iterator[Page]:
        items = list(self._items)
        yield from (Page(part, items[part::of], True) for part in parts)

    def read(self, keys: Sequence[Image]) -> Iterator[Image]:
        return (one for one in self._items if {"id": one["id"]} in keys)


def test_both_engines_give_one_report(tables: Tables) -> None:
    source = Items(
        [
            item("full", **{**FULL, "words": {"SS": ["a", "b"]}}),
            item("changed", small={"N": "3"}),
            item("gone"),
            item("it's"),
            *(item(f"k{number}") for number in range(1_100)),
        ]
    )
    reports = []
    for engine in BOTH:
        with open_silver(tables.declared.path, engine) as silver:
            reports.append(verify(source, silver, SystemClock(), patience=Patience(lag=0, limit=0)))
    assert reports[0] == reports[1]
    assert reports[0].missing == ("id=S:gone",)
    assert reports[0].different == ("id=S:changed",)
    assert reports[0].ghost == ("id=S:null", "id=S:of another backfill", "id=S:of the backfill")


@pytest.mark.soak
def test_both_engines_tell_how_far_a_run_is_merged(spark: SparkSession, tmp_path: Path) -> None:
    silver, source = Silver.create(spark, tmp_path / "silver", {}, ttl_deletes="keep"), tmp_path / "source"
    silver.merge(write_records(source, BEFORE))
    silver.merge(write_records(source, [stream("late ghost", 6, None, ttl_expired=True, old_image=item("late ghost"))]))
    records = [base("kept", LABEL, item("kept")), base("gone", LABEL, None), base("new", LABEL + 10, item("new"))]
    run = write_records(source, [*records, base("foreign", LABEL, item("foreign"), source_table="weather")])
    other = write_records(source, [base("kept", LABEL + 5, item("kept"))])
    manifest = manifest_of([run, other])

    def told() -> RunMergeCheck:
        checks = []
        for engine in BOTH:
            with open_healed(silver.path, engine) as table:
                checks.append(table.check_merge(str(source), manifest))
        assert checks[0] == checks[1]
        return checks[0]

    assert told() == RunMergeCheck(records=4, unmerged=3)
    record_bad_files(spark, silver.path, [BadFile(str(run), "damaged", 1), BadFile("/elsewhere", "damaged", 1)])
    silver.merge(run)
    assert told() == RunMergeCheck(left_out=(run.name,), records=4, unmerged=1)
    silver.merge(other)
    assert told() == RunMergeCheck(left_out=(run.name,), records=4, ghosts=2)
    body = other.read_bytes()
    other.write_bytes(body[:-9])
    assert told() == RunMergeCheck(damaged=(other.name,), left_out=(run.name,), records=3)
    other.unlink()
    assert told() == RunMergeCheck(missing=(other.name,), left_out=(run.name,), records=3)


@pytest.mark.parametrize("engine", BOTH)
def test_both_engines_refuse_what_is_no_silver_table(tables: Tables, tmp_path: Path, engine: Engine) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "nowhere", tmp_path / "empty"):
        with pytest.raises(Misconfigured, match=f"There is no Delta table at {path}; run merge_changes first"):
            rows(str(path), engine)
    with pytest.raises(Misconfigured, match="is a Delta table without silver's columns; name the merge job's target"):
        rows(tables.typed, engine)


def test_deltalake_asks_for_the_columns_that_every_silver_table_has() -> None:
    assert {"_key", *SILVER.fieldNames()} == set(SILVER_COLUMNS)


def test_a_feature_that_deltalake_lacks_is_named_and_spark_reads_it(tables: Tables) -> None:
    with pytest.raises(Misconfigured, match=r"cannot read \(TypeWidening(Preview)?\). Read it with --engine spark"):
        rows(tables.widened, Engine.DELTALAKE)
    assert rows(tables.widened, Engine.SPARK) == [LakeRow("k", None)]


def test_a_file_that_is_gone_is_a_sentence(spark: SparkSession, tmp_path: Path) -> None:
    silver = Silver.create(spark, tmp_path / "silver", {})
    silver.merge(write_records(tmp_path, [stream("k", 1, item("k"))]))
    for file in Path(silver.path).rglob("*.parquet"):
        file.unlink()
    with pytest.raises(LakeboundError, match=r"A file of .* is not there, though its newest version names it"):
        rows(silver.path, Engine.DELTALAKE)
