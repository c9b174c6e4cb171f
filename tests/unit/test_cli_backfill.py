"""`lakebound backfill list` and `watch`: what a run is, where it is, and the advice that fits how it ended."""

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from rich.console import Console

from lakebound.adapters.executions import ExecutionState, Machine
from lakebound.backfill.run_watcher import RunStatus, phase_of
from lakebound.cli import backfill
from lakebound.cli.backfill import _ProgressLines, elapsed
from lakebound.errors import LakeboundError
from tests.support.operator_stack import Lakebound
from tests.support.translated_template import ROOT

BEGAN = datetime(2026, 11, 24, 3, tzinfo=UTC)
ARN = "arn:aws:states:eu-west-1:123456789012:stateMachine:lake"
RUNS: dict[str, dict[str, Any]] = {
    "export-7": {
        "status": "SUCCEEDED",
        "input": '{"mode": "export"}',
        "output": '{"records": 41725}',
        "startDate": BEGAN,
        "stopDate": BEGAN + timedelta(seconds=249),
    },
    "refused": {
        "status": "FAILED",
        "input": '{"mode": "heal"}',
        "error": "Misconfigured",
        "cause": json.dumps({"errorMessage": "there is no open gap. Nothing needs healing"}),
        "startDate": BEGAN,
        "stopDate": BEGAN + timedelta(seconds=3),
    },
}


def machine() -> Machine:
    return Machine(
        ARN,
        SimpleNamespace(
            list_executions=lambda **_: {"executions": [{"name": name, "status": "?"} for name in RUNS]},
            describe_execution=lambda executionArn: RUNS[executionArn.rpartition(":")[2]],  # noqa: N803
            get_execution_history=lambda **_: {
                "events": [{"type": "ExecutionFailed"}, {"stateEnteredEventDetails": {"name": "Estimate"}}]
            },
        ),
    )


def test_the_list_has_start_mode_state_records_duration(lakebound: Lakebound, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill.BackfillTarget, "machine", property(lambda self: machine()))
    heads, first, second = (line.split() for line in lakebound.out("backfill", "list").splitlines())
    assert heads == ["STARTED", "RUN", "MODE", "STATE", "RECORDS", "DURATION"]
    assert first == ["2026-11-24T03:00:00Z", "export-7", "export", "SUCCEEDED", "41,725", "4", "min", "09", "s"]
    assert second == ["2026-11-24T03:00:00Z", "refused", "heal", "FAILED", "–", "3", "s"]
    assert lakebound.document("backfill", "list")["runs"][0]["seconds"] == 249


def test_every_state_of_the_machine_before_the_first_page_has_words() -> None:
    states = json.loads((ROOT / "statemachines" / "backfill.asl.json").read_text())["States"]
    told = {name for name in states if phase_of(name).startswith("in the state")}
    assert told == {"Segments", "Export files", "Read keys again?", "Keys again", "Result"}, "those have a plan"
    assert machine().stage("refused") == "Estimate"


def test_a_history_that_may_not_be_read_ends_no_watch() -> None:
    def refuse(**_: Any) -> Any:
        raise LakeboundError("These credentials may not states:GetExecutionHistory")

    assert Machine(ARN, SimpleNamespace(get_execution_history=refuse)).stage("run") == ""


@pytest.mark.parametrize(
    ("error", "cause", "stage", "says", "not_says"),
    [
        ("Misconfigured", "mode must be one of scan. Nothing was read", "Validate", "start another run", "Redriving"),
        ("Misconfigured", "there is no open gap. Nothing needs healing", "Estimate", "start another run", "Redriving"),
        ("Misconfigured", "3 wait. Run x, then redrive this execution", "Look at the stream", "says how", "other"),
        ("Misconfigured", "the table was created again. Start a new backfill", "Segments", "cannot help", "goes on"),
        ("StoreUnavailable", "Could not put s3://b/k (KMS)", "Read pages", "goes on where it stopped", "another run"),
        ("", "", "", "goes on where it stopped", "another run"),
    ],
)
def test_the_advice_fits_the_cause(error: str, cause: str, stage: str, says: str, not_says: str) -> None:
    told = str(ExecutionState("r", "FAILED", cause=cause, error=error).failure(stage))
    assert says in told
    assert not_says not in told.replace("Redriving cannot", "")


@pytest.mark.parametrize("cause", ["word " * 200, "A sentence. " * 60, "x" * 900])
def test_a_long_cause_is_cut_at_a_sentence_or_a_word(cause: str) -> None:
    assert len(str(ExecutionState("r", "FAILED", cause=cause).failure(""))) < 360


def test_a_file_gets_a_line_at_each_phase_and_each_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(backfill.time, "monotonic", lambda: now[0])
    console = Console(record=True, width=200, file=None, quiet=False)
    lines = _ProgressLines(console)
    for second in range(1, 182):
        now[0] = 1_000.0 + second
        lines.show(RunStatus("reading" if second > 20 else "waiting until the stream covers the run"), float(second))
    told = console.export_text().splitlines()
    assert told[0] == "waiting until the stream covers the run (1 s since its start)"
    assert told[1:] == [f"reading ({elapsed(at)} since its start)" for at in (21, 81, 141)]


@pytest.mark.parametrize("code", ["ExecutionDoesNotExist", "ExecutionAlreadyExists"])
def test_a_refused_run_is_named(code: str) -> None:
    def refuse(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": code, "Message": ""}}, "StartExecution")

    client = SimpleNamespace(start_execution=refuse, describe_execution=refuse, stop_execution=refuse)
    asked = Machine(ARN, client)
    for ask in (
        (lambda: asked.start({}, "first"),)
        if code.endswith("Exists")
        else (
            lambda: asked.state("first"),
            lambda: asked.stop("first"),
        )
    ):
        with pytest.raises(LakeboundError, match=r"There is (a|no) run first( already)?\. .+"):
            ask()


def test_an_export_may_begin_so_long_ago_as_other_verbs_say_it(lakebound: Lakebound, aws: None) -> None:
    start = (
        "backfill",
        "start",
        "--machine",
        "arn:aws:states:us-east-1:123456789012:stateMachine:x",
        "--mode",
        "incremental_export",
        "--dry-run",
    )
    told = json.loads(lakebound.out(*start, "--from", "2h", "--to", "30m"))["input"]
    begin, end = (datetime.fromisoformat(told[name]) for name in ("from", "to"))
    assert abs(end - begin - timedelta(minutes=90)) <= timedelta(seconds=1)
    assert abs(datetime.now(UTC) - end - timedelta(minutes=30)) < timedelta(minutes=5)
    for wrong in (("30m", "2h"), ("0", "1h"), ("2 h", "1h"), ("2h", "soon")):
        assert "Nothing was read" in lakebound.err(*start, "--from", wrong[0], "--to", wrong[1])
    moment = json.loads(lakebound.out(*start, "--from", "2026-11-24T00:00:00Z", "--to", "2026-11-25T00:00:00Z"))
    assert moment["input"]["from"] == "2026-11-24T00:00:00Z"
