"""The template's parameters on their way to SAM CLI, which must get each value exactly as a person wrote it.

SAM reads `DropAttributes=first name` as `first`, leaves out what it cannot read, and leaves out a parameter that the
template does not have, each without a word. For a privacy setting that means: the attribute lands. So what is given is
read strictly here, and SAM's own parser is asked beforehand what it makes of what it will get.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from samcli.cli.types import CfnParameterOverridesType

_GIVEN = re.compile(
    r"""\s*(?P<name>[^\s='"\\]+)=(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>[^\s'"]*))(?=\s|$)"""
)
_KEPT = re.compile(r"""\s*(?P<token>[^\s='"\\]+=(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|(?:\\.|[^\s'"\\])*))(?=\s|$)""")


class Refused(Exception):
    """A sentence for the person at the terminal; nothing was built, sent or written."""


def given(text: str) -> dict[str, str]:
    """What PARAMETERS says: `Name=value`, `Name="a value"` or `Name='a value'`, with nothing to escape.

    Raises Refused for anything else: a value whose end is a matter of opinion is no value.
    """
    found: dict[str, str] = {}
    at = 0
    while text[at:].strip():
        one = _GIVEN.match(text, at)
        if one is None:
            raise Refused(
                f"PARAMETERS cannot be read from {text[at:].strip()[:40]!r} on. Write Name=value, and quote a value"
                " with a space, whole: PARAMETERS='DropAttributes=\"first name,email\"'"
            )
        name = one["name"]
        if name in found:
            raise Refused(f"PARAMETERS gives {name} twice. Give it once")
        found[name] = next(one[way] for way in ("double", "single", "bare") if one[way] is not None)
        at = one.end()
    return found


def kept(overrides: Any) -> dict[str, str]:
    """What samconfig.toml's `parameter_overrides` says, in any form that SAM takes. Raises Refused where SAM would
    leave a part of it out."""
    if isinstance(overrides, str):
        tokens = _tokens(overrides)
        found = as_sam_reads([overrides])
        if found != as_sam_reads(tokens):
            raise _unreadable(overrides)
        return found
    if isinstance(overrides, list):
        return {name: value for one in overrides for name, value in kept(one).items()}
    return as_sam_reads([dict(overrides or {})])


def _tokens(text: str) -> list[str]:
    tokens = []
    at = 0
    while text[at:].strip():
        one = _KEPT.match(text, at)
        if one is None:
            raise _unreadable(text[at:].strip())
        tokens.append(one["token"])
        at = one.end()
    return tokens


def _unreadable(text: str) -> Refused:
    return Refused(
        f"SAM would not read all of parameter_overrides in samconfig.toml, from {text[:40]!r} on. Quote each value "
        'whole there: parameter_overrides = \'TableName="cars" DropAttributes="first name,email"\''
    )


def as_sam_reads(overrides: list[Any]) -> dict[str, str]:
    """What SAM's own parser makes of them."""
    try:
        found: dict[str, str] = CfnParameterOverridesType().convert(tuple(overrides) or ("",), None, None)
    except Exception as refused:  # click's own error, whose text is SAM's
        raise Refused(f"SAM cannot read the parameters: {refused}") from None
    return found


def overrides(values: Mapping[str, str]) -> list[str]:
    """An argument a value, of which SAM's parser makes exactly this value, together and each alone. Raises Refused."""
    made = [_override(name, value) for name, value in values.items()]
    for whole in (made, [" ".join(made)]):
        if as_sam_reads(whole) != dict(values):
            raise Refused(f"SAM would not read the values of {', '.join(values)} together as they were given")
    return made


def _override(name: str, value: str) -> str:
    escaped = value.replace('"', '\\"')
    for written in (f'{name}="{value}"', f"{name}='{value}'", f'{name}="{escaped}"', f"{name}={value}"):
        if _reads_as(written, {name: value}) and _whole(written):
            return written
    raise Refused(
        f"The value of {name} cannot be given to SAM as it is: {value!r}. Do without its quotes or backslashes"
    )


def _reads_as(written: str, wanted: Mapping[str, str]) -> bool:
    try:
        return as_sam_reads([written]) == dict(wanted)
    except Refused:
        return False


def _whole(written: str) -> bool:
    try:
        return _tokens(written) == [written]
    except Refused:
        return False


def refuse_unknown(names: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raises Refused for a name that the template does not have: SAM would leave it out without a word."""
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise Refused(
            f"{where} gives {', '.join(unknown)}, which the template does not have; docs/SETTINGS.md lists what it has"
        )
