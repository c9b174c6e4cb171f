"""Numbers, keys and items as values."""

import json
import re
from base64 import b64decode
from decimal import Context, Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lakebound.errors import Poison
from lakebound.record.attributes import MAX_LEVELS, Image, canonical_item, canonical_key, canonical_number, is_legal
from tests.support.stream_records import attribute_values, images, keys_of_items, numbers, odd_values

EXACT = Context(prec=400, Emax=99_999, Emin=-99_999)
_WHOLE = "[1-9][0-9]*"
_INTEGER_NOT_ENDING_IN_0 = "(?:[0-9]*[1-9])"
CANONICAL = re.compile(
    rf"0|-?(?:0\.[0-9]*[1-9]|{_WHOLE}(?:\.[0-9]*[1-9])?|(?=[1-9]){_INTEGER_NOT_ENDING_IN_0}E-?{_WHOLE})"
)


@given(text=numbers())
def test_a_canonical_number_has_the_value_of_its_text(text: str) -> None:
    assert EXACT.create_decimal(canonical_number(text)) == EXACT.create_decimal(text)


@given(text=numbers())
def test_a_canonical_number_is_canonical(text: str) -> None:
    canonical = canonical_number(text)
    assert canonical_number(canonical) == canonical
    assert CANONICAL.fullmatch(canonical)
    assert len(canonical) <= 40 or "E" in canonical


@given(text=numbers())
def test_a_number_is_plain_whenever_forty_characters_hold_it(text: str) -> None:
    canonical = canonical_number(text)
    if "E" in canonical:
        assert len(f"{EXACT.create_decimal(canonical):f}") > 40


@given(one=numbers(), other=numbers())
@example(one="1E2", other="100.0")
@example(one="-0", other="0E-100")
def test_numbers_are_equal_exactly_when_their_canonical_texts_are(one: str, other: str) -> None:
    equal = EXACT.create_decimal(one) == EXACT.create_decimal(other)
    assert (canonical_number(one) == canonical_number(other)) is equal


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0", "0"),
        ("-0", "0"),
        ("+1", "1"),
        ("1.0", "1"),
        ("1E0", "1"),
        ("1E2", "100"),
        ("007", "7"),
        (".5", "0.5"),
        ("5.", "5"),
        ("-1.50", "-1.5"),
        ("1" + "0" * 38, "1" + "0" * 38),
        ("1E39", "1" + "0" * 39),
        ("1E40", "1E40"),
        ("-1E39", "-1E39"),
        ("-1E38", "-1" + "0" * 38),
        ("12E40", "12E40"),
        ("120E39", "12E40"),
        ("1E-38", "0." + "0" * 37 + "1"),
        ("1E-39", "1E-39"),
        ("1E-130", "1E-130"),
        ("9." + "9" * 37 + "E+125", "9" * 38 + "E88"),
    ],
)
def test_canonical_numbers_by_example(text: str, canonical: str) -> None:
    assert canonical_number(text) == canonical


@pytest.mark.parametrize(
    "text",
    ["1" * 39, "1." + "0" * 37 + "01", "1E126", "10E125", "1E-131", "0.1E-130", "1E99999", "NaN", "Infinity", "-inf",
     "", ".", "-", "E5", "1E", "1 ", " 1", "1\n", "1_0", "0x1", "١", "1,5", "1.2.3", "--1", "1e5.0", "9" * 401],
)  # fmt: skip
def test_what_dynamodb_refuses_is_no_number(text: str) -> None:
    with pytest.raises(Poison, match=r"^number: "):
        canonical_number(text)


@given(digits=st.integers(39, 60), exponent=st.integers(-100, 60))
def test_more_than_38_significant_digits_are_never_rounded(digits: int, exponent: int) -> None:
    with pytest.raises(Poison):
        canonical_number(f"1{'0' * (digits - 2)}1E{exponent}")


@given(magnitude=st.one_of(st.integers(126, 99_999), st.integers(-99_999, -131)))
def test_a_magnitude_out_of_range_is_refused(magnitude: int) -> None:
    with pytest.raises(Poison):
        canonical_number(f"1E{magnitude}")


def as_value(keys: Image) -> frozenset[tuple[str, str, object]]:
    """A key as the value that DynamoDB sees."""

    def inner(tag: str, text: str) -> object:
        return Decimal(text) if tag == "N" else b64decode(text) if tag == "B" else text

    return frozenset((name, tag, inner(tag, text)) for name, value in keys.items() for tag, text in value.items())


@given(one=keys_of_items(), other=keys_of_items())
@example(one={"a": {"S": "b|c=S:d"}}, other={"a": {"S": "b"}, "c": {"S": "d"}})
@example(one={"a=S:x|b": {"S": ""}}, other={"a": {"S": "x"}, "b": {"S": ""}})
@example(one={"a": {"S": "\\"}, "b": {"S": "|"}}, other={"a": {"S": "\\|b=S:|"}})
def test_keys_are_equal_exactly_when_their_canonical_texts_are(one: Image, other: Image) -> None:
    assert (canonical_key(one) == canonical_key(other)) is (as_value(one) == as_value(other))


@pytest.mark.parametrize(
    ("keys", "canonical"),
    [
        ({"id": {"S": "a"}}, "id=S:a"),
        ({"sk": {"N": "1.50"}, "pk": {"S": "a|b"}}, r"pk=S:a\|b|sk=N:1.5"),
        ({"B": {"B": "AP8="}, "a": {"S": ""}}, "B=B:AP8=|a=S:"),
        ({"é": {"S": "x"}, "z": {"S": "y"}}, "z=S:y|é=S:x"),
        ({"\U0001f600": {"S": "x"}, "\uffff": {"S": "y"}}, "\uffff=S:y|\U0001f600=S:x"),
        ({"a=b|c\\d": {"S": "="}}, r"a\=b\|c\\d=S:="),
    ],
)
def test_canonical_keys_by_example(keys: Image, canonical: str) -> None:
    assert canonical_key(keys) == canonical
    assert canonical_key(dict(reversed(keys.items()))) == canonical


@pytest.mark.parametrize(
    "value", [{"BOOL": True}, {"S": "a", "N": "1"}, {}, "a", {"L": []}, {"NULL": True}, {"SS": ["a"]}], ids=str
)
def test_a_key_is_one_string_number_or_binary(value: Any) -> None:
    with pytest.raises(Poison, match=r"^keys: "):
        canonical_key({"id": value})


@settings(max_examples=50)
@given(image=images())
def test_a_legal_item_is_legal_and_is_itself(image: Image) -> None:
    assert all(map(is_legal, image.values()))
    assert canonical_item(image) == canonical_item(dict(reversed(image.items())))


@given(one=attribute_values(), other=attribute_values())
def test_items_of_one_value_have_one_text(one: Image, other: Image) -> None:
    same = plain(one) == plain(other)
    assert (canonical_item({"a": one}) == canonical_item({"a": other})) is same


def plain(value: Image) -> object:
    """An attribute value as Python values that compare as DynamoDB's do."""
    ((tag, inner),) = value.items()
    if tag == "N":
        return tag, EXACT.create_decimal(inner)
    if tag == "NS":
        return tag, frozenset(EXACT.create_decimal(member) for member in inner)
    if tag in ("SS", "BS"):
        return tag, frozenset(inner)
    if tag == "L":
        return tag, [plain(member) for member in inner]
    if tag == "M":
        return tag, {name: plain(member) for name, member in inner.items()}
    return tag, inner


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"N": "1.50"}, {"N": "1.5"}),
        ({"NS": ["1", "2.0"]}, {"NS": ["2", "1.0"]}),
        ({"SS": ["a", "b"]}, {"SS": ["b", "a"]}),
        ({"SS": ["", "AA=="]}, {"SS": ["AA==", ""]}),
        ({"BS": ["AA==", "AQ=="]}, {"BS": ["AQ==", "AA=="]}),
        ({"BS": ["", "AA=="]}, {"BS": ["AA==", ""]}),
        ({"M": {"a": {"N": "1"}, "b": {"S": ""}}}, {"M": {"b": {"S": ""}, "a": {"N": "1E0"}}}),
        ({"L": [{"M": {"x": {"NS": ["10", "1"]}}}]}, {"L": [{"M": {"x": {"NS": ["1E0", "1E1"]}}}]}),
    ],
)
def test_equal_values_written_differently(one: Image, other: Image) -> None:
    assert is_legal(one)
    assert canonical_item({"a": one}) == canonical_item({"a": other})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"S": "1"}, {"N": "1"}),
        ({"NULL": True}, {"S": ""}),
        ({"L": [{"S": "a"}, {"S": "b"}]}, {"L": [{"S": "b"}, {"S": "a"}]}),
        ({"L": []}, {"M": {}}),
        ({"S": "\u00e9"}, {"S": "e\u0301"}),
        ({"SS": ["a"]}, {"L": [{"S": "a"}]}),
        ({"S": "AA=="}, {"B": "AA=="}),
    ],
)
def test_values_that_look_alike_and_differ(one: Image, other: Image) -> None:
    assert canonical_item({"a": one}) != canonical_item({"a": other})


def test_half_a_surrogate_pair_has_no_canonical_item() -> None:
    for image in ({"a": {"S": "\ud800"}}, {"\udfff": {"S": ""}}, {"a": {"M": {"\ud800": {"NULL": True}}}}):
        with pytest.raises(Poison, match=r"^lone_surrogate: "):
            canonical_item(image)


def as_json(value: Any) -> str:
    """A value's JSON with names sorted: tells True from 1 and 1 from 1.0."""
    return json.dumps(value, sort_keys=True)


@given(one=odd_values(), other=odd_values())
@example(one={"N": "1"}, other={"N": 1})
@example(one={"NS": ["1"]}, other={"NS": ["1", "1.0"]})
@example(one={"SS": ["a", "b", "a"]}, other={"SS": ["b", "a", "a"]})
@example(one={"N": "x", "S": "1"}, other={"S": "1", "N": "x"})
@example(one={"B": "AA=="}, other={"B": "AB=="})
def test_values_are_equal_as_values_where_both_are_legal_and_as_json_otherwise(one: Any, other: Any) -> None:
    same = as_told(one) == as_told(other)
    assert (canonical_item({"a": one}) == canonical_item({"a": other})) is same
    assert canonical_item({"a": one}) == canonical_item({"a": json.loads(as_json(one))})


def as_told(value: Any) -> object:
    """What two values are compared by: `plain` of what is legal, JSON of the rest, part by part."""
    if not is_legal(value):
        return "?", as_json(value)
    ((tag, inner),) = value.items()
    if tag == "L":
        return tag, [as_told(member) for member in inner]
    if tag == "M":
        return tag, {name: as_told(member) for name, member in inner.items()}
    return (
        plain({tag: [b64decode(member) for member in inner]} if tag == "BS" else value)
        if tag != "B"
        else (tag, b64decode(inner))
    )


@pytest.mark.parametrize(
    ("image", "code"),
    [
        ([], "image_shape"),
        ({"a": {"N": 2**64}}, "bare_number"),
        ({"a": {"M": {"n" * 50_001: {"S": ""}}}}, "name_too_long"),
        ({"a": {"X": [{"n" * 50_001: 1}]}}, "name_too_long"),
    ],
)
def test_what_no_record_can_hold_has_no_canonical_item(image: Any, code: str) -> None:
    with pytest.raises(Poison, match=rf"^{code}: "):
        canonical_item(image)


@pytest.mark.parametrize("levels", [252, 253, 1_000, 100_000])
def test_a_canonical_item_is_as_deep_as_a_record_can_be(levels: int) -> None:
    value: Any = []
    for _ in range(levels - 2):
        value = [value]
    if levels <= MAX_LEVELS:
        assert canonical_item({"a": value})
        return
    with pytest.raises(Poison, match=r"^too_deep: "):
        canonical_item({"a": value})
