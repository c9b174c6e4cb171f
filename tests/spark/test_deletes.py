"""Hard deletes: purged tombstones, stale records, and the red control that shows what the floor is for; TTL kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from lakebound.errors import Misconfigured
from lakebound_spark.silver.purge_horizon import DAY_MS, PURGED_BEFORE, SLACK_MS
from lakebound_spark.silver.silver_reader import read_silver
from lakebound_spark.upkeep.maintenance import UpkeepJob, maintain, purge
from tests.spark.silver import Silver
from tests.support.independent_writer import Record, base, item, stream, write_records

DAYS = 40
T = 1_357_000_000_000
NOW = T + DAYS * DAY_MS
"""The horizon ends at T."""

OLD, EDGE = T - SLACK_MS - 1_000, T - SLACK_MS

BEFORE: list[Record] = [
    stream("purged", 2, None, time_ms=OLD),
    stream("purged for good", 2, None, time_ms=OLD),
    base("swept", OLD, None, origin="sweep"),
    stream("scanned since", 2, None, time_ms=OLD),
    base("scanned since", EDGE, None, origin="sweep"),
    stream("deleted lately", 2, None, time_ms=EDGE),
    stream("alive", 1, item("alive"), time_ms=OLD),
    stream("expired", 2, None, time_ms=OLD, ttl_expired=True, old_image=item("expired", v={"N": "7"})),
    stream("expired, no image", 2, None, time_ms=OLD, ttl_expired=True),
    stream("deleted by hand", 2, None, time_ms=EDGE, old_image=item("deleted by hand")),
]
LATE: list[Record] = [
    stream("purged", 1, item("purged"), time_ms=OLD - 1_000),
    base("swept", OLD - 1_000, item("swept")),
    stream("alive", 2, item("alive", v={"N": "2"}), time_ms=T),
    stream("purged for good", 3, item("purged for good"), time_ms=T),
]


@pytest.fixture(scope="module")
def silver(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Silver:
    folder = tmp_path_factory.mktemp("deletes")
    table = Silver.create(
        spark, folder / "silver", {"v": "int"}, deletes="hard", purge_after_days=DAYS, ttl_deletes="keep"
    )
    table.merge(write_records(folder, BEFORE))
    return table


def keys(silver: Silver) -> set[str]:
    return {key.removeprefix("id=S:") for key in silver.rows()}


def test_an_expired_row_stays_visible_and_is_no_ghost(silver: Silver) -> None:
    rows = silver.rows()
    shown = {name: rows[f"id=S:{name}"] for name in ("expired", "expired, no image", "deleted by hand")}
    assert {name: (row["_is_deleted"], row["_ttl_expired"], row["v"]) for name, row in shown.items()} == {
        "expired": (False, True, 7),
        "expired, no image": (True, True, None),  # a stream without old images has nothing to show
        "deleted by hand": (True, False, None),
    }
    # `verify` compares with the source, which has it no longer.
    (read,) = read_silver(silver.spark, silver.path, keys=["id=S:expired"])
    assert (read.item, read.is_deleted) == (None, True)


def test_purge_stale_records_and_the_red_control(silver: Silver, tmp_path: Path) -> None:
    job = UpkeepJob(silver.path, silver.config)
    version = silver.version()
    assert purge(silver.spark, replace(job, dry_run=True), NOW) == 4
    assert silver.version() == version, "a dry run changes nothing"
    before = keys(silver)
    assert purge(silver.spark, job, NOW) == 4
    assert before - keys(silver) == {"purged", "purged for good", "swept", "expired, no image"}
    assert purge(silver.spark, job, NOW) == 0

    late = write_records(tmp_path, LATE)
    done = silver.merge(late)
    assert (done.stale, done.records, done.inserted, done.updated) == (2, 2, 1, 1)
    assert not {"purged", "swept"} & keys(silver)
    assert silver.rows()["id=S:alive"]["v"] == 2
    assert not silver.rows()["id=S:purged for good"]["_is_deleted"], "a change after the floor is a new life"
    stale = silver.spark.read.format("delta").load(f"{silver.path}_stale_records")
    assert silver.merge(late).stale == 2
    assert sorted(row["key"] for row in stale.collect()) == ["id=S:purged", "id=S:swept"], "once each"

    # Red control: tombstones purged and the floor forgotten, as a rule without one would have it.
    silver.spark.sql(f"ALTER TABLE delta.`{silver.path}` UNSET TBLPROPERTIES ('{PURGED_BEFORE}')")
    assert silver.merge(late).stale == 0
    rows = silver.rows()
    assert [json.loads(rows[f"id=S:{key}"]["_item"]) for key in ("purged", "swept")] == [item("purged"), item("swept")]


@pytest.mark.parametrize(
    ("change", "says"), [({"retention_hours": 24}, "is less than 168"), ({"target": "/tmp/none"}, "no Delta table")]
)
def test_upkeep_is_refused(silver: Silver, change: dict[str, object], says: str) -> None:
    job = replace(UpkeepJob(silver.path, silver.config), **change)  # type: ignore[arg-type]
    with pytest.raises(Misconfigured, match=says):
        list(maintain(silver.spark, job, NOW))
