"""The proof of a whole delivery at once never passes what the check of one image refuses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakebound.attributes import check_image
from lakebound.errors import Poison
from lakebound.legality import surely_legal

NUMBERS = st.from_regex(r"-?[0-9]{0,22}\.{0,2}[0-9]{0,22}(e[+-]?[0-9]{1,3})?\n?", fullmatch=True)
SCALARS = st.one_of(
    NUMBERS.map(lambda text: {"N": text}),
    st.decimals(allow_nan=False, allow_infinity=False, places=3).map(lambda number: {"N": str(number)}),
    st.text(max_size=5).map(lambda text: {"S": text}),
    st.booleans().map(lambda flag: {"BOOL": flag}),
    st.just({"NULL": True}),
    st.just({"B": "AAE="}),
    st.just({"SS": ["a", "b"]}),
    st.lists(st.integers(0, 9).map(str), min_size=1, max_size=3, unique=True).map(lambda them: {"NS": them}),
)
TAGS = st.sampled_from(["S", "N", "B", "BOOL", "NULL", "L", "M", "SS", "NS", "BS", "X"])
JUNK = st.one_of(st.none(), st.booleans(), st.integers(0, 1), st.just(""), st.just([]), st.just({}), st.just("text"))
FORGED = st.one_of(JUNK, st.dictionaries(TAGS, JUNK, max_size=2))


def nest(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(values, max_size=3).map(lambda them: {"L": them}),
        st.dictionaries(st.text(max_size=3), values, max_size=3).map(lambda them: {"M": them}),
    )


def images(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    image = st.dictionaries(st.text(max_size=3), st.recursive(values, nest, max_leaves=6), max_size=4)
    return st.lists(image, max_size=4)


def legal(image: object) -> bool:
    try:
        check_image(image)
    except Poison:
        return False
    return True


@given(images(st.one_of(SCALARS, SCALARS, SCALARS, FORGED)))
def test_what_is_surely_legal_passes_each_check(delivery: list[Any]) -> None:
    if surely_legal(delivery):
        assert all(legal(image) for image in delivery)


@settings(max_examples=40)
@given(images(SCALARS))
def test_every_legal_delivery_is_found_legal_at_once(delivery: list[Any]) -> None:
    assert surely_legal(delivery) == all(legal(image) for image in delivery)


@pytest.mark.parametrize(
    "value",
    [
        {"N": ""},
        {"N": "1\n2"},
        {"N": "1.2.3"},
        {"N": "-"},
        {"N": "."},
        {"N": "١"},
        {"N": "NaN"},
        {"N": "1" * 39},
        {"N": 1},
        {"N": None},
        {"N": "1", "S": "x"},
        {},
        {"S": None},
        {"S": 1},
        {"BOOL": 1},
        {"BOOL": "true"},
        {"NULL": False},
        {"NULL": 1},
        {"L": {}},
        {"L": ["a"]},
        {"L": [{"N": "x"}]},
        {"M": []},
        {"M": {"a": "N"}},
        {"M": {"a": {"M": {"b": {"S": 0}}}}},
        {"SS": []},
        {"NS": ["1", "1.0"]},
        {"B": "not base64"},
        {"X": "1"},
        "N",
        None,
        [],
    ],
    ids=repr,
)
def test_one_forged_value_among_good_neighbours_is_never_passed(value: Any) -> None:
    good = {"n": {"N": "1.5"}, "s": {"S": "x"}, "m": {"M": {"b": {"BOOL": True}}}}
    assert surely_legal([good, good])
    assert not surely_legal([good, {**good, "bad": value}, good])
    assert not surely_legal([good, {**good, "m": {"M": {"deep": value}}}, good])
    assert not surely_legal([good, {"l": {"L": [{"N": "1"}, value]}}])


def test_deep_images_are_left_to_the_check_of_one() -> None:
    deep: Any = {"N": "1"}
    for _ in range(300):
        deep = {"L": [deep]}
    assert not surely_legal([{"a": deep}])
