"""Plain JSON of records, for people and programs that read files directly.

Numbers keep their digits as bare JSON numbers, sets become sorted lists, binary becomes base64 text. What can then no
longer be told apart: binary and text, a set and a list, a set of one type and of another, a number's spelling where
DynamoDB's is no JSON number (`+1`, `.5`, `007` become `1`, `0.5`, `7`). Missing and null stay apart. A reader that
turns JSON numbers into doubles rounds them; that is the reader's doing. A value that keeps to no type of DynamoDB stays
as it was said, its tag with it.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

import orjson

from lakebound.record.attributes import Image, canonical_number, is_legal

_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?").fullmatch
_IMAGES: Final = ("keys", "new_image", "old_image")


def flatten(record: Mapping[str, Any]) -> bytes:
    """The record as one line of JSON, its keys and images as plain objects; the other fields stay as they are."""
    plain = {
        name: plain_item(value) if name in _IMAGES and value is not None else value for name, value in record.items()
    }
    return orjson.dumps(plain, option=orjson.OPT_APPEND_NEWLINE)


def plain_item(image: Image) -> dict[str, Any]:
    """The item as orjson writes it plainly; numbers are `orjson.Fragment`s of their own digits."""
    return {name: _plain(value) for name, value in image.items()}


def _plain(value: Any) -> Any:
    """The plain form of a legal value; any other stays as it was said, since nobody knows what it means."""
    if not is_legal(value):
        return value
    ((tag, inner),) = value.items()
    make = _PLAIN.get(tag)
    return inner if make is None else make(inner)


def _number(text: str) -> orjson.Fragment:
    return orjson.Fragment(text if _JSON_NUMBER(text) else canonical_number(text))


_PLAIN: Final[dict[str, Callable[[Any], Any]]] = {
    "N": _number,
    "NULL": lambda inner: None,
    "SS": sorted,
    "NS": lambda inner: [_number(text) for text in sorted(inner, key=Decimal)],
    "BS": lambda inner: sorted(inner, key=b64decode),
    "L": lambda inner: [_plain(member) for member in inner],
    "M": plain_item,
}
