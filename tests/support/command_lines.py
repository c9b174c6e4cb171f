"""A line with the command `lakebound`, read as the command itself reads it."""

from __future__ import annotations

from typing import Any

import typer

from lakebound.cli.app import app


def verb_of(words: list[str]) -> tuple[Any, Any, list[str]]:
    """(Click's command, its context, what follows the verb's name)."""
    command = typer.main.get_command(app)
    context = command.context_class(command, info_name="lakebound")
    while children := getattr(command, "commands", None):
        assert words, "a verb is missing"
        assert words[0] in children, words[0]
        name, words = words[0], words[1:]
        command = children[name]
        context = command.context_class(command, info_name=name, parent=context)
    return command, context, words


def parse(words: list[str]) -> None:
    """Parse a command line as the command itself does, running nothing. Raises Click's errors.

    A file or folder that the line names need not be there: it is on the reader's machine.
    """
    command, context, words = verb_of(words)
    read = [one for one in command.params if getattr(one.type_descriptor.parameter_info, "exists", False)]
    try:
        for one in read:
            one.type_descriptor.parameter_info.exists = False
        command.parse_args(context, list(words))
    finally:
        for one in read:
            one.type_descriptor.parameter_info.exists = True
