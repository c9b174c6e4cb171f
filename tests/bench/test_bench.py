"""The benchmark still runs: both sides carry the same records on the real runtime. No time is asserted."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from bench import __main__ as program
from bench import corpora, report, stages
from bench.billing import Bill
from bench.loopback import ROOT, Sent, running
from bench.pictures import Bar, draw
from bench.stages import Ingested, Measured, Segment


@pytest.mark.parametrize(
    ("handler", "folder"), [("app.handler", "functions/stream_ingest"), ("stream_ingest.handler", "bench/baseline")]
)
def test_both_handlers_carry_a_delivery_under_awslambdaric(handler: str, folder: str) -> None:
    with running(handler, ROOT / folder) as function:
        _, answer = function.invoke(json.dumps(corpora.delivery("flat", 25)).encode())
        assert json.loads(answer) == {"batchItemFailures": []}
        assert function.sent.entries == (1 if handler.startswith("app") else 25)
        assert function.cold_seconds > 0


def test_the_same_seed_gives_the_same_records() -> None:
    for corpus in corpora.CORPORA:
        assert corpora.delivery(corpus, 3) == corpora.delivery(corpus, 3)


def test_ratios_are_of_rounds_and_the_table_says_what_was_missed() -> None:
    stage = stages.Measured("flusher to avro", "flat", 40, "records/s", 100, [4.0, 9.0, 8.0], [1.0, 3.0, 1.0])
    assert stage.ratios() == (3.0, 4.0, 8.0)
    assert "3.0 – **4.0** – 8.0 | ≥ 40× missed" in report.markdown(report.Results(measured=[stage]))


def made_up(*, slower: float = 1.0) -> report.Results:
    """A whole run that meets every aim; ``slower`` multiplies our times and our SQS requests."""

    def stage(name: str, corpus: str, aim: float, base: float, ours: float, *, is_share: bool = False) -> Measured:
        return Measured(name, corpus, aim, "records/s", 1_000, [base], [ours * slower], is_share)

    results = report.Results(cores=7, machine="abacus", python="3.0")
    for corpus, aim in stages.INGEST_AIMS.items():
        whole = stage("stream_ingest, whole invocation", corpus, aim, 0.6, 0.1)
        cpu, alone = stage("– its CPU time", corpus, 0, 0.58, 0.116), stage("– without sending", corpus, 0, 0.6, 0.1)
        results.ingests[corpus] = Ingested(whole, cpu, alone, 1_000, Sent(), Sent())
        results.measured.append(stage("flusher to ndjson.gz", corpus, 40, 1.0, 0.01))
        results.bytes[corpus] = {"line": 2_000, "ndjson.gz": 250, "avro": 240, "parquet": 260}
        results.larger[corpus], results.item_bytes[corpus] = 1.3, 540
        ours = Bill(1_000, round(3 * slower), round(3 * slower), 0)
        results.billed[corpus] = (Bill(1_000, 100, 100, 100), ours)
        results.segments[corpus] = Segment(60_000, 45_200_000, [2.0], [4.0], [5.0], [4.2 * slower])
    results.measured.append(stage("backfill, a page to lines", "flat", 30, 1.0, 0.02))
    results.measured.append(stage("cold start of stream_ingest", "–", 0.9, 0.3, 0.24, is_share=True))
    return results


def test_what_a_figure_means_is_computed_from_the_run() -> None:
    told = "\n".join(report.meaning(made_up()))
    # 5,000 writes/s of 116 us each, on 0.29 of a processor.
    assert "keep 2.0 invocations of stream_ingest computing" in told
    assert "the baseline keeps 10.0" in told
    assert "so 5 run at once, the baseline's 10" in told
    # 100 million items at 15,000 a second: 4 s of DynamoDB's, to which we add 0.2.
    assert "DynamoDB needs 1.9 hours in one segment, at its own 11.3 MB a second; we add 5%" in told
    assert "432 million changes a day" in told
    assert "| flat | 30,000 | 23 | 25% | 5% | ≤ 10% ✓ |" in report.segment_table(made_up())
    assert "| flat | 30,000 | 23 | 25% | 26% | ≤ 10% missed |" in report.segment_table(made_up(slower=1.2))
    assert [*report.meaning(report.Results())] == [], "nothing is said of what was not measured"


def test_a_share_of_time_is_missed_above_its_aim_and_a_number_of_times_below() -> None:
    share = Measured("cold start", "–", 0.9, "starts/s", 1, [0.3], [0.26], is_share=True)
    assert not share.missed
    assert replace(share, ours=[0.28]).missed
    assert not replace(share, aim=0).missed
    times = Measured("flusher", "flat", 40, "records/s", 1, [40.0], [1.0])
    assert not times.missed
    assert replace(times, ours=[1.1]).missed


def test_every_missed_aim_has_a_line_on_what_bounds_it() -> None:
    assert [*report.missed(made_up())] == []
    assert "missed" not in report.markdown(made_up())
    results = made_up(slower=4)
    missed = [*report.missed(results)]
    assert len(missed) == sum(line.count(" missed |") for line in report.markdown(results).splitlines())
    kinds = {stage for stage, _ in missed}
    assert {"cold start of stream_ingest", "billed SQS requests", "dollars of a million changes"} <= kinds
    section = report.missed_section(results)
    assert f"- cold start of stream_ingest: {report.UNKNOWN}" in section
    for named in missed:
        assert any(
            line.startswith(f"- {named[0]}") and line.endswith(report.WHY.get(named, report.UNKNOWN))
            for line in section
        )


def test_the_pages_are_written_once_more_from_what_a_run_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, kept = made_up(), tmp_path / "kept.json"
    kept.write_bytes(msgspec.json.encode(results))
    monkeypatch.setattr(sys, "argv", ["bench", "--from", str(kept), "--docs", str(tmp_path)])
    program.main()
    page = (tmp_path / "BENCH.md").read_text("utf-8")
    assert page == report.markdown(results)
    assert "on 7 cores (abacus, Python 3.0)" in page, "the machine of the run, not of the one that writes the page"
    assert (tmp_path / "SCALE.md").exists()
    assert report.TITLE in (tmp_path / "bench.svg").read_text("utf-8")


def test_what_an_older_bench_kept_is_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept.json"
    kept.write_bytes(msgspec.json.encode({"segments": {"flat": {"items": 1, "bytes": 1, "seconds": [1.0]}}}))
    monkeypatch.setattr(sys, "argv", ["bench", "--from", str(kept), "--docs", str(tmp_path)])
    with pytest.raises(SystemExit):
        program.main()
    assert "missing required field `alone`" in capsys.readouterr().err
    assert not (tmp_path / "BENCH.md").exists()


def test_a_picture_is_small_and_its_words_are_text(tmp_path: Path) -> None:
    place = tmp_path / "picture.svg"
    draw(place, "A title", "times", [Bar(f"bar {n}", n + 1, f"{n + 1} ×", 2, n < 1) for n in range(10)], powers=True)
    written = place.read_text("utf-8")
    assert len(written) < 20_000
    assert all(f">{text}<" in written for text in ("A title", "bar 0", "bar 9"))
    assert "grey stroke: aim; orange: aim missed" in written
    draw(place, "A title", "times", [Bar("bar", 1, "$1, not $2")])
    assert ">$1, not $2<" in place.read_text("utf-8"), "dollars are no formula"
    assert "aim" not in place.read_text("utf-8")
