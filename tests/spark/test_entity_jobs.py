"""The jobs and commands around several silver tables: bronze as their source, a pipeline, upkeep, the end of a heal."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyspark.sql import DataFrame, SparkSession

from lakebound.adapters.documents import S3Documents
from lakebound.adapters.s3 import S3Store
from lakebound.errors import Misconfigured
from lakebound.source.gaps import Gap, GapBook
from lakebound.transport.object_keys import RunFolder
from lakebound_spark.jobs import maintain
from lakebound_spark.silver.changes_table import pending
from lakebound_spark.silver.entity_batch import bring_entities
from lakebound_spark.silver.live_rows import live_rows
from lakebound_spark.silver.pipeline_sink import SilverSink
from tests.spark.entities import (
    destinations,
    items_of,
    kinds_of_history,
    reader_of,
    rows_of,
    write_tables,
    wrong_keys,
)
from tests.spark.jobs import append_to_bronze, bronze_frame, run_main
from tests.spark.silver import run_job
from tests.spark.sweep_run import LABEL, RUN, manifest_of
from tests.support.independent_writer import TABLE, Item, Record, base, item, stream, write_records
from tests.support.operator_stack import BUCKET, Lakebound, Operated

KINDS = ("K0", "K1")
RULES: dict[str, dict[str, Any]] = {"K0": {"where": {"id": "K0-*"}}, "K1": {"where": "rest"}}
RECORDS, OWNERS = kinds_of_history(list(KINDS), 8)

pytestmark = pytest.mark.soak


@pytest.fixture
def bronze(spark: SparkSession, tmp_path: Path) -> DataFrame:
    append_to_bronze(tmp_path / "bronze", bronze_frame(spark, RECORDS), "a")
    return spark.read.format("delta").load(str(tmp_path / "bronze"))


@pytest.mark.spark35
def test_the_sink_of_a_pipeline_brings_bronze_into_all_tables(
    spark: SparkSession, bronze: DataFrame, tmp_path: Path
) -> None:
    config = yaml.safe_load(write_tables(tmp_path, RULES).read_text())
    sink = SilverSink(str(tmp_path / "app"), config, str(tmp_path / "pipeline"))
    sink(bronze, 0)
    assert wrong_keys({name: items_of(rows_of(spark, tmp_path, name)) for name in KINDS}, OWNERS, RECORDS) == set()
    # A full refresh is another update of the pipeline, and brings everything once more.
    replace(sink, run="another update")(bronze, 0)
    metrics = spark.read.format("delta").load(str(tmp_path / "app_metrics")).orderBy("detected_at").collect()
    assert [(row["records"], row["inserted"] + row["updated"]) for row in metrics] == [
        (len(RECORDS), len(OWNERS)),
        (len(RECORDS), 0),
    ]
    # One table less: the other's keys come to none, though the pipeline has passed their records.
    fewer = replace(sink, config=config | {"tables": dict(list(config["tables"].items())[:1])})
    with pytest.raises(Misconfigured, match="give a new checkpoint"):
        fewer(bronze, 0)


def test_upkeep_by_the_name_for_all_reaches_each_table_and_the_metrics_of_them_all(
    spark: SparkSession, bronze: DataFrame, tmp_path: Path
) -> None:
    path = write_tables(tmp_path, RULES)
    sink = SilverSink(str(tmp_path / "app"), yaml.safe_load(path.read_text()), str(tmp_path / "pipeline"))
    sink(bronze, 0)
    replace(sink, run="another update")(bronze, 0)
    arguments = ("--target", tmp_path / "app", "--config", path)
    dry = run_main(maintain.main, *arguments, "--dry-run")
    ran = run_main(maintain.main, *arguments)
    assert (dry.status, ran.status) == (0, 0)
    kept = {Path(line["table"]).name: line for line in ran.batches}
    assert {"K0", "K1", "app_metrics"} <= kept.keys()
    assert kept.keys() == {Path(line["table"]).name for line in dry.batches}
    assert "app" not in kept, "the name for all is no table"
    whole = kept["app_metrics"]
    assert (whole["compacted"], whole["written"]) == (2, 1), "a row of each update was a file"
    done = spark.sql(f"DESCRIBE HISTORY delta.`{tmp_path / 'app_metrics'}`").collect()
    assert {row["operation"] for row in done} >= {"OPTIMIZE", "VACUUM END"}
    assert spark.read.format("delta").load(str(tmp_path / "app_metrics")).count() == 2


def test_tables_from_bronze_show_in_their_live_views_what_waits_and_it_is_published(
    spark: SparkSession, bronze: DataFrame, tmp_path: Path, operated: Operated
) -> None:
    options = ("--reader", "bronze", "--merge-every", "1h", "--publish")
    config = write_tables(tmp_path, RULES)
    done = run_job(tmp_path / "bronze", tmp_path / "checkpoint", tmp_path / "app", config, *options)
    assert done.status == 0
    assert [batch["appended"] for batch in done.batches] == [len(OWNERS)]
    assert {Path(one["table"]).name: one["appended"] for one in done.batches[0]["by_table"]} == {
        name: list(OWNERS.values()).count(name) for name in KINDS
    }
    shown = {name: {row["_key"]: row for row in live_rows(spark, str(tmp_path / name)).collect()} for name in KINDS}
    assert wrong_keys({name: items_of(rows) for name, rows in shown.items()}, OWNERS, RECORDS) == set()
    assert not any(rows_of(spark, tmp_path, name) for name in KINDS)
    query = {"Namespace": "Lakebound", "Dimensions": [{"Name": "table", "Value": TABLE}], "Statistics": ["Maximum"]}
    found = operated.client("cloudwatch").get_metric_statistics(
        **query, MetricName="SilverPendingRows", StartTime="2020-01-01", EndTime="2100-01-01", Period=86_400 * 36_500
    )
    waiting = [pending(spark, str(tmp_path / name)).rows for name in KINDS]
    assert min(waiting) > 0
    assert [point["Maximum"] for point in found["Datapoints"]] == [sum(waiting)]


@pytest.mark.parametrize("more", [(), ("--merge-every", "1h")], ids=["merged", "appended"])
def test_tables_dropped_after_a_change_of_rules_are_made_anew_from_the_files(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    """A `where` that takes some of one table's keys to a new table: the refusal's second way ends at the oracle's."""
    write_records(tmp_path / "source", RECORDS)

    def run(checkpoint: str, tables: dict[str, dict[str, Any]]) -> tuple[int, str]:
        places = (tmp_path / "source", tmp_path / checkpoint, tmp_path / "app")
        done = run_job(*places, write_tables(tmp_path, tables), *more)
        return done.status, capsys.readouterr().err

    def shown(names: Sequence[str]) -> dict[str, dict[str, Any]]:
        return {
            name: items_of({row["_key"]: row for row in live_rows(spark, str(tmp_path / name)).collect()})
            for name in names
        }

    assert run("first", RULES)[0] == 0
    assert wrong_keys(shown(KINDS), OWNERS, RECORDS) == set()

    by_hand = {"K0": RULES["K0"], "moved": {"where": {"id": "K1-3*"}}, "K1": RULES["K1"]}
    moved = {key: "moved" if key.startswith("id=S:K1-3") else owner for key, owner in OWNERS.items()}
    assert set(moved.values()) == set(by_hand), "no key moves, so that nothing could be wrong"
    status, said = run("first", by_hand)
    assert status == 2
    assert f"keys may leave or come to {tmp_path / 'K1'}. Start with --rules-changed and a new --checkpoint" in said
    assert "Or drop these tables, each with its _changes, and give a new checkpoint" in said
    assert wrong_keys(shown(KINDS), OWNERS, RECORDS) == set(), "a refused run changes nothing"

    shutil.rmtree(tmp_path / "K1")
    if more:
        status, said = run("second", by_hand)
        assert (status, "K1_changes is a table that this job did not make for" in said) == (2, True)
        shutil.rmtree(tmp_path / "K1_changes")
    status, said = run("second", by_hand)
    assert (status, said) == (0, "")
    assert wrong_keys(shown(list(by_hand)), moved, RECORDS) == set()
    assert run("second", by_hand)[0] == 0
    assert wrong_keys(shown(list(by_hand)), moved, RECORDS) == set()


@pytest.mark.parametrize("more", [(), ("--merge-every", "1h")], ids=["merged", "appended"])
def test_rules_that_change_and_change_back_end_at_the_oracles(
    spark: SparkSession, tmp_path: Path, more: tuple[str, ...]
) -> None:
    """Keys leave a table for a new one while records of theirs are still to come, and come back later."""

    def run(checkpoint: str, tables: dict[str, dict[str, Any]], *word: str) -> int:
        places = (tmp_path / "source", tmp_path / checkpoint, tmp_path / "app")
        return run_job(*places, write_tables(tmp_path, tables), *more, *word).status

    def wrong(names: Sequence[str], owners: dict[str, str], records: list[Record]) -> set[str]:
        rows = {name: live_rows(spark, str(tmp_path / name)).collect() for name in names}
        items = {name: items_of({row["_key"]: row for row in found}) for name, found in rows.items()}
        return wrong_keys(items, owners, records)

    first = RECORDS[::2]
    write_records(tmp_path / "source", first, hour="dt=2013-01-01/HH=00")
    assert run("first", RULES) == 0
    assert wrong(KINDS, OWNERS, first) == set()

    write_records(tmp_path / "source", RECORDS[1::2], hour="dt=2013-01-01/HH=01")
    by_hand = {"K0": RULES["K0"], "moved": {"where": {"id": "K1-3*"}}, "K1": RULES["K1"]}
    moved = {key: "moved" if key.startswith("id=S:K1-3") else owner for key, owner in OWNERS.items()}
    assert set(moved.values()) == set(by_hand), "no key moves, so that nothing could be wrong"
    assert run("first", by_hand) == 2
    assert wrong(KINDS, OWNERS, first) == set(), "a refused run changes nothing"
    assert run("second", by_hand, "--rules-changed") == 0
    assert wrong(list(by_hand), moved, RECORDS) == set()

    assert run("second", RULES) == 2
    assert run("third", RULES, "--rules-changed") == 0
    assert wrong(KINDS, OWNERS, RECORDS) == set()


def lives(prefix: str) -> Sequence[Record]:
    """A key that stays, one that is deleted, and one that TTL removed; all decades ago."""
    old: Item = item(f"{prefix}expired", v={"N": "7"})
    return [
        stream(f"{prefix}alive", 1, item(f"{prefix}alive")),
        stream(f"{prefix}deleted", 2, None),
        stream(f"{prefix}expired", 3, None, ttl_expired=True, old_image=old),
    ]


@pytest.mark.soak
def test_each_table_has_deletes_ttl_and_upkeep_of_its_own(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hard = {"deletes": "hard", "purge_after_days": 40, "ttl_deletes": "keep"}
    rules = {"hard": {"where": {"id": "h-*"}, **hard}, "soft": {"where": "rest"}}
    to, _ = destinations(spark, tmp_path, rules)
    first = write_records(tmp_path / "a", [*lives("h-"), *lives("s-")])
    bring_entities(spark, reader_of(spark, tmp_path, first, keep_expired=True), to)
    assert {key: row["_is_deleted"] for key, row in rows_of(spark, tmp_path, "hard").items()} == {
        "id=S:h-alive": False,
        "id=S:h-deleted": True,
        "id=S:h-expired": False,
    }
    assert rows_of(spark, tmp_path, "hard")["id=S:h-expired"]["_ttl_expired"]
    assert rows_of(spark, tmp_path, "soft")["id=S:s-expired"]["_is_deleted"]

    purged = {}
    for name in ("hard", "soft"):
        ran = run_main(maintain.main, "--target", tmp_path / name, "--config", tmp_path / "app.yaml")
        assert ran.status == 0
        purged[name] = {Path(line["table"]).name: line["purged"] for line in ran.batches}
    assert (purged["hard"]["hard"], purged["soft"]["soft"]) == (1, 0)
    assert set(rows_of(spark, tmp_path, "hard")) == {"id=S:h-alive", "id=S:h-expired"}
    assert len(rows_of(spark, tmp_path, "soft")) == 3
    assert run_main(maintain.main, "--target", tmp_path / "app", "--config", tmp_path / "app.yaml").status == 2
    said = capsys.readouterr().err
    assert f"{tmp_path / 'app'} is none of the tables of" in said, "no run has had that name for all of them"
    assert "name one of them as --target" in said

    # Records from before the purge: one table takes none of them, the other has its tombstone.
    late = [stream(f"{prefix}deleted", 1, item(f"{prefix}deleted")) for prefix in ("h-", "s-")]
    second = write_records(tmp_path / "b", late)
    _, again = bring_entities(spark, reader_of(spark, tmp_path, second, keep_expired=True), to)
    stale = {Path(name).name: one.stale is not None for name, (_, one) in again.tables.items()}
    assert stale == {"hard": True, "soft": False}
    assert set(rows_of(spark, tmp_path, "hard")) == {"id=S:h-alive", "id=S:h-expired"}
    assert rows_of(spark, tmp_path, "soft")["id=S:s-deleted"]["_is_deleted"]

    # Keys that came to it could bring what it purged.
    wider = write_tables(tmp_path, {"hard": {"where": {"id": "h*"}, **hard}, "soft": {"where": "rest"}})
    taken = run_job(tmp_path / "a", tmp_path / "checkpoint", tmp_path / "app", wider, "--rules-changed")
    assert taken.status == 2
    assert f"{tmp_path / 'hard'} had tombstones purged" in capsys.readouterr().err


def test_a_heal_is_closed_once_all_tables_have_it(
    spark: SparkSession, tmp_path: Path, operated: Operated, lakebound: Lakebound
) -> None:
    rules = {"g": {"where": {"id": "g*"}}, "others": {"where": "rest"}}
    to, _ = destinations(spark, tmp_path, rules)
    records = [base(key, LABEL, item(key), origin="incremental_export") for key in ("g1", "k1")]
    of_g, of_k = (write_records(tmp_path / "source", [record]) for record in records)
    s3 = operated.client("s3")
    book = GapBook(TABLE, S3Store(BUCKET, s3), S3Documents(BUCKET, s3))
    gap = Gap(LABEL - 300_000, LABEL - 200_000, "mapping_behind", detected_at_ms=LABEL - 100_000)
    book.record(gap)
    manifest = manifest_of([of_g, of_k], mode="incremental_export", heals=((gap.from_ms, gap.cause),))
    key = RunFolder.of(TABLE, RUN).manifest()
    s3.put_object(Bucket=BUCKET, Key=key, Body=manifest.encode())
    places = ("--source", str(tmp_path / "source"), "--target", str(tmp_path / "app"))
    close = ("backfill", "close", "--run", RUN, *places, "--config", str(tmp_path / "app.yaml"))

    bring_entities(spark, reader_of(spark, tmp_path, of_g), to)
    told = lakebound.document(*close, status=1)
    assert told["refused"] == [{"what": "the run has 1 key not merged", "command": "lakebound-merge-changes"}]
    bring_entities(spark, reader_of(spark, tmp_path, of_k), to)
    told = lakebound.document(*close)
    assert (len(told["closed"]), told["still_open"]) == (1, [])
