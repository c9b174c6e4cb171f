"""Proposes the columns of the merge job's YAML from a sample of items, each with what would not fit.

A person has to read the proposal, since a sample does not hold what comes later. A value that does not fit its column
then is NULL there, is counted, and stays whole in `_item`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from lakebound.counts import count_text
from lakebound.errors import Poison
from lakebound.record.attributes import canonical_number
from lakebound.record.column_names import RESERVED_COLUMNS, folded, unusable
from lakebound.record.moments import MomentForm, moment_form

MOST_MEMBERS: Final = 16
"""A map with more names than this is a map of values, not a record with members."""

DEEPEST: Final = 3
"""How many levels of maps become columns of their own."""

_DECISIVE: Final = 0.9
"""A type that fits fewer of the values than this is not proposed; `json` takes them all."""

MOST_DIGITS: Final = 38
"""Of a decimal in Delta, as of an N in DynamoDB."""

BEFORE_POINT: Final = 10
MORE_BEFORE: Final = 4
"""A decimal gets this many digits before its point, or this many more than were seen, whichever is more."""

AFTER_POINT: Final = 2
MORE_AFTER: Final = 2
"""Up to two digits after the point become two, as of money: DynamoDB keeps 12.50 as 12.5. More get this many spare."""

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}").fullmatch
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*").fullmatch
_WORDS_OF_YAML: Final = frozenset(("true", "false", "yes", "no", "on", "off", "null", "y", "n"))


_PAIRS: Final = (("true", "false"), ("yes", "no"), ("y", "n"), ("t", "f"), ("on", "off"), ("1", "0"))
_TRUTHS: Final = {
    form: (true, i == 0)
    for pair in _PAIRS
    for forms in (pair, [one.upper() for one in pair], [one.capitalize() for one in pair])
    for i, form in enumerate(forms)
    for true in [forms[0]]
}
"""Texts that mean yes or no: by the spelling of yes that they go with, and whether they are yes."""

_UNITS: Final = {"s": 1, "ms": 1_000, "us": 1_000_000}
_FIRST_SECOND, _END_SECOND = 946_684_800, 4_102_444_800
"""The years 2000 to 2099. A number of seconds outside them does not count as a moment."""
_NAMES_A_TIME = re.compile(
    r"(?i:.*(^|[_.-])(ttl|ts|time|times|timestamp|epoch|date|datetime|at|on|since|until|created|updated|modified|"
    r"expires|expiry|expiration)([_.-](s|ms|us|sec|millis|micros|epoch))?)"
    r"|.*(At|Time|Timestamp|Date|Ts|Epoch|TTL)(Ms|Millis|Micros|Us)?"
).fullmatch


@dataclass(slots=True)
class AttributeProfile:
    """What the sample holds of one attribute."""

    tags: Counter[str] = field(default_factory=Counter)
    numbers: Counter[tuple[int, int, bool]] = field(default_factory=Counter)
    """Counts of numbers by (digits before the point, digits after it, whether they fit 64 bits)."""
    units: Counter[str] = field(default_factory=Counter)
    """Counts of numbers that are a moment of this century, by unit: s, ms or us."""
    truths: Counter[tuple[str, str, bool]] = field(default_factory=Counter)
    """Counts of texts and numbers that mean yes or no, by (tag, spelling of yes, whether it is yes)."""
    texts: Counter[str | MomentForm] = field(default_factory=Counter)
    members: dict[str, AttributeProfile] = field(default_factory=dict)
    elements: AttributeProfile | None = None

    def add(self, value: Mapping[str, Any]) -> None:
        """Take one attribute value into account."""
        tag, inner = _tag_and_value(value)
        self.tags[tag] += 1
        if tag == "N":
            self.numbers[_measure(inner)] += 1
            if (unit := _unit_of(inner)) is not None:
                self.units[unit] += 1
            self._add_truth(tag, inner)
        elif tag == "S":
            self.texts[_kind_of_text(inner)] += 1
            self._add_truth(tag, inner)
        elif tag == "M":
            for name, member in inner.items():
                self.members.setdefault(name, AttributeProfile()).add(member)
        elif tag in ("L", "SS", "NS", "BS"):
            self.elements = self.elements or AttributeProfile()
            for member in inner:
                self.elements.add(member if tag == "L" else {tag[0]: member})

    def merged(self, other: AttributeProfile) -> AttributeProfile:
        """What both hold together."""
        members = {
            name: one if two is None else two if one is None else one.merged(two)
            for name in self.members | other.members
            for one, two in [(self.members.get(name), other.members.get(name))]
        }
        both = self.elements and other.elements and self.elements.merged(other.elements)
        return AttributeProfile(
            self.tags + other.tags,
            self.numbers + other.numbers,
            self.units + other.units,
            self.truths + other.truths,
            self.texts + other.texts,
            {name: profile for name, profile in members.items() if profile is not None},
            both or self.elements or other.elements,
        )

    def _add_truth(self, tag: str, token: str) -> None:
        if (truth := _TRUTHS.get(token)) is not None:
            self.truths[(tag, *truth)] += 1


_SHAPES: Final[Mapping[str, type]] = {
    "S": str,
    "N": str,
    "B": str,
    "BOOL": bool,
    "NULL": bool,
    "M": dict,
    **dict.fromkeys(("L", "SS", "NS", "BS"), list),
}
_STRANGE: Final = "?"


def _tag_and_value(value: Any) -> tuple[str, Any]:
    """The value's tag and its content; `?` for what DynamoDB does not store today.

    Records carry what came, so a batch file may hold a type that DynamoDB adds later. Its column is `json`.
    """
    if isinstance(value, dict) and len(value) == 1:
        tag, inner = next(iter(value.items()))
        is_shaped = tag in _SHAPES and isinstance(inner, _SHAPES[tag])
        if is_shaped and (tag not in ("SS", "NS", "BS") or all(isinstance(member, str) for member in list(inner))):
            return tag, inner
    return _STRANGE, None


def _unit_of(token: str) -> str | None:
    """The unit in which the number is a moment of this century. The three ranges do not overlap."""
    try:
        number = Decimal(token)
    except InvalidOperation:
        return None
    return next((u for u, size in _UNITS.items() if _FIRST_SECOND * size <= number < _END_SECOND * size), None)


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


def _kind_of_text(text: str) -> str | MomentForm:
    if _DATE(text):
        try:
            date.fromisoformat(text)
        except ValueError:
            return "string"
        return "date"
    return moment_form(text) or "string"


@dataclass(frozen=True, slots=True)
class Guess:
    """A type and its options, how many values would not fit, and a remark for the reader."""

    type: str
    exceptions: int = 0
    options: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    remark: str = ""


@dataclass(frozen=True, slots=True)
class ColumnProposal:
    """A line of `columns`: the path's names, the column's name if it differs, the type, and how many values do not fit.

    ``seen`` counts the values that are not NULL, ``exceptions`` those that would be NULL in the column.
    """

    path: tuple[str, ...]
    name: str | None
    type: str
    seen: int
    exceptions: int
    options: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    remark: str = ""

    @property
    def how(self) -> dict[str, Any]:
        """What the line says of the column: its type, its options, and its name if it is another."""
        options = {name: list(value) if isinstance(value, tuple) else value for name, value in self.options.items()}
        return {"type": self.type, **options, **({} if self.name is None else {"name": self.name})}

    def line(self) -> str:
        """The line of YAML with its comment."""
        how = {name: _scalar_or_list(value) for name, value in self.how.items()}
        value = how["type"] if len(how) == 1 else "{" + ", ".join(f"{name}: {one}" for name, one in how.items()) + "}"
        seen = count_text(self.seen, "value")
        fit = f"{self.exceptions:,} of {seen} seen would be NULL"
        if not self.exceptions:
            fit = "takes the one value seen" if self.seen == 1 else f"takes all {seen} seen"
        return f"  {yaml_key(path_text(self.path))}: {value}  # {fit}{self.remark and '; ' + self.remark}"


def path_text(path: tuple[str, ...]) -> str:
    r"""The path as the configuration writes it: names joined by dots, a dot in a name as `\.`."""
    return ".".join(name.replace(".", r"\.") for name in path)


class Inference:
    """Collects items, then proposes. Memory grows with the number of different names, not of items."""

    def __init__(self) -> None:
        self.items = 0
        self._root = AttributeProfile()

    def add(self, item: Mapping[str, Any]) -> None:
        """Take one item into account."""
        self.items += 1
        self._root.add({"M": item})

    def merge(self, other: Inference) -> None:
        """Take the items of another one."""
        self.items += other.items
        self._root = self._root.merged(other._root)

    def columns(self) -> list[ColumnProposal]:
        """One proposal an attribute, members of maps by their path, in the order of the names."""
        taken = {folded(name) for name in RESERVED_COLUMNS}
        found = []
        for path, facts in _leaves(self._root, ()):
            guess = type_of(facts, path[-1])
            values = sum(count for tag, count in facts.tags.items() if tag != "NULL")
            name = _free_name(path_text(path), taken)
            found.append(ColumnProposal(path, name, guess.type, values, guess.exceptions, guess.options, guess.remark))
        return found

    def yaml(self, source_table: str) -> str:
        """The whole configuration file."""
        lines = [
            f"# Proposed from {count_text(self.items, 'item')}. Each line says how many values its type "
            "was proposed from: what",
            "# comes later and does not fit is NULL in its column and counted, and whole in _item. A number whose name",
            "# tells no time stays a number: where one is a moment, write {type: timestamp, unit: ms} (or s, us).",
            "# Give a decimal more digits where you expect more: a type that is changed later needs a new target.",
            f"source_table: {yaml_text(source_table)}",
        ]
        columns = [one.line() for one in self.columns()]
        lines += ["columns:", *columns] if columns else ["columns: {}"]
        lines += ["deletes: soft", "history: none"]
        return "\n".join(lines) + "\n"


def _leaves(facts: AttributeProfile, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], AttributeProfile]]:
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


def _is_record(facts: AttributeProfile) -> bool:
    return set(facts.tags) <= {"M", "NULL"} and 0 < len(facts.members) <= MOST_MEMBERS


def type_of(facts: AttributeProfile, name: str = "") -> Guess:
    """The type for an attribute of this name, and how many of its values (without NULL) would not fit."""
    tags = Counter({tag: count for tag, count in facts.tags.items() if tag != "NULL"})
    total = sum(tags.values())
    if (truth := _truth(facts, tags)) is not None:
        return truth
    if not total or set(tags) == {"S", "N"}:
        return Guess("string")
    (tag, count), *_ = tags.most_common(1)
    guess = _type_of_tag(tag, facts, name)
    if count - guess.exceptions < _DECISIVE * total:
        return Guess("json")
    if guess.type == "string":
        count += tags["N"] if tag == "S" else 0
    return guess if guess.type == "json" else replace(guess, exceptions=total - count + guess.exceptions)


def _truth(facts: AttributeProfile, tags: Counter[str]) -> Guess | None:
    """A boolean by its lists, where every value means yes or no; None for anything else.

    Without a BOOL beside them both words of a writing have to be there: a column that was always `Y` so far may be one
    of initials. Numbers are taken beside a BOOL or such texts only: most columns of 0 and 1 count something.
    """
    truths = sum(facts.truths.values())
    if not truths or truths + tags["BOOL"] != sum(tags.values()):
        return None
    words: dict[str, set[bool]] = {}
    for tag, true, yes in facts.truths:
        if tag == "S":
            words.setdefault(true, set()).add(yes)
    if not tags["BOOL"] and (set(words) <= {"1"} or any(len(spellings) < 2 for spellings in words.values())):
        return None
    no_of = {true: form for form, (true, yes) in _TRUTHS.items() if not yes}
    pairs = [(true, no_of[true]) for _, true in sorted({(tag, true) for tag, true, _ in facts.truths})]
    lists = {"true": tuple(dict.fromkeys(p[0] for p in pairs)), "false": tuple(dict.fromkeys(p[1] for p in pairs))}
    return Guess("boolean", options=lists)


def _type_of_tag(tag: str, facts: AttributeProfile, name: str) -> Guess:
    match tag:
        case "N":
            return _number(facts, name)
        case "S":
            return _text(facts.texts)
        case "BOOL":
            return Guess("boolean")
        case "B":
            return Guess("binary")
        case "?":
            return Guess("json")
        case "M":
            values = AttributeProfile()
            for member in facts.members.values():
                values = values.merged(member)
            return _collection("map<string,", values, name)
        case _:
            return _collection("array<", facts.elements or AttributeProfile(), name)


def _collection(outer: str, members: AttributeProfile, name: str) -> Guess:
    guess = type_of(members, name)
    # One member that does not fit makes the whole NULL.
    if guess.exceptions or "<" in guess.type:
        return Guess("json")
    return replace(guess, type=f"{outer}{guess.type}>")


def _text(texts: Counter[str | MomentForm]) -> Guess:
    moments = [form for form in texts if isinstance(form, MomentForm)]
    if len(moments) < len(texts):
        return Guess("date" if set(texts) == {"date"} else "string")
    options, remarks = {}, []
    if without := sum(texts[form] for form in moments if not form.has_offset):
        options["zone"] = "Z"
        remarks.append(f"{without:,} without an offset are taken for UTC")
    if finer := sum(texts[form] for form in moments if form.is_finer):
        options["fraction"] = "truncate"
        remarks.append(f"{finer:,} finer than microseconds are cut off")
    return Guess("timestamp", options=options, remark=", ".join(remarks))


def _number(facts: AttributeProfile, name: str) -> Guess:
    numbers = facts.numbers
    if (moment := _moment(facts, name)) is not None:
        return moment
    if all(fits for _, _, fits in numbers):
        return Guess("bigint")
    total = sum(numbers.values())
    best, fewest = 0, total
    for scale in sorted({after for _, after, _ in numbers if after <= MOST_DIGITS}):
        wrong = _unfit(numbers, MOST_DIGITS, scale)
        if wrong < fewest:
            best, fewest = scale, wrong
    if fewest == total:
        return Guess(f"decimal({MOST_DIGITS},0)", total)
    before = max(whole for whole, after, _ in numbers if after <= best and whole <= MOST_DIGITS - best)
    remark = f"digits before and after the point: at most {before} and {best}"
    if not best:
        return Guess(f"decimal({MOST_DIGITS},0)", fewest, remark=remark)
    # Where 38 digits are not enough for both, the room before the point is kept.
    whole = min(max(BEFORE_POINT, before + MORE_BEFORE), MOST_DIGITS - best)
    scale = min(AFTER_POINT if best <= AFTER_POINT else best + MORE_AFTER, MOST_DIGITS - whole)
    return Guess(f"decimal({whole + scale},{scale})", _unfit(numbers, whole + scale, scale), remark=remark)


def _unfit(numbers: Counter[tuple[int, int, bool]], precision: int, scale: int) -> int:
    """How many of the numbers a decimal of this form cannot hold exactly."""
    return sum(count for (before, after, _), count in numbers.items() if after > scale or before > precision - scale)


def _moment(facts: AttributeProfile, name: str) -> Guess | None:
    """Moments since 1970, where every number is one of this century and the name or a fraction of a second says so.

    A telephone number has ten digits as well, so whole seconds alone do not.
    """
    if len(facts.units) != 1 or sum(facts.units.values()) != sum(facts.numbers.values()):
        return None
    (unit,) = facts.units
    digits = max(after for _, after, _ in facts.numbers)
    if not (_NAMES_A_TIME(name) or (unit == "s" and digits > 0)):
        return None
    options = {"unit": unit}
    remark = ""
    places = {"s": 6, "ms": 3, "us": 0}[unit]
    if finer := sum(count for (_, after, _), count in facts.numbers.items() if after > places):
        options["fraction"] = "truncate"
        remark = f"{finer:,} finer than microseconds are cut off"
    return Guess("timestamp", options=options, remark=remark)


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


def _scalar_or_list(value: str | list[str]) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(yaml_text, value)) + "]"
    is_plain = re.fullmatch(r"[a-z0-9]+", value) is not None and value not in _WORDS_OF_YAML
    return value if is_plain else yaml_text(value)


def yaml_key(text: str) -> str:
    """The text as a key of YAML."""
    return text if _PLAIN_KEY(text) and text.lower() not in _WORDS_OF_YAML else yaml_text(text)


def yaml_text(text: str) -> str:
    """A double-quoted YAML scalar."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
