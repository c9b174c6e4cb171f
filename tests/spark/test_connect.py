"""The jobs through a real Spark Connect server, by names of three parts: nothing of the client but gRPC reaches it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.spark.connect_server import ROOT, connect_server
from tests.spark.entities import kinds_of_history
from tests.spark.every_job import Answer, every_job, require_equal_end, run_jobs, write_files
from tests.spark.quick_settings import QUICK
from tests.spark.sweep_run import LABEL
from tests.support.independent_writer import TABLE, base, item, write_records
from tests.support.registers import receive_all

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


@pytest.mark.soak
def test_several_tables_append_first_and_merge_later(tmp_path: Path) -> None:
    kinds = ("K0", "K1")
    records, owners = kinds_of_history(list(kinds), 4)
    (tmp_path / "server").mkdir()
    write_records(tmp_path / "source", records[::2], hour="dt=2013-01-01/HH=00")
    write_records(tmp_path / "source", records[1::2], hour="dt=2013-01-01/HH=01")
    target = f"{SCHEMA}.app"
    rules = {"K0": {"where": {"id": "K0-*"}, "columns": {"id": "string", "v": "int"}}, "K1": {"where": "rest"}}
    tables = {f"{target}_{kind}": rules[kind] for kind in kinds}
    (tmp_path / "app.yaml").write_text(json.dumps({"source_table": TABLE, "tables": tables}))
    places = {"source": "source", "checkpoint": "checkpoint", "config": "app.yaml"}
    arguments = [word for name, place in places.items() for word in (f"--{name}", f"{tmp_path}/{place}")]
    merge = ("merge_changes", *arguments, "--target", target, "--max-files", "1")
    commands = {
        "append": (*merge, "--merge-every", "1h"),
        **{f"live {kind}": ("sql", f"SELECT _key, _item FROM {target}_{kind}_live") for kind in kinds},
        **{f"unmerged {kind}": ("sql", f"SELECT count(*) FROM {target}_{kind}") for kind in kinds},
        "merge": merge,
        **{f"silver {kind}": ("sql", f"SELECT _key, _item FROM {target}_{kind}") for kind in kinds},
    }
    with connect_server(tmp_path / "server", QUICK) as remote:
        environment = {**os.environ, "SPARK_REMOTE": remote, "PYTHONPATH": PYTHONPATH}
        answers = run_jobs([sys.executable], commands, tmp_path, environment)
    assert {name: (one.status, one.err) for name, one in answers.items()} == dict.fromkeys(commands, (0, ""))
    assert [line["batch"] for line in answers["append"].lines if line["appended"]] == [0, 1]
    assert [json.loads(answers[f"unmerged {kind}"].out) for kind in kinds] == [[[0]], [[0]]]
    # What waits is merged once for each table, without a record that came in.
    assert {line["table"] for line in answers["merge"].lines if line["inserted"]} == set(tables)
    merged: dict[str, dict[str, Any]] = {kind: {} for kind in kinds}
    for key, registers in receive_all(records).items():
        merged[owners[key]][key] = registers.visible
    assert [shown(answers[f"silver {kind}"]) for kind in kinds] == list(merged.values())
    # The view shows the items that there are; silver keeps a row of each deleted one, too.
    there = [{key: item for key, item in items.items() if item is not None} for items in merged.values()]
    assert all(len(items) < len(merged[kind]) for kind, items in zip(kinds, there, strict=True))
    assert [shown(answers[f"live {kind}"]) for kind in kinds] == there


def shown(answer: Answer) -> dict[str, Any]:
    """The items by key of a query for both, None for a tombstone."""
    rows = json.loads(answer.out)
    found = {key: None if text is None else json.loads(text) for key, text in rows}
    assert len(found) == len(rows), "two rows for one key"
    return found
