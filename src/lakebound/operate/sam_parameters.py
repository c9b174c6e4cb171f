"""The template's parameters on their way to SAM CLI, which must get each value exactly as a person wrote it.

SAM reads `DropAttributes=first name` as `first`, leaves out what it cannot read, and leaves out a parameter that the
template does not have, each without a word. For a privacy setting that means: the attribute lands. So what is given is
read strictly here, and is written in the one way that SAM reads whole. tests/deployment asks SAM's own parser, with
generated values, what it makes of what is accepted and written here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from lakebound.errors import Misconfigured

NOTHING_DONE = "Nothing was built, deployed or written."

_GIVEN = re.compile(
    r"""\s*(?P<name>[^\s='"\\]+)=(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>[^\s'"]*))(?=\s|$)"""
)
_NAME = re.compile(r"[A-Za-z0-9]+")
_KEPT = re.compile(
    r"""[ ]*(?P<name>[A-Za-z0-9]+)=(?P<value>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|(?:\\[^\s'"\\]|[^\s'"\\])+)"""
    r"(?=[ ]|$)"
)
_LONG_NAME = "ParameterKey"
"""SAM's other way to write one: `ParameterKey=TableName,ParameterValue=cars`. One such and it reads nothing else."""
_LONG = re.compile(r"(?P<name>[A-Za-z0-9]+),ParameterValue=(?P<value>[^\s'\"\\]+)")
_UNESCAPED = re.compile(r"""\\([ "'])""")
_CHANGED = re.compile(r"""\\(?=[ "']|$)""")
"""A backslash that SAM takes away, or reads as part of the quote that follows. It leaves every other one."""


def refused(what: str, hint: str = "") -> Misconfigured:
    """The error of a deployment that was not begun."""
    return Misconfigured(what, hint=f"{hint}. {NOTHING_DONE}" if hint else NOTHING_DONE)


def given(text: str) -> dict[str, str]:
    """What PARAMETERS says: `Name=value`, `Name="a value"` or `Name='a value'`, with nothing to escape.

    Raises Misconfigured for anything else: a value whose end is a matter of opinion is no value.
    """
    found: list[tuple[str, str]] = []
    at = 0
    while text[at:].strip():
        one = _GIVEN.match(text, at)
        if one is None:
            raise refused(
                f"PARAMETERS cannot be read from {text[at:].strip()[:40]!r} on",
                "Write Name=value, and quote a value with a space, whole:"
                " PARAMETERS='DropAttributes=\"first name,email\"'",
            )
        found.append((one["name"], next(one[way] for way in ("double", "single", "bare") if one[way] is not None)))
        at = one.end()
    return _once(found, "PARAMETERS")


def named(pairs: Iterable[str]) -> dict[str, str]:
    """What `-p Name=value` says, each: the value is all that follows, for the shell has read its quotes.

    Raises Misconfigured for one without a name, or a name given twice.
    """
    found: list[tuple[str, str]] = []
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or not name:
            raise refused(f"-p {pair[:40]!r} is no parameter", "Write -p Name=value")
        found.append((name, value))
    return _once(found, "-p")


def _once(pairs: list[tuple[str, str]], where: str) -> dict[str, str]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise refused(f"{where} gives {next(name for name in names if names.count(name) > 1)} twice", "Give it once")
    return found


def kept(overrides: Any) -> dict[str, str]:
    """What samconfig.toml's `parameter_overrides` says, in any form that SAM takes: a text, a list, a table.

    Raises Misconfigured where SAM would leave a part of it out, or where that is not sure.
    """
    if isinstance(overrides, str):
        return _kept(overrides)
    if isinstance(overrides, list):
        return {name: value for one in overrides for name, value in kept(one).items()}
    if not isinstance(overrides or {}, Mapping):
        raise _unreadable(str(overrides))
    return {str(name): _plain(value) for name, value in (overrides or {}).items()}


def _plain(value: Any) -> str:
    text = ",".join(str(one).strip() for one in value if one != "") if isinstance(value, list) else str(value)
    if not isinstance(value, list | str | int | bool) or text[:1] in ("'", '"') or _UNESCAPED.search(text):
        raise _unreadable(text)
    return text


def _kept(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    ways = set()
    at = 0
    while text[at:].strip():
        one = _KEPT.match(text, at)
        if one is None:
            raise _unreadable(text[at:].strip())
        name, value = one["name"], one["value"]
        ways.add(name == _LONG_NAME)
        if name == _LONG_NAME:
            long = _LONG.fullmatch(value)
            if long is None:
                raise _unreadable(text[at:].strip())
            name, value = long["name"], long["value"]
        found[name] = _unquoted(value)
        at = one.end()
    if len(ways) > 1 or (ways == {False} and f"{_LONG_NAME}=" in text):
        raise _unreadable(text)
    return found


def _unquoted(value: str) -> str:
    if value[0] in "'\"":
        value = value[1:-1]
    return _UNESCAPED.sub(r"\1", value)


def _unreadable(text: str) -> Misconfigured:
    return refused(
        f"SAM would not read all of parameter_overrides in samconfig.toml, from {text[:40]!r} on",
        'Quote each value whole there: parameter_overrides = \'TableName="cars" DropAttributes="first name,email"\'',
    )


def overrides(values: Mapping[str, str]) -> list[str]:
    """An argument a value, of which SAM makes exactly this value, together and each alone. Raises Misconfigured."""
    return [_override(name, value) for name, value in values.items()]


def _override(name: str, value: str) -> str:
    if not _NAME.fullmatch(name) or _CHANGED.search(value) or f"{_LONG_NAME}=" in value:
        raise refused(
            f"The value of {name} cannot be given to SAM as it is: {value!r}", "Do without its quotes or backslashes"
        )
    escaped = value.replace('"', '\\"')
    return f'{name}="{escaped}"'


def refuse_unknown(names: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raises Misconfigured for a name that the template does not have: SAM would leave it out without a word."""
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise refused(
            f"{where} gives {', '.join(unknown)}, which the template does not have; docs/SETTINGS.md lists what it has"
        )
