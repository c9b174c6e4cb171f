"""The command's own help and version load no verb and none of the verbs' libraries, and tell what the verbs' do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lakebound.cli import verbs

ROOT = Path(__file__).resolve().parents[2]
OURS = {"lakebound.errors"} | {f"lakebound.cli.{name}" for name in ("app", "entry", "examples", "extras", "verbs")}
TYPER = {"typer", "annotated_doc", "shellingham"}
RICH = {"rich", "attr", "markdown_it", "mdurl", "pygments"}
CODE = """
import json, sys
before = set(sys.modules)
sys.argv[0] = "lakebound"
from lakebound.cli.entry import main
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
print("\\0" + json.dumps(sorted(sys.modules.keys() - before)))
"""


def loaded(*arguments: str) -> set[str]:
    """The modules that this command line loads."""
    done = subprocess.run([sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.rpartition("\0")[2]))


def libraries(modules: set[str]) -> set[str]:
    """What is neither ours nor Python's own."""
    return {name.partition(".")[0] for name in modules} - sys.stdlib_module_names - {"lakebound"}


@pytest.mark.parametrize("argument", ["--version", "--help", "-h"])
def test_the_command_itself_loads_no_verb_and_none_of_their_libraries(argument: str) -> None:
    found = loaded(argument)
    assert {name for name in found if name.startswith("lakebound.") and name != "lakebound.cli"} == OURS
    assert libraries(found) <= (TYPER if argument == "--version" else TYPER | RICH)


def test_a_verb_loads_its_own_module_and_no_other_verbs() -> None:
    found = {name.removeprefix("lakebound.cli.") for name in loaded("spark-conf", "--help")}
    assert found & {name.replace("-", "_") for name in verbs.VERBS} == {"spark_conf"}


def test_red_control_a_verb_that_asks_aws_is_seen_to_load_botocore() -> None:
    assert "botocore" in libraries(loaded("status", "--help"))


@pytest.mark.parametrize("name", verbs.VERBS)
def test_the_table_says_what_the_verb_says_of_itself(name: str) -> None:
    first = " ".join(verbs.load(name).help.partition("\n\n")[0].split())
    assert verbs.VERBS[name] == first


def test_every_module_with_a_command_is_a_verb() -> None:
    folder = ROOT / "src" / "lakebound" / "cli"
    texts = {path.stem: path.read_text() for path in folder.glob("*.py") if path.stem != "app"}
    found = {name for name, text in texts.items() if "\ndef command(" in text or "\napp = typer.Typer(" in text}
    others = {other for names in verbs.OF_OTHER_MODULES.values() for other in names}
    assert found == {name.replace("-", "_") for name in verbs.VERBS} | others
