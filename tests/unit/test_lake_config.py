"""The file of `run` is read strictly: four lines suffice, and each mistake is refused with its entry and its key."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from lakebound.errors import Misconfigured
from lakebound_spark.lake.fleet_config import load_fleet, parse_fleet
from lakebound_spark.platform.tables import absolute_path

FLIGHTS: dict[str, Any] = {"source_table": "flights", "columns": {"id": "string"}, "history": "scd2"}
ENTRY = {
    "source": "s3a://b/ddb/flights",
    "checkpoints": "s3a://l/c/flights",
    "target": "lake.flights",
    "config": FLIGHTS,
}


def test_four_lines_are_a_table_with_every_step(tmp_path: Path) -> None:
    (tmp_path / "flights.yaml").write_text(yaml.safe_dump(FLIGHTS))
    lines = {**ENTRY, "config": f"{tmp_path}/flights.yaml"}
    (tmp_path / "lake.yaml").write_text("tables:\n  - " + "\n    ".join(f"{key}: {lines[key]}" for key in lines))
    (table,) = load_fleet(f"{tmp_path}/lake.yaml").tables
    assert [(step.name, str(step.timing)) for step in table.steps()] == [
        ("bronze", "every 5m"),
        ("silver", "every 1m"),
        ("history", "every 15m"),
        ("maintain", "at 02:30"),
        ("audit", "at 04:30"),
    ]
    assert table.bronze is not None
    (history,) = table.histories
    # The folders that the jobs of the Databricks bundle have, so that `run` goes on where they ended.
    checkpoints = [table.bronze.checkpoint, table.silver.checkpoint, history.checkpoint]
    assert checkpoints == [f"s3a://l/c/flights/{step}" for step in ("bronze", "silver", "history")]
    assert (table.silver.source, table.silver.control_folder) == ("s3a://b/ddb/flights", "s3a://b/_lakebound/flights")
    assert table.commits() == [
        "lake.flights",
        "lake.flights_bronze",
        "lake.flights_history",
        "lake.flights_bronze_audits",
    ]


APP: dict[str, Any] = {
    "source_table": "app",
    "tables": {
        "lake.users": {"where": {"pk": "USER#*"}, "deletes": "hard", "purge_after_days": 60},
        "lake.orders": {"where": {"pk": "ORDER#*"}, "history": "scd2"},
    },
}
APP_ENTRY = {**ENTRY, "target": "lake.app", "config": APP}


def test_an_entry_can_be_several_tables_of_one_source() -> None:
    (table,) = parse_fleet({"tables": [APP_ENTRY]}).tables
    assert table.entities is not None
    assert (table.entities.whole.source, table.entities.whole.target) == ("s3a://b/ddb/flights", "lake.app")
    assert [(job.target, job.keys.extent, job.checkpoint) for job in table.histories] == [
        ("lake.orders_history", ('{pk: "ORDER#*"}',), "s3a://l/c/flights/history-lake.orders")
    ]
    assert [(job.target, job.is_whole, job.config.horizon is not None) for job in table.upkeep] == [
        ("lake.users", False, True),
        ("lake.orders", False, False),
        ("lake.app", True, False),
        ("lake.app_bronze", False, False),
    ]
    assert table.commits() == [
        *("lake.users", "lake.orders", "lake.app_bronze"),
        *("lake.users_history", "lake.orders_history", "lake.app_bronze_audits"),
    ]


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"tables": [{**APP_ENTRY, "target": "lake.users"}]}, "lake.users is one of the tables of the configuration"),
        ({"tables": [APP_ENTRY, {**ENTRY, "target": "lake.orders", "checkpoints": "/c"}]}, "its target lake.orders is"),
    ],
)
def test_tables_of_an_entry_are_no_other_target(document: Any, says: str) -> None:
    with pytest.raises(Misconfigured, match=says):
        parse_fleet(document)


def one(**more: Any) -> dict[str, Any]:
    return {"tables": [{**ENTRY, **more}]}


def two(**more: Any) -> dict[str, Any]:
    return {"tables": [ENTRY, {**ENTRY, "target": "lake.b", "checkpoints": "/c/b", **more}]}


def test_everything_can_be_set() -> None:
    (table,) = parse_fleet(
        one(
            bronze={"target": "lake.raw", "every": "30s", "views": True},
            silver={"every": "10s", "reader": "bronze", "merge_every": "10m"},
            history={"every": "1d"},
            maintain={"at": "3:05", "retain_hours": 200},
            audit={"at": "23:59", "days": 0, "publish": True},
            aside="",
        )
    ).tables
    assert [str(step.timing) for step in table.steps()] == [
        *("every 30s", "every 10s", "every 1d"),
        *("at 03:05", "at 23:59"),
    ]
    assert (table.silver.source, table.silver.reader, table.silver.control_folder) == ("lake.raw", "bronze", "")
    assert table.silver.schedule.seconds == 600
    assert [(job.target, job.retention_hours) for job in table.upkeep] == [("lake.flights", 200), ("lake.raw", 200)]
    assert table.views


@pytest.mark.parametrize(
    ("entry", "steps"),
    [
        ({"bronze": False, "config": {**FLIGHTS, "history": "none"}}, ["silver", "maintain"]),
        ({"bronze": False, "history": False}, ["silver", "maintain"]),
        ({"config": {**FLIGHTS, "history": "none"}}, ["bronze", "silver", "maintain", "audit"]),
        ({"maintain": False, "audit": False}, ["bronze", "silver", "history"]),
        ({"bronze": None, "audit": True}, ["bronze", "silver", "history", "maintain", "audit"]),
    ],
)
def test_a_step_can_be_off(entry: dict[str, Any], steps: list[str]) -> None:
    (table,) = parse_fleet(one(**entry)).tables
    assert [step.name for step in table.steps()] == steps


PLACE = r"^entry 1 \(lake\.flights\)"


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (None, "^the file: needs settings, of tables"),
        ([], "^the file: needs settings"),
        ({}, "^tables is missing; give a list"),
        ({"tables": []}, "^tables is missing"),
        ({"tables": {"flights": ENTRY}}, "^tables is missing; give a list"),
        ({"tables": [ENTRY], "lake": []}, "^the file: unknown setting lake; known are tables, lakes"),
        ({"tables": ["flights"]}, "^entry 1: needs settings, of source, checkpoints"),
        ({"tables": [ENTRY, {}]}, "^entry 2: target is missing; give the silver table"),
        (one(source=None), PLACE + ": source None is no text"),
        (one(source=""), PLACE + ": source is missing; give the data prefix"),
        (one(checkpoints=""), PLACE + ": checkpoints is missing"),
        (one(config=""), PLACE + ", config: .*config is missing; give the YAML of merge_changes"),
        (one(config="/no/such.yaml"), PLACE + r", config: cannot read the configuration /no/such\.yaml"),
        (one(config={"source_table": "t", "colums": {}}), PLACE + ", config: unknown setting colums"),
        (one(sliver={}), PLACE + ": unknown setting sliver; known are source"),
        (one(silver=False), PLACE + ": silver cannot be off"),
        (one(silver="every 5m"), PLACE + ", silver: needs settings, of every"),
        (one(silver={"evry": "5m"}), PLACE + ", silver: unknown setting evry; known are every"),
        (one(silver={"every": 60}), PLACE + ", silver: every 60 is no interval; write 30s, 5m"),
        (one(silver={"every": "0s"}), PLACE + ", silver: every 0s is no interval"),
        (one(silver={"every": True}), PLACE + ", silver: every True is no interval"),
        (one(silver={"merge_every": "soon"}), PLACE + ", silver: merge_every soon is no interval.* or 0$"),
        (one(silver={"max_files": 0}), PLACE + ", silver: max_files 0 is no whole number from 1 on"),
        (one(silver={"max_files": True}), PLACE + ", silver: max_files True is no whole number"),
        (one(silver={"reader": "csv"}), PLACE + ", silver: reader csv is not known; use auto-loader, files, bronze"),
        (one(bronze=False, history=False, silver={"reader": "bronze"}), "bronze cannot be read, since it is off"),
        (one(bronze=False), PLACE + ": history reads bronze, which is off"),
        (one(bronze=False, history=False, audit={}), PLACE + ": audit reads bronze, which is off"),
        (one(bronze={"views": "yes please"}), PLACE + ", bronze: views 'yes please' is neither true nor false"),
        (one(target="/lake/f", bronze={"views": True}), "bronze: views need a table with a name"),
        (one(config={**FLIGHTS, "history": "none"}, history={}), "history needs `history: scd2`"),
        (one(maintain={"at": 780}), PLACE + ', maintain: at 780 is no time of the day; write it in quotes, "13:00"'),
        (one(maintain={"at": "25:00"}), PLACE + ", maintain: at 25:00 is no time of the day"),
        (one(maintain={"retain_hours": 1}), PLACE + ", maintain: retain_hours 1 is no whole number from 168 on"),
        (two(target="lake.flights"), r"^entry 2 \(lake\.flights\): its target .* is the target of entry 1"),
        (
            two(checkpoints=ENTRY["checkpoints"] + "/"),
            r"^entry 2 \(lake\.b\): its checkpoints folder .* the checkpoints folder of entry 1",
        ),
        (two(target="lake.flights_bronze"), "its target lake.flights_bronze is the bronze.target of entry 1;"),
        (two(bronze={"target": "lake.flights"}), "its bronze.target lake.flights is the target of entry 1;"),
        (one(bronze={"target": "lake.flights"}), "its bronze.target lake.flights is the target of entry 1;"),
    ],
)
def test_a_mistake_is_refused_with_its_entry_and_its_key(document: Any, says: str) -> None:
    with pytest.raises(Misconfigured, match=says):
        parse_fleet(document)


def test_the_file_is_named_and_a_number_of_base_sixty_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "lake.yaml"
    path.write_text(
        "tables:\n  - {target: a.b, source: /s, checkpoints: /c, config: {source_table: t}, audit: {at: 13:00}}"
    )
    with pytest.raises(Misconfigured, match=rf'^{path}: entry 1 \(a\.b\), audit: at 780 .* in quotes, "13:00"'):
        load_fleet(str(path))


def test_paths_are_those_of_the_folder_in_which_the_command_starts() -> None:
    (table,) = parse_fleet(one(source="files", checkpoints="c", target="lake/f")).tables
    assert table.bronze is not None
    assert [table.silver.source, table.silver.checkpoint, table.target, table.bronze.target] == [
        absolute_path(place) for place in ("files", "c/silver", "lake/f", "lake/f_bronze")
    ]
