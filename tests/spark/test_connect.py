"""The jobs through a real Spark Connect server, by names of three parts: nothing of the client but gRPC reaches it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.spark.connect_server import ROOT, connect_server
from tests.spark.entities import kinds_of_history, wrong_keys
from tests.spark.every_job import RUNNER, Answer, every_job, require_equal_end, run_jobs, write_files
from tests.spark.quick_settings import QUICK
from tests.spark.sweep_run import LABEL
from tests.support.independent_writer import TABLE, base, item, write_records
from tests.support.registers import receive_all

pytestmark = pytest.mark.classic("starts a server of its own")

SCHEMA = "spark_catalog.default"
CARELESS_RUNNER = Path(__file__).with_name("careless_runner.py")
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


KINDS = ("K0", "K1")
RECORDS, OWNERS = kinds_of_history(list(KINDS), 4)


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server for the runs of several tables."""
    with connect_server(tmp_path_factory.mktemp("server"), QUICK) as address:
        yield address


def run_several(remote: str, folder: Path, app: str, runner: Path = RUNNER) -> dict[str, Answer]:
    """Append and do not merge, then merge, each with queries after it. ``app`` begins the names of the tables."""
    write_records(folder / "source", RECORDS[::2], hour="dt=2013-01-01/HH=00")
    write_records(folder / "source", RECORDS[1::2], hour="dt=2013-01-01/HH=01")
    rules = {"K0": {"where": {"id": "K0-*"}, "columns": {"id": "string", "v": "int"}}, "K1": {"where": "rest"}}
    tables = {f"{app}_{kind}": rules[kind] for kind in KINDS}
    (folder / "app.yaml").write_text(json.dumps({"source_table": TABLE, "tables": tables}))
    places = {"source": "source", "checkpoint": "checkpoint", "config": "app.yaml"}
    arguments = [word for name, place in places.items() for word in (f"--{name}", f"{folder}/{place}")]
    merge = ("merge_changes", *arguments, "--target", app, "--max-files", "1")
    commands = {
        "append": (*merge, "--merge-every", "1h"),
        **{f"live {kind}": ("sql", f"SELECT _key, _item FROM {app}_{kind}_live") for kind in KINDS},
        **{f"unmerged {kind}": ("sql", f"SELECT count(*) FROM {app}_{kind}") for kind in KINDS},
        "merge": merge,
        **{f"silver {kind}": ("sql", f"SELECT _key, _item FROM {app}_{kind}") for kind in KINDS},
    }
    environment = {**os.environ, "SPARK_REMOTE": remote, "PYTHONPATH": PYTHONPATH}
    answers = run_jobs([sys.executable], commands, folder, environment, runner)
    assert {name: (one.status, one.err) for name, one in answers.items()} == dict.fromkeys(commands, (0, ""))
    return answers


def wrong_in(answers: dict[str, Answer]) -> dict[str, set[str]]:
    """Keys that silver or its view show in a table that is not theirs, or not as the oracle has them."""
    silver = {kind: shown(answers[f"silver {kind}"]) for kind in KINDS}
    # The view shows the items that there are; silver keeps a row of each deleted one, too.
    oracle = receive_all(RECORDS)
    gone = {key for key, registers in oracle.items() if registers.visible is None}
    assert {OWNERS[key] for key in gone} == set(KINDS), "a table without a deleted key proves less"
    live = {kind: shown(answers[f"live {kind}"]) for kind in KINDS}
    tombstones = {kind: {key: None for key in gone if OWNERS[key] == kind} for kind in KINDS}
    shown_as_gone = {key for items in live.values() for key in items.keys() & gone}
    filled = {kind: tombstones[kind] | live[kind] for kind in KINDS}
    return {
        "silver": wrong_keys(silver, OWNERS, RECORDS),
        "live": wrong_keys(filled, OWNERS, RECORDS) | shown_as_gone,
    }


@pytest.mark.soak
def test_several_tables_append_first_and_merge_later(remote: str, tmp_path: Path) -> None:
    app = f"{SCHEMA}.app"
    answers = run_several(remote, tmp_path, app)
    assert [line["batch"] for line in answers["append"].lines if line["appended"]] == [0, 1]
    assert [json.loads(answers[f"unmerged {kind}"].out) for kind in KINDS] == [[[0]], [[0]]]
    # What waits is merged once for each table, without a record that came in.
    assert {line["table"] for line in answers["merge"].lines if line["inserted"]} == {f"{app}_{kind}" for kind in KINDS}
    assert wrong_in(answers) == {"silver": set(), "live": set()}


@pytest.mark.soak
def test_red_control_a_careless_client_is_found(remote: str, tmp_path: Path) -> None:
    wrong = wrong_in(run_several(remote, tmp_path, f"{SCHEMA}.careless", CARELESS_RUNNER))
    assert all(wrong.values()), wrong


def shown(answer: Answer) -> dict[str, Any]:
    """The items by key of a query for both, None for a tombstone."""
    rows = json.loads(answer.out)
    found = {key: None if text is None else json.loads(text) for key, text in rows}
    assert len(found) == len(rows), "two rows for one key"
    return found
