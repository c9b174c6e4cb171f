"""Several silver tables from one source table: together they hold what one table would, each key where it belongs."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyspark.sql import SparkSession

from lakebound.cli.silver_table import Engine, open_healed
from lakebound.errors import Misconfigured
from lakebound_spark.audits.verify_run import verify_run
from lakebound_spark.history.history_table import prepare_history
from lakebound_spark.history.key_selection import EVERY_KEY, KeySelection
from lakebound_spark.jobs import run
from lakebound_spark.platform.tables import exists
from lakebound_spark.silver import entity_batch
from lakebound_spark.silver.entity_batch import bring_entities
from lakebound_spark.silver.live_rows import live_rows
from lakebound_spark.upkeep.sweep import SweepRefusal, sweep
from tests.spark.entities import (
    destinations,
    items_of,
    kinds_of_history,
    reader_of,
    rows_of,
    write_tables,
    wrong_keys,
)
from tests.spark.histories import deliver
from tests.spark.jobs import run_main
from tests.spark.silver import run_job
from tests.spark.sweep_run import BEFORE, LABEL, NOW, keep, manifest_of
from tests.spark.sweep_run import job as sweep_job
from tests.support.independent_writer import TABLE, Record, base, canonical, item, stream, write_records
from tests.support.registers import receive_all


def test_two_tables_hold_what_the_source_holds_though_the_job_breaks_off_between_them(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records, owners = kinds_of_history(["K0", "K1"], 30)
    tables = {
        "K0": {"where": {"id": "K0-*"}, "columns": {"who": {"path": "id", "after": "-"}}},
        "K1": {"where": "rest"},
    }
    to, _ = destinations(spark, tmp_path, tables)
    random.Random(4).shuffle(records)
    read = reader_of(spark, tmp_path, write_records(tmp_path / "source", records))
    with monkeypatch.context() as broken:
        broken.setattr(entity_batch, "bring_records", breaking_off_at("K1"))
        with pytest.raises(OSError, match="between two tables"):
            bring_entities(spark, read, to)
    assert rows_of(spark, tmp_path, "K0")
    assert not rows_of(spark, tmp_path, "K1")
    _, again = bring_entities(spark, read, to)
    assert {name.rpartition("/")[2]: one.counts[:2] for name, (_, one) in again.tables.items()}["K0"] == (0, 0)
    found = {name: rows_of(spark, tmp_path, name) for name in ("K0", "K1")}
    assert wrong_keys({name: items_of(rows) for name, rows in found.items()}, owners, records) == set()
    assert {key.partition("-")[2] for key in found["K0"]} == {row["who"] for row in found["K0"].values()}
    assert any(row["_is_deleted"] for row in found["K0"].values()), "whose part of the key is there as well"


def breaking_off_at(name: str) -> Callable[..., Any]:
    """`bring_records`, which fails for the table of this name."""
    bring = entity_batch.bring_records

    def break_off(*arguments: Any) -> Any:
        if arguments[2].target.endswith(name):
            raise OSError("the storage is gone between two tables")
        return bring(*arguments)

    return break_off


@pytest.mark.soak
@pytest.mark.parametrize(("kinds", "histories"), [(3, 40), (10, 150)], ids=["three", "ten"])
def test_every_key_is_in_its_table_as_in_the_source_whatever_breaks_off(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kinds: int, histories: int
) -> None:
    names = [f"K{number}" for number in range(kinds)]
    records, owners = kinds_of_history(names, histories)
    parts = {"who": {"path": "id", "after": "-"}, "v": "int"}
    tables = {name: {"where": {"id": f"{name}-*"}, "columns": parts} for name in names[:-2]}
    tables |= {names[-2]: {"where": {"id": f"{names[-2]}-*"}, "columns": "auto"}, names[-1]: {"where": "rest"}}
    config = write_tables(tmp_path, tables)
    target, checkpoint = tmp_path / "app", tmp_path / "checkpoint"
    files = deliver(records, random.Random(4), 2)

    write_records(tmp_path / "source", files[0])
    with monkeypatch.context() as broken:
        broken.setattr(entity_batch, "bring_records", breaking_off_at(names[1]))
        assert run_job(tmp_path / "source", checkpoint, target, config).status != 0
    assert rows_of(spark, tmp_path, names[0])
    assert not rows_of(spark, tmp_path, names[1])

    write_records(tmp_path / "source", files[1], hour="dt=2013-01-01/HH=06")
    done = run_job(tmp_path / "source", checkpoint, target, config)
    assert done.status == 0
    assert sum(batch["records"] for batch in done.batches) == sum(map(len, files))
    assert sum(batch["keys"] for batch in done.batches) >= len(owners)
    assert not exists(spark, str(target)), "the name of the whole is no table"

    found = {name: rows_of(spark, tmp_path, name) for name in names}
    assert wrong_keys({name: items_of(rows) for name, rows in found.items()}, owners, records) == set()
    assert any(row["_is_deleted"] for rows in found.values() for row in rows.values())
    for key, row in found[names[0]].items():
        assert row["who"] == key.partition("-")[2], "a part of the key stays on a tombstone"
    rows = spark.read.format("delta").load(f"{target}_metrics").where("batch IS NOT NULL").collect()
    assert sorted(row["records"] for row in rows) == sorted(batch["records"] for batch in done.batches)
    for row in rows:
        told = {counts["table"]: counts for counts in row["by_table"]}
        assert told.keys() == {str(tmp_path / name) for name in names}
        for name in ("records", "keys", "inserted"):
            assert sum(counts[name] for counts in told.values()) == row[name]
    assert not exists(spark, f"{tmp_path / names[0]}_metrics"), "what a table got is in the row of them all"

    # Every file again under a new checkpoint: no table changes.
    before = {name: spark.sql(f"DESCRIBE HISTORY delta.`{tmp_path / name}`").count() for name in names}
    again = run_job(tmp_path / "source", tmp_path / "again", target, config)
    assert [(batch["inserted"], batch["updated"]) for batch in again.batches] == [(0, 0)]
    assert {name: spark.sql(f"DESCRIBE HISTORY delta.`{tmp_path / name}`").count() for name in names} == before


def test_red_control_a_rule_on_another_attribute_loses_deletes_and_is_found() -> None:
    """What the check says of tables that were split by `v`, which a delete does not bring."""
    records, owners = kinds_of_history(["K0", "K1"], 40)
    by_value: dict[str, list[Record]] = {"K0": [], "K1": []}
    for record in records:
        image = record["new_image"]
        name = "K1" if image is not None and int(image["v"]["N"]) % 2 else "K0"
        by_value[name].append(record)
    split = {name: {key: one.visible for key, one in receive_all(some).items()} for name, some in by_value.items()}
    assert len(wrong_keys(split, owners, records)) > 100
    right = {name: [one for one in records if owners[one["key"]] == name] for name in by_value}
    told = {name: {key: one.visible for key, one in receive_all(some).items()} for name, some in right.items()}
    assert wrong_keys(told, owners, records) == set()


@pytest.mark.soak
def test_rules_that_change_are_told_and_keys_move_only_on_the_operators_word(
    spark: SparkSession, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "source", tmp_path / "app"
    keys = ("U1", "O1", "O2", "X1")
    write_records(source, [stream(key, n, item(key)) for n, key in enumerate(keys, 1)])

    def job(checkpoint: str, tables: dict[str, dict[str, Any]], *more: str) -> tuple[int, str]:
        done = run_job(source, tmp_path / checkpoint, target, write_tables(tmp_path, tables), *more)
        return done.status, capfd.readouterr().err

    def keys_in(name: str) -> set[str]:
        shown = live_rows(spark, str(tmp_path / name)).where("NOT _is_deleted").collect()
        return {row["_key"].removeprefix("id=S:") for row in shown}

    status, said = job("wrong", {"users": {"where": {"v": "U*"}}})
    assert status == 2
    assert "looks at v, which is no key attribute of flights (id); a delete brings nothing but its key" in said

    users: dict[str, Any] = {"where": {"id": "U*"}}
    orders: dict[str, Any] = {"where": {"id": "O*"}}
    status, said = job("first", {"users": users, "orders": orders}, "--merge-every", "1h")
    assert (status, said.count("UNMATCHED: 1 record belongs to")) == (0, 1)
    assert (keys_in("users"), keys_in("orders")) == ({"U1"}, {"O1", "O2"})

    moved = {"users": users, "late": {"where": {"id": "O2"}}, "orders": orders, "rest": {"where": "rest"}}
    status, said = job("first", moved, "--merge-every", "1h")
    assert status == 2
    assert f"keys may leave or come to {tmp_path / 'orders'}. Start with --rules-changed" in said
    status, said = job("first", moved, "--rules-changed")
    assert status == 2
    assert "needs a new --checkpoint" in said
    status, said = job("second", moved, "--rules-changed")
    assert (status, said) == (0, "")
    assert {name: keys_in(name) for name in moved} == {
        "users": {"U1"},
        "late": {"O2"},
        "orders": {"O1"},
        "rest": {"X1"},
    }
    status, said = job("first", moved)
    assert status == 2, "the old checkpoint has passed files with keys of the new tables"
    assert "give a new checkpoint" in said
    assert canonical({"id": {"S": "O2"}}) not in rows_of(spark, tmp_path, "orders")

    of_another = write_tables(tmp_path, {"orders": {"where": {"id": "never*"}}}, "weather")
    assert run_job(source, tmp_path / "third", target, of_another, "--rules-changed").status == 2
    assert "was made with source_table flights" in capfd.readouterr().err
    assert keys_in("orders") == {"O1"}, "nothing is removed from a table of another source"


@pytest.mark.soak
def test_a_sweep_and_the_end_of_a_heal_look_at_all_tables_together(spark: SparkSession, tmp_path: Path) -> None:
    to, config = destinations(spark, tmp_path, {"g": {"where": {"id": "g*"}}, "others": {"where": "rest"}})
    before = write_records(tmp_path / "source", BEFORE)
    read = [base("kept", LABEL, item("kept")), base("new", LABEL + 10, item("new"))]
    run = write_records(tmp_path / "source", read)
    keep(tmp_path, manifest_of([run]))
    bring_entities(spark, reader_of(spark, tmp_path, before, run), to)

    of_one = sweep_job(tmp_path, target=str(tmp_path / "g"))
    with pytest.raises(SweepRefusal, match="run run-1 has 2 keys not merged yet"):
        sweep(spark, of_one, NOW)
    of_all = sweep_job(tmp_path, target=str(tmp_path / "app"), config=config)
    assert verify_run(spark, of_all).ghost == ("id=S:ghost", "id=S:old snapshot")

    def told() -> list[int | None]:
        checks = []
        for engine in (Engine.DELTALAKE, Engine.SPARK):
            with open_healed(str(tmp_path / "app"), engine, config.rules) as tables:
                checks.append(tables.check_merge(str(tmp_path / "source"), manifest_of([run])))
        assert checks[0] == checks[1]
        return [checks[0].unmerged, checks[0].ghosts]

    assert told() == [0, 2]
    swept = sweep(spark, of_all, NOW)
    assert (swept.visible, swept.ghosts) == (6, 2)
    bring_entities(spark, reader_of(spark, tmp_path, *map(Path, swept.files)), to)
    assert told() == [0, 0]
    shown = {
        name: {key for key, row in rows_of(spark, tmp_path, name).items() if not row["_is_deleted"]}
        for name in ("g", "others")
    }
    left = {f"id=S:{name}" for name in ("kept", "new", "written after", "newer snapshot")}
    assert shown == {"g": set(), "others": left}


@pytest.mark.soak
def test_a_history_is_of_the_keys_of_its_table(spark: SparkSession, tmp_path: Path) -> None:
    _, config = destinations(spark, tmp_path, {"u": {"where": {"id": "U*"}}, "o": {"where": {"id": "O*"}}})
    records = spark.createDataFrame([(json.dumps({"id": {"S": name}}),) for name in ("U1", "O1", "X1")], "keys STRING")
    users, orders = (KeySelection.of_table(config, table) for table in config.tables)
    assert [json.loads(row["keys"])["id"]["S"] for row in users.of(records).collect()] == ["U1"]
    assert EVERY_KEY.of(records).count() == 3

    history = str(tmp_path / "u_history")
    prepare_history(spark, history, TABLE, users)
    prepare_history(spark, history, TABLE, users)
    for others in (orders, EVERY_KEY):
        with pytest.raises(Misconfigured, match="made for other keys"):
            prepare_history(spark, history, TABLE, others)
        prepare_history(spark, history, TABLE, others, is_rebuilt=True)
        prepare_history(spark, history, TABLE, others)


@pytest.mark.soak
def test_the_job_run_brings_an_entry_into_its_tables_and_keeps_their_history(
    spark: SparkSession, tmp_path: Path
) -> None:
    users: dict[str, Any] = {"where": {"id": "U*"}, "columns": {"id": "string"}, "history": "scd2"}
    config = write_tables(tmp_path, {"users": users, "rest": {"where": "rest"}})
    write_records(
        tmp_path / "source", [stream("U1", 1, item("U1")), stream("U1", 2, None), stream("O1", 3, item("O1"))]
    )
    places = {name: str(tmp_path / name) for name in ("source", "checkpoints")}
    entry = {**places, "target": str(tmp_path / "app"), "config": str(config), "maintain": False, "audit": False}
    (tmp_path / "lake.yaml").write_text(yaml.safe_dump({"tables": [entry]}))
    ran = run_main(run.main, "--config", tmp_path / "lake.yaml", "--once", "--json")
    ends = {(line["step"], line["end"]) for line in ran.batches if line["end"] != "continues"}
    assert ends == {("bronze", "done"), ("silver", "done"), ("history", "done")}
    assert ran.status == 0
    assert items_of(rows_of(spark, tmp_path, "users")) == {"id=S:U1": None}
    assert items_of(rows_of(spark, tmp_path, "rest")) == {"id=S:O1": item("O1")}
    stretches = spark.read.format("delta").load(str(tmp_path / "users_history")).collect()
    assert {row["_key"] for row in stretches} == {"id=S:U1"}, "nothing of another table"
