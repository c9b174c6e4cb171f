"""A value that the template does not take is refused before anything is built; the page says what it takes."""

from __future__ import annotations

from typing import Any

import pytest

from lakebound.adapters.stack_files import template_parameters
from lakebound.errors import Misconfigured
from lakebound.operate.deploy_plan import Asked, plan
from lakebound.operate.parameter_values import choices_text, refuse_values, takes

PARAMETERS = template_parameters()
CHOICES = [name for name, one in PARAMETERS.items() if "AllowedValues" in one]
NUMBERS = [name for name, one in PARAMETERS.items() if one["Type"] == "Number" and "AllowedValues" not in one]
PATTERNS = [name for name, one in PARAMETERS.items() if "AllowedPattern" in one]


def refused(name: str, value: Any) -> str:
    with pytest.raises(Misconfigured) as found:
        refuse_values({name: str(value)}, PARAMETERS)
    return str(found.value)


def test_each_default_is_taken_and_each_parameter_is_of_a_known_kind() -> None:
    refuse_values({name: str(one["Default"]) for name, one in PARAMETERS.items() if "Default" in one}, PARAMETERS)
    assert {one["Type"] for one in PARAMETERS.values()} == {"String", "Number"}
    assert len(CHOICES) > 10 < len(NUMBERS)
    assert PATTERNS


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_is_taken_and_another_text_is_refused_with_them(name: str) -> None:
    for one in PARAMETERS[name]["AllowedValues"]:
        refuse_values({name: str(one)}, PARAMETERS)
        assert str(one) in refused(name, f"{one}x")
    refused(name, "")


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_is_taken_within_its_bounds_only(name: str) -> None:
    least, most = PARAMETERS[name]["MinValue"], PARAMETERS[name].get("MaxValue")
    for bound, beyond in ((least, least - 1), (most, None if most is None else most + 1)):
        if bound is not None:
            refuse_values({name: str(bound)}, PARAMETERS)
            assert takes(PARAMETERS[name]) in refused(name, beyond)
    for text in ("", "many", "1 000", "nan"):
        refused(name, text)


@pytest.mark.parametrize("name", PATTERNS)
def test_a_text_that_is_too_long_or_not_of_the_pattern_is_refused(name: str) -> None:
    assert "Nothing was built" in refused(name, "\x00")
    if "MaxLength" in PARAMETERS[name]:
        refused(name, "a" * (PARAMETERS[name]["MaxLength"] + 1))


@pytest.mark.parametrize("wrong", [{"FileFormat": "avr"}, {"MaxSeconds": "601"}, {"TableName": "a b"}])
def test_a_deployment_is_refused_before_it_is_begun(wrong: dict[str, str]) -> None:
    asked = Asked("s", {"TableName": "cars", **wrong}, "", "", yes=True)
    (name, value), *_ = wrong.items()
    with pytest.raises(Misconfigured, match=f"{name} is '{value}', which the template does not take"):
        plan(asked, {}, PARAMETERS, terminal=False)
    plan(Asked("s", {"TableName": "cars"}, "", "", yes=True), {}, PARAMETERS, terminal=False)


@pytest.mark.parametrize(
    ("choices", "least", "most", "text"),
    [
        ((), None, None, ""),
        (("a",), None, None, "a"),
        ((1, 2, 3), None, None, "1, 2 or 3"),
        ((), 0, None, "0 or more"),
        ((), None, 9, "at most 9"),
        ((), 1, 9, "1 to 9"),
    ],
)
def test_what_is_taken_is_said_in_words(choices: Any, least: int | None, most: int | None, text: str) -> None:
    assert choices_text(choices, least, most) == text
