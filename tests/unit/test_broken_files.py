"""What a person has broken outside of AWS: a samconfig.toml, a full disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lakebound.adapters.samconfig import Kept, configured_table, read
from lakebound.cli import app
from lakebound.errors import Misconfigured

BROKEN = {
    b"not toml [[": "is no TOML: Expected",
    b"\xff\xfe\x00": "is no TOML: it is not UTF-8 text",
    b"default = 1": "is no table",
    b"[default]\ndeploy = [1]": "is no table",
    b"[default.deploy]\nparameters = 'cars'": "is no table",
    b"[default.global]\nparameters = 'cars'": "default.global.parameters. of samconfig.toml is no table",
}


@pytest.mark.parametrize(("content", "why"), BROKEN.items(), ids=range(len(BROKEN)))
def test_a_broken_samconfig_is_named_by_who_needs_it_and_passed_over_by_who_does_not(
    tmp_path: Path, content: bytes, why: str
) -> None:
    file = tmp_path / "samconfig.toml"
    file.write_bytes(content)
    with pytest.raises(Misconfigured, match=why) as refused:
        read(file)
    # Most who read it build and deploy nothing anyway, so the error does not say that they have not.
    assert str(refused.value).endswith("lakebound init writes another")
    assert configured_table(file) == ("", "")


def test_one_reading_tells_what_is_deployed_and_in_which_account(tmp_path: Path) -> None:
    file = tmp_path / "samconfig.toml"
    assert read(file) == Kept()
    assert read(file).account == ("", "")
    file.write_text(
        '[default.global.parameters]\nregion = "eu-west-1"\nprofile = "lake"\n'
        '[default.deploy.parameters]\nstack_name = "cars"\nregion = "eu-central-1"\n'
    )
    assert read(file).deploy == {"stack_name": "cars", "region": "eu-central-1"}
    assert read(file).account == ("lake", "eu-central-1")


def test_a_verb_does_not_take_a_broken_samconfig_for_one_that_names_no_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LAKEBOUND_STACK", raising=False)
    Path("samconfig.toml").write_text("[[")
    monkeypatch.setattr(sys, "argv", ["lakebound", "status"])
    assert app.run() == 2
    assert capsys.readouterr().err.startswith("lakebound: samconfig.toml is no TOML")


COMMAND = [sys.executable, "-c", "from lakebound.cli.app import main; main()", "spark-conf", "--platform", "s3a"]
FULL = "lakebound: No space left on device. Free some, then repeat the command: it goes on\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_told_as_such(unbuffered: str) -> None:
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:
        done = subprocess.run(COMMAND, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (2, FULL)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_enough_is_no_failure_to_tell(unbuffered: str) -> None:
    read, write = os.pipe()
    os.close(read)
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(COMMAND, stdout=write, stderr=subprocess.PIPE, text=True, check=False, env=environment)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    ("verb", "status"),
    [("cost --writes 1 --item-bytes 1", 0), ("spark-conf --platform local", 0), ("init", 2), ("deploy", 2)],
)
def test_a_closed_stream_is_no_traceback(tmp_path: Path, verb: str, status: int, closed: str) -> None:
    program = f"{sys.executable} -c 'from lakebound.cli.entry import main; main()' {verb} {closed}"
    done = subprocess.run(["bash", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
