"""Which table of the lake a key belongs to, where one DynamoDB table holds several kinds of item.

A rule looks at key attributes only. A delete brings its key and nothing else, so a rule on another attribute would send
an item's inserts to one table and its delete to none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final

from lakebound.errors import Misconfigured, Poison
from lakebound.record.attributes import canonical_number

REST: Final = "rest"
"""The `where` of the table that takes every key which no other one takes."""

Attribute = Mapping[str, Any]
"""A key attribute as DynamoDB writes it: `{"S": "USER#17"}`."""


@dataclass(frozen=True, slots=True)
class Everything:
    """`"*"`: any value."""

    tag: str = ""

    def takes(self, attribute: Attribute) -> bool:
        """True, whatever it is."""
        return True

    def __str__(self) -> str:
        return '"*"'


@dataclass(frozen=True, slots=True)
class Text:
    """A text, or with ``is_prefix`` its beginning."""

    text: str
    is_prefix: bool = False
    tag: str = "S"

    def takes(self, attribute: Attribute) -> bool:
        """Whether the attribute is such a text."""
        found = attribute.get("S")
        if not isinstance(found, str):
            return False
        return found.startswith(self.text) if self.is_prefix else found == self.text

    def __str__(self) -> str:
        return '"' + self.text.replace("*", r"\*") + ('*"' if self.is_prefix else '"')


@dataclass(frozen=True, slots=True)
class Number:
    """A number from ``least`` on and below ``below``, None for no bound; a number itself where they are equal."""

    least: Decimal | None
    below: Decimal | None
    tag: str = "N"

    @property
    def is_one(self) -> bool:
        """Whether it is one number and no range."""
        return self.least is not None and self.least == self.below

    def takes(self, attribute: Attribute) -> bool:
        """Whether the attribute is such a number."""
        found = attribute.get("N")
        if not isinstance(found, str):
            return False
        try:
            number = Decimal(canonical_number(found))
        except Poison:
            return False
        if self.is_one:
            return number == self.least
        return (self.least is None or number >= self.least) and (self.below is None or number < self.below)

    def __str__(self) -> str:
        if self.is_one:
            return f"{self.least}"
        bounds = {"from": self.least, "below": self.below}
        return "{" + ", ".join(f"{name}: {bound}" for name, bound in bounds.items() if bound is not None) + "}"


Condition = Everything | Text | Number


@dataclass(frozen=True, slots=True)
class EntityRule:
    """A table and the keys that it takes. No ``conditions`` at all is the rule `rest`."""

    table: str
    conditions: tuple[tuple[str, Condition], ...] = ()

    @property
    def is_rest(self) -> bool:
        """Whether it takes what no other rule takes."""
        return not self.conditions

    def takes(self, keys: Mapping[str, Attribute]) -> bool:
        """Whether each of its conditions takes the attribute of that name."""
        return all(name in keys and condition.takes(keys[name]) for name, condition in self.conditions)

    def __str__(self) -> str:
        """The rule as the YAML has it: `{pk: "USER#*", sk: "PROFILE"}`."""
        if self.is_rest:
            return REST
        return "{" + ", ".join(f"{name}: {condition}" for name, condition in self.conditions) + "}"


@dataclass(frozen=True, slots=True)
class EntityRules:
    """The rules of a source table in their order, `rest` last."""

    rules: tuple[EntityRule, ...]

    def rule_of(self, keys: Mapping[str, Attribute]) -> EntityRule | None:
        """The first rule that takes the key; None where none does."""
        return next((rule for rule in self.rules if rule.takes(keys)), None)

    def wanted_keys(self) -> dict[str, str]:
        """The key attributes that the rules look at, each with its type's tag; "" where `"*"` takes any."""
        found: dict[str, str] = {}
        for rule in self.rules:
            for name, condition in rule.conditions:
                found[name] = found.get(name, "") or condition.tag
        return found

    def check_keys(self, keys: Mapping[str, str], source_table: str) -> None:
        """Raises Misconfigured where a rule looks at what is no key attribute, or at one of another type.

        ``keys`` are the names of the source's key attributes, each with its type's tag.
        """
        for rule in self.rules:
            for name, condition in rule.conditions:
                if name not in keys:
                    raise Misconfigured(
                        f"the `where` of {rule.table} looks at {name}, which is no key attribute of {source_table} "
                        f"({', '.join(keys)}); a delete brings nothing but its key, so it would not find its table. "
                        "Use key attributes only"
                    )
                if condition.tag not in ("", keys[name]):
                    raise Misconfigured(
                        f"the `where` of {rule.table} takes {name} for {_TYPES[condition.tag]}, but in {source_table} "
                        f"it is {_TYPES.get(keys[name], 'of another type')}; {_ADVICE.get(keys[name], _ANY)}"
                    )

    def extent_of(self, table: str) -> list[str]:
        """What decides which keys a table gets: its own rule, and the earlier ones that could take keys from it."""
        before = list[EntityRule]()
        for rule in self.rules:
            if rule.table == table:
                return [str(rule), *sorted(str(one) for one in before if not _are_apart(one, rule))]
            before.append(rule)
        return []


_TYPES: Final = {"S": "a text", "N": "a number", "B": "binary"}
_ANY: Final = 'only "*" takes it'
_ADVICE: Final = {
    "S": 'write a text or a prefix such as "USER#*"; a range compares numbers only',
    "N": "write a number without quotes, or a range such as {from: 1, below: 100}",
}


def parse_rules(wheres: Sequence[tuple[str, Any]]) -> EntityRules:
    """The rules of (table, its `where`), in the order of the file. Raises Misconfigured."""
    rules = [_rule(table, where) for table, where in wheres]
    rests = [rule.table for rule in rules if rule.is_rest]
    if len(rests) > 1:
        raise Misconfigured(f"{rests[1]}: where: rest is what {rests[0]} takes already; only one table can be the rest")
    ordered = [rule for rule in rules if not rule.is_rest] + [rule for rule in rules if rule.is_rest]
    _check_types(ordered)
    for place, rule in enumerate(ordered):
        for earlier in ordered[:place]:
            if not rule.is_rest and _covers(earlier, rule):
                raise Misconfigured(
                    f"{rule.table} would get no key, since {earlier.table} comes before it and takes all of "
                    f"{rule}; the first rule that takes a key wins, so write {rule.table} first"
                )
    return EntityRules(tuple(ordered))


def _rule(table: str, where: Any) -> EntityRule:
    if where == REST:
        return EntityRule(table)
    if not isinstance(where, dict) or not where:
        raise Misconfigured(
            f'{table}: where is missing; give conditions on key attributes, such as {{pk: "USER#*"}}, or the word rest'
        )
    conditions = []
    for name, written in where.items():
        if not isinstance(name, str) or not name:
            raise Misconfigured(f"{table}: where: put quotes around {name!r}, an attribute's name is text")
        conditions.append((name, _condition(f"{table}: where: {name}", written)))
    return EntityRule(table, tuple(conditions))


def _condition(place: str, written: Any) -> Condition:
    if isinstance(written, str):
        return _text(place, written)
    if isinstance(written, int) and not isinstance(written, bool):
        number = _number(place, written)
        return Number(number, number)
    if isinstance(written, dict) and written and set(written) <= {"from", "below"}:
        least, below = (_number(place, written[name]) if name in written else None for name in ("from", "below"))
        if least is not None and below is not None and least >= below:
            raise Misconfigured(f"{place}: no number is from {least} on and below {below}")
        return Number(least, below)
    if isinstance(written, bool | date):
        # An unquoted 2026-11-01 or `no` comes out of YAML as a date or a truth value.
        raise Misconfigured(f"{place}: YAML takes it for {written}, which is no text; put quotes around it")
    raise Misconfigured(
        f'{place}: {written!r} is no condition; write a text, a prefix "USER#*", a whole number, a range of numbers '
        '{from: 1, below: 100}, or "*"'
    )


def _text(place: str, written: str) -> Condition:
    if written == "*":
        return Everything()
    is_prefix = re.search(r"(?<!\\)\*\Z", written) is not None
    text = written[:-1] if is_prefix else written
    if re.search(r"(?<!\\)\*", text):
        raise Misconfigured(f"{place}: {written!r} has a * that is not its end; write \\* for the character itself")
    text = text.replace(r"\*", "*")
    if not text:
        raise Misconfigured(f'{place}: no key attribute is an empty text; write "*" for any value')
    return Text(text, is_prefix)


_MOST_PLACES: Final = 18
"""Digits before and after the point of a bound: with those of the attribute they fit a decimal of 38."""


def _number(place: str, written: Any) -> Decimal:
    if isinstance(written, int | str) and not isinstance(written, bool):
        try:
            number = Decimal(canonical_number(str(written)))
        except Poison:
            pass
        else:
            exponent = number.as_tuple().exponent
            if isinstance(exponent, int) and -exponent <= _MOST_PLACES and number.adjusted() < _MOST_PLACES:
                return number
            raise Misconfigured(f"{place}: {written} has more than {_MOST_PLACES} digits before or after its point")
    # YAML makes a binary fraction of an unquoted 0.1, which is another number.
    raise Misconfigured(f"{place}: {written!r} is no number; write a whole one, or one with a point in quotes")


def _check_types(rules: Sequence[EntityRule]) -> None:
    """A key attribute has one type in DynamoDB, so rules that disagree cannot both be right."""
    seen: dict[str, tuple[str, str]] = {}
    for rule in rules:
        for name, condition in rule.conditions:
            if not condition.tag:
                continue
            table, tag = seen.setdefault(name, (rule.table, condition.tag))
            if tag != condition.tag:
                raise Misconfigured(
                    f"{rule.table}: where: {name} is {_TYPES[condition.tag]} here and {_TYPES[tag]} in {table}; "
                    "a key attribute has one type. A range compares numbers only"
                )


def _covers(rule: EntityRule, other: EntityRule) -> bool:
    """Whether ``rule`` takes every key that ``other`` takes."""
    narrower = dict(other.conditions)
    return all(name in narrower and _includes(condition, narrower[name]) for name, condition in rule.conditions)


def _includes(wide: Condition, narrow: Condition) -> bool:
    match wide, narrow:
        case Everything(), _:
            return True
        case Text(text, is_prefix), Text(other, other_is_prefix):
            return other.startswith(text) if is_prefix else (not other_is_prefix and other == text)
        case Number() as one, Number() as other_number if other_number.is_one:
            return one.takes({"N": f"{other_number.least}"})
        case Number(least, below) as one, Number(other_least, other_below):
            starts = least is None or (other_least is not None and other_least >= least)
            ends = below is None or (other_below is not None and other_below <= below)
            return starts and ends and not one.is_one
        case _:
            return False


def _are_apart(one: EntityRule, other: EntityRule) -> bool:
    """Whether no key can be one of both rules."""
    theirs = dict(other.conditions)
    return any(name in theirs and _exclude(condition, theirs[name]) for name, condition in one.conditions)


def _exclude(one: Condition, other: Condition) -> bool:
    match one, other:
        case Text(text, is_prefix), Text(other_text, other_is_prefix):
            if is_prefix and other_is_prefix:
                return not (text.startswith(other_text) or other_text.startswith(text))
            return not (_includes(one, other) or _includes(other, one))
        case Number() as first, Number() as second:
            if first.is_one or second.is_one:
                return not (_includes(first, second) or _includes(second, first))
            ends_before = (
                low.below is not None and high.least is not None and low.below <= high.least
                for low, high in ((first, second), (second, first))
            )
            return any(ends_before)
        case _:
            return False
