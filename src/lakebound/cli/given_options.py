"""What a person wrote on the command line, beside what the verb took in its place."""

from __future__ import annotations

import typer

from lakebound.errors import Misconfigured


def given_flag(context: typer.Context, *names: str) -> str | None:
    """The option, as it is written, of the first of these parameters that stood on the command line."""
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            return str(next(one.opts[0] for one in context.command.params if one.name == name))
    return None


def refuse_beside(context: typer.Context, other: str, *names: str) -> None:
    """Raises Misconfigured where one of these parameters was given: beside ``other`` it would be passed over."""
    if flag := given_flag(context, *names):
        raise Misconfigured(f"{flag} says nothing beside {other}", hint="Leave one of the two out")


def refuse_without(context: typer.Context, needed: str, *names: str) -> None:
    """Raises Misconfigured where one of these parameters was given: without ``needed`` it would be passed over.

    `lakebound doctor --table vans` would look at the stack of the folder, and say that all is well with it.
    """
    if flag := given_flag(context, *names):
        raise Misconfigured(f"{flag} says nothing without {needed}", hint=f"Give {needed} too, or leave {flag} out")
