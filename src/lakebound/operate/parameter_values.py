"""What a parameter of the template takes, by its own words there: choices, a range, a pattern."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lakebound.operate.sam_parameters import refused


def choices_text(choices: list[Any] | tuple[str, ...], least: int | None, most: int | None) -> str:
    """`a, b or c`, `1 to 10`, `0 or more`, or nothing where neither choices nor bounds say it."""
    if choices:
        *others, last = map(str, choices)
        return f"{', '.join(others)} or {last}" if others else last
    if least is None and most is None:
        return ""
    return f"{least} or more" if most is None else f"at most {most}" if least is None else f"{least} to {most}"


def takes(parameter: Mapping[str, Any]) -> str:
    """The same of a parameter."""
    return choices_text(parameter.get("AllowedValues", []), parameter.get("MinValue"), parameter.get("MaxValue"))


def refuse_values(parameters: Mapping[str, str], known: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises Misconfigured for a value that CloudFormation would refuse, after SAM has built for minutes."""
    for name, value in parameters.items():
        one = known[name]
        if not _fits(value, one):
            wanted = takes(one) or one.get("ConstraintDescription") or one["Description"]
            raise refused(f"{name} is {value!r}, which the template does not take", f"Give it what it takes: {wanted}")


def _fits(value: str, parameter: Mapping[str, Any]) -> bool:
    if choices := parameter.get("AllowedValues"):
        return value in map(str, choices)
    if parameter["Type"] == "Number":
        try:
            number = float(value)
        except ValueError:
            return False
        return bool(parameter.get("MinValue", number) <= number <= parameter.get("MaxValue", number))
    pattern = parameter.get("AllowedPattern")
    is_short = bool(len(value) <= parameter.get("MaxLength", len(value)))
    return is_short and (pattern is None or re.fullmatch(pattern, value) is not None)
