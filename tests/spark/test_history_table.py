"""A key that goes on from its current stretch ends in the same rows as one that is built from all of its records."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812

from lakebound_spark.bronze.bronze_table import prepare_bronze
from lakebound_spark.history.history_table import (
    HistoryUpdate,
    classify_keys,
    continuation,
    prepare_history,
    rebuild,
    update_history,
)
from lakebound_spark.history.stretches import stretches
from tests.spark.jobs import append_to_bronze, bronze_frame
from tests.spark.reference_history import reference_history
from tests.support.independent_writer import TABLE, Record, base, item, stream

KEYS = 700
START_MS = 1_357_000_000_000
SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
PAUSES = (0, SECOND, MINUTE, 3 * MINUTE, 5 * HOUR, DAY, 8 * DAY)


def lived(key: str, chance: random.Random) -> list[Record]:
    """One key's records as they arrive: mostly in order, some late, twice or never; scans, some of them wrong."""
    now, image = START_MS, None
    arrivals: list[tuple[float, Record]] = []
    for place in range(chance.randrange(2, 10)):
        now += chance.choice(PAUSES)
        any_image = item(key, v={"N": str(chance.randrange(3))})
        if chance.random() < 0.65:
            after = None if image is not None and chance.random() < 0.35 else any_image
            stamp = (now + chance.randrange(-1_500, 1_501)) // SECOND * SECOND
            old = image if chance.random() < 0.9 else None
            name = "INSERT" if image is None else "MODIFY"
            record = stream(key, place, after, time_ms=stamp, old_image=old, event_name=name)
            image = after
            if chance.random() < 0.1:  # lost
                continue
        else:
            read = image if chance.random() < 0.8 else chance.choice([None, any_image])
            label = now - (MINUTE if read is not None else chance.choice([MINUTE, 5 * HOUR, 6 * DAY]))
            record = base(key, label, read, run=f"run-{place}", origin="scan" if read is not None else "sweep")
        for _ in range(2 if chance.random() < 0.1 else 1):
            arrivals.append((place + (chance.random() * 4 if chance.random() < 0.2 else 0), record))
    return [record for _, record in sorted(arrivals, key=lambda arrival: arrival[0])]


def rare() -> Iterator[tuple[list[Record], int]]:
    """Cases that chance makes too seldom, with how many of their records came before."""
    swept_ms, first, second = START_MS + DAY, item("swept"), item("late")
    put, sweep = stream("swept", 1, first, time_ms=START_MS), base("swept", swept_ms, None, origin="sweep")
    yield [put, sweep, stream("swept", 2, first, time_ms=swept_ms + 20 * DAY, event_name="INSERT")], 2
    # The run met the key no more at its end, when it had been deleted; the sweep's label is the run's least.
    put, sweep = stream("late", 1, second, time_ms=START_MS), base("late", swept_ms, None, origin="sweep")
    change = stream("late", 2, second, time_ms=swept_ms + HOUR, old_image=second)
    yield [put, sweep, change, stream("late", 3, None, time_ms=swept_ms + 5 * HOUR, old_image=second)], 3


Rows = set[tuple[Any, ...]]
"""Version, item, start, end and exactness of each of a key's stretches."""


@dataclass(frozen=True, slots=True)
class Continued:
    """All keys continued, whether they may be or not: what was found of each, and what is right."""

    may: set[str]
    built_before: set[str]
    found: dict[str, Rows]
    right: dict[str, Rows]

    def wrong(self, keys: set[str]) -> set[str]:
        """Those of ``keys`` whose rows are not the right ones."""
        return {key for key in keys if self.found[key] != self.right[key]}


@pytest.fixture(scope="module")
def continued(spark: SparkSession) -> Continued:
    """Every key cut somewhere: its history is built up to there, and the rest is one micro-batch."""
    chance = random.Random(11)
    before: list[Record] = []
    after: list[Record] = []
    right: dict[str, Rows] = {}
    stories = [*rare()]
    for number in range(KEYS):
        if records := lived(f"k{number}", chance):
            last = len(records) - 1
            stories.append((records, chance.choice([0, last, last, chance.randrange(len(records))])))
    for records, cut in stories:
        before += records[:cut]
        after += records[cut:]
        reference = reference_history(records)
        right[records[0]["key"]] = {(s.version, text_of(s.image), s.starts, s.ends, s.is_exact) for s in reference}
    there = stretches(bronze_frame(spark, before)).persist()
    appended = bronze_frame(spark, after).persist()
    touched = classify_keys(appended, there.where("is_current"), bronze_frame(spark, before + after)).persist()
    changes = continuation(appended, touched.withColumn("continues", F.lit(True)))
    rows: dict[str, dict[str, tuple[Any, ...]]] = {key: {} for key in right}
    built_before = set()
    millis = ("*", "unix_millis(valid_from) AS starts", "unix_millis(valid_to) AS ends")
    for frame in (there, changes):
        for row in frame.selectExpr(*millis).collect():
            values = (row["_version"], row["_item"], row["starts"], row["ends"], row["is_exact"])
            rows[row["_key"]][row["_version"]] = values
            if frame is there:
                built_before.add(row["_key"])
    may = {row["key"] for row in touched.where("continues").collect()}
    return Continued(may, built_before, {key: set(of_key.values()) for key, of_key in rows.items()}, right)


def text_of(image: Any) -> str | None:
    return None if image is None else json.dumps(image, separators=(",", ":"))


def test_a_key_that_continues_ends_as_if_it_were_computed_again(continued: Continued) -> None:
    assert continued.wrong(continued.may) == set()


def test_most_keys_whose_records_come_in_order_go_on(continued: Continued) -> None:
    assert len(continued.may & continued.built_before) > KEYS / 8
    assert len(continued.may - continued.built_before) > KEYS / 20


def test_red_control_the_keys_that_may_not_would_end_wrong(continued: Continued) -> None:
    assert len(continued.wrong(set(continued.right) - continued.may)) > KEYS / 10


@pytest.mark.soak
def test_older_files_of_bronze_are_read_only_for_a_key_that_is_built_again(spark: SparkSession, tmp_path: Path) -> None:
    """Shown by taking these files away: the records that follow do not miss them, a late one does."""
    bronze, target = tmp_path / "bronze", tmp_path / "history"
    prepare_bronze(spark, str(bronze), TABLE)
    prepare_history(spark, str(target), TABLE)

    images = [item("k", v={"N": str(number)}) for number in range(3)]
    append_to_bronze(bronze, bronze_frame(spark, [base("k", START_MS, images[0])]), "scanned")
    append_to_bronze(bronze, bronze_frame(spark, [stream("other", 1, item("other"), time_ms=START_MS)]), "streamed")
    assert rebuild(spark, str(target), str(bronze)) == 2
    for file in bronze.rglob("*.parquet"):
        if "_delta_log" not in file.parts:
            file.unlink()

    def deliver(name: str, *records: Record) -> HistoryUpdate:
        frame = bronze_frame(spark, records)
        append_to_bronze(bronze, frame, name)
        return update_history(spark, str(target), str(bronze), frame, f"{target}_staging")

    later_ms = START_MS + 30 * DAY
    assert deliver(
        "follow",
        stream("k", 5, images[1], time_ms=later_ms, old_image=images[0]),
        stream("k", 6, None, time_ms=later_ms + 1, old_image=images[1]),
        stream("new", 1, item("new"), time_ms=later_ms),
    ) == HistoryUpdate(keys=2, anew=0, rows=4)
    table = spark.read.format("delta").load(str(target))
    shown = table.selectExpr("_key", "_item", "unix_millis(valid_from) AS f", "unix_millis(valid_to) AS t", "is_exact")
    assert {tuple(row) for row in shown.collect()} == {
        ("id=S:k", text_of(images[0]), START_MS, later_ms, False),
        ("id=S:k", text_of(images[1]), later_ms, later_ms + 1, True),
        ("id=S:k", None, later_ms + 1, None, True),
        ("id=S:new", text_of(item("new")), later_ms, None, True),
        ("id=S:other", text_of(item("other")), START_MS, None, True),
    }
    with pytest.raises((Py4JJavaError, PySparkException)):
        deliver("late", stream("k", 4, images[2], time_ms=later_ms))
