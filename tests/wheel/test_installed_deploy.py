"""`lakebound deploy` of the installed wheel, in an empty folder: what SAM gets is what a clone gives it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from demo.local_stack import LocalStack, local_parameters
from tests.support.deploy_rule import STUB, script
from tests.support.wheel import ROOT

pytestmark = pytest.mark.stack

SAYS = ("--yes", "--stack", "lakebound-vans", "-p", "TableName=vans", "-p", "PartitionKeyName=vin")
CARRIED = ("template.yaml", "functions", "statemachines", "src")


def run(programs: Path, folder: Path, *arguments: str, path: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """The verb there, with SAM CLI only where ``path`` has it."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith(("PYTHON", "AWS_", "LAKEBOUND_"))}
    clean |= {"PATH": f"{path}:/usr/bin:/bin", "AWS_CONFIG_FILE": os.devnull}
    return subprocess.run(
        [str(programs / "lakebound"), *arguments],
        cwd=folder,
        env=clean | more,
        capture_output=True,
        text=True,
        check=False,
    )


def sources(root: Path) -> dict[str, bytes]:
    """What SAM builds from a folder, by its path."""
    found = [path for name in CARRIED for path in (root / name, *(root / name).rglob("*")) if path.is_file()]
    return {str(path.relative_to(root)): path.read_bytes() for path in found if path.suffix != ".pyc"}


def test_sam_is_given_what_a_clone_gives_it(programs: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    script(tmp_path / "bin" / "sam", STUB)
    folder = tmp_path / "empty"
    folder.mkdir()
    done = run(programs, folder, "deploy", *SAYS, "-p", "DropAttributes=first name", path=str(tmp_path / "bin"))
    assert done.returncode == 0, done.stderr
    laid = folder / ".lakebound" / "stack"
    assert sources(laid) == sources(ROOT)
    calls = [json.loads(line) for line in (laid / "calls.jsonl").read_text().splitlines()]
    assert [call["argv"][0] for call in calls] == ["build", "deploy"]
    assert 'DropAttributes="first name"' in calls[1]["argv"]
    assert "resolve_s3 = true" in calls[1]["samconfig"]
    kept = tomllib.loads((folder / "samconfig.toml").read_text())["default"]["deploy"]["parameters"]
    assert (kept["stack_name"], kept["capabilities"]) == ("lakebound-vans", "CAPABILITY_IAM")
    # And the next one needs no word.
    (laid / "calls.jsonl").unlink()
    assert run(programs, folder, "deploy", "--yes", path=str(tmp_path / "bin")).returncode == 0
    again = [json.loads(line) for line in (laid / "calls.jsonl").read_text().splitlines()]
    assert again[1]["argv"] == calls[1]["argv"]


def test_without_sam_it_says_how_to_get_it_and_writes_nothing(programs: Path, tmp_path: Path) -> None:
    done = run(programs, tmp_path, "deploy", *SAYS)
    assert done.returncode == 2
    assert "SAM CLI is missing" in done.stderr
    assert "pipx install aws-sam-cli" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_a_terminal_and_without_yes_nothing_is_built(programs: Path, tmp_path: Path) -> None:
    """SAM would ask, as in a clone: the file that comes with the template says so, though this folder has none."""
    script(tmp_path / "bin" / "sam", STUB)
    folder = tmp_path / "empty"
    folder.mkdir()
    done = run(programs, folder, "deploy", *SAYS[1:], path=str(tmp_path / "bin"))
    assert done.returncode == 2
    assert "There is no terminal to confirm the change set on. Say lakebound deploy --yes" in done.stderr
    assert list(folder.iterdir()) == []
    told = run(programs, folder, "deploy", *SAYS[1:], "--dry-run", path=str(tmp_path / "bin"))
    assert (told.returncode, "sam deploy" in told.stdout) == (0, True), "a dry run confirms nothing"


def test_a_dry_run_tells_the_commands_and_writes_nothing(programs: Path, tmp_path: Path) -> None:
    script(tmp_path / "bin" / "sam", STUB)
    folder = tmp_path / "empty"
    folder.mkdir()
    done = run(programs, folder, "deploy", *SAYS, "--dry-run", path=str(tmp_path / "bin"))
    assert done.returncode == 0, done.stderr
    assert "sam build" in done.stdout
    assert "--stack-name lakebound-vans" in done.stdout
    assert list(folder.iterdir()) == []


def test_red_control_a_file_that_did_not_travel_is_seen(programs: Path, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "Makefile").write_bytes((ROOT / "src" / "Makefile").read_bytes())
    assert sources(tmp_path).keys() < sources(ROOT).keys()


@pytest.mark.soak
def test_it_deploys_with_the_real_sam(programs: Path, tmp_path: Path, stack: LocalStack) -> None:
    """Build and deployment take half a minute; what SAM is given is compared daily above."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sam").symlink_to(ROOT / ".venv-sam" / "bin" / "sam")
    # A Python with pip, as whoever installs with pipx has one: the layer's wheels are fetched by it.
    (tmp_path / "bin" / "python3").symlink_to(sys.executable)
    folder = tmp_path / "empty"
    folder.mkdir()
    said = [word for name, value in local_parameters().items() for word in ("-p", f"{name}={value}")]
    done = run(
        programs, folder, "deploy", *SAYS, *said, path=str(tmp_path / "bin"), SAM_CLI_TELEMETRY="0", **stack.env()
    )
    assert done.returncode == 0, done.stdout + done.stderr
    outputs = stack.client("cloudformation").describe_stacks(StackName="lakebound-vans")["Stacks"][0]
    assert outputs["StackStatus"] == "CREATE_COMPLETE"
    doctor = run(programs, folder, "doctor", **stack.env())
    assert "Traceback" not in doctor.stderr
    assert "lakebound-vans is CREATE_COMPLETE" in doctor.stdout, doctor.stdout + doctor.stderr
    # The settings that it kept name the stack to every other verb.
    assert run(programs, folder, "status", **stack.env()).stdout.startswith(("OK", "LAGGING", "UNKNOWN"))
