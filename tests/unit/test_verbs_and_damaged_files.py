"""What the verbs that read batch files say where one is damaged: a sentence that names it, never a traceback."""

from __future__ import annotations

import errno
import gzip
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lakebound.adapters.doctor_facts import VersionCounter
from lakebound.adapters.folder import images_in_folder
from lakebound.cli import silver_table
from lakebound.errors import Misconfigured
from lakebound.transport.object_keys import partitioner
from tests.support.independent_writer import item, line, stream, write_bytes, write_lines
from tests.support.local_ports import ManualClock, MemoryStore
from tests.support.operator_stack import Lakebound

GOOD = stream("k", 1, item("k", n={"N": "1"}), ingest_time_ms=1000)


def without(name: str) -> str:
    return json.dumps({field: value for field, value in GOOD.items() if field != name}) + "\n"


DAMAGES: dict[str, Callable[[Path], Path]] = {
    "no gzip": lambda source: write_bytes(source, 1, b"rubbish"),
    "a member cut short": lambda source: write_bytes(source, 1, gzip.compress(line(GOOD).encode())[:-9]),
    "no JSON": lambda source: write_lines(source, ["rubbish\n"]),
    **{
        f"the JSON {text}": lambda source, t=text: write_lines(source, [f"{t}\n"])
        for text in ("null", "[1]", "7", "{}")
    },  # type: ignore[misc]
    **{f"no {name}": lambda source, n=name: write_lines(source, [without(n)]) for name in GOOD},  # type: ignore[misc]
    **{
        f"{name} a list": lambda source, n=name: write_lines(source, [line({**GOOD, n: [1]})])  # type: ignore[misc]
        for name in ("keys", "new_image", "key", "source_table")
    },
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named_in_a_sentence(damage: str, lakebound: Lakebound, tmp_path: Path) -> None:
    source = tmp_path / "files"
    path = DAMAGES[damage](source)
    for more in ((), ("--entities",)):
        said = lakebound.err("config", "infer", "--files", str(source), *more, status=1)
        assert said.startswith(f"lakebound: {path} is damaged (")
        assert f"`lakebound files check {source}` names every such file" in said
    assert str(path) in lakebound.out("files", "check", str(source), status=1)
    said = lakebound.out("files", "flatten", str(source), str(tmp_path / "flat"), status=1)
    assert said.startswith(f"{path}: ")
    assert "wrote 0 files, 0 records" in said
    # What stands before the place that is cut short is good.
    found = damage == "a member cut short"
    assert lakebound("trace", "id=k", "--files", str(source)) == (0 if found else 1)
    assert ("nothing found of id=k" in lakebound.printed().out) is not found


def test_records_before_the_damage_are_traced(lakebound: Lakebound, tmp_path: Path) -> None:
    write_lines(tmp_path / "files", [line(GOOD), "{}\n", line(GOOD)])
    assert lakebound("trace", "id=k", "--files", str(tmp_path / "files")) == 0
    assert "1 record" in lakebound.printed().out


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_smoke_test_counts_past_a_damaged_file(damage: str, tmp_path: Path) -> None:
    store, clock, hour = MemoryStore(), ManualClock(1_000), partitioner("dt=%Y-%m-%d/HH=%H")
    count = VersionCounter(store, "ddb", hour, clock)
    for path in (DAMAGES[damage](tmp_path), write_lines(tmp_path, [line(GOOD)])):
        store.put_if_absent(f"ddb/{hour(1_000, False)}/{path.name}", path.read_bytes(), {})
    assert len(store.objects) == 2
    assert count(GOOD["key"]) == 1


def test_a_whole_file_is_read_by_each_verb(lakebound: Lakebound, tmp_path: Path) -> None:
    """Else the refusals above would say nothing of the damage."""
    source = tmp_path / "files"
    write_lines(source, [line(GOOD)])
    assert "n: bigint" in lakebound.out("config", "infer", "--files", str(source)).replace('"', "")
    assert "1 of 1 file whole" in lakebound.out("files", "check", str(source))
    assert "wrote 1 file, 1 record" in lakebound.out("files", "flatten", str(source), str(tmp_path / "flat"))
    assert "1 record" in lakebound.out("trace", "id=k", "--files", str(source))


def test_flatten_counts_what_it_wrote_and_not_what_the_name_says(lakebound: Lakebound, tmp_path: Path) -> None:
    write_lines(tmp_path / "files", [line(GOOD)], count=5)
    said = lakebound.out("files", "flatten", str(tmp_path / "files"), str(tmp_path / "flat"))
    assert "wrote 1 file, 1 record" in said


@pytest.mark.parametrize("verb", [("config", "infer", "--files"), ("files", "check"), ("files", "flatten")])
def test_an_empty_text_is_no_folder(
    verb: tuple[str, ...], lakebound: Lakebound, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell gives one for a variable that is not set; the verb would read whatever folder it runs in."""
    monkeypatch.chdir(tmp_path)
    write_lines(tmp_path, [line(GOOD)])
    said = lakebound.err(*verb, "")
    assert re.search("an empty text is neither s3://bucket/prefix nor a folder|of a folder is an empty text", said)


def test_a_place_without_rights_is_not_called_a_wrong_path(lakebound: Lakebound, tmp_path: Path) -> None:
    """/sys, which takes a new file of nobody, stands for a folder of another person: a superuser may write there."""
    write_lines(tmp_path / "files", [line(GOOD)])
    infer = ("config", "infer", "--files", str(tmp_path / "files"), "--output")
    said = lakebound.err(*infer, "/sys/cars.yaml")
    assert said.endswith(": /sys/cars.yaml. Check your rights there, or give another path\n")
    none = tmp_path / "none"
    said = lakebound.err(*infer, str(none / "cars.yaml"))
    assert said == f"lakebound: There is no folder {none} for {none}/cars.yaml. Make it, or give another path\n"


@pytest.mark.parametrize("closed", ["", "dt=2013-01-01", "dt=2013-01-01/HH=05"])
def test_a_folder_that_may_not_be_looked_into_is_not_passed_over(
    closed: str, lakebound: Lakebound, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest would be called whole, or a key not found. The superuser of a test's machine may look everywhere."""
    source = tmp_path / "files"
    write_lines(source, [line(GOOD)])
    write_lines(source, [line(GOOD)], hour="dt=2013-01-02/HH=05")
    look, folder = os.scandir, source / closed

    def refuse(path: Any = ".") -> Any:
        if Path(path) == folder:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return look(path)

    monkeypatch.setattr(os, "scandir", refuse)
    for verb in (
        ("files", "check", str(source)),
        ("files", "flatten", str(source), str(tmp_path / "flat")),
        ("config", "infer", "--files", str(source)),
        ("trace", "id=k", "--files", str(source)),
    ):
        assert f"Permission denied: {folder}. Check your rights there" in lakebound.err(*verb)
    # To tell stale from different, what can be read is as good as it was.
    assert len([*images_in_folder(source, frozenset({GOOD["key"]}))]) == {"": 0}.get(closed, 1)


@pytest.mark.parametrize(
    ("has_engine", "told"),
    [
        (False, "its address, or catalog.schema.table of Unity Catalog"),
        (True, "its address, catalog.schema.table of Unity Catalog, or --engine spark"),
    ],
)
def test_the_choices_for_a_name_end_with_or(has_engine: bool, told: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        silver_table._deltalake_address("nowhere", has_engine=has_engine)
    assert str(refused.value).endswith(told)
