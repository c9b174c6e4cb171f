"""A purge while changes wait, and while some are appended: what was deleted never comes back into `_live`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from pyspark.sql import SparkSession

from lakebound_spark.platform.refusals import Refusals
from lakebound_spark.silver import micro_batch
from lakebound_spark.silver.changes_table import changes_fault
from lakebound_spark.silver.preparation import prepare_silver
from lakebound_spark.silver.purge_horizon import DAY_MS, SLACK_MS
from lakebound_spark.upkeep.maintenance import UpkeepJob, purge
from tests.spark.silver import Silver
from tests.support.independent_writer import Record, base, item, stream, write_records

DAYS = 40
T = 1_357_000_000_000
OLD = T - SLACK_MS - 1_000
NOW = T + DAYS * DAY_MS
"""The horizon ends at T."""
LATE: Final = (
    stream("a", 1, item("a"), time_ms=OLD - 1_000),
    base("b", OLD - 1_000, item("b")),
    stream("d", 1, item("d"), time_ms=T),
)
"""Older puts of what was deleted, which come once more, and one of something else."""


class Lake:
    """Silver with `_changes`. Its keys `a`, `b` and `e` were deleted before the horizon."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark, self.folder = spark, folder
        self.silver = Silver.create(spark, folder / "silver", {}, appends=True, deletes="hard", purge_after_days=DAYS)
        gone = [stream(key, 2, None, time_ms=OLD) for key in "ae"]
        self.append(*gone, base("b", OLD, None, origin="sweep"))
        self.merge()

    def append(self, *records: Record) -> int:
        """How many of the records came too late."""
        hour = f"HH={len(list(self.folder.glob('source/*'))):02d}"
        return self.silver.append(write_records(self.folder / "source", records, hour=hour)).stale

    def merge(self) -> None:
        self.silver.merge_pending()

    def purge(self) -> int:
        return purge(self.spark, UpkeepJob(self.silver.path, self.silver.config), NOW)

    def start(self) -> None:
        """What a driver does before its first micro-batch."""
        checkpoint, silver = str(self.folder / "checkpoint"), self.silver
        prepare_silver(self.spark, silver.path, silver.config, checkpoint, self.merge, Refusals(), appends=True)

    def shown(self) -> tuple[set[str], set[str]]:
        """The visible keys of `_live`, and of silver."""
        tables = self.silver.live_rows(), self.silver.rows()
        live, merged = (
            {key.removeprefix("id=S:") for key, row in rows.items() if not row["_is_deleted"]} for rows in tables
        )
        return live, merged


@pytest.fixture
def lake(spark: SparkSession, tmp_path: Path) -> Lake:
    return Lake(spark, tmp_path)


@pytest.mark.soak
def test_a_tombstone_stays_while_changes_of_its_key_are_kept(lake: Lake) -> None:
    assert lake.purge() == 0, "the tombstones are merged, and their changes are kept for readers"
    lake.append(*LATE)
    assert lake.shown() == ({"d"}, set())
    assert lake.purge() == 1, "it has merged the older puts, which are kept instead"
    assert lake.shown() == ({"d"}, {"d"})
    lake.append(stream("d", 2, item("d"), time_ms=T))
    assert lake.purge() == 2
    assert lake.shown() == ({"d"}, {"d"})
    assert set(lake.silver.rows()) == {"id=S:d"}


class Killed(BaseException):
    """The driver's end."""


def killed(lake: Lake) -> None:
    raise Killed


def nothing(lake: Lake) -> None: ...


@pytest.mark.soak
@pytest.mark.parametrize(
    ("before", "after", "late", "merged"),
    [
        (Lake.purge, nothing, LATE, set()),
        (Lake.purge, Lake.merge, LATE, {"d"}),
        (nothing, Lake.purge, LATE, {"d"}),
        (Lake.purge, killed, LATE, set()),
        # Nothing of the append is fresh, so nothing is left of it.
        (Lake.purge, nothing, LATE[:2], set()),
        (Lake.purge, Lake.merge, LATE[:2], set()),
        (nothing, Lake.purge, LATE[:2], set()),
    ],
)
def test_a_purge_while_older_changes_are_appended(
    lake: Lake,
    monkeypatch: pytest.MonkeyPatch,
    before: Callable[[Lake], Any],
    after: Callable[[Lake], Any],
    late: tuple[Record, ...],
    merged: set[str],
) -> None:
    real = micro_batch.append_changes

    def append_changes(*arguments: Any, **more: Any) -> Any:
        # The micro-batch has read the floor already.
        monkeypatch.setattr(micro_batch, "append_changes", real)
        before(lake)
        appended = real(*arguments, **more)
        after(lake)
        return appended

    lake.append(stream("c", 1, None, time_ms=T))
    lake.merge()
    monkeypatch.setattr(micro_batch, "append_changes", append_changes)
    fresh = {"d"} if late == LATE else set()
    if after is killed:
        with pytest.raises(Killed):
            lake.append(*late)
        assert lake.shown()[0] == {"a", "b", "d"}, "nobody has looked at the floor since"
        lake.start()
    else:
        assert lake.append(*late) == 2
        stale = lake.spark.read.format("delta").load(f"{lake.silver.path}_stale_records").collect()
        assert sorted(row["key"] for row in stale) == ["id=S:a", "id=S:b"]
    assert lake.shown() == (fresh, merged)
    assert changes_fault(lake.spark, lake.silver.path) == ""
    lake.merge()
    assert lake.shown() == (fresh, fresh)
    lake.start()
