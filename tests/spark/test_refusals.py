"""A catalog that refuses views, properties, OPTIMIZE and VACUUM: told once, and the jobs go on.

No catalog of open Spark both holds Delta tables and refuses these, so the refusals are those of a real one that holds
none: Spark's own over JDBC, with Derby behind it. Where a whole job runs, its statements of one kind are sent there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

import pytest
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from lakebound.source.gaps import Gap
from lakebound_spark.jobs import maintain
from lakebound_spark.platform.refusals import OPTIMIZE, PROPERTIES, VACUUM, VIEWS, Refusals, refusal_name
from lakebound_spark.platform.spark_compat import IS_SPARK_35
from lakebound_spark.platform.tables import set_properties
from lakebound_spark.silver import stale_mark, views
from lakebound_spark.upkeep import maintenance
from tests.spark.jobs import run_main
from tests.spark.silver import run_job
from tests.support.independent_writer import TABLE, item, stream, write_records

REFUSING = "refusing.APP.flights"
GAP = Gap(1_762_000_000_000, None, "mapping_behind", detected_at_ms=1)


@pytest.fixture(scope="module")
def refusing(spark: SparkSession) -> Iterator[str]:
    """A table of a catalog that knows tables and rows, and nothing else."""
    settings = {
        "": "org.apache.spark.sql.execution.datasources.v2.jdbc.JDBCTableCatalog",
        ".url": "jdbc:derby:memory:refusing;create=true",
        ".driver": f"org.apache.derby.{'' if IS_SPARK_35 else 'iapi.'}jdbc.AutoloadedDriver",
    }
    for name, value in settings.items():
        spark.conf.set(f"spark.sql.catalog.refusing{name}", value)
    spark.sql(f"CREATE TABLE {REFUSING} (_key STRING)")
    yield REFUSING
    spark.sql(f"DROP TABLE {REFUSING}")
    for name in settings:
        spark.conf.unset(f"spark.sql.catalog.refusing{name}")


@pytest.mark.parametrize(
    ("what", "refused"),
    [
        (VIEWS, lambda spark: spark.sql(f"CREATE VIEW {REFUSING}_current AS SELECT 1 AS n")),
        (PROPERTIES, lambda spark: set_properties(spark, REFUSING, {"a": "b"})),
        (OPTIMIZE, lambda spark: spark.sql(f"OPTIMIZE {REFUSING}")),
        (VACUUM, lambda spark: spark.sql(f"VACUUM {REFUSING} RETAIN 168 HOURS")),
    ],
)
def test_a_refusal_is_told_once(
    spark: SparkSession, refusing: str, what: str, refused: Callable[[SparkSession], object]
) -> None:
    told: list[str] = []
    refusals = Refusals(told.append)
    assert [refusals.attempt(what, refusing, "that is all", lambda: refused(spark)) for _ in range(2)] == [None, None]
    assert (len(told), what in refusals, str(refusals)) == (1, True, what)
    assert told[0].startswith(f"the catalog of {refusing} refuses {what} (")
    assert told[0].endswith("); that is all")


@pytest.mark.parametrize("statement", ["SELECT * FROM nowhere", "OPTIMIZE", "SELECT raise_error('x')"])
def test_another_failure_is_no_refusal(spark: SparkSession, statement: str) -> None:
    told: list[str] = []
    # Spark 3.5 gives an error of a task as py4j has it.
    with pytest.raises((PySparkException, Py4JJavaError)) as failure:
        Refusals(told.append).attempt(VIEWS, "t", "", lambda: spark.sql(statement).collect())
    assert (refusal_name(failure.value), told) == (None, [])


def test_the_merge_goes_on_without_views_and_properties(
    spark: SparkSession,
    refusing: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse_view(spark: SparkSession, *_: object) -> None:
        spark.sql(f"CREATE VIEW {refusing}_current AS SELECT 1 AS n")

    def refuse_property(spark: SparkSession, target: str, values: Mapping[str, str]) -> None:
        set_properties(spark, refusing, values)

    monkeypatch.setattr(views, "_create_view", refuse_view)
    monkeypatch.setattr(stale_mark, "set_properties", refuse_property)
    write_records(tmp_path / "source", [stream("k", 1, item("k"))])
    config = tmp_path / "silver.yaml"
    config.write_text(f"source_table: {TABLE}\ncolumns: auto\n")
    gaps = tmp_path / "aside" / "gaps"
    gaps.mkdir(parents=True)
    (gaps / "20251101T122640000Z-mapping_behind.json").write_bytes(GAP.encode())
    done = run_job(tmp_path / "source", tmp_path / "c", "unseen", config, "--aside", str(gaps.parent))
    assert (done.status, [row["id"] for row in spark.table("unseen").collect()]) == (0, ["k"])
    told = capsys.readouterr().err
    for refused, instead in (
        ("views", "there is no unseen_current, so read unseen WHERE NOT _is_deleted"),
        ("table properties", "since when changes may be missing stands in unseen_status alone"),
    ):
        assert told.count(f"merge_changes: the catalog of unseen refuses {refused} (") == 1
        assert f"; {instead}\n" in told
    assert "GAP: unseen is marked stale since 2025-11-01T12:26:40Z" in told
    (row,) = spark.table("unseen_status").collect()
    since = datetime.fromisoformat("2025-11-01T12:26:40")
    assert tuple(row)[:4] == (since, "mapping_behind", 1, "table properties, views")


def test_upkeep_goes_on_without_what_the_catalog_refuses(
    spark: SparkSession,
    refusing: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse_property(spark: SparkSession, target: str, values: Mapping[str, str]) -> None:
        set_properties(spark, refusing, values)

    write_records(tmp_path / "source", [stream("k", 1, None), stream("stays", 1, item("stays"))])
    config = tmp_path / "silver.yaml"
    config.write_text(f"source_table: {TABLE}\ncolumns: {{}}\ndeletes: hard\npurge_after_days: 40\n")
    run_job(tmp_path / "source", tmp_path / "c", tmp_path / "silver", config)
    monkeypatch.setattr(maintenance, "table_sql", lambda target: refusing)
    monkeypatch.setattr(maintenance, "set_properties", refuse_property)
    done = run_main(maintain.main, "--target", tmp_path / "silver", "--config", config)
    assert done.status == 0
    assert {(one["purged"], one["compacted"], one["written"]) for one in done.batches} == {(0, 0, 0)}
    assert spark.read.format("delta").load(str(tmp_path / "silver")).count() == 2, "a tombstone without a floor stays"
    told = capsys.readouterr().err
    for refused in ("table properties", "OPTIMIZE", "VACUUM"):
        assert told.count(f"maintain: the catalog of {tmp_path}/silver refuses {refused} (") == 1
