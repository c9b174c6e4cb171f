"""Ghosts become ABSENT records, nothing else does, and every precondition is seen to refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from lakebound.record.attributes import canonical_key, parse_key
from lakebound_spark.upkeep.sweep import SweepRefusal, check_guard, check_manifest, sweep
from tests.spark.silver import Silver
from tests.spark.sweep_run import BEFORE, LABEL, NOW, RUN, job, keep, manifest_of
from tests.support.independent_writer import TABLE, base, item, stream, write_records


@pytest.fixture
def swept_table(spark: SparkSession, tmp_path: Path) -> tuple[Silver, Path, Path]:
    silver = Silver.create(spark, tmp_path / "silver", {})
    before = write_records(tmp_path / "source", BEFORE)
    run = write_records(tmp_path / "source", [base("kept", LABEL, item("kept")), base("new", LABEL + 10, item("new"))])
    silver.merge(before, run)
    keep(tmp_path, manifest_of([run]))
    return silver, tmp_path, run


def test_ghosts_go_and_everything_else_stays(swept_table: tuple[Silver, Path, Path]) -> None:
    silver, folder, _ = swept_table
    dry = sweep(silver.spark, job(folder, dry_run=True), NOW)
    assert (dry.ghosts, dry.files) == (2, ())
    done = sweep(silver.spark, job(folder), NOW)
    assert (done.records, done.visible, done.ghosts) == (2, 6, 2)
    silver.merge(*(Path(path) for path in done.files))
    rows = silver.rows()
    assert {key.removeprefix("id=S:") for key, row in rows.items() if not row["_is_deleted"]} == {
        "kept",
        "new",
        "written after",
        "newer snapshot",
    }
    assert rows["id=S:ghost"]["_base"] == f"{LABEL:015d}|{RUN}|0"
    again = sweep(silver.spark, job(folder), NOW + 1)
    assert (again.ghosts, again.files) == (0, ())
    # A late change that is newer than the run brings its key back: nothing was deleted for good.
    late = write_records(folder / "source", [stream("ghost", 9, item("ghost"), time_ms=LABEL + 5)])
    silver.merge(late)
    assert not silver.rows()["id=S:ghost"]["_is_deleted"]


@pytest.mark.soak
def test_a_run_that_is_not_merged_yet_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    silver = Silver.create(spark, tmp_path / "silver", {})
    silver.merge(write_records(tmp_path / "source", BEFORE))
    run = write_records(tmp_path / "source", [base("kept", LABEL, item("kept"))])
    keep(tmp_path, manifest_of([run]))
    with pytest.raises(SweepRefusal, match="run run-1 has 1 key not merged yet"):
        sweep(spark, job(tmp_path), NOW)


@pytest.mark.soak
def test_a_run_whose_files_are_not_all_there_is_refused(swept_table: tuple[Silver, Path, Path]) -> None:
    silver, folder, run = swept_table
    run.unlink()
    with pytest.raises(SweepRefusal, match="run run-1 has 1 file not below"):
        sweep(silver.spark, job(folder), NOW)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"mode": "incremental_export"}, "did not read the whole table"),
        ({"consistent": False}, "not consistent"),
        ({"quarantined": 3}, "run run-1 has 3 items in quarantine"),
        ({"table": "other"}, "read table other"),
    ],
)
def test_an_incomplete_run_is_refused(changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SweepRefusal, match=sentence):
        check_manifest(manifest_of([], **changed), TABLE)


def test_the_guard_allows_a_thousand_or_one_in_a_hundred_and_what_was_approved() -> None:
    check_guard(1_000, 0, 0)
    check_guard(2_000, 200_000, 0)
    check_guard(5_000, 100, 5_000)
    for ghosts, visible, approved in ((1_001, 0, 0), (2_001, 200_000, 0), (5_001, 100, 5_000)):
        with pytest.raises(SweepRefusal, match=f"--max-deletes {ghosts}"):
            check_guard(ghosts, visible, approved)


KEY_VALUES = st.one_of(
    st.text(min_size=1).map(lambda text: {"S": text}),
    st.integers(-(10**37), 10**37).map(lambda number: {"N": str(number)}),
    st.sampled_from(["AA==", "/w==", "AAEC"]).map(lambda text: {"B": text}),
)
NAMES = st.text(min_size=1, max_size=8)


@given(st.dictionaries(NAMES, KEY_VALUES, min_size=1, max_size=2))
def test_a_key_is_read_back_from_its_text(keys: dict[str, Any]) -> None:
    try:
        text = canonical_key(keys)
        text.encode()
    except UnicodeEncodeError:
        return
    assert canonical_key(parse_key(text)) == text
    assert parse_key(text).keys() == keys.keys()
