"""An option that says it goes with another one is refused without it, before anything is looked at."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.support.command_verbs import VERBS
from tests.support.operator_stack import Lakebound, Operated

SAFE = {("config", "infer", "--dry-run")}
"""Without `--output` nothing is written anyway."""
VALUES = {"sample_day": "2026-11-01", "by": "copy"}
"""What an option takes that takes no number."""


def dependent() -> Iterator[tuple[str, ...]]:
    """Each verb with an option whose help begins with `With --other` or `place only`, a value for it, and the other."""
    for path, command in VERBS.items():
        for option in command.params:
            told = re.match(r"With (--[a-z-]+)|([a-z]+) only\b", getattr(option, "help", None) or "")
            if told and (*path, option.opts[0]) not in SAFE:
                needed, place = told.groups()
                value = [] if getattr(option, "is_flag", False) else [VALUES.get(option.name, "7")]
                elsewhere = ["--from", "stream"] if place else []
                yield (needed or f"--from {place}", *path, *elsewhere, option.opts[0], *value)


DEPENDENT = list(dependent())
MORE = {
    "verify": ["--target", "/nowhere/silver"],
    "mirror": ["s3://lake/ddb/cars", "mirror"],
    "infer": ["--files", "."],
}
"""What a verb needs beside, to get as far as the option."""


def test_the_options_that_go_with_another_are_found() -> None:
    assert {
        ("--before", "doctor", "--table", "7"),
        ("--spark-hours", "cost", "--instance", "7"),
        ("--from buffer", "dlq", "redrive", "--from", "stream", "--by", "copy"),
    } < set(DEPENDENT)


@pytest.mark.parametrize("line", DEPENDENT, ids=" ".join)
def test_an_option_that_would_be_passed_over_is_refused(
    lakebound: Lakebound, operated: Operated, line: tuple[str, ...]
) -> None:
    needed, *arguments = line
    more = next((more for verb, more in MORE.items() if verb in arguments), [])
    assert needed in lakebound.err(*arguments, *more)


@pytest.mark.parametrize(
    ("arguments", "passed_over", "beside"),
    [
        (("cost", "--writes", "1"), ("--stack", "lake"), "--writes"),
        (("cost", "--writes", "1"), ("--hours", "3"), "--writes"),
        (("cost", "--writes", "1", "--item-bytes", "9"), ("--table", "flights"), "--item-bytes"),
        (("trace", "id=k", "--files", "."), ("--stack", "lake"), "--files"),
        (("verify", "--target", "/nowhere/silver", "--no-wait"), ("--lag", "7"), "--no-wait"),
        (("verify", "--target", "/nowhere/silver", "--no-wait"), ("--limit", "700"), "--no-wait"),
    ],
)
def test_an_option_that_another_overrules_is_refused(
    lakebound: Lakebound, operated: Operated, arguments: tuple[str, ...], passed_over: tuple[str, ...], beside: str
) -> None:
    told = lakebound.err(*arguments, *passed_over)
    assert f"{passed_over[0]} says nothing beside {beside}. Leave one of the two out" in told


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
