"""The audits find what is lost, out of order or twice, and say nothing where nothing is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

import lakebound_spark.jobs.audit as audit_job
from lakebound_spark.audits.chain_audit import Audit, audit, links, records_to_audit
from lakebound_spark.bronze.bronze_table import prepare_bronze
from tests.spark.histories import MARGIN_MS, history, two_registers
from tests.spark.jobs import append_to_bronze, bronze_frame, run_main
from tests.support.independent_writer import TABLE, Record, item, stream, version

ONE, TWO, THREE = (item("k", v={"N": str(n)}) for n in (1, 2, 3))
CHAIN = [
    stream("k", 1, ONE, time_ms=100_000, event_name="INSERT"),
    stream("k", 2, TWO, time_ms=99_000, old_image={"v": {"N": "1.0"}, "id": {"S": "k"}}),
    stream("k", 3, None, time_ms=101_000, old_image=TWO),
    stream("k", 4, ONE, time_ms=102_000, event_name="INSERT"),
]


def found_in(spark: SparkSession, records: list[Record]) -> Audit:
    return audit(bronze_frame(spark, records))


def test_what_is_wrong_is_found_and_named(spark: SparkSession) -> None:
    """Red controls of every audit, side by side: a lost record, a wrong order, a time far back, two images.

    Between them a whole chain, twice and in another order, of which nothing is said.
    """

    def under(key: str, records: list[Record]) -> list[Record]:
        return [record | {"key": key} for record in records]

    lost = under("lost", [CHAIN[0], CHAIN[2]])
    swapped = under("swapped", [CHAIN[0] | {"version": version(2)}, CHAIN[1] | {"version": version(1)}])
    late = under("late", [CHAIN[0], CHAIN[1] | {"approx_creation_time_ms": 69_000}])
    twice = under("twice", [CHAIN[0], CHAIN[0] | {"new_image": THREE, "ingest_time_ms": 200_000}])
    new_images = under("new images only", [stream("k", 1, ONE), stream("k", 2, TWO)])
    found = found_in(spark, [*reversed(CHAIN), *CHAIN, *lost, *swapped, *late, *twice, *new_images])
    assert (found.chain_breaks, found.time_regressions, found.conflicts) == (2, 1, 1)
    assert (found.keys, found.records, found.links) == (6, 13, 7)
    assert (found.unchecked, found.greatest_regression_ms, found.is_clean) == (1, 31_000, False)
    assert found.examples == (
        ("late", version(2), "time went back"),
        ("lost", version(3), "chain broken"),
        ("swapped", version(2), "chain broken"),
        ("twice", version(1), "two images"),
    )


def test_a_change_whose_old_image_could_not_travel_is_unchecked_and_breaks_nothing(spark: SparkSession) -> None:
    """Also: values of no type are compared as JSON, so that they break no chain either, unless they differ."""
    odd = item("k", v={"N": "NaN", "X": [1, {"b": 1, "a": 2}]}, tags={"SS": ["", "vip"]})
    same = item("k", tags={"SS": ["vip", ""]}, v={"X": [1, {"a": 2, "b": 1}], "N": "NaN"})
    other = item("k", tags={"SS": ["vip", ""]}, v={"X": [1, {"a": 2, "b": 2}], "N": "NaN"})
    chain = [
        stream("k", 1, odd, event_name="INSERT"),
        stream("k", 2, ONE, old_image=same),
        stream("k", 3, TWO, old_image=None),
        stream("k", 4, None, old_image=None),
    ]
    found = found_in(spark, chain)
    assert (found.links, found.unchecked, found.chain_breaks, found.is_clean) == (3, 2, 0, True)
    found = found_in(spark, [chain[0], chain[1] | {"old_image": other}])
    assert (found.unchecked, found.chain_breaks) == (0, 1)


def test_breaks_are_where_changes_were_lost_and_nowhere_else(spark: SparkSession) -> None:
    """Random histories, some with a gap: every lost change that left a trace is a break behind it."""
    records: list[Record] = []
    expected: set[tuple[str, str]] = set()
    for number in range(60):
        lived = history(7_000_000 + number, {"right": two_registers(MARGIN_MS)})["right"]
        records += lived.records
        for key, written in lived.written.items():
            arrived = {r["version"] for r in lived.records if r["key"] == key and r["origin"] == "stream"}
            before: Any = None
            is_first = True
            for change in written:
                named = version(change.sequence, change.label)
                if named in arrived:
                    if not is_first and change.old_image != before:
                        expected.add((key, named))
                    before, is_first = change.image, False
    joined = links(bronze_frame(spark, records)).where("is_broken").collect()
    assert {(row["key"], row["version"]) for row in joined} == expected
    assert len(expected) > 20


@pytest.mark.soak
def test_the_job_counts_tells_and_keeps(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bronze = tmp_path / "bronze"
    assert run_main(audit_job.main, "--bronze", bronze).status == 2
    assert "run ingest_bronze first" in capsys.readouterr().err
    prepare_bronze(spark, str(bronze), TABLE)
    append_to_bronze(bronze, bronze_frame(spark, [*CHAIN[:2], *CHAIN[3:]]), "f1")
    published: list[tuple[str, int]] = []
    monkeypatch.setattr(audit_job, "publish_chain_breaks", lambda table, breaks: published.append((table, breaks)))
    done = run_main(audit_job.main, "--bronze", bronze, "--publish")
    assert (done.status, done.last_line) == (1, "chain_breaks=1 time_regressions=0 conflicts=0")
    assert done.batches[0]["examples"] == [["id=S:k", version(4), "chain broken"]]
    assert published == [(TABLE, 1)]
    (kept,) = spark.read.format("delta").load(f"{bronze}_audits").collect()
    assert (kept["records"], kept["chain_breaks"]) == (3, 1)
    # Everything here was ingested in 1970, so the last week touches no key.
    assert records_to_audit(spark, str(bronze), 7).count() == 0
