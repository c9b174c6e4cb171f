"""The verbs of the command: where each stands, and what the command's own help says of it.

A verb's module is loaded when the verb is asked for. All of them together bring botocore, rich and a hundred modules
more, which took `lakebound --version` half a second of processor time.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from lakebound.cli.examples import add_examples
from lakebound.errors import Misconfigured

VERBS: Final = {
    "init": "Look at the table, and write what `lakebound deploy` and every other verb read.",
    "deploy": "Build the stack and deploy it to the AWS account of your credentials, once with parameters, then as it"
    " was.",
    "doctor": "Check everything that the pipeline needs, and print the fix for what is wrong.",
    "smoke": "Try on a deployed stack what no emulator can show. Deploys nothing, and restores what it changes.",
    "status": "Print OK, LAGGING, GAP or UNKNOWN: since when, why, and the command that repairs it.",
    "verify": "Compare the table with the lake, key by key and item by item as values, and name what differs.",
    "query": "Print what a query of silver gives, without Spark and Java.",
    "trace": "Print every record of one key in order: its file, version and label, and why the visible image won.",
    "replay": "Put batch files, or those of a stretch of time, into a folder of their own, and tell the job that merges"
    " them.",
    "cost": "Print what the pipeline costs a month, part by part: measured from metrics, or estimated with --writes.",
    "report": "Write one HTML page: pipeline, freshness, file sizes, backfill, gaps, dead letters, verification, cost.",
    "files": "The batch files of a stack.",
    "backfill": "Read what the table holds already into the lake.",
    "dlq": "List, redrive and discard what did not get through.",
    "config": "The merge job's YAML.",
    "spark-conf": "Print the Spark settings of a platform, for `spark-submit --properties-file`.",
}
"""Each verb and group in the order of the help, with the first paragraph of its own help. A verb `spark-conf` is
`command` in `lakebound.cli.spark_conf`, a group is `app` in its module."""

OF_OTHER_MODULES: Final = {"backfill": ("close",)}
"""Verbs of a group that stand in a module of their own."""


@cache
def load(name: str) -> Any:
    """The Click command of a verb or group, its module imported."""
    module = import_module(f"lakebound.cli.{name.replace('-', '_')}")
    holder = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    if hasattr(module, "app"):
        for other in OF_OTHER_MODULES.get(name, ()):
            module.app.command(other)(import_module(f"lakebound.cli.{other}").command)
        holder.add_typer(module.app, name=name)
    else:
        holder.command(name)(module.command)
    add_examples(holder)
    _refuse_empty_paths(holder)
    holder.callback()(_nothing)
    return typer.main.get_group(holder).commands[name]


class _Verb(TyperCommand):
    """A verb that takes no empty text for a path: Python takes it for the folder in which the command runs.

    A shell makes one of a variable that is not set, and `lakebound files flatten mirror "$OUT"` would fill whatever
    folder it stands in.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As Typer's own. Raises Misconfigured."""
        paths = [one for one in self.params if _is_path(one)]
        options = {name for one in paths if one.param_type_name == "option" for name in one.opts}
        has_argument = any(one.param_type_name == "argument" for one in paths)
        for before, text in zip(["", *args], args, strict=False):
            name = text.removesuffix("=") if text else before
            if name in options and (not text or text.endswith("=")):
                raise Misconfigured(f"The path of {name} is an empty text", hint="Is a variable not set?")
            if has_argument and not text and not before.startswith("-"):
                raise Misconfigured("The path of a folder is an empty text", hint="Is a variable not set?")
        return super().parse_args(ctx, args)


def _is_path(parameter: Any) -> bool:
    return getattr(getattr(parameter, "type_descriptor", None), "annotation", None) is Path


def _refuse_empty_paths(holder: typer.Typer) -> None:
    for verb in holder.registered_commands:
        verb.cls = _Verb
    for group in holder.registered_groups:
        if group.typer_instance is not None:
            _refuse_empty_paths(group.typer_instance)


def _nothing() -> None:
    """A Typer app of a single command is that command, unless it has a callback."""


class LazyCommands(MutableMapping[str, Any]):
    """The commands by their names, each loaded when it is taken."""

    def __init__(self, take: Callable[[str], Any] = load) -> None:
        self._take = take

    def __getitem__(self, name: str) -> Any:
        if name not in VERBS:
            raise KeyError(name)
        return self._take(name)

    def __iter__(self) -> Any:
        return iter(VERBS)

    def __len__(self) -> int:
        return len(VERBS)

    def __setitem__(self, name: str, command: Any) -> None:
        raise TypeError(f"{name}: the table of verbs is VERBS")

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"{name}: the table of verbs is VERBS")


def _listed(name: str) -> TyperCommand:
    """What the help lists of a verb, from the table alone."""
    return TyperCommand(name, help=VERBS[name])


class VerbGroup(TyperGroup):
    """The command's top, whose help and version load no verb."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = LazyCommands()

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """As Typer's own, of the table's lines."""
        loaded, self.commands = self.commands, LazyCommands(_listed)
        try:
            super().format_help(ctx, formatter)
        finally:
            self.commands = loaded
