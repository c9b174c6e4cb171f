"""An option that names a file or a folder is refused in words when there is none, or when it is of the other kind.

Walked from the Typer app, so that a new option is in here, and before AWS is asked: what a verb has read for an hour is
lost where it cannot be written.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from botocore.client import BaseClient

from lakebound.adapters import stack_files
from tests.support.command_verbs import VERBS, arguments
from tests.support.independent_writer import item, line, stream, write_lines
from tests.support.operator_stack import Lakebound

READ_FILE, READ_FOLDER, WRITE_FILE, WRITE_FOLDER, PROGRAM = "a file", "a folder", "a new file", "a new folder", "run"

PATHS: Final = {
    "init --file": WRITE_FILE,
    "deploy --source": READ_FOLDER,
    "deploy --sam": PROGRAM,
    "verify --config": READ_FILE,
    "verify --files": READ_FOLDER,
    "verify --work": WRITE_FOLDER,
    "verify --out": WRITE_FILE,
    "trace --files": READ_FOLDER,
    "trace --config": READ_FILE,
    "report --out": WRITE_FILE,
    "report --verification": READ_FILE,
    "files mirror folder": WRITE_FOLDER,
    "files check source": READ_FOLDER,
    "files flatten source": READ_FOLDER,
    "files flatten folder": WRITE_FOLDER,
    "backfill close --config": READ_FILE,
    "config infer --files": READ_FOLDER,
    "config infer --output": WRITE_FILE,
    "spark-conf --jars": READ_FOLDER,
}

ELSEWHERE: Final = {
    "--target": "the engine's: on a cluster the folder is none of this machine",
    "backfill close --source": "the engine's too",
    "replay --config": "printed for another machine",
    "replay files": "names in the bucket",
    "files mirror source": "an address",
    "report --hours": "a number",
    "files mirror --every": "a number",
    "files check --threads": "a number",
    "--stack": "a name",
    "doctor --stream": "an ARN",
    "trace --since": "a time",
    "replay --from": "a time",
    "verify --engine": "a name",
    "--engine": "a name",
    "deploy --parameters": "a text",
}
"""What speaks of files, folders or programs in its help, and names none of this machine; by verb and option, or for
every verb by the option alone."""

SPEAKS = re.compile(r"\b(files?|folders?|mirror|YAML|clone|program)\b")


def named() -> Iterator[tuple[str, tuple[str, ...], Any]]:
    for verb, command in VERBS.items():
        for one in command.params:
            yield f"{' '.join(verb)} {one.opts[0] if one.opts[0].startswith('-') else one.name}", verb, one


OPTIONS: Final = {name: (verb, one) for name, verb, one in named()}


def is_path(one: Any) -> bool:
    return one.type_descriptor.annotation is Path


def test_every_option_that_names_a_path_is_known() -> None:
    assert {name for name, (_, one) in OPTIONS.items() if is_path(one)} <= PATHS.keys()
    speaking = {
        name
        for name, (_, one) in OPTIONS.items()
        if not getattr(one, "is_flag", False) and SPEAKS.search(one.help or "")
    }
    unknown = {name for name in speaking - PATHS.keys() if not {name, name.rpartition(" ")[2]} & ELSEWHERE.keys()}
    assert not unknown, unknown
    assert PATHS.keys() <= OPTIONS.keys()


def wrong(kind: str, folder: Path) -> dict[str, Path]:
    """What each kind of path may not be, by what it is."""
    (folder / "a-file").touch()
    (folder / "a-folder").mkdir()
    missing, below = folder / "missing", folder / "a-file" / "below"
    return {
        READ_FILE: {"missing": missing, "of the other kind": folder / "a-folder", "below a file": below},
        READ_FOLDER: {"missing": missing, "of the other kind": folder / "a-file", "below a file": below},
        WRITE_FILE: {"in no folder": missing / "new", "of the other kind": folder / "a-folder", "below a file": below},
        WRITE_FOLDER: {"of the other kind": folder / "a-file", "below a file": below, "a link": dangling(folder)},
        PROGRAM: {"missing": missing, "of the other kind": folder / "a-folder", "that cannot run": folder / "a-file"},
    }[kind]


def dangling(folder: Path) -> Path:
    link = folder / "a-link"
    link.symlink_to(folder / "nowhere")
    return link


def right(kind: str, name: str, folder: Path) -> Path:
    made = folder / "right"
    if name == "report --verification":
        lists: dict[str, list[str]] = {kind: [] for kind in ("missing", "ghost", "stale", "different", "left_out")}
        made.write_text(json.dumps({"keys": 1, **lists}))
    elif kind == READ_FILE:
        made.write_text("tables: {./cars: {where: {id: c*}}}\n")
    elif kind == READ_FOLDER:
        write_lines(made, [line(stream("k", 1, item("k", n={"N": "1"}), ingest_time_ms=1000))])
        (made / "one.jar").touch()
        shutil.copy(stack_files.clone() / stack_files.TEMPLATE, made)  # type: ignore[operator]  # run from a clone
    elif kind == PROGRAM:
        made.write_text("#!/bin/sh\n")
        made.chmod(0o755)
    return made


BESIDE: Final = {
    "verify --config": ["verify", "--table", "cars"],
    "config infer --files": ["config", "infer"],
    "trace --files": ["trace", "id=k"],
    "deploy --source": ["deploy", "--dry-run", "--stack", "s", "-p", "TableName=cars", "--sam", sys.executable],
    "deploy --sam": ["deploy", "--dry-run", "--stack", "s", "-p", "TableName=cars"],
    "spark-conf --jars": ["spark-conf", "--platform", "local"],
}
"""What stands before the option, where that is not what gets its verb as far as AWS."""


def given(name: str, path: Path) -> list[str]:
    verb, one = OPTIONS[name]
    words = BESIDE.get(name) or arguments(verb, without=one.name)
    return [*words, *([str(path)] if one.param_type_name == "argument" else [one.opts[0], str(path)])]


class AskedAws(Exception):
    """Somebody asks AWS, so the arguments were read."""


@pytest.fixture
def here(aws: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder to work in, in which nobody gets as far as AWS."""

    def asked(self: object, operation: str, arguments: object) -> None:
        raise AskedAws(operation)

    monkeypatch.setattr(BaseClient, "_make_api_call", asked)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("LAKEBOUND_STACK", "lake")
    return tmp_path


def plain(text: str) -> str:
    """Without the frame and the breaks of a usage error."""
    return re.sub(r"[\s\u2500-\u257f]+", "", text)


@pytest.mark.parametrize("name", PATHS)
def test_a_path_that_is_not_there_or_of_another_kind_is_refused_before_aws_is_asked(
    name: str, lakebound: Lakebound, here: Path
) -> None:
    for what, path in wrong(PATHS[name], here).items():
        assert lakebound(*given(name, path)) == 2, what
        told = lakebound.printed()
        assert plain(str(path)) in plain(told.err), what
        assert "Traceback" not in told.err, what
        assert not (here / "missing").exists(), what


@pytest.mark.parametrize("name", [name for name in PATHS if is_path(OPTIONS[name][1])])
def test_an_empty_text_is_no_path(name: str, lakebound: Lakebound, here: Path) -> None:
    """A shell gives one for a variable that is not set, and Python takes it for the folder of the process."""
    *line, path = given(name, Path("path"))
    assert path == "path"
    lines = [[*line, ""]]
    if line[-1].startswith("--"):
        lines.append([*line[:-1], f"{line[-1]}="])
    for one in lines:
        assert "is an empty text. Is a variable not set?" in lakebound.err(*one)
    assert not list(here.joinpath("work").iterdir())


@pytest.mark.parametrize("name", PATHS)
def test_red_control_a_good_path_is_not_refused(name: str, lakebound: Lakebound, here: Path) -> None:
    path = right(PATHS[name], name, here)
    try:
        assert lakebound(*given(name, path)) == 0, lakebound.printed().err
    except AskedAws:
        assert plain(str(path)) not in plain(lakebound.printed().err)
