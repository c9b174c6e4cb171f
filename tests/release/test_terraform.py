"""The Terraform module, as far as Terraform itself goes without a provider: its form, and its rules for variables,
which it holds against the packaged template. The AWS provider has not been asked: these tests cannot reach it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.release.conftest import Release
from tests.support.wheel import ROOT

pytestmark = [pytest.mark.soak, pytest.mark.stack]

MODULE = ROOT / "terraform"
OFFLINE = {"CHECKPOINT_DISABLE": "1", "TF_CLI_CONFIG_FILE": os.devnull, "TF_IN_AUTOMATION": "1"}


def terraform(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("terraform")
    assert program, "Terraform 1.9 or later is not on the path; make soak says so before its tests"
    return subprocess.run(
        [program, *arguments], cwd=folder, env=os.environ | OFFLINE, capture_output=True, text=True, check=False
    )


@pytest.fixture
def variables(tmp_path: Path) -> Path:
    """The module's variables alone, with an output of them: they need no provider."""
    shutil.copyfile(MODULE / "variables.tf", tmp_path / "variables.tf")
    (tmp_path / "outputs.tf").write_text('output "parameters" {\n  value = var.parameters\n}\n')
    assert terraform(tmp_path, "init", "-input=false").returncode == 0
    return tmp_path


def plan(folder: Path, template: Path, parameters: dict[str, str]) -> subprocess.CompletedProcess[str]:
    (folder / "terraform.tfvars.json").write_text(
        json.dumps({"template": str(template), "bucket": "code", "name": "lakebound-cars", "parameters": parameters})
    )
    return terraform(folder, "plan", "-input=false", "-no-color")


def test_the_module_and_its_example_are_read_and_in_form(tmp_path: Path) -> None:
    done = terraform(MODULE, "fmt", "-check", "-recursive")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    # Red control: a brace that is not closed.
    (tmp_path / "main.tf").write_text('resource "aws_s3_object" "template" {\n')
    assert terraform(tmp_path, "fmt", "-check").returncode != 0


def test_parameters_of_the_template_are_taken(variables: Path, release: Release) -> None:
    done = plan(variables, release.template, {"TableName": "cars", "SilverLagMinutes": "30"})
    assert done.returncode == 0, done.stderr
    assert 'SilverLagMinutes = "30"' in done.stdout


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"TableName": "cars", "SilverLagMinuts": "30"}, "The template has no parameter SilverLagMinuts."),
        ({"SilverLagMinutes": "30"}, "TableName is missing."),
    ],
)
def test_red_control_other_parameters_are_refused(
    variables: Path, release: Release, parameters: dict[str, str], told: str
) -> None:
    done = plan(variables, release.template, parameters)
    assert done.returncode == 1
    assert told in done.stderr


def test_red_control_a_template_as_it_was_written_is_refused(variables: Path) -> None:
    done = plan(variables, ROOT / "template.yaml", {"TableName": "cars"})
    assert done.returncode == 1
    assert "This file is no packaged template." in done.stderr
