"""The jobs through a real Spark Connect server, by names of three parts: nothing of the client but gRPC reaches it."""

from __future__ import annotations

import json
import os
import sys

import pytest

from tests.spark.connect_server import ROOT, connect_server
from tests.spark.every_job import Answer, every_job, require_equal_end, run_jobs, write_files
from tests.spark.quick_settings import QUICK
from tests.spark.sweep_run import LABEL
from tests.support.independent_writer import base, item, write_records

pytestmark = pytest.mark.classic("starts a server of its own")

SCHEMA = "spark_catalog.default"
PYTHONPATH = os.pathsep.join(map(str, (ROOT, ROOT / "src", ROOT / "spark")))


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answer]:
    """What each job answered, in the order in which they ran."""
    folder, silver = tmp_path_factory.mktemp("connect"), f"{SCHEMA}.flights"
    (folder / "server").mkdir()
    write_files(folder, silver)
    write_records(folder / "secret", [base("secret", LABEL, item("secret"))])
    _, *merge = every_job(folder, silver)["merge"]
    broken = [word.replace(f"{folder}/source", f"{folder}/secret") for word in merge]
    commands = every_job(folder, silver) | {
        "a checkpoint of another table": ("merge_changes", *merge, "--checkpoint", f"{folder}/checkpoints/bronze"),
        "rule": ("sql", f"ALTER TABLE {silver} ADD CONSTRAINT told CHECK (_key <> 'id=S:secret')"),
        "rows": ("sql", f"SELECT id FROM {silver}_current ORDER BY id"),
        "stretches": ("sql", f"SELECT count(*) FROM {silver}_history"),
        "metrics": ("sql", f"SELECT count(DISTINCT run), count(*), sum(records) FROM {silver}_metrics"),
        "a micro-batch that fails": ("merge_changes", *broken, "--checkpoint", f"{folder}/checkpoints/secret"),
    }
    with connect_server(folder / "server", QUICK) as remote:
        environment = {**os.environ, "SPARK_REMOTE": remote, "PYTHONPATH": PYTHONPATH}
        return run_jobs([sys.executable], commands, folder, environment)


def test_the_jobs_end_as_on_a_classic_session(answers: dict[str, Answer]) -> None:
    require_equal_end(answers, f"{SCHEMA}.flights")
    assert json.loads(answers["stretches"].out) == [[7]]
    assert json.loads(answers["rows"].out) == [["kept"], ["new"], ["newer snapshot"], ["written after"]]


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
