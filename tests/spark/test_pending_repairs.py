"""A sweep, the check before a gap is closed, and a second driver while changes wait."""

from __future__ import annotations

import random
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from lakebound_spark.silver import pending_merge
from lakebound_spark.silver.changes_table import changes_fault, pending
from lakebound_spark.silver.merge_job import merge_micro_batch
from lakebound_spark.silver.micro_batch import Destination
from lakebound_spark.upkeep.run_merge_check import check_run_merge
from lakebound_spark.upkeep.sweep import SweepRefusal, sweep
from tests.spark.histories import MARGIN_MS, deliver, history, two_registers
from tests.spark.shown_rows import expected, shown
from tests.spark.silver import Silver, data_files_at
from tests.spark.sweep_run import LABEL, NOW, job, keep, manifest_of
from tests.support.independent_writer import Record, base, item, stream, write_records

BEFORE = [stream(key, 1, item(key), time_ms=1_000) for key in ("kept", "ghost", "deleted", "again")]
RUN_RECORDS = [base("kept", LABEL, item("kept"))]
SINCE = [stream("deleted", 2, None, time_ms=2_000), stream("again", 2, item("again"), time_ms=LABEL + 5)]


def visible(rows: dict[str, Any]) -> set[str]:
    return {key.removeprefix("id=S:") for key, row in rows.items() if not row["_is_deleted"]}


@pytest.mark.soak
@pytest.mark.parametrize("run_waits", [True, False])
def test_a_sweep_takes_back_nothing_that_waits(spark: SparkSession, tmp_path: Path, run_waits: bool) -> None:
    source = tmp_path / "source"
    silver = Silver.create(spark, tmp_path / "silver", {}, appends=True)
    silver.merge(write_records(source, BEFORE, hour="before"))
    file = write_records(source, RUN_RECORDS, hour="run")
    manifest = manifest_of([file])
    keep(tmp_path, manifest)
    (silver.append if run_waits else silver.merge)(file)
    silver.append(write_records(source, SINCE, hour="since"))
    check = check_run_merge(spark, str(source), silver.path, manifest)
    if run_waits:
        assert (check.unmerged, check.ghosts) == (1, None), "nothing is closed on what only waits"
        with pytest.raises(SweepRefusal, match="run run-1 has 1 key not merged yet; run merge_changes"):
            sweep(spark, job(tmp_path), NOW)
        silver.merge_pending()
    swept = sweep(spark, job(tmp_path), NOW)
    assert swept.ghosts == (1 if run_waits else 3), "silver shows two rows that what waits has changed"
    silver.append(*(source / name for name in swept.files))
    assert visible(silver.live_rows()) == {"kept", "again"}
    silver.merge_pending()
    assert visible(silver.rows()) == {"kept", "again"}
    assert check_run_merge(spark, str(source), silver.path, manifest).ghosts == 0


@pytest.mark.soak
def test_two_drivers_without_a_lease_lose_nothing(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silver = Silver.create(spark, tmp_path / "silver", {"id": "string", "v": "int"}, appends=True)
    records: list[Record] = []
    for number in range(12):
        records += history(number, {"right": two_registers(MARGIN_MS)})["right"].records
    groups = list(deliver(records, random.Random(0), 4))
    received: list[Record] = []

    def append(driver: str, number: int) -> None:
        file = write_records(tmp_path / "source", groups[number], hour=f"HH={number:02d}")
        to = Destination(silver.path, silver.config, str(tmp_path / f"staging_{driver}"), append_as=driver * 16)
        assert merge_micro_batch(spark, data_files_at([file]), 0, to).appended
        received.extend(groups[number])

    real = pending_merge.close_merge

    def close_merge(spark: SparkSession, target: str, merged: Collection[str], now_ms: int) -> None:
        # The first driver has merged, and not noted it yet. The second one merges the same and one more, and ends.
        monkeypatch.setattr(pending_merge, "close_merge", real)
        append("b", 1)
        silver.merge_pending()
        real(spark, target, merged, now_ms)

    append("a", 0)
    monkeypatch.setattr(pending_merge, "close_merge", close_merge)
    silver.merge_pending()
    for number, driver in ((2, "a"), (3, "b")):
        assert changes_fault(spark, silver.path) == "", "neither driver may be refused at its next start"
        assert shown(silver.live_rows().values()) == expected(received)
        append(driver, number)
    assert shown(silver.live_rows().values()) == expected(records)
    silver.merge_pending()
    assert pending(spark, silver.path).rows == 0
    assert shown(silver.rows().values()) == shown(silver.live_rows().values()) == expected(records)
