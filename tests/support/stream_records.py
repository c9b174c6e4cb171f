"""Stream records as Lambda delivers them, built from what a test cares about; and strategies for legal items."""

from __future__ import annotations

from base64 import b64encode
from decimal import Decimal
from typing import Any, Final

from hypothesis import strategies as st

TABLE: Final = "flights"
LABEL: Final = "2026-11-01T08:00:00.000"
ARN: Final = f"arn:aws:dynamodb:eu-west-1:123456789012:table/{TABLE}/stream/{LABEL}"
NOW_MS: Final = 1_795_000_005_000
CREATED: Final = NOW_MS // 1000 - 3
FIRST_SEQUENCE: Final = 820_400_000_000_000_000_000_000

Image = dict[str, Any]
Record = dict[str, Any]


def sequence(number: int) -> str:
    """The sequence number of the delivery's nth record."""
    return str(FIRST_SEQUENCE + number)


def stream_record(
    number: int = 0,
    *,
    name: str = "INSERT",
    keys: Image | None = None,
    attributes: Image | None = None,
    new: Image | None = None,
    old: Image | None = None,
    created: object = CREATED,
    **outer: Any,
) -> Record:
    """One record. `attributes` join the keys in the new image; REMOVE has none, and the attributes in its old image."""
    keys = {"id": {"S": f"k{number}"}} if keys is None else keys
    image = keys | (attributes or {})
    body: Record = {
        "ApproximateCreationDateTime": created,
        "Keys": keys,
        "SequenceNumber": sequence(number),
        "SizeBytes": 64,
        "StreamViewType": "NEW_AND_OLD_IMAGES",
    }
    if name == "REMOVE":
        body["OldImage"] = image if old is None else old
    else:
        body["NewImage"] = image if new is None else new
        if old is not None:
            body["OldImage"] = old
    return {
        "eventID": f"{number:032x}",
        "eventName": name,
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "eu-west-1",
        "eventSourceARN": ARN,
        "dynamodb": body,
        **outer,
    }


def numbers() -> st.SearchStrategy[str]:
    """Every way to write a legal number."""
    return st.builds(
        _written,
        sign=st.sampled_from(["", "-", "+"]),
        digits=st.one_of(
            st.text("0123456789", min_size=1, max_size=38), st.sampled_from(["0", "1", "10", "100", "9" * 38])
        ),
        magnitude=st.one_of(st.integers(-130, 125), st.integers(-3, 41)),
        point=st.integers(0, 45),
        padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
        letter=st.sampled_from("eE"),
        plus=st.booleans(),
    )


def _written(
    sign: str, digits: str, magnitude: int, point: int, padding: tuple[int, int], letter: str, plus: bool
) -> str:
    """A number of that magnitude with its point after `point` digits, zeros at both ends, and an exponent that fits."""
    significant = digits.lstrip("0")
    padded = "0" * padding[0] + (significant or "0") + "0" * padding[1]
    place = min(point, len(padded))
    exponent = magnitude - (place - padding[0] - 1) if significant else magnitude
    text = padded[:place] + ("." + padded[place:] if place < len(padded) else "")
    if exponent == 0 and plus:
        return sign + text
    return f"{sign}{text}{letter}{'+' if plus and exponent >= 0 else ''}{exponent}"


def keys_of_items() -> st.SearchStrategy[Image]:
    """Key attributes: one or two, of the three types, made of what the key's escaping must survive."""
    names = st.text("ab|=\\", min_size=1, max_size=3)
    text = st.text("ab|=\\S:N", max_size=4).map(lambda value: {"S": value})
    number = st.sampled_from(["0", "-0", "1", "1.0", "1E0", "10", "1E1", "-1", "0.1", "1E-1", "12"])
    binary = st.binary(max_size=3).map(lambda value: {"B": b64encode(value).decode()})
    return st.dictionaries(
        names, st.one_of(text, number.map(lambda value: {"N": value}), binary), min_size=1, max_size=2
    )


def attribute_values() -> st.SearchStrategy[Image]:
    """Legal attribute values of the ten types, nested."""
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    binary = st.binary(max_size=12)
    scalars = st.one_of(
        text.map(lambda value: {"S": value}),
        numbers().map(lambda value: {"N": value}),
        binary.map(lambda value: {"B": b64encode(value).decode()}),
        st.booleans().map(lambda value: {"BOOL": value}),
        st.just({"NULL": True}),
        st.sets(text, min_size=1, max_size=4).map(lambda value: {"SS": list(value)}),
        st.lists(numbers(), min_size=1, max_size=4, unique_by=Decimal).map(lambda value: {"NS": value}),
        st.sets(binary, min_size=1, max_size=4).map(
            lambda value: {"BS": [b64encode(member).decode() for member in value]}
        ),
    )
    return st.recursive(
        scalars,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4).map(lambda value: {"L": value}),
            st.dictionaries(text, inner, max_size=4).map(lambda value: {"M": value}),
        ),
        max_leaves=12,
    )


def odd_values() -> st.SearchStrategy[Any]:
    """What may stand for an attribute value and keeps, mostly, to no type of DynamoDB: any JSON behind any tags."""
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    tags = st.sampled_from(["S", "N", "B", "NULL", "BOOL", "SS", "NS", "BS", "L", "M", "s", "X", "FLOAT32VECTOR", ""])
    json_values = st.recursive(
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(-(2**63), 2**64 - 1),
            st.floats(allow_nan=False, allow_infinity=False),
            text,
            st.sampled_from(["", "null", "1", "1.0", "NaN", "9" * 39, "1E400", "AA=", "true"]),
        ),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(tags, inner, max_size=2),
            st.dictionaries(text, inner, max_size=2),
        ),
        max_leaves=6,
    )
    return st.one_of(
        st.dictionaries(tags, json_values, min_size=1, max_size=1),
        st.dictionaries(tags, json_values, max_size=3),
        json_values,
        attribute_values(),
    )


def odd_images() -> st.SearchStrategy[Image]:
    """Items beside their key, with odd values among legal ones."""
    names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(lambda name: name != "id")
    return st.dictionaries(names, odd_values(), max_size=4)


def images() -> st.SearchStrategy[Image]:
    """Legal items beside their key."""
    names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(lambda name: name != "id")
    return st.dictionaries(names, attribute_values(), max_size=4)
