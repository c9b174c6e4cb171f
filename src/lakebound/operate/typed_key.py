"""The key that a person typed, as the keys of the table that it may mean.

Accepted: silver's `_key` (`pk=S:a|sk=N:1`), `pk=a,sk=1` in any order, a JSON object with or without DynamoDB's type
tags, and the bare value where the key has one attribute (with two: both, with one of `, | # /` or a space between).
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any, Final

from lakebound.errors import LakeboundError, Poison
from lakebound.record.attributes import Image, canonical_key, parse_key

Schema = tuple[tuple[str, str], ...]
"""(name, tag) of each key attribute."""

_BETWEEN: Final = ",|&;"
_TAGGED: Final = re.compile(r"(?P<tag>[SNB]):(?P<value>.*)", re.DOTALL)


def schema_of(keys: Mapping[str, Any]) -> Schema:
    """The names and tags of a record's key attributes."""
    return tuple((name, next(iter(value))) for name, value in keys.items())


def possible_keys(text: str, schema: Schema) -> list[str]:
    """The canonical keys that the text may mean in a table of this key, the likeliest first; perhaps none."""
    found: dict[str, None] = {}
    for values in _readings(text, dict(schema)):
        try:
            found.setdefault(canonical_key(values))
        except Poison:
            continue  # no number, or an empty one
    return list(found)


def _readings(text: str, schema: dict[str, str]) -> Iterator[Image]:
    yield from _canonical(text, schema)
    yield from _from_json(text, schema)
    yield from _pairs(text, schema)
    yield from _bare(text, schema)


def _canonical(text: str, schema: dict[str, str]) -> Iterator[Image]:
    try:
        keys = parse_key(text)
    except LakeboundError:
        return
    if dict(schema_of(keys)) == schema:
        yield keys


def _from_json(text: str, schema: dict[str, str]) -> Iterator[Image]:
    try:
        # Numbers as they are typed: a float would lose digits that a key has.
        given = json.loads(text, parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        return
    if not isinstance(given, dict):
        return
    if given.keys() != schema.keys():
        return
    values: dict[str, str] = {}
    for name, value in given.items():
        plain = value
        if isinstance(value, dict) and len(value) == 1:
            plain = value.get(schema[name])
        if not isinstance(plain, str):
            return
        values[name] = plain
    yield from _typed(values, schema)


def _pairs(text: str, schema: dict[str, str]) -> Iterator[Image]:
    # The names are known, so a value may hold a comma, an equals sign, even the other name.
    for names in permutations(schema):
        begin = re.match(rf"\s*{re.escape(names[0])}\s*=", text)
        if begin is None:
            continue
        if len(names) == 1:
            yield from _typed({names[0]: text[begin.end() :]}, schema)
            continue
        for second in re.finditer(rf"{re.escape(names[1])}\s*=", text):
            first = text[begin.end() : second.start()]
            until = first.rstrip()
            if until[-1:] in tuple(_BETWEEN) or until != first:
                first = until[:-1] if until[-1:] in tuple(_BETWEEN) else until
                yield from _typed({names[0]: first, names[1]: text[second.end() :]}, schema)


def _bare(text: str, schema: dict[str, str]) -> Iterator[Image]:
    if len(schema) == 1:
        yield from _typed({next(iter(schema)): text}, schema)
        return
    first, second = schema
    for match in re.finditer(r"[,|#/\s]", text):
        yield from _typed({first: text[: match.start()], second: text[match.end() :]}, schema)


def _typed(values: Mapping[str, str], schema: dict[str, str]) -> Iterator[Image]:
    """The values as typed, then without what a person writes around one: a tag, spaces, quotation marks."""
    made: list[Image] = [{}]
    for name, text in values.items():
        made = [keys | {name: {schema[name]: one}} for keys in made for one in _spellings(text, schema[name])]
    yield from made


def _spellings(text: str, tag: str) -> Iterable[str]:
    spelled = dict.fromkeys([text])
    tagged = _TAGGED.fullmatch(text.lstrip())
    if tagged and tagged["tag"] == tag:
        # `pk=S:a` means `a`, as silver's _key has it; a value that begins so itself comes second.
        spelled = dict.fromkeys([tagged["value"], text])
    for one in list(spelled):
        spelled.setdefault(one.strip())
        if len(bare := one.strip()) > 1 and bare[0] == bare[-1] and bare[0] in "\"'":
            spelled.setdefault(bare[1:-1])
    if tag == "B":
        return dict.fromkeys(other for one in spelled for other in _binaries(one))
    return spelled


def _binaries(text: str) -> Iterator[str]:
    with suppress(ValueError):
        yield b64encode(b64decode(text, validate=True)).decode()
    yield b64encode(text.encode()).decode()


@dataclass(slots=True)
class KeyQuery:
    """Recognises the records of the key that was typed, and remembers what it looked for."""

    text: str
    schema: Schema | None = None
    """Of the newest record that was looked at; None: none was."""
    found: dict[str, int] = field(default_factory=dict)
    """The keys that were met, with their rank: 0 is the likeliest meaning."""
    begun: dict[str, None] = field(default_factory=dict)
    """Whole keys of which only one attribute was typed; the first few."""
    _meant: dict[Schema, dict[str, int]] = field(default_factory=dict)
    _parts: dict[Schema, list[tuple[str, str]]] = field(default_factory=dict)

    def meets(self, key: str, keys: Mapping[str, Any]) -> bool:
        """Whether this record's key is what was meant."""
        schema = schema_of(keys)
        if schema != self.schema:
            self.schema = schema
            if schema not in self._meant:
                self._meant[schema] = {one: rank for rank, one in enumerate(possible_keys(self.text, schema))}
                self._parts[schema] = list(_partial(self.text, schema))
        rank = self._meant[schema].get(key)
        if rank is not None:
            self.found.setdefault(key, rank)
            return True
        if len(self.begun) < _MOST_BEGUN:
            for name, part in self._parts[schema]:
                if canonical_key({name: keys[name]}) == part:
                    self.begun.setdefault(key)
        return False

    @property
    def key(self) -> str:
        """The likeliest key that was met, else the likeliest that was meant, else the text."""
        met = sorted(self.found, key=lambda key: self.found[key])
        return (met or self.looked_for or [self.text])[0]

    @property
    def looked_for(self) -> list[str]:
        """Every key that the text may mean."""
        return list(dict.fromkeys(key for meant in self._meant.values() for key in meant))


_MOST_BEGUN: Final = 5


def _partial(text: str, schema: Schema) -> Iterator[tuple[str, str]]:
    """(name, canonical key of this attribute alone) that the text may mean, of a key with two."""
    if len(schema) < 2:
        return
    for name, tag in schema:
        for key in possible_keys(text, ((name, tag),)):
            yield name, key
