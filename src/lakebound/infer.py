"""From items that were seen to the columns of the merge job's YAML, each with what would not fit it.

A proposal, to be read by a person: a sample does not hold what comes later. What does not fit then is NULL in its
column and counted, and whole in `_item`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final

from lakebound.attributes import canonical_number, is_legal
from lakebound.errors import Poison
from lakebound.names import RESERVED_COLUMNS, folded, unusable

MOST_MEMBERS: Final = 16
"""A map with more names than this is a map of values, not a record with members."""

DEEPEST: Final = 3
"""How many levels of maps become columns of their own."""

_DECISIVE: Final = 0.9
"""A type that fits fewer of the values than this is not proposed; `json` takes them all."""

_NO_TYPE: Final = "?"
"""Stands for the tag of a value that keeps to no type of DynamoDB: only `json` takes it."""

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}").fullmatch
_TIMESTAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})"
).fullmatch
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*").fullmatch
_WORDS_OF_YAML: Final = frozenset(("true", "false", "yes", "no", "on", "off", "null", "y", "n"))


@dataclass(slots=True)
class Facts:
    """What was seen of one attribute."""

    tags: Counter[str] = field(default_factory=Counter)
    numbers: Counter[tuple[int, int, bool]] = field(default_factory=Counter)
    """How many numbers have so many digits before the point, after it, and fit 64 bits."""
    texts: Counter[str] = field(default_factory=Counter)
    members: dict[str, Facts] = field(default_factory=dict)
    elements: Facts | None = None

    def see(self, value: Any) -> None:
        """Take one attribute value into account; one that keeps to no type of DynamoDB is one of a type of its own."""
        if not is_legal(value):
            self.tags[_NO_TYPE] += 1
            return
        ((tag, inner),) = value.items()
        self.tags[tag] += 1
        if tag == "N":
            self.numbers[_measure(inner)] += 1
        elif tag == "S":
            self.texts[_kind_of_text(inner)] += 1
        elif tag == "M":
            for name, member in inner.items():
                self.members.setdefault(name, Facts()).see(member)
        elif tag in ("L", "SS", "NS", "BS"):
            self.elements = self.elements or Facts()
            for member in inner:
                self.elements.see(member if tag == "L" else {tag[0]: member})


def _measure(token: str) -> tuple[int, int, bool]:
    try:
        text = canonical_number(token)
    except Poison:
        return 999, 999, False
    digits, _, exponent = text.lstrip("-").partition("E")
    whole, _, fraction = digits.partition(".")
    shift = int(exponent or 0)
    before = max(len(whole.lstrip("0")) + shift, 0)
    after = max(len(fraction) - shift, 0)
    value = int(text.partition(".")[0]) if not exponent else 0
    return before, after, after == 0 and before < 20 and not exponent and -(2**63) <= value < 2**63


def _kind_of_text(text: str) -> str:
    try:
        if _DATE(text):
            date.fromisoformat(text)
            return "date"
        if _TIMESTAMP(text):
            datetime.fromisoformat(text)
            return "timestamp"
    except ValueError:
        return "string"
    return "string"


@dataclass(frozen=True, slots=True)
class Proposed:
    """A line of `columns`: the path's names, the column's name if it is another, the type, and what it would not take.

    ``seen`` counts the values that are not NULL, ``exceptions`` those that would be NULL in the column.
    """

    path: tuple[str, ...]
    name: str | None
    type: str
    seen: int
    exceptions: int

    def line(self) -> str:
        """The line of YAML with its comment."""
        how = self.type if _plain(self.type) else _quoted(self.type)
        value = how if self.name is None else f"{{type: {how}, name: {_quoted(self.name)}}}"
        told = f"{self.exceptions:,} of {self.seen:,} would be NULL" if self.exceptions else f"all of {self.seen:,}"
        return f"  {_key(written(self.path))}: {value}  # {told}"


def written(path: tuple[str, ...]) -> str:
    r"""The path as the configuration writes it: names joined by dots, a dot in a name as `\.`."""
    return ".".join(name.replace(".", r"\.") for name in path)


class Inference:
    """Collects items, then proposes. Memory grows with the number of different names, not of items."""

    def __init__(self) -> None:
        self.items = 0
        self._root = Facts()

    def see(self, item: Mapping[str, Any]) -> None:
        """Take one item into account."""
        self.items += 1
        self._root.see({"M": item})

    def columns(self) -> list[Proposed]:
        """One proposal an attribute, members of maps by their path, in the order of the names."""
        taken = {folded(name) for name in RESERVED_COLUMNS}
        found = []
        for path, facts in _leaves(self._root, ()):
            kind, exceptions = type_of(facts)
            seen = sum(count for tag, count in facts.tags.items() if tag != "NULL")
            found.append(Proposed(path, _free_name(written(path), taken), kind, seen, exceptions))
        return found

    def yaml(self, source_table: str) -> str:
        """The whole configuration file."""
        lines = [
            f"# Proposed from {self.items:,} items. Numbers without a time's unit stay numbers: where one is a moment,",
            "# write {type: timestamp, unit: ms} (or s, us) instead.",
            f"source_table: {_quoted(source_table)}",
        ]
        columns = [one.line() for one in self.columns()]
        lines += ["columns:", *columns] if columns else ["columns: {}"]
        lines += ["deletes: soft", "history: none"]
        return "\n".join(lines) + "\n"


def _leaves(facts: Facts, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Facts]]:
    for name, member in sorted(facts.members.items()):
        if not _can_be_written(name, last=not _is_record(member)):
            continue
        if len(path) + 1 < DEEPEST and _is_record(member):
            yield from _leaves(member, (*path, name))
        elif set(member.tags) != {"NULL"}:
            yield (*path, name), member


def _can_be_written(name: str, *, last: bool) -> bool:
    r"""A backslash before a dot would be read as `\.`, so such a name has no path of its own."""
    return "\\." not in name and (last or not name.endswith("\\"))


def _is_record(facts: Facts) -> bool:
    return set(facts.tags) <= {"M", "NULL"} and 0 < len(facts.members) <= MOST_MEMBERS


def type_of(facts: Facts) -> tuple[str, int]:
    """The type for what was seen, and how many of the values (NULL aside) it would not take."""
    tags = Counter({tag: count for tag, count in facts.tags.items() if tag != "NULL"})
    total = sum(tags.values())
    if not total or set(tags) == {"S", "N"}:
        return "string", 0
    (tag, count), *_ = tags.most_common(1)
    kind, inexact = _type_of_tag(tag, facts)
    if count - inexact < _DECISIVE * total:
        return "json", 0
    if kind == "string":
        count += tags["N"] if tag == "S" else 0
    return kind, 0 if kind == "json" else total - count + inexact


def _type_of_tag(tag: str, facts: Facts) -> tuple[str, int]:
    match tag:
        case "N":
            return _number(facts.numbers)
        case "S":
            kinds = set(facts.texts)
            return (kinds.pop() if len(kinds) == 1 else "string"), 0
        case "BOOL":
            return "boolean", 0
        case "B":
            return "binary", 0
        case _ if tag == _NO_TYPE:
            return "json", 0
        case "M":
            values = Facts()
            for member in facts.members.values():
                values = _together(values, member)
            kind, exceptions = type_of(values)
            return ("json", 0) if exceptions or not _is_scalar(kind) else (f"map<string,{kind}>", 0)
        case _:
            kind, exceptions = type_of(facts.elements or Facts())
            # One member that does not fit makes the whole array NULL.
            return ("json", 0) if exceptions or not _is_scalar(kind) else (f"array<{kind}>", 0)


def _is_scalar(kind: str) -> bool:
    return "<" not in kind


def _together(one: Facts, other: Facts) -> Facts:
    return Facts(
        one.tags + other.tags,
        one.numbers + other.numbers,
        one.texts + other.texts,
        one.members | other.members,
        one.elements or other.elements,
    )


def _number(numbers: Counter[tuple[int, int, bool]]) -> tuple[str, int]:
    if all(fits for _, _, fits in numbers):
        return "bigint", 0
    best = ("decimal(38,0)", sum(numbers.values()))
    for scale in sorted({after for _, after, _ in numbers if after <= 38}):
        wrong = sum(count for (before, after, _), count in numbers.items() if after > scale or before > 38 - scale)
        if wrong < best[1]:
            best = (f"decimal(38,{scale})", wrong)
    return best


def _free_name(name: str, taken: set[str]) -> str | None:
    """None when the column can bear the path as written, else a name of its own."""
    if folded(name) not in taken and unusable(name) is None:
        taken.add(folded(name))
        return None
    plain = name.replace("`", "_")[:200]
    number = 2
    while folded(f"{plain}_{number}") in taken:
        number += 1
    taken.add(folded(f"{plain}_{number}"))
    return f"{plain}_{number}"


def _plain(text: str) -> bool:
    return re.fullmatch(r"[a-z0-9]+", text) is not None


def _key(text: str) -> str:
    return text if _PLAIN_KEY(text) and text.lower() not in _WORDS_OF_YAML else _quoted(text)


def _quoted(text: str) -> str:
    """A double-quoted YAML scalar."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
