"""Proposes the tables of the merge job's YAML from a sample of items whose keys tell several kinds apart.

A kind is a pattern of the key attributes: `pk = USER#17, sk = PROFILE` is one of `USER#*` and `PROFILE`. What has no
such pattern (an id alone, a number) is proposed for the rest.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from lakebound.counts import count_text
from lakebound.operate.infer_columns import (
    AttributeProfile,
    ColumnProposal,
    Inference,
    type_of,
    yaml_key,
    yaml_text,
)
from lakebound.record.column_names import RESERVED_COLUMNS, folded
from lakebound.record.entity_rules import REST, EntityRule, Text

MOST_WORDS: Final = 24
"""With more words than this in one attribute, rare ones are taken for values: a name, `alice`, tells no kind."""
MOST_BEGINNINGS: Final = 100
"""The same of beginnings such as `USER#`, which are seldom values."""
_COMMON: Final = 0.05
"""A pattern of so many of the items is none of the rare ones."""

_PREFIX: Final = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*)([#|:/^~])")
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z_-]{0,31}").fullmatch

_Pattern = tuple[Text | None, ...]
"""What stands for each key attribute of a kind; None for any value."""


@dataclass(slots=True)
class _Kind:
    """The items of one pattern, and the parts of their keys behind its beginnings, by attribute and place."""

    inference: Inference = field(default_factory=Inference)
    parts: dict[tuple[str, int], AttributeProfile] = field(default_factory=dict)

    def add(self, item: Mapping[str, Any], keys: Sequence[str], pattern: _Pattern) -> None:
        """Take one item into account."""
        self.inference.add(item)
        for name, text in zip(keys, pattern, strict=True):
            if text is None or not text.is_prefix:
                continue
            for number, part in enumerate(item[name]["S"].split(text.text[-1])[1:], 2):
                # A part in digits is a number to whoever reads it.
                tag = "N" if re.fullmatch(r"[0-9]{1,18}", part) else "S"
                self.parts.setdefault((name, number), AttributeProfile()).add({tag: part})

    def merge(self, other: _Kind) -> None:
        """Take the items of another one."""
        self.inference.merge(other.inference)
        for place, profile in other.parts.items():
            self.parts[place] = self.parts.get(place, AttributeProfile()).merged(profile)


@dataclass(frozen=True, slots=True)
class PartProposal:
    """A column for a part of a key: its name, the attribute, the sign that splits it, the part, and its type."""

    name: str
    path: str
    sign: str
    after: str
    number: int
    type: str

    @property
    def how(self) -> dict[str, Any]:
        """What the line says of the column."""
        place = {"split": self.sign, "part": self.number} if self.number else {"after": self.after}
        return {"path": self.path, **place, **({} if self.type == "string" else {"type": self.type})}

    def line(self) -> str:
        """The line of YAML."""
        members = [f"{name}: {value if name == 'part' else yaml_text(str(value))}" for name, value in self.how.items()]
        return f"  {yaml_key(self.name)}: {{{', '.join(members)}}}"


@dataclass(frozen=True, slots=True)
class TableProposal:
    """A table: its rule, how many of the items it takes, and its columns."""

    rule: EntityRule
    items: int
    parts: tuple[PartProposal, ...]
    columns: tuple[ColumnProposal, ...]

    def lines(self) -> Iterator[str]:
        """The table's lines of YAML, below `tables`."""
        yield f"  {yaml_key(self.rule.table)}:  # {self.items:,} of the items"
        if self.rule.is_rest:
            yield f"    where: {REST}"
        else:
            conditions = (f"{yaml_key(name)}: {condition}" for name, condition in self.rule.conditions)
            yield f"    where: {{{', '.join(conditions)}}}"
        lines = [*(one.line() for one in self.parts), *(one.line() for one in self.columns)]
        yield "    columns:" if lines else "    columns: {}"
        yield from (f"    {line}" for line in lines)


class EntityInference:
    """Collects items with their key attributes' names, then proposes. Memory grows with the number of patterns."""

    def __init__(self) -> None:
        self.items = 0
        self._keys: tuple[str, ...] = ()
        self._kinds: dict[_Pattern, _Kind] = {}

    def add(self, item: Mapping[str, Any], keys: Sequence[str]) -> None:
        """Take one item into account."""
        self.items += 1
        self._keys = tuple(keys)
        pattern = tuple(_pattern(item[name]) for name in keys)
        self._kinds.setdefault(pattern, _Kind()).add(item, keys, pattern)

    def tables(self) -> list[TableProposal]:
        """The tables in the order of their rules, the rest last. More conditions come before fewer."""
        kinds = self._with_values_left_out()
        rest = kinds.pop((None,) * len(self._keys), _Kind())
        order = sorted(kinds, key=lambda pattern: (pattern.count(None), tuple(str(text) for text in pattern)))
        names = Counter[str]()
        found = []
        for pattern in order:
            name = f"lake.{'_'.join(_slug(text) for text in pattern if text is not None)}"
            names[name] += 1
            name += f"_{names[name]}" if names[name] > 1 else ""
            conditions = tuple((key, text) for key, text in zip(self._keys, pattern, strict=True) if text is not None)
            found.append(self._table(EntityRule(name, conditions), kinds[pattern]))
        return [*found, self._table(EntityRule("lake.rest"), rest)]

    def yaml(self, source_table: str) -> str:
        """The whole configuration file."""
        tables = self.tables()
        lines = [
            f"# Proposed from {count_text(self.items, 'item')}. {tables[-1].items:,} of them have a key "
            "of no pattern: the rest.",
            "# The first rule that takes a key wins. A value that does not fit its column is NULL there and counted,",
            "# and whole in _item. Give the tables names of your own, and join kinds that belong together.",
            "# Give a decimal more digits where you expect more: a type that is changed later needs a new target.",
            f"source_table: {yaml_text(source_table)}",
            "tables:",
            *(line for table in tables for line in table.lines()),
        ]
        return "\n".join(lines) + "\n"

    def _with_values_left_out(self) -> dict[_Pattern, _Kind]:
        """The kinds, where an attribute of too many patterns keeps its common ones only."""
        kept: list[set[Text | None]] = []
        for place in range(len(self._keys)):
            counts = Counter[Text | None]()
            for pattern, kind in self._kinds.items():
                counts[pattern[place]] += kind.inference.items
            common = set[Text | None]()
            for is_prefix, most in ((False, MOST_WORDS), (True, MOST_BEGINNINGS)):
                some = {text: count for text, count in counts.items() if text and text.is_prefix == is_prefix}
                least = _COMMON * self.items if len(some) > most else 0
                common |= {text for text, count in some.items() if count >= least}
            kept.append(common)
        found: dict[_Pattern, _Kind] = {}
        for pattern, kind in self._kinds.items():
            wider = tuple(text if text in kept[place] else None for place, text in enumerate(pattern))
            found.setdefault(wider, _Kind()).merge(kind)
        return found

    def _table(self, rule: EntityRule, kind: _Kind) -> TableProposal:
        columns = tuple(kind.inference.columns())
        taken = {folded(name) for name in RESERVED_COLUMNS}
        taken |= {folded(one.how.get("name", ".".join(one.path))) for one in columns}
        parts = list[PartProposal]()
        for key, text in rule.conditions:
            if isinstance(text, Text) and text.is_prefix:
                parts += _parts(key, text, kind, taken)
        return TableProposal(rule, kind.inference.items, tuple(parts), columns)


def _pattern(value: Mapping[str, Any]) -> Text | None:
    text = value.get("S")
    if not isinstance(text, str):
        return None
    if (found := _PREFIX.match(text)) is not None:
        return Text(found[0], is_prefix=True)
    return Text(text) if _WORD(text) else None


def _parts(key: str, text: Text, kind: _Kind, taken: set[str]) -> Iterator[PartProposal]:
    """Columns for the parts that every key of the kind has."""
    sign, slug = text.text[-1], _slug(text)
    whole = [
        (number, profile)
        for (name, number), profile in sorted(kind.parts.items())
        if name == key and sum(profile.tags.values()) == kind.inference.items
    ]
    has_more = any(name == key and number > 2 for name, number in kind.parts)
    for number, profile in whole:
        name = f"{slug}_{number - 1}" if has_more else f"{slug}_id"
        while folded(name) in taken:
            name += "_key"
        taken.add(folded(name))
        guess = type_of(profile)
        kind_of_part = guess.type if guess.type in ("bigint", "date") and not guess.exceptions else "string"
        yield PartProposal(name, key, sign, text.text, number if has_more else 0, kind_of_part)


def _slug(text: Text) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.text.lower()).strip("_")
