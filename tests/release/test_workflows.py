"""The workflows are valid by GitHub's schema, name what exists here, and take actions of a fixed major version."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.command_lines import parse
from tests.support.wheel import ROOT

WORKFLOWS = [*sorted((ROOT / ".github" / "workflows").glob("*.yml")), ROOT / "release" / "deploy-from-github.yml"]
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
PINNED = re.compile(r"[\w.-]+/[\w./-]+@(v\d+|[0-9a-f]{40})|\./\.github/workflows/[\w-]+\.yml")
CHECK = [str(ROOT / ".venv" / "bin" / "check-jsonschema"), "--builtin-schema", "vendor.github-workflows"]


def valid(path: Path) -> bool:
    """Whether the schema that check-jsonschema carries takes the file; no network is asked."""
    return subprocess.run([*CHECK, str(path)], capture_output=True, check=False).returncode == 0


def jobs(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())["jobs"]
    return found


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in jobs(path).values() for step in job.get("steps", [])]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_is_valid(path: Path) -> None:
    assert valid(path)


@pytest.mark.parametrize(("good", "bad"), [("runs-on: ubuntu-latest", "run-on: ubuntu-latest"), ("uses:", "usess:")])
def test_red_control_a_workflow_that_github_would_refuse_is_found(tmp_path: Path, good: str, bad: str) -> None:
    text = WORKFLOWS[0].read_text()
    (tmp_path / "test.yml").write_text(text.replace(good, bad))
    assert good in text
    assert not valid(tmp_path / "test.yml")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_and_rights_are_named(path: Path) -> None:
    used = [one["uses"] for one in (*jobs(path).values(), *steps(path)) if "uses" in one]
    assert used
    assert [name for name in used if not PINNED.fullmatch(name)] == []
    assert yaml.safe_load(path.read_text())["permissions"]["contents"] == "read"


@pytest.mark.parametrize("name", ["actions/checkout@main", "actions/checkout", "actions/checkout@v4.1"])
def test_red_control_an_action_that_moves_is_found(name: str) -> None:
    assert not PINNED.fullmatch(name)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_command_of_ours_has_such_a_target_or_verb(path: Path) -> None:
    lines = [line for step in steps(path) for line in step.get("run", "").splitlines()]
    found = [shlex.split(line) for line in lines if line.startswith(("make ", "lakebound "))]
    assert found
    for program, *words in found:
        if program == "make":
            assert words[0] in TARGETS
        else:
            parse(words)


def test_the_example_passes_only_where_the_stack_works_and_the_lake_is_equal() -> None:
    said = [step["run"].split()[:3] for step in steps(WORKFLOWS[-1]) if step.get("run", "").startswith("lakebound")]
    assert said == [
        ["lakebound", "deploy", "--yes"],
        ["lakebound", "doctor", "--smoke"],
        ["lakebound", "verify", "--target"],
    ]


def test_nothing_is_released_before_the_tests_have_passed() -> None:
    release = jobs(ROOT / ".github" / "workflows" / "release.yml")
    assert release["test"]["uses"] == "./.github/workflows/test.yml"
    assert release["release"]["needs"] == "test"
