"""Every command of every page runs as printed: each shell line is of a known kind, and is asked as its program asks."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import typer

from tests.support.command_lines import parse, verb_of
from tests.support.command_verbs import VERBS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / name for name in ("README.md", "AGENTS.md", "CONTRIBUTING.md", "SECURITY.md")] + sorted(
    (ROOT / "docs").glob("*.md")
)
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
SHELLS = ("", "sh", "bash")
STARTS = re.compile(
    r"(make|cd|pipx|\.venv[\w-]*/bin/[\w-]+|lakebound|spark-submit|sam|aws|databricks|\d+ \d+ \* \* \*)\s"
)
OTHERS = ("aws", "databricks", "cd", "pipx")
"""Programs of others that are not here: their lines must parse as shell, and hold no `…`."""


def lines(page: str) -> Iterator[str]:
    """The commands in a page's shell blocks: lines that begin with a program; output and keys of objects do not."""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        if language in SHELLS:
            for line in block.replace("\\\n", " ").splitlines():
                if STARTS.match(f"{line} "):
                    yield line


def inline(page: str) -> Iterator[str]:
    """Commands of ours inside a sentence, whole ones only: `lakebound dlq list --from buffer`."""
    for line in re.findall(r"`((?:\.venv/bin/)?lakebound [a-z][^`]*)`", page):
        yield " ".join(line.split())


COMMANDS = [(page.name, line) for page in PAGES for line in lines(page.read_text("utf-8"))]
MENTIONS = sorted({(page.name, line) for page in PAGES for line in inline(page.read_text("utf-8"))})


def check(line: str) -> None:
    """Raises where the line could not run as it stands."""
    assert "…" not in line
    assert subprocess.run(["bash", "-n", "-c", line], check=False).returncode == 0
    line = re.sub(r"^(\d+|\*)( (\d+|\*)){4}\s+", "", line)
    for part in re.split(r"\s+&&\s+|\s+\|\s+", line):
        words = shlex.split(re.sub(r" > [\w.-]+$", "", part))
        program = Path(words[0]).name
        if "/" in words[0]:
            # What `make setup` puts there: the environments' names are those of the Makefile and of setup.sh.
            assert words[0].split("/")[0] in (".venv", ".venv-sam", ".venv-audit", ".venv-site")
        if program == "make":
            asked = [word for word in words[1:] if "=" not in word]
            assert asked, "make without a target"
            assert set(asked) <= TARGETS, asked
        elif program == "lakebound":
            parse(words[1:])
        elif program == "spark-submit":
            submit(words[1:])
        elif words[0].startswith(".venv"):
            assert (ROOT / words[0]).exists() or shutil.which(program), words[0]
        else:
            assert program in OTHERS, f"{program} is on no path that README sets up"


def submit(words: list[str]) -> None:
    """Settings and job are the clone's, or bear the names of ours in the reader's own folder (GET-STARTED.md)."""
    settings = words[words.index("--properties-file") + 1]
    assert (ROOT / settings).exists() or (ROOT / "spark" / "lakebound_spark" / settings).exists()
    place = next(at for at, word in enumerate(words) if word.endswith(".py"))
    assert (ROOT / words[place]).exists() or (ROOT / "spark" / "jobs" / words[place]).exists()
    import_module(f"lakebound_spark.jobs.{Path(words[place]).stem}")._parser().parse_args(words[place + 1 :])


def test_there_are_commands() -> None:
    assert {"make", ".venv/bin/spark-submit", ".venv/bin/lakebound"} <= {shlex.split(line)[0] for _, line in COMMANDS}
    assert len(COMMANDS) > 10


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_a_command_runs_as_printed(page: str, line: str) -> None:
    check(line)


@pytest.mark.parametrize(("page", "line"), MENTIONS)
def test_a_command_in_a_sentence_has_such_a_verb_and_such_options(page: str, line: str) -> None:
    command, _, words = verb_of([word for word in shlex.split(line.replace("…", "")) if word[0] != "<"][1:])
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known


def check_examples(verb: tuple[str, ...], epilog: str) -> None:
    """Raises where a verb's help does not end with two examples that the verb's own parser takes."""
    heading, *examples = epilog.split("\n\n")
    assert (heading, len(set(examples))) == ("Examples:", 2)
    for example in examples:
        program, *words = shlex.split(example)
        assert (program, tuple(words[: len(verb)])) == ("lakebound", verb)
        parse(words)


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_the_help_of_every_verb_ends_with_two_examples_that_it_takes(verb: tuple[str, ...]) -> None:
    check_examples(verb, VERBS[verb].epilog)


@pytest.mark.parametrize(
    "second", ["lakebound status", "lakebound status --stak lake", "lakebound cost --hours 3", "status --json"]
)
def test_an_example_that_cannot_run_is_found(second: str) -> None:
    with pytest.raises((AssertionError, typer.BadParameter.__mro__[1])):
        check_examples(("status",), f"Examples:\n\nlakebound status\n\n{second}")


@pytest.mark.parametrize(
    "wrong",
    [
        "make no-such-target",
        "spark-submit --packages x spark/jobs/merge_changes.py --source a",
        ".venv/bin/spark-submit --properties-file nowhere.conf spark/jobs/merge_changes.py",
        ".venv/bin/lakebound verify --targt lake.cars",
        ".venv/bin/lakebound verfy",
        ".venv/bin/lakebound trace",
        "sam delete --stack-name NAME",
        "update-table --table-name cars",
        "make deploy PARAMETERS='TableName=cars",
        ".venv/bin/lakebound dlq list --from …",
    ],
)
def test_a_command_that_cannot_run_is_found(wrong: str) -> None:
    with pytest.raises((AssertionError, SystemExit, ValueError, typer.BadParameter.__mro__[1])):
        check(wrong)


def shows_keys(line: str) -> bool:
    """Whether a scheduled audit would leave keys of items in the scheduler's log or mail (SECURITY.md)."""
    return "audit.py" in line and line[0].isdigit() and "--show 0" not in line


def test_a_scheduled_audit_shows_no_keys() -> None:
    scheduled = [line for _, line in COMMANDS if "audit.py" in line and line[0].isdigit()]
    assert scheduled
    assert not [line for line in scheduled if shows_keys(line)]
    assert shows_keys(scheduled[0].replace("--show 0 ", "")), "red control"
