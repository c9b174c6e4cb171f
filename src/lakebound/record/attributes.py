"""DynamoDB attribute values: what can travel, when two are equal, and the canonical key of an item.

An image travels as DynamoDB wrote it (`{"soc": {"N": "81.50"}}`), whatever its values are; nothing here rewrites it, or
refuses it for a type. Binary values are base64 text, as they stand in stream events, in exports and in our files.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from math import isfinite
from typing import Any, Final

import orjson

from lakebound.counts import count_text
from lakebound.errors import LakeboundError, Poison

Image = dict[str, Any]

MAX_LEVELS: Final = 253
"""Deepest nesting of JSON in an image, itself the first level: 125 lists or maps of DynamoDB, which allows 32.

`orjson` writes 254 levels, one of which is the record's; it reads 1,024, `msgspec` and `json` 990, Spark 1,000.
"""

MAX_NAME_LENGTH: Final = 50_000
"""Longest name in characters as Java counts them. Spark's JSON reader turns a row with a longer one into NULL."""

MAX_DIGITS: Final = 38
_MAX_MAGNITUDE: Final = 125
_MIN_MAGNITUDE: Final = -130
_MAX_PLAIN: Final = 40
_MAX_NUMBER_TEXT: Final = 400


_NUMBER = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]{1,5}))?").fullmatch


def parse_image(image: Image | orjson.Fragment) -> Image:
    """The values of an event's image, which may be text."""
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
        raise Poison("number", f"not a decimal number ({count_text(len(text), 'character')})")
    sign, whole, fraction, exponent_text = parts.group(1), parts.group(2), parts.group(3) or "", parts.group(4)
    if not whole and not fraction:
        raise Poison("number", f"not a decimal number ({count_text(len(text), 'character')})")
    padded = (whole + fraction).lstrip("0")
    digits = padded.rstrip("0")
    if not digits:
        return "0"
    exponent = int(exponent_text or 0) - len(fraction) + len(padded) - len(digits)
    if len(digits) > MAX_DIGITS:
        raise Poison("number", f"{count_text(len(digits), 'significant digit')}, at most {MAX_DIGITS} are legal")
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


def check_names(image: object) -> None:
    """Raise Poison (`name_too_long`) for a name that readers of ours cannot read, wherever it stands in a JSON value.

    Only a line of more than MAX_NAME_LENGTH bytes can hold one, so nobody asks for shorter ones.
    """
    todo = [image]
    while todo:
        value = todo.pop()
        if type(value) is dict:
            for name, inner in value.items():
                if _java_length(name) > MAX_NAME_LENGTH:
                    raise Poison(
                        "name_too_long", f"a name of {count_text(len(name), 'character')}, at most {MAX_NAME_LENGTH}"
                    )
                if type(inner) is dict or type(inner) is list:
                    todo.append(inner)
        elif type(value) is list:
            todo += [inner for inner in value if type(inner) is dict or type(inner) is list]


def _java_length(name: str) -> int:
    length = len(name)
    if length <= MAX_NAME_LENGTH // 2:
        return length
    # A character beyond U+FFFF is two of Java's, which is what Spark counts.
    return len(name.encode("utf-16-le", "surrogatepass")) // 2


def encoding_poison(error: Exception) -> Poison:
    """Why `orjson` would not write a record: `too_deep`, `lone_surrogate`, `bare_number` or `image_shape`."""
    told = str(error).lower()
    for sign, code, detail in _UNWRITABLE:
        if sign in told:
            return Poison(code, detail)
    return Poison("image_shape", "a value that is no JSON")


_UNWRITABLE: Final = (
    ("recursion", "too_deep", f"more than {MAX_LEVELS} levels of JSON in an image"),
    ("surrogate", "lone_surrogate", "a string with half a surrogate pair: UTF-8 cannot hold it"),
    ("64-bit", "bare_number", "a number outside a string that has more than 64 bits"),
)


def check_bare_numbers(image: object) -> None:
    """Raise Poison (`bare_number`) for NaN or an infinity, which JSON has no text for and `orjson` writes as null."""
    todo = [image]
    while todo:
        value = todo.pop()
        if type(value) is dict:
            todo += value.values()
        elif type(value) is list:
            todo += value
        elif type(value) is float and not isfinite(value):
            raise Poison("bare_number", "NaN or an infinity outside a string")


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
        raise Poison("binary", f"B is not base64 ({count_text(len(inner), 'character')})") from None


def _string_of(inner: object) -> str:
    if type(inner) is not str:
        raise Poison("string", f"S holds {type(inner).__name__}")
    return inner


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


def canonical_item(image: object) -> bytes:
    """The item as bytes that two images share when they are equal: as values where DynamoDB's types are kept to, else
    as JSON.

    In a legal value names and set members are sorted, numbers canonical, binary re-encoded. A value that is none (a tag
    of tomorrow, a number that is no number, a set with a member twice) stands as its JSON with names sorted, beside
    its legal neighbours; no legal value has such a text. Raises Poison for what no record can hold: `image_shape`,
    `lone_surrogate`, `too_deep`, `bare_number`, `name_too_long`.
    """
    if type(image) is not dict:
        raise Poison("image_shape", f"a map of attributes was expected, not {type(image).__name__}")
    try:
        # In a list, since an image stands in a record: what is too deep there is too deep here.
        text = orjson.dumps(
            [{name: canonical_value(value) for name, value in image.items()}], option=orjson.OPT_SORT_KEYS
        )
    except orjson.JSONEncodeError as refused:
        raise encoding_poison(refused) from None
    except RecursionError:
        raise Poison("too_deep", f"more than {MAX_LEVELS} levels of JSON in an image") from None
    if len(text) > MAX_NAME_LENGTH:
        check_names(image)
    return text[1:-1]


def digest_of(item: Image) -> bytes:
    """16 bytes that two items share when they are equal as values. Raises Poison, as `canonical_item` does."""
    return blake2b(canonical_item(item), digest_size=16).digest()


def canonical_value(value: Any) -> Any:
    """An attribute value in its canonical form where it is legal, itself where it is not. Raises RecursionError."""
    if type(value) is dict and len(value) == 1:
        ((tag, inner),) = value.items()
        canonical = _CANONICAL.get(tag)
        if canonical is not None:
            try:
                return {tag: canonical(inner)}
            except Poison:
                pass
    return value


def is_legal(value: Any) -> bool:
    """Whether a value keeps to one of DynamoDB's types; of a list or map, whether it is one, whatever it holds."""
    if type(value) is not dict or len(value) != 1:
        return False
    ((tag, inner),) = value.items()
    if tag == "M" or tag == "L":
        return type(inner) is (dict if tag == "M" else list)
    canonical = _CANONICAL.get(tag)
    if canonical is None:
        return False
    try:
        canonical(inner)
    except Poison:
        return False
    return True


def _canonical_set(member_of: Callable[[object], str]) -> Callable[[object], list[str]]:
    def canonical(inner: object) -> list[str]:
        if type(inner) is not list:
            raise Poison("set", f"a set holds {type(inner).__name__}")
        members = sorted(map(member_of, inner))
        # DynamoDB has no set without members or with one twice: sorting such lists would call different ones equal.
        if not members or len(set(members)) != len(members):
            raise Poison("set", "no members, or two that are equal as values")
        return members

    return canonical


def _canonical_binary(inner: object) -> str:
    return b64encode(_bytes_of(inner)).decode("ascii")


def _canonical_bool(inner: object) -> bool:
    if type(inner) is not bool:
        raise Poison("bool", f"BOOL holds {type(inner).__name__}")
    return inner


def _canonical_null(inner: object) -> bool:
    if inner is not True:
        raise Poison("null", "NULL must be true")
    return True


def _canonical_list(inner: object) -> list[Any]:
    if type(inner) is not list:
        raise Poison("image_shape", f"L holds {type(inner).__name__}")
    return [canonical_value(member) for member in inner]


def _canonical_map(inner: object) -> Image:
    if type(inner) is not dict:
        raise Poison("image_shape", f"M holds {type(inner).__name__}")
    return {name: canonical_value(member) for name, member in inner.items()}


_CANONICAL: Final[dict[str, Callable[[object], Any]]] = {
    "S": _string_of,
    "N": _number_of,
    "B": _canonical_binary,
    "NULL": _canonical_null,
    "BOOL": _canonical_bool,
    "L": _canonical_list,
    "M": _canonical_map,
    "SS": _canonical_set(_string_of),
    "NS": _canonical_set(_number_of),
    "BS": _canonical_set(_canonical_binary),
}
