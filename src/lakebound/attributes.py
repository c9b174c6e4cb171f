"""DynamoDB attribute values: what is legal, when two are equal, and the canonical key of an item.

An image travels as DynamoDB said it (`{"soc": {"N": "81.50"}}`); nothing here rewrites one. Binary values are base64
text, as they stand in stream events, in exports and in our files.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson

from lakebound.errors import LakeboundError, Poison

Image = dict[str, Any]

MAX_DEPTH: Final = 100
"""Deepest nesting carried. DynamoDB allows 32 levels; orjson stops at 254 JSON levels, two to each of ours."""

MAX_NAME_LENGTH: Final = 50_000
"""Longest attribute name in characters. Spark's JSON reader turns a row with a longer one into NULL."""

MAX_DIGITS: Final = 38
_MAX_MAGNITUDE: Final = 125
_MIN_MAGNITUDE: Final = -130
_MAX_PLAIN: Final = 40
_MAX_NUMBER_TEXT: Final = 400

_PLAIN_NUMBER = re.compile(r"-?[0-9]{1,19}(?:\.[0-9]{1,19})?").fullmatch
"""At most 38 digits and no exponent: legal without a closer look."""

_NUMBER = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]{1,5}))?").fullmatch


def parsed(image: Image | orjson.Fragment) -> Image:
    """An event's image as values."""
    if isinstance(image, orjson.Fragment):
        values: Image = orjson.loads(orjson.dumps(image))
        return values
    return image


def canonical_number(text: str) -> str:
    """The one text of a number's value: `0`, `-1.5`, `1E40`; equal for `1`, `1.0` and `1E0`.

    Plain up to 40 characters counting sign, leading zero and point, else `<digits>E<exponent>` with an integer that
    does not end in 0. Raises Poison (`number`) for what DynamoDB refuses: more than 38 significant digits, a magnitude
    outside 1E-130 … 9.99…E+125, and anything that is no number.
    """
    parts = _NUMBER(text) if len(text) <= _MAX_NUMBER_TEXT else None
    if parts is None:
        raise Poison("number", f"not a decimal number ({len(text)} characters)")
    sign, whole, fraction, exponent_text = (
        parts.group(1),
        parts.group(2),
        parts.group(3) or "",
        parts.group(4),
    )
    if not whole and not fraction:
        raise Poison("number", f"not a decimal number ({len(text)} characters)")
    padded = (whole + fraction).lstrip("0")
    digits = padded.rstrip("0")
    if not digits:
        return "0"
    exponent = int(exponent_text or 0) - len(fraction) + len(padded) - len(digits)
    if len(digits) > MAX_DIGITS:
        raise Poison("number", f"{len(digits)} significant digits, at most {MAX_DIGITS} are legal")
    magnitude = exponent + len(digits) - 1
    if not _MIN_MAGNITUDE <= magnitude <= _MAX_MAGNITUDE:
        raise Poison("number", "magnitude outside 1E-130 to 9.99E+125")
    minus = "-" if sign == "-" else ""
    if exponent >= 0:
        plain = digits + "0" * exponent
    elif magnitude >= 0:
        plain = f"{digits[:exponent]}.{digits[exponent:]}"
    else:
        plain = "0." + "0" * (-magnitude - 1) + digits
    if len(minus) + len(plain) <= _MAX_PLAIN:
        return minus + plain
    return f"{minus}{digits}E{exponent}"


def check_image(image: object) -> None:
    """Accept a legal item image, raise Poison otherwise.

    Codes: `image_shape`, `type_tag`, `number`, `binary`, `string`, `set`, `null`, `bool`, `too_deep`, `name_too_long`.
    Lone surrogates are left to the encoder, which meets every string anyway and raises `lone_surrogate`.
    """
    _check_map(image, 0)


def _check_map(image: object, depth: int) -> None:
    if type(image) is not dict:
        raise Poison("image_shape", f"a map of attributes was expected, not {type(image).__name__}")
    if depth > MAX_DEPTH:
        raise Poison("too_deep", f"more than {MAX_DEPTH} levels")
    for name, value in image.items():
        if len(name) > MAX_NAME_LENGTH:
            raise Poison("name_too_long", f"an attribute name of {len(name)} characters, at most {MAX_NAME_LENGTH}")
        if type(value) is not dict or len(value) != 1:
            raise Poison("type_tag", "an attribute value must have exactly one type tag")
        # Two thirds of a busy table's attributes are N and S: they are decided without another call.
        for tag, inner in value.items():
            if tag == "S":
                if type(inner) is not str:
                    raise Poison("string", f"S holds {type(inner).__name__}")
            elif tag == "N":
                if type(inner) is not str:
                    raise Poison("number", f"N holds {type(inner).__name__}")
                if _PLAIN_NUMBER(inner) is None:
                    canonical_number(inner)
            else:
                check = CHECKS.get(tag)
                if check is None:
                    raise Poison("type_tag", "an unknown type tag")
                check(inner, depth)


def _check_value(value: object, depth: int) -> None:
    if type(value) is not dict or len(value) != 1:
        raise Poison("type_tag", "an attribute value must have exactly one type tag")
    for tag, inner in value.items():
        check = CHECKS.get(tag)
        if check is None:
            raise Poison("type_tag", "an unknown type tag")
        check(inner, depth)


def _check_string(inner: object, depth: int) -> None:
    if type(inner) is not str:
        raise Poison("string", f"S holds {type(inner).__name__}")


def _check_number(inner: object, depth: int) -> None:
    _number_of(inner)


def _check_binary(inner: object, depth: int) -> None:
    _bytes_of(inner)


def _check_null(inner: object, depth: int) -> None:
    if inner is not True:
        raise Poison("null", "NULL must be true")


def _check_bool(inner: object, depth: int) -> None:
    if type(inner) is not bool:
        raise Poison("bool", f"BOOL holds {type(inner).__name__}")


def _check_list(inner: object, depth: int) -> None:
    if type(inner) is not list:
        raise Poison("image_shape", f"L holds {type(inner).__name__}")
    if depth + 1 > MAX_DEPTH:
        raise Poison("too_deep", f"more than {MAX_DEPTH} levels")
    for value in inner:
        _check_value(value, depth + 1)


def _check_nested_map(inner: object, depth: int) -> None:
    _check_map(inner, depth + 1)


def _number_of(inner: object) -> str:
    if type(inner) is not str:
        raise Poison("number", f"N holds {type(inner).__name__}")
    return canonical_number(inner)


def _bytes_of(inner: object) -> bytes:
    if type(inner) is not str:
        raise Poison("binary", f"B holds {type(inner).__name__}")
    try:
        return binascii.a2b_base64(inner.encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        raise Poison("binary", f"B is not base64 ({len(inner)} characters)") from None


def _string_of(inner: object) -> str:
    if type(inner) is not str:
        raise Poison("string", f"S holds {type(inner).__name__}")
    return inner


def _set_checker(
    tag: str, member_of: Callable[[object], str | bytes], may_be_empty: bool
) -> Callable[[object, int], None]:
    def check(inner: object, depth: int) -> None:
        if type(inner) is not list or not inner:
            raise Poison("set", f"{tag} must be a list with at least one member")
        members = {member_of(member) for member in inner}
        if len(members) != len(inner):
            raise Poison("set", f"{tag} has members that are equal as values")
        if not may_be_empty and any(not member for member in members):
            raise Poison("set", f"{tag} has an empty member")

    return check


CHECKS: Final[dict[str, Callable[[object, int], None]]] = {
    "S": _check_string,
    "N": _check_number,
    "B": _check_binary,
    "NULL": _check_null,
    "BOOL": _check_bool,
    "L": _check_list,
    "M": _check_nested_map,
    "SS": _set_checker("SS", _string_of, may_be_empty=False),
    "NS": _set_checker("NS", _number_of, may_be_empty=True),
    "BS": _set_checker("BS", _bytes_of, may_be_empty=False),
}


def canonical_key(keys: Mapping[str, Any]) -> str:
    """The contract's `key`: key attributes by name, `name=T:value`, joined by `|`, numbers canonical, binary base64.

    Injective: no two different keys give one text, and `1`, `1.0` and `1E0` give the same. Raises Poison (`keys`) for a
    key attribute that is not exactly one S, N or B.
    """
    if len(keys) == 1:
        ((name, value),) = keys.items()
        return _key_part(name, value)
    return "|".join([_key_part(name, keys[name]) for name in sorted(keys, key=_utf8)])


_KEY_PART: Final = re.compile(
    r"(?P<name>(?:[^\\|=]|\\.)*)=(?P<tag>[SNB]):(?P<value>(?:[^\\|]|\\.)*)(?:\||$)", re.DOTALL
)


def parse_key(key: str) -> Image:
    """The key attributes behind a record's `key`, the inverse of `canonical_key`; numbers in their canonical text.

    Raises LakeboundError for a text that is none.
    """
    keys: Image = {}
    place = 0
    while place < len(key) or not keys:
        part = _KEY_PART.match(key, place)
        if part is None:
            raise LakeboundError("silver holds a _key that is no key", hint="Find rows that the merge did not write")
        value = part["value"] if part["tag"] != "S" else _unescaped(part["value"])
        keys[_unescaped(part["name"])] = {part["tag"]: value}
        place = part.end()
    return keys


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def key_writer(names: Sequence[str]) -> Callable[[Mapping[str, Any]], str]:
    """`canonical_key` for many keys of these names: what they share is worked out once."""
    if len(names) != 1:
        return canonical_key
    (name,) = names
    begin = _key_part(name, {"S": ""})

    def write(keys: Mapping[str, Any]) -> str:
        value = keys[name]
        if type(value) is dict and len(value) == 1:
            text = value.get("S")
            if type(text) is str and "\\" not in text and "|" not in text:
                return begin + text
        return canonical_key(keys)

    return write


def _utf8(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")


def _key_part(name: str, value: object) -> str:
    if type(value) is not dict or len(value) != 1:
        raise Poison("keys", "a key attribute must have exactly one type tag")
    ((tag, inner),) = value.items()
    if "\\" in name or "|" in name or "=" in name:
        name = name.replace("\\", "\\\\").replace("|", "\\|").replace("=", "\\=")
    if tag == "S":
        text = _string_of(inner)
        if "\\" in text or "|" in text:
            text = text.replace("\\", "\\\\").replace("|", "\\|")
    elif tag == "N":
        text = _number_of(inner)
    elif tag == "B":
        text = b64encode(_bytes_of(inner)).decode("ascii")
    else:
        raise Poison("keys", "a key attribute must be S, N or B")
    return f"{name}={tag}:{text}"


def canonical_item(image: Mapping[str, Any]) -> bytes:
    """The item as a value, as bytes: equal for two images exactly when DynamoDB would call the items equal.

    Names sorted, numbers canonical, set members sorted, binary re-encoded. Raises Poison for an illegal image.
    """
    check_image(dict(image))
    try:
        return orjson.dumps(
            {name: _canonical_value(value) for name, value in image.items()}, option=orjson.OPT_SORT_KEYS
        )
    except orjson.JSONEncodeError:
        raise Poison("lone_surrogate", "a string with half a surrogate pair") from None


def _canonical_value(value: Mapping[str, Any]) -> dict[str, Any]:
    ((tag, inner),) = value.items()
    if tag == "N":
        return {tag: canonical_number(inner)}
    if tag == "B":
        return {tag: b64encode(_bytes_of(inner)).decode("ascii")}
    if tag == "NS":
        return {tag: sorted(canonical_number(member) for member in inner)}
    if tag == "BS":
        return {tag: sorted(b64encode(_bytes_of(member)).decode("ascii") for member in inner)}
    if tag == "SS":
        return {tag: sorted(inner)}
    if tag == "L":
        return {tag: [_canonical_value(member) for member in inner]}
    if tag == "M":
        return {tag: {name: _canonical_value(member) for name, member in inner.items()}}
    return {tag: inner}
