"""A finished run's files against silver: equal where it is, and every kind of difference named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from lakebound.operate.verify import Report
from lakebound_spark.audits.verify_run import CHANGED_SINCE, key_verdicts, report_of, verify_run
from lakebound_spark.jobs.verify_run import main
from lakebound_spark.upkeep.sweep import SweepJob
from tests.spark.jobs import bronze_frame, run_main
from tests.spark.silver import Silver
from tests.spark.sweep_run import LABEL, RUN, keep, manifest_of
from tests.support.independent_writer import Record, base, item, stream, write_records

OTHERWISE = {"v": {"N": "1.0"}, "id": {"S": "equal"}}
RUN_RECORDS = [
    base("equal", LABEL, item("equal", v={"N": "1"})),
    base("missing", LABEL, item("missing")),
    base("stale", LABEL, item("stale", v={"N": "2"})),
    base("different", LABEL, item("different")),
    base("changed", LABEL, item("changed")),
    base("deleted since", LABEL, item("deleted since")),
    base("twice", LABEL, item("twice")),
    base("absent", LABEL, None, origin="sweep"),
]
SILVER: list[tuple[str, dict[str, Any] | None, int | None, str]] = [
    ("equal", OTHERWISE, 900, ""),
    ("missing", None, 900, ""),
    ("stale", item("stale", v={"N": "1.0"}), 900, ""),
    ("different", item("different", v={"N": "7"}), 900, ""),
    ("changed", item("changed", v={"N": "7"}), LABEL, ""),
    ("deleted since", None, 900, f"{LABEL + 1:015d}|run-2|0"),
    ("twice", item("twice"), 900, ""),
    ("twice", item("twice"), 900, ""),
    ("ghost", item("ghost"), 900, ""),
    ("new", item("new"), LABEL + 5, ""),
    ("absent", None, 900, ""),
    ("gone", None, 900, ""),
]


def judged(spark: SparkSession, run: list[Record], bronze: list[Record] | None = None) -> Report:
    rows = [(f"id=S:{k}", None if i is None else json.dumps(i), t, b) for k, i, t, b in SILVER]
    silver = spark.createDataFrame(rows, "_key STRING, _item STRING, _stream_time_ms BIGINT, _base STRING")
    earlier = bronze_frame(spark, bronze) if bronze is not None else None
    return report_of(key_verdicts(bronze_frame(spark, run), silver, LABEL, RUN, earlier))


def of(*names: str) -> tuple[str, ...]:
    return tuple(f"id=S:{name}" for name in names)


@pytest.mark.soak
def test_every_difference_is_named(spark: SparkSession) -> None:
    bronze = [stream("stale", 1, item("stale", v={"N": "1"})), stream("different", 1, item("different", v={"N": "6"}))]
    report = judged(spark, RUN_RECORDS, bronze)
    assert (report.missing, report.ghost, report.stale) == (of("missing"), of("ghost"), of("stale"))
    assert report.different == of("different", "twice")
    assert report.left_out == tuple((key, CHANGED_SINCE) for key in of("changed", "deleted since", "new"))
    assert (report.rows, report.from_base) == (8, 0)
    assert report.keys == 9, "`absent` and `gone` are keys of neither side"
    assert not report.is_equal


def test_the_job_says_equal_and_names_what_is_not(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    silver = Silver.create(spark, tmp_path / "silver", {})
    source = tmp_path / "source"
    silver.merge(write_records(source, [stream("a", 1, item("a")), stream("b", 1, item("b"))]))
    arguments = ["--run", RUN, "--table", "flights", "--source", source, "--aside", tmp_path / "aside"]
    arguments += ["--target", silver.path]

    same = write_records(source, [base("a", LABEL, item("a")), base("b", LABEL, item("b"))], hour="same")
    keep(tmp_path, manifest_of([same]))
    equal = run_main(main, *arguments)
    assert (equal.status, equal.last_line) == (0, "2 keys: 0 missing, 0 ghost, 0 stale, 0 different")

    # A run that is not merged yet: what it will repair.
    repairs = write_records(source, [base("a", LABEL, item("a")), base("c", LABEL, item("c"))], hour="repairs")
    keep(tmp_path, manifest_of([repairs]))
    found = run_main(main, *arguments, "--json")
    assert (found.status, found.batches[0]["missing"], found.batches[0]["ghost"]) == (1, ["id=S:c"], ["id=S:b"])
    repairs.unlink()
    assert run_main(main, *arguments).status == 1
    assert "run run-1 has 1 file not below" in capsys.readouterr().err


@pytest.mark.soak
def test_live_counts_what_waits_and_what_ttl_deleted_is_no_ghost(spark: SparkSession, tmp_path: Path) -> None:
    silver = Silver.create(spark, tmp_path / "silver", {}, ttl_deletes="keep", appends=True)
    source = tmp_path / "source"
    silver.append(write_records(source, [stream("a", 1, item("a")), stream("b", 1, item("b"))]))
    silver.merge_pending()
    expired = stream("b", 2, None, ttl_expired=True, old_image=item("b"))
    silver.append(write_records(source, [expired, base("c", 5, item("c"))], hour="2"))
    keep(tmp_path, manifest_of([write_records(source, [base("a", LABEL, item("a")), base("c", LABEL, item("c"))])]))
    run = SweepJob(
        run=RUN,
        table="flights",
        target=silver.path,
        source=str(source),
        control_folder=str(tmp_path / "aside"),
    )
    merged, live = verify_run(spark, run), verify_run(spark, run, live=True)
    assert (merged.missing, merged.ghost, merged.rows) == (of("c"), of("b"), 2)
    assert live == Report(keys=2, rows=2, from_base=1)
    silver.merge_pending()
    assert verify_run(spark, run) == live
