"""A gap is closed by a heal that is fully merged, and by nothing less: each thing that is missing is seen to refuse."""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from lakebound.adapters.documents import S3Documents
from lakebound.adapters.s3 import S3Store
from lakebound.backfill.checkpoints import WrittenFile
from lakebound.backfill.gap_closing import RunMergeCheck, decide_closing
from lakebound.backfill.manifest import Manifest, digest_of
from lakebound.source.gaps import Gap, GapBook
from lakebound.transport.object_keys import RunFolder
from lakebound_spark.jobs.sweep import _parser as sweep_parser
from tests.support.command_verbs import VERBS
from tests.support.independent_writer import base, item, write_records
from tests.support.operator_stack import BUCKET, Lakebound, Operated

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


def test_each_command_that_a_run_tells_has_what_the_command_requires() -> None:
    told = manifest(mode="scan")
    program, *sweep = shlex.split(told.sweep_command)
    assert program in {one.name for one in entry_points(group="console_scripts")}
    assert sweep_parser().parse_args(sweep).table == told.table
    _, *verb, run, name, source, data, target, silver = shlex.split(told.close_command)
    command = VERBS[tuple(verb)]
    command.make_context("close", [run, name, source, data, target, silver])
    with pytest.raises(Exception, match="source"):
        command.make_context("close", [run, name])


@pytest.mark.parametrize("mode", ["scan", "export"])
def test_a_heal_that_read_the_whole_table_closes_its_gap_once_no_ghost_is_left(mode: str) -> None:
    whole = manifest(mode=mode)
    assert decide_closing(whole, [GAP], W, merged(ghosts=0), 0, 0).gaps == (GAP,)
    (refused,) = decide_closing(whole, [GAP], W, merged(ghosts=3), 0, 0).refusals
    assert refused.what.startswith("3 rows are still there")
    assert refused.command == f"{whole.sweep_command}, then lakebound-merge-changes"
    assert decide_closing(whole, [GAP], W, merged(ghosts=None), 0, 0).is_refused


def test_a_gap_that_is_healed_already_is_left_as_it_is() -> None:
    closing = decide_closing(manifest(), [replace(GAP, healed_by="heal-0")], W, merged(), 0, 0)
    assert (closing.gaps, closing.refusals) == ((), ())


REFUSED: dict[str, tuple[dict[str, Any], RunMergeCheck, tuple[int, int], str, str]] = {
    "not merged": ({}, merged(unmerged=2), (0, 0), "the run has 2 keys not merged", "lakebound-merge-changes"),
    "not landed": (
        {},
        merged(missing=("a",), records=3),
        (0, 0),
        "files did not land",
        "files mirror",
    ),
    "damaged": ({}, merged(damaged=("a",), records=3), (0, 0), "1 file is not as written", "files check"),
    "left out": ({}, merged(left_out=("a",), unmerged=1), (0, 0), "the merge left out 1 file", "replay"),
    "another count": ({}, merged(records=6), (0, 0), "has 7 records, its files 6", "files mirror"),
    "in quarantine": ({"quarantined": 1}, merged(), (0, 0), "the run has 1 record in quarantine", "dlq list"),
    "dead letters": ({}, merged(), (4, 0), "4 messages wait", "--from buffer, then lakebound backfill start"),
    "failure objects": ({}, merged(), (0, 2), "2 failure objects", "--from stream, then lakebound backfill start"),
    "dead letters after a scan": (
        {"mode": "scan"},
        merged(ghosts=0),
        (4, 0),
        "4 messages wait",
        "lakebound-merge-changes",
    ),
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


def test_a_heal_is_closed_without_spark_and_the_mark_is_the_merge_jobs(
    lakebound: Lakebound, operated: Operated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lakebound.cli.spark_silver", None)
    file = write_records(tmp_path / "source", [base("k", 5, item("k"), run="heal-1")])
    written = (WrittenFile(f"ddb/flights/{file.name}", 1, file.stat().st_size),)
    run = manifest(records=1, files=written, digest=digest_of(written), mode="scan", min_label_ms=5)
    s3 = operated.client("s3")
    s3.put_object(Bucket=BUCKET, Key=RunFolder.of("flights", "heal-1").manifest(), Body=run.encode())
    book = GapBook("flights", S3Store(BUCKET, s3), S3Documents(BUCKET, s3))
    book.record(GAP)

    def close(**registers: str) -> tuple[int, str]:
        rows = {f"id=S:{key}": value for key, value in registers.items()}
        write_deltalake(tmp_path / "silver", silver_rows(rows), mode="overwrite")
        places = ("--source", str(tmp_path / "source"), "--target", str(tmp_path / "silver"))
        return lakebound("backfill", "close", "--run", "heal-1", *places), lakebound.out()

    newest = f"{5:015d}|heal-1|1"
    status, told = close(k="")
    assert (status, told.splitlines()[0]) == (1, "not closed: the run has 1 key not merged")
    status, told = close(k=newest, ghost="")
    assert (status, told.splitlines()[0]) == (1, "not closed: 1 row is still there that the table no longer has")
    assert [gap.healed_by for gap in book.all()] == [None]
    status, told = close(k=newest)
    assert (status, told.splitlines()) == (
        0,
        [
            "closed the gap from 1970-01-01T00:16:40Z to 1970-01-01T00:33:20Z (mapping_behind)",
            "silver's stale mark goes when merge_changes next reads the gaps: at its start, or within a minute",
        ],
    )
    assert [gap.healed_by for gap in book.all()] == ["heal-1"]


def silver_rows(bases: Mapping[str, str]) -> pa.Table:
    """Rows of silver that show an item, by key and base register."""
    count = len(bases)
    nothing = pa.array([None] * count, pa.int64())
    constant = {"_item": "{}", "_is_deleted": False, "_version": "", "_ttl_expired": False}
    columns = {"_key": list(bases), "_base": list(bases.values()), "_stream_time_ms": nothing}
    return pa.table(columns | {name: [value] * count for name, value in constant.items()})


def test_a_run_that_has_not_ended_is_a_usage_error(lakebound: Lakebound, operated: Operated) -> None:
    assert lakebound("backfill", "close", "--run", "heal-1", "--source", "/s", "--target", "/t") == 2
    assert "There is no manifest of a run heal-1 of flights" in lakebound.err()
