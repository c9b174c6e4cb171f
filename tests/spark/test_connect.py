"""The jobs through a real Spark Connect server, by names of three parts: nothing of the client but gRPC reaches it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.spark.connect_server import ROOT, connect_server
from tests.spark.silver import write_config
from tests.spark.sweep_run import BEFORE, LABEL, RUN, keep, manifest_of
from tests.support.independent_writer import TABLE, base, item, write_records

SCHEMA = "spark_catalog.default"
PYTHONPATH = os.pathsep.join(map(str, (ROOT, ROOT / "src", ROOT / "spark")))
QUICK = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.databricks.delta.snapshotPartitions": "1",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a job of the client answered and printed."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of records, of which one run's are a whole read of the table."""
    folder = tmp_path_factory.mktemp("connect")
    (folder / "server").mkdir()
    write_records(folder / "source", BEFORE)
    run = write_records(folder / "source", [base("kept", LABEL, item("kept")), base("new", LABEL + 10, item("new"))])
    keep(folder, manifest_of([run]))
    config = write_config(folder, ["id: string"])
    config.write_text(config.read_text() + "\nhistory: scd2\n")
    return folder


@pytest.fixture(scope="module")
def answers(folder: Path) -> dict[str, Answer]:
    """What each job answered, in the order in which they ran."""
    config, source = ("--config", f"{folder}/silver.yaml"), ("--source", f"{folder}/source")
    silver, bronze = ("--target", f"{SCHEMA}.flights"), f"{SCHEMA}.flights_bronze"

    def checkpoint(name: str) -> tuple[str, str]:
        return "--checkpoint", f"{folder}/checkpoints/{name}"

    run = ("--run", RUN, "--table", TABLE, *source, "--aside", f"{folder}/aside", *silver)
    commands = {
        "merge": ("merge_changes", *source, *checkpoint("silver"), *silver, *config),
        "bronze": ("ingest_bronze", *source, *checkpoint("bronze"), "--target", bronze, *config, "--views"),
        "history": ("build_history", "--bronze", bronze, *silver, *checkpoint("history"), *config),
        "sweep": ("sweep", *run),
        "merge of the sweep": ("merge_changes", *source, *checkpoint("silver"), *silver, *config),
        "upkeep": ("maintain", *silver, *config),
        "audit": ("audit", "--bronze", bronze),
        "a checkpoint of another table": ("merge_changes", *source, *checkpoint("bronze"), *silver, *config),
        "rule": ("sql", f"ALTER TABLE {SCHEMA}.flights ADD CONSTRAINT told CHECK (_key <> 'id=S:secret')"),
        "rows": ("sql", f"SELECT id FROM {SCHEMA}.flights_current ORDER BY id"),
        "stretches": ("sql", f"SELECT count(*) FROM {SCHEMA}.flights_history"),
        "metrics": ("sql", f"SELECT count(DISTINCT run), count(*), sum(records) FROM {SCHEMA}.flights_metrics"),
    }
    write_records(folder / "secret", [base("secret", LABEL, item("secret"))])
    broken = ("--source", f"{folder}/secret", *checkpoint("secret"), *silver, *config)
    commands["a micro-batch that fails"] = ("merge_changes", *broken)
    off = {"source": f"{folder}/source", "config": {"source_table": TABLE}, "history": False, "maintain": False}
    lake = [
        off | {"checkpoint": f"{folder}/checkpoints/{name}", "target": f"{SCHEMA}.{name}", "bronze": on, "audit": on}
        for name, on in (("cars", {}), ("vans", False))
    ]
    (folder / "lake.yaml").write_text(json.dumps({"tables": lake}))
    run_both = ("run", "--config", f"{folder}/lake.yaml", "--once", "--json", "--parallel", "2")
    commands |= {"run": run_both, "run again": run_both}
    with connect_server(folder / "server", QUICK) as remote:
        done = subprocess.run(
            [sys.executable, "-m", "tests.spark.connect_client"],
            input=json.dumps(list(commands.values())),
            env={**os.environ, "SPARK_REMOTE": remote, "PYTHONPATH": PYTHONPATH},
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: Answer(**one) for name, one in zip(commands, json.loads(done.stdout), strict=True)}


def test_the_jobs_end_as_on_a_classic_session(answers: dict[str, Answer]) -> None:
    merged = answers["merge"]
    assert (merged.status, merged.err) == (0, "")
    assert [(line["records"], line["keys"], line["inserted"]) for line in merged.lines] == [(8, 7, 7)]
    assert "stale=0 rescued=0 inexact=0 refused=0 bad_files=0\n" in merged.out
    assert f"merged 8 records into {SCHEMA}.flights, 7 keys" in merged.out
    assert [line["records"] for line in answers["bronze"].lines] == [8]
    assert "records=8 refused=0 bad_files=0 bad_lines=0\n" in answers["bronze"].out
    assert [(line["keys"], line["anew"]) for line in answers["history"].lines] == [(7, 4)]
    assert json.loads(answers["stretches"].out) == [[7]]
    assert "ghosts=2 files=1" in answers["sweep"].out
    assert [line["updated"] for line in answers["merge of the sweep"].lines] == [2]
    tables = [line["table"].removeprefix(f"{SCHEMA}.flights") for line in answers["upkeep"].lines]
    assert tables == ["", "_metrics", "_history", "_history_metrics"]
    assert json.loads(answers["rows"].out) == [["kept"], ["new"], ["newer snapshot"], ["written after"]]
    assert all(
        answers[name].status == 0 for name in ("bronze", "history", "sweep", "merge of the sweep", "upkeep", "audit")
    )


def test_one_driver_runs_the_steps_of_two_tables_at_a_time(answers: dict[str, Answer]) -> None:
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


def test_what_each_run_did_is_a_row_of_the_metrics(answers: dict[str, Answer]) -> None:
    assert json.loads(answers["metrics"].out) == [[2, 2, 10]]


def test_errors_reach_the_person_in_one_sentence(answers: dict[str, Answer]) -> None:
    refused, failed = answers["a checkpoint of another table"], answers["a micro-batch that fails"]
    assert refused.status == 2
    assert "give a new checkpoint" in refused.err
    assert failed.status == 1
    assert failed.err.startswith(
        "merge_changes: stopped by org.apache.spark.sql.delta.schema.DeltaInvariantViolationException at "
    )
    assert "its message could quote an item" in failed.err
    assert failed.err.count("\n") == 1
    assert "secret" not in failed.err
    assert "Traceback" not in failed.err
