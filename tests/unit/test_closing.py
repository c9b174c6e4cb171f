"""A gap is closed by a heal that is fully merged, and by nothing less: each thing that is missing is seen to refuse."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from lakebound.backfill.gap_closing import RunMergeCheck, decide_closing
from lakebound.backfill.manifest import Manifest, digest_of
from lakebound.source.gaps import Gap
from tests.support.operator_stack import Lakebound, Operated

W = 180_000
GAP = Gap(1_000_000, 2_000_000, "mapping_behind", detected_at_ms=2_100_000)
OTHER = Gap(5_000_000, None, "mapping_disabled")


merged = partial(RunMergeCheck, records=7)


def manifest(**changed: Any) -> Manifest:
    plain = Manifest(
        run="heal-1",
        table="flights",
        table_id="t",
        mode="incremental_export",
        consistent=True,
        units=1,
        read=7,
        records=7,
        quarantined=0,
        size=9,
        consumed=0.0,
        min_label_ms=1,
        max_label_ms=2,
        started_ms=2_000_000 + W,
        finished_ms=3_000_000,
        digest=digest_of(()),
        files=(),
        heals=((GAP.from_ms, GAP.cause),),
    )
    return replace(plain, **changed)


def test_a_heal_by_windows_that_is_merged_closes_its_gap_and_no_other() -> None:
    closing = decide_closing(manifest(), [GAP, OTHER], W, merged(), 0, 0)
    assert (closing.gaps, closing.refusals) == ((GAP,), ())


@pytest.mark.parametrize("mode", ["scan", "export"])
def test_a_heal_that_read_the_whole_table_closes_its_gap_once_no_ghost_is_left(mode: str) -> None:
    whole = manifest(mode=mode)
    assert decide_closing(whole, [GAP], W, merged(ghosts=0), 0, 0).gaps == (GAP,)
    (refused,) = decide_closing(whole, [GAP], W, merged(ghosts=3), 0, 0).refusals
    assert refused.what.startswith("3 rows are still there")
    assert refused.command == "spark/jobs/sweep.py --run heal-1, then spark/jobs/merge_changes.py"
    assert decide_closing(whole, [GAP], W, merged(ghosts=None), 0, 0).is_refused


def test_a_gap_that_is_healed_already_is_left_as_it_is() -> None:
    closing = decide_closing(manifest(), [replace(GAP, healed_by="heal-0")], W, merged(), 0, 0)
    assert (closing.gaps, closing.refusals) == ((), ())


REFUSED: dict[str, tuple[dict[str, Any], RunMergeCheck, tuple[int, int], str, str]] = {
    "not merged": ({}, merged(unmerged=2), (0, 0), "2 keys of the run are not merged", "merge_changes"),
    "not landed": ({}, merged(missing=("a",), records=3), (0, 0), "files are not there", "files mirror"),
    "damaged": ({}, merged(damaged=("a",), records=3), (0, 0), "not as they were written", "files check"),
    "left out": ({}, merged(left_out=("a",), unmerged=1), (0, 0), "the merge left out 1 files", "replay"),
    "another count": ({}, merged(records=6), (0, 0), "has 7 records, its files 6", "files mirror"),
    "in quarantine": ({"quarantined": 1}, merged(), (0, 0), "1 records of the run are in quarantine", "dlq list"),
    "dead letters": ({}, merged(), (4, 0), "4 messages wait", "--from buffer, then lakebound backfill start"),
    "failure objects": ({}, merged(), (0, 2), "2 failure objects", "--from stream, then lakebound backfill start"),
    "dead letters after a scan": ({"mode": "scan"}, merged(ghosts=0), (4, 0), "4 messages wait", "merge_changes"),
    "no heal": ({"heals": ()}, merged(), (0, 0), "names no gap", "start --mode heal"),
    "begun too early": ({"started_ms": 2_000_000 + W - 1}, merged(), (0, 0), "ended after the run", "--mode heal"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_whatever_is_missing_refuses_with_the_command_that_comes_before(name: str) -> None:
    changed, merged, waiting, sentence, command = REFUSED[name]
    closing = decide_closing(manifest(**changed), [GAP], W, merged, *waiting)
    assert closing.gaps == ()
    assert any(sentence in one.what and command in one.command for one in closing.refusals), closing.refusals


def test_a_gap_without_an_end_is_never_closed() -> None:
    assert decide_closing(manifest(), [replace(GAP, to_ms=None)], W, merged(), 0, 0).is_refused


def test_a_file_that_was_left_out_once_and_is_merged_now_refuses_nothing() -> None:
    assert not decide_closing(manifest(), [GAP], W, merged(left_out=("a",)), 0, 0).is_refused


def test_a_run_that_has_not_ended_is_a_usage_error(lakebound: Lakebound, operated: Operated) -> None:
    assert lakebound("backfill", "close", "--run", "heal-1", "--source", "/s", "--target", "/t") == 2
    assert "There is no manifest of a run heal-1 of flights" in lakebound.err()
