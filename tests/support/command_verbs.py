"""Every verb of the command with arguments that reach AWS, walked from the Typer app: a new verb is in every test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from lakebound.cli.app import app

GIVEN = {
    ("query", "sql"): "SELECT 1",
    ("query", "target"): "/nowhere/silver",
    ("trace", "key"): "id=S:1",
    ("files", "source"): "s3://lake/ddb/flights",
    ("files", "folder"): "mirrored",
    ("close", "run"): "run-1",
    ("close", "source"): "s3a://lake/ddb/flights",
    ("close", "target"): "/nowhere/silver",
    ("watch", "run"): "run-1",
    ("dlq", "source"): "buffer",
    ("dlq", "name"): "message-1",
}
"""What a required parameter is given, by its verb's or its group's name."""

EXTRA = {
    ("init",): ["--table", "flights"],
    ("replay",): ["one.ndjson.gz"],
    ("config", "infer"): ["--table", "flights"],
    ("dlq", "discard"): ["--all", "--yes"],
    ("verify",): ["--target", "/nowhere/silver"],
}
"""What a verb needs beside its required parameters."""


def walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every verb with its Click command."""
    for name, inner in getattr(command, "commands", {}).items():
        if getattr(inner, "commands", None):
            yield from walk(inner, (*path, name))
        else:
            yield (*path, name), inner


VERBS = dict(walk(typer.main.get_command(app)))


def arguments(path: tuple[str, ...], without: str = "") -> list[str]:
    """A command line of the verb that gets as far as its first call, leaving one parameter to the caller."""
    made = list(path)
    for parameter in VERBS[path].params:
        if not parameter.required or parameter.name == without:
            continue
        value = next(GIVEN[at, parameter.name] for at in (path[-1], path[0]) if (at, parameter.name) in GIVEN)
        made += [value] if parameter.param_type_name == "argument" else [parameter.opts[0], value]
    return made + EXTRA.get(path, [])


NO_AWS = {("spark-conf",), ("query",), ("deploy",)}
"""The verbs that read the installed package only, or a table in a folder, or (deploy) that ask SAM CLI after one
call of their own, which tests/deployment looks at."""

ASKS_AWS = {" ".join(path): arguments(path)[len(path) :] for path in VERBS if path not in NO_AWS}
"""What follows each verb's name to get it as far as its first call."""
