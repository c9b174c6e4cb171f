"""An option that says it goes with another one is refused without it, before anything is looked at."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.support.command_verbs import VERBS
from tests.support.operator_stack import Lakebound, Operated

SAFE = {("config", "infer", "--dry-run")}
"""Without `--output` nothing is written anyway."""


def dependent() -> Iterator[tuple[str, ...]]:
    """Each verb with an option whose help begins with `With --other`, a value for it, and the other one."""
    for path, command in VERBS.items():
        for option in command.params:
            told = re.match(r"With (--[a-z-]+)", getattr(option, "help", None) or "")
            if told and (*path, option.opts[0]) not in SAFE:
                value = [] if getattr(option, "is_flag", False) else ["2026-11-01" if "day" in option.name else "7"]
                yield (told[1], *path, option.opts[0], *value)


DEPENDENT = list(dependent())


def test_the_options_that_go_with_another_are_found() -> None:
    assert {("--before", "doctor", "--table", "7"), ("--spark-hours", "cost", "--instance", "7")} < set(DEPENDENT)


@pytest.mark.parametrize("line", DEPENDENT, ids=" ".join)
def test_an_option_that_would_be_passed_over_is_refused(
    lakebound: Lakebound, operated: Operated, line: tuple[str, ...]
) -> None:
    needed, *arguments = line
    more = ["--target", "/nowhere/silver"] if "verify" in arguments else []
    assert needed in lakebound.err(*arguments, *more)


@pytest.mark.parametrize(
    "arguments",
    [
        ("backfill", "close", "--run", "nope", "--source", ".", "--target", "/nowhere/silver"),
        ("dlq", "show", "nope", "--from", "buffer"),
        ("dlq", "show", "nope", "--from", "stream"),
        ("dlq", "show", "nope", "--from", "quarantine"),
        ("dlq", "discard", "nope", "--from", "buffer", "--yes"),
        ("dlq", "discard", "nope", "--from", "stream", "--yes"),
        ("dlq", "discard", "nope", "--from", "quarantine", "--yes"),
    ],
    ids=" ".join,
)
def test_what_is_not_there_is_named_with_the_command_that_lists_what_is(
    lakebound: Lakebound, operated: Operated, arguments: tuple[str, ...]
) -> None:
    told = lakebound.err(*arguments)
    assert "nope" in told
    assert re.search(r"`lakebound (dlq|backfill) list", told)
