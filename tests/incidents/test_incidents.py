"""Incidents: each is staged, seen on its page, repaired by that page's command, and ends with source and lake equal.

On the ports. A backfill that fails in mid-segment is in tests/functional (test_backfill_scan), on the real use case; a
wrong type in a silver column is in tests/spark (test_rows): NULL and counted, `_item` whole.
"""

from __future__ import annotations

import pytest

from lakebound.gaps import Gap
from lakebound.redrive import (
    pending_failures,
    pending_quarantine,
    redrive_by_copy,
    redrive_failures,
    redrive_quarantine,
)
from lakebound.status import GAP, OK
from tests.events.building import TABLE
from tests.functional.world import noise
from tests.incidents.plant import MAPPING, RETENTION_MS, Plant

HOUR = 3_600


@pytest.fixture
def plant() -> Plant:
    plant = Plant()
    for number in range(10):
        plant.write(f"k{number}", "first")
    plant.run(60)
    assert_well(plant)
    return plant


def assert_well(plant: Plant) -> None:
    report = plant.compare()
    assert report.is_equal, str(report)
    assert report.left_out == ()
    assert plant.status().state == OK


def redrive_dead(plant: Plant) -> None:
    redrive_by_copy(TABLE, plant.dead, plant.buffer, plant.clock)


def redrive_stream(plant: Plant) -> None:
    assert redrive_failures(plant.road, pending_failures(plant.bucket, TABLE, MAPPING)).failed == {}


def test_a_poison_record(plant: Plant) -> None:
    plant.write("k1", "second", ApproximateCreationDateTime=plant.clock.now_ms() // 1000 + 2 * HOUR)
    plant.write("k2", "second")
    plant.run(60)
    assert "quarantine" in plant.pages()
    assert plant.compare().stale + plant.compare().different == ("id=S:k1",)
    plant.clock.sleep(2 * HOUR)
    redrive_quarantine(plant.road, pending_quarantine(plant.bucket, TABLE))
    plant.run(60)
    assert "quarantine" not in plant.pages()
    assert_well(plant)


def test_an_oversized_record_travels_by_claim_check(plant: Plant) -> None:
    plant.write("big", noise(390_000, 1))
    plant.run(60)
    assert any("/claims/" in key for key in plant.bucket.objects)
    assert_well(plant)


def test_dead_letters_after_an_outage_of_the_bucket(plant: Plant) -> None:
    plant.outage.down.add("bucket")
    plant.write("k1", "second")
    # An hour must fill no dead-letter queue; only a day of refusals does.
    plant.run(HOUR, step=60)
    assert plant.dead.messages == []
    plant.run(6 * HOUR, step=600)
    assert "dead-letters" in plant.pages()
    assert not plant.compare().is_equal
    plant.outage.down.clear()
    redrive_dead(plant)
    plant.run(60)
    assert_well(plant)


def test_failure_objects(plant: Plant) -> None:
    plant.outage.down.add("queue")
    plant.write("k1", "second")
    plant.write("k2", None)
    plant.run(600, step=60)
    assert "failure-objects" in plant.pages()
    plant.outage.down.clear()
    plant.write("k1", "third")
    plant.run(60)
    # The later change is in the lake before the earlier ones come back: their versions keep them behind it.
    redrive_stream(plant)
    plant.run(60)
    assert_well(plant)
    before = set(plant.bucket.objects)
    redrive_stream(plant)
    plant.run(60)
    assert set(plant.bucket.objects) == before


def test_the_stream_is_not_read_for_25_hours(plant: Plant) -> None:
    plant.mapping_enabled = False
    plant.write("k1", "second")
    plant.write("k2", None)
    started = plant.clock.now_ms()
    plant.clock.sleep(25 * HOUR)
    assert plant.status().state == GAP
    assert {"stream-behind", "mapping-disabled"} <= plant.pages()
    plant.found(Gap(started - 1_000, plant.clock.now_ms(), "mapping_disabled"))
    plant.mapping_enabled = True
    plant.run(120)
    assert "status-gap" in plant.pages()
    assert set(plant.compare().ghost) == {"id=S:k2"}, "what the stream forgot must show, or the heal proves nothing"
    plant.heal("heal-1")
    assert_well(plant)


def test_the_stream_is_made_anew(plant: Plant) -> None:
    lost_from = plant.clock.now_ms()
    plant.write("k1", "lost")
    plant.stream.clear()
    plant.stream_arn = plant.stream_arn.replace("2026-11-01", "2026-11-20")
    plant.write("k2", "on the new stream")
    plant.run(60)
    assert plant.status().state == GAP
    assert "stream-recreated" in plant.pages()
    plant.mapped_arn = plant.stream_arn
    plant.found(Gap(lost_from, plant.clock.now_ms(), "stream_recreated"))
    plant.run(60)
    assert plant.compare().different + plant.compare().stale == ("id=S:k1",)
    plant.heal("heal-2")
    assert_well(plant)


def test_a_row_of_silver_was_edited(plant: Plant) -> None:
    plant.edited["id=S:k3"] = '{"id":{"S":"k3"},"v":{"S":"by hand"}}'
    # Nothing that is merged again changes the row: its registers are right.
    plant.run(60)
    assert plant.compare().different == ("id=S:k3",)
    done = plant.repair(plant.compare().different)
    assert (done.items, done.absent, len(done.files)) == (1, 0, 1)
    assert_well(plant)


def test_the_kms_key_is_disabled(plant: Plant) -> None:
    plant.outage.down |= {"bucket", "queue"}
    plant.write("k1", "second")
    plant.run(HOUR, step=60)
    plant.outage.down.clear()
    assert plant.pages() & {"failure-objects", "stream-behind"}
    redrive_stream(plant)
    plant.run(20 * 60)
    redrive_dead(plant)
    plant.run(60)
    assert_well(plant)


def test_a_flood_of_fifty_times_the_load(plant: Plant) -> None:
    for number in range(5_000):
        plant.write(f"k{number % 700}", f"flood {number}")
    plant.clock.sleep(600)
    assert "stream-behind" in plant.pages()
    for _ in range(60):
        plant.deliver()
    plant.run(120)
    assert plant.stream == []
    assert_well(plant)


@pytest.mark.parametrize("function", ["stream_ingest", "flusher"])
def test_a_bad_deploy_is_rolled_back_under_load(plant: Plant, function: str) -> None:
    plant.broken.add(function)
    for number in range(200):
        plant.write(f"k{number % 20}", f"load {number}")
        if number % 20 == 0:
            plant.run(120)
    assert plant.errors > 0, "the alarms on errors look at this"
    plant.broken.clear()
    plant.run(600)
    redrive_stream(plant)
    redrive_dead(plant)
    plant.run(600)
    assert_well(plant)


def test_a_loss_that_nobody_heals_is_not_called_equal(plant: Plant) -> None:
    """The red control of every incident above: a change that never arrives keeps the two unequal."""
    plant.write("k1", "lost")
    plant.stream.clear()
    plant.clock.sleep(RETENTION_MS / 1000)
    plant.run(600)
    assert not plant.compare().is_equal
