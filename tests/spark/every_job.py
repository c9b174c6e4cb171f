"""Every job once, in the order in which a table's life has them, for a Spark that another process started."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.spark.silver import write_config
from tests.spark.sweep_run import BEFORE, LABEL, RUN, keep, manifest_of
from tests.support.independent_writer import TABLE, base, item, write_records

RUNNER: Final = Path(__file__).with_name("job_runner.py")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a job answered and printed."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines() if line.startswith("{")]


def write_files(folder: Path, silver: str) -> None:
    """Files of records in `source`, one run's of which are a whole read of the table; two YAMLs."""
    write_records(folder / "source", BEFORE)
    run = write_records(folder / "source", [base("kept", LABEL, item("kept")), base("new", LABEL + 10, item("new"))])
    keep(folder, manifest_of([run]))
    config = write_config(folder, ["id: string"])
    config.write_text(config.read_text() + "\nhistory: scd2\n")
    off = {"source": f"{folder}/source", "config": {"source_table": TABLE}, "history": False, "maintain": False}
    lake = [
        off | {"checkpoints": f"{folder}/checkpoints/{name}", "target": f"{silver}_{name}", "bronze": on, "audit": on}
        for name, on in (("cars", {}), ("vans", False))
    ]
    (folder / "lake.yaml").write_text(json.dumps({"tables": lake}))


def every_job(folder: Path, silver: str) -> dict[str, tuple[str, ...]]:
    """The jobs on what `write_files` wrote, each with its arguments, by what they are called here."""
    config, source, target = (
        ("--config", f"{folder}/silver.yaml"),
        ("--source", f"{folder}/source"),
        ("--target", silver),
    )
    bronze = f"{silver}_bronze"

    def checkpoint(name: str) -> tuple[str, str]:
        return "--checkpoint", f"{folder}/checkpoints/{name}"

    run = ("--run", RUN, "--table", TABLE, *source, "--aside", f"{folder}/aside", *target)
    run_both = ("run", "--config", f"{folder}/lake.yaml", "--once", "--json", "--parallel", "2")
    merge = ("merge_changes", *source, *checkpoint("silver"), *target, *config)
    return {
        "merge": merge,
        "bronze": ("ingest_bronze", *source, *checkpoint("bronze"), "--target", bronze, *config, "--views"),
        "history": ("build_history", "--bronze", bronze, *target, *checkpoint("history"), *config),
        "sweep": ("sweep", *run),
        "merge of the sweep": merge,
        "upkeep": ("maintain", *target, *config),
        "audit": ("audit", "--bronze", bronze),
        "verification": ("verify_run", *run, "--json"),
        "run": run_both,
        "run again": run_both,
    }


def run_jobs(
    start: Sequence[str],
    commands: Mapping[str, Sequence[str]],
    folder: Path,
    environment: Mapping[str, str],
    runner: Path = RUNNER,
) -> dict[str, Answer]:
    """What each job answered. ``start`` is the command that runs the runner's script, with Python or spark-submit."""
    asked, told = folder / "commands.json", folder / "answers.json"
    asked.write_text(json.dumps(list(commands.values())))
    command = [*start, str(runner), str(asked), str(told)]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return {name: Answer(**one) for name, one in zip(commands, json.loads(told.read_text()), strict=True)}


def require_equal_end(answers: Mapping[str, Answer], silver: str) -> None:
    """Each job did what it does on a classic session on one machine."""
    merged = answers["merge"]
    assert (merged.status, merged.err) == (0, "")
    assert [(line["records"], line["keys"], line["inserted"]) for line in merged.lines] == [(8, 7, 7)]
    assert "stale=0 rescued=0 inexact=0 refused=0 bad_files=0\n" in merged.out
    assert f"merged 8 records into {silver}, 7 keys" in merged.out
    assert [line["records"] for line in answers["bronze"].lines] == [8]
    assert "records=8 refused=0 bad_files=0 bad_lines=0\n" in answers["bronze"].out
    assert [(line["keys"], line["anew"]) for line in answers["history"].lines] == [(7, 4)]
    assert "ghosts=2 files=1" in answers["sweep"].out
    assert [line["updated"] for line in answers["merge of the sweep"].lines] == [2]
    tables = [line["table"].removeprefix(silver) for line in answers["upkeep"].lines]
    assert tables == ["", "_metrics", "_history", "_history_metrics"]
    (report,) = answers["verification"].lines
    assert [report[fault] for fault in ("missing", "ghost", "stale", "different")] == [[], [], [], []]
    assert [left["key"] for left in report["left_out"]] == ["id=S:newer snapshot", "id=S:written after"]
    # The verification's is 1: of a key that changed after the run's read it does not say that it is equal.
    assert {name: answers[name].status for name in every_job(Path(), silver)} == {
        name: int(name == "verification") for name in every_job(Path(), silver)
    }
    _require_both_tables(answers)


def _require_both_tables(answers: Mapping[str, Answer]) -> None:
    first, again = answers["run"], answers["run again"]
    assert (first.status, first.err) == (0, "")
    cars, vans = (
        {line["step"]: (line["end"], line["counts"]["records"]) for line in first.lines if line["table"].endswith(name)}
        for name in ("cars", "vans")
    )
    # Of the keys that came in the last two days, the sweep's, one has a record of the stream.
    assert cars == {"bronze": ("done", 10), "silver": ("done", 10), "audit": ("done", 1)}
    assert vans == {"silver": ("done", 10)}
    assert [line["step"] for line in again.lines if line["table"].endswith("cars")] == ["bronze", "silver"]
