"""Every text with a count has it from count_text, so none says "1 files"."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from lakebound.counts import count_text

ROOT: Final = Path(__file__).resolve().parents[2]
SOURCES: Final = sorted(path for folder in ("src", "spark", "demo") for path in (ROOT / folder).rglob("*.py"))

VERBS: Final = re.compile(
    r"is|has|was|does|names|says|needs|belongs|gives|takes|refuses|holds|carries|lies|"
    r"exists|comes|goes|ends|works|prints|compares|looks|reads|knows|answers|stands|deploys|"
    r"wants|fails|means|makes|keeps|lacks|leaves|puts"
)
"""Words with an s at their end that are about the value before them, which is then a name and no count."""

SMALL: Final = re.compile(
    r"of|in|from|that|at|to|by|and|or|for|with|than|on|into|a|an|the|cannot|could|"
    r"would|may|must|can|not|no|none|be|are|this|its|as|less|whose|always|others|beside|"
    r"had"
)
"""Words after which the text is about something else than a count."""

AGREES: Final = re.compile(
    r"is|are|was|were|has|have|does|do|notif(?:y|ies)|go(?:es)?|(?:wait|differ|lie|belong|stay|come|need|say|hold|take|"
    r"stand|name|give|end|bear|mean|make|keep|lack|leave|fail|look|match|carry|reach|begin)s?"
)
"""Verbs that differ after one and after many: count_text has to write them."""

FIXED: Final = frozenset({"{seconds} seconds", "{there} live_rows", "{there} silver_rows", "{arns[0]} --tags"})
"""An interval as Spark reads it, two names in SQL, an option."""


def faults(source: str) -> Iterator[str]:
    """Each count of an f-string that stands before a plural, a verb or another value. Constants (in capitals) are none.

    A value in `:,` is a count whatever its name; before a value that chooses by the count, it agrees.
    """
    for text in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.JoinedStr)):
        for place, (value, after) in enumerate(zip(text.values, text.values[1:], strict=False)):
            if not isinstance(value, ast.FormattedValue) or not isinstance(after, ast.Constant):
                continue
            said, words = ast.unparse(value.value), re.match(r"(?: [a-z_-]+(?![=/a-z_-]))*", str(after.value))
            following = words[0].split()[:3] if words else []
            verb = following[0] if following and AGREES.fullmatch(following[0]) else ""
            if said.startswith("count_text("):
                if verb and said.count(",") == 1:
                    yield f"{{{said}}} {verb}"
            elif _is_grouped(value) and (verb or (after.value == " " and not _chooses(text.values[place + 2 :]))):
                yield f"{{{said}:,}} {verb}"
            elif not re.fullmatch(r"_?[A-Z][A-Z_]*", said):
                yield from _plurals(said, following)


def _is_grouped(value: ast.FormattedValue) -> bool:
    return value.format_spec is not None and ast.unparse(value.format_spec) == "f','"


def _chooses(rest: list[ast.expr]) -> bool:
    return bool(rest) and isinstance(rest[0], ast.FormattedValue) and isinstance(rest[0].value, ast.IfExp)


def _plurals(said: str, following: list[str]) -> Iterator[str]:
    for word in following:
        if VERBS.fullmatch(word) or SMALL.fullmatch(word):
            return
        if word.endswith("s") and word != "s" and f"{{{said}}} {word}" not in FIXED:
            yield f"{{{said}}} {' '.join(following)}"
            return


def test_a_count_is_written_by_count_text() -> None:
    found = {str(path.relative_to(ROOT)): list(faults(path.read_text())) for path in SOURCES}
    assert len(found) > 200
    assert {path: texts for path, texts in found.items() if texts} == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('f"{len(alarms)} alarms"', 1),
        ('f"{dead:,} dead messages wait"', 1),
        ("f\"{count_text(dead, 'message')} wait there\"", 1),
        ("f\"{count_text(lost, 'record')} belong to no table\"", 1),
        ('f"{number:,} stay"', 1),
        ('f"{number:,} {what}"', 1),
        ("f\"{number:,} {'stays' if number == 1 else 'stay'}\"", 0),
        ('f"{a:,} appends, {b:,} merges"', 2),
        ("f\"{count_text(dead, 'message', 'waits', 'wait')} there\"", 0),
        ('f"{table} has no stream"', 0),
        ('f"at most {MAX_BYTES} bytes"', 0),
        ('f"ghosts={ghosts} files={files}"', 0),
    ],
)
def test_the_checker_finds_a_plural_after_a_count(source: str, found: int) -> None:
    assert len(list(faults(source))) == found


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (0, "key", "0 keys"),
        (1, "key", "1 key"),
        (11_161, "key", "11,161 keys"),
        (1.0, "hour", "1 hour"),
        (0.5, "hour", "0.5 hours"),
        (float("inf"), "second", "inf seconds"),
        (float("nan"), "second", "nan seconds"),
        (2**64 + 1, "byte", "18,446,744,073,709,551,617 bytes"),
        (1, "delivery", "1 delivery"),
        (2, "delivery", "2 deliveries"),
        (2, "batch", "2 batches"),
        (2, "dead message", "2 dead messages"),
    ],
)
def test_the_noun_agrees_with_its_count(number: float, noun: str, text: str) -> None:
    assert count_text(number, noun) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0 messages wait"), (1, "1 message waits"), (2, "2 messages wait")])
def test_the_verb_agrees_with_its_count(number: int, text: str) -> None:
    assert count_text(number, "message", "waits", "wait") == text
