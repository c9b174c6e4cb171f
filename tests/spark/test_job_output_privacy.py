"""G14 over the merge job: what it prints holds no item's value, also where Spark's own error quotes a row."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.spark.silver import Silver, data_files_at, run_job, write_config
from tests.support.independent_writer import item, stream, write_lines, write_records

CANARY = "canary-4711"


@pytest.mark.soak
def test_lines_and_errors_name_no_value(spark: SparkSession, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    image = item(CANARY, v={"S": CANARY}, note={"S": CANARY})
    good = write_records(tmp_path / "source", [stream(CANARY, 1, image)])
    write_lines(
        tmp_path / "source", [f'{{"schema":1,"key":"id=S:{CANARY}","new_image":{{"v":'], hour="dt=2013-01-01/HH=06"
    )
    config = write_config(tmp_path, ["id: string", "v: int", "note: string"])
    capfd.readouterr()
    done = run_job(tmp_path / "source", tmp_path / "c", tmp_path / "silver", config)
    assert (done.status, done.batches[0]["inexact"], done.batches[0]["bad_files"]) == (0, 1, 1)
    told = f"{done.batches} {done.last_line} {capfd.readouterr()}"

    # A constraint of somebody's makes Delta refuse the row, in words that quote it.
    fresh = Silver.create(spark, tmp_path / "refusing", {"id": "string", "v": "int", "note": "string"})
    spark.sql(f"ALTER TABLE delta.`{fresh.path}` ADD CONSTRAINT none CHECK (note <> '{CANARY}')")
    failed = run_job(tmp_path / "source", tmp_path / "d", fresh.path, config)
    assert failed.status == 1
    said = capfd.readouterr()
    assert "merge_changes: stopped by" in said.err
    assert CANARY not in f"{told} {failed.batches} {failed.last_line} {said}"

    # Red control: Spark's own words do quote it.
    with pytest.raises(Exception, match=CANARY):
        fresh.merge(*[Path(one.path.removeprefix("file:")) for one in data_files_at([good])])
