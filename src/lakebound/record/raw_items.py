"""Items as the JSON text that DynamoDB sent: only their key attributes are read, and the text travels byte for byte.

Parsing an item only to write it again would be most of the cost of a scan's page. The text is already what the record
holds, so an item is parsed only where its text cannot stand in a record, or where redaction has to look inside.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, TypedDict

import msgspec
import orjson

from lakebound.errors import Poison
from lakebound.record.attributes import MAX_LEVELS, MAX_NAME_LENGTH, Image, check_names

_NOT_READ: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_DIGITS = re.compile(r"[0-9]{1,40}").fullmatch


class RawItem(msgspec.Struct, frozen=True, gc=False):
    """An item: its key attributes by name, its whole JSON text, and the time of its last write where that is known."""

    keys: Image
    text: bytes | msgspec.Raw
    created_ms: int | None = None

    def image(self) -> orjson.Fragment:
        """The image of a change event: `orjson` writes it as it stands."""
        return orjson.Fragment(bytes(self.text))

    def values(self) -> Image:
        """The item's values."""
        image: Image = orjson.loads(bytes(self.text))
        return image


def can_stand_in_a_line(text: bytes) -> bool:
    """Whether JSON may be put into a line as it is: UTF-8, and no line break between its tokens.

    Inside strings JSON itself allows none. A duplicate name, or a number outside a string that a double cannot hold,
    cannot be seen without parsing; DynamoDB's maps have no such name, and it writes numbers as strings.
    """
    if b"\n" in text or b"\r" in text:
        return False
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def parse_json(text: bytes) -> object:
    """The value of a JSON text, lone surrogates included; the text itself where it is none."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


class ItemReader:
    """Reads items' texts for the key attributes of one table."""

    def __init__(self, key_names: Sequence[str]) -> None:
        self.key_names: Final = tuple(sorted(key_names, key=lambda name: name.encode()))
        # msgspec finds a field beyond ASCII only if Python holds the name's UTF-8 already, which writing it brings
        # about: without this, every item of a table whose key is named `größe` would be parsed.
        orjson.dumps(self.key_names)
        # Names that are known at run time only, which mypy cannot follow.
        keys_of: Any = TypedDict
        shape = keys_of("Keys", dict.fromkeys(self.key_names, dict[str, str]))
        self._decode: Callable[[bytes | msgspec.Raw], Image] = msgspec.json.Decoder(shape).decode
        self._legal = msgspec.json.Decoder(dict[_Name, _Value]).decode
        self._alone = len(self.key_names) == 1

    def read(self, text: bytes | msgspec.Raw, created_ms: int | None = None) -> object:
        """A RawItem, or the parsed value of a text that cannot travel as it stands.

        `text` is JSON that `can_stand_in_a_line`. It is parsed where it lacks a key attribute of the table, or has a
        name or a nesting that readers cannot read.
        """
        try:
            if self._may_be_unreadable(text):
                values = orjson.loads(bytes(text))
                check_names(values)
                orjson.dumps([values])
            return RawItem(self.keys_of(text), text, created_ms)
        except (*_NOT_READ, orjson.JSONDecodeError, orjson.JSONEncodeError, Poison):
            return parse_json(bytes(text))

    def _may_be_unreadable(self, text: bytes | msgspec.Raw) -> bool:
        """Whether only parsing tells that no name is too long and no nesting too deep."""
        if _may_be_deep(text):
            return True
        if memoryview(text).nbytes <= MAX_NAME_LENGTH:
            return False
        try:
            self._legal(text)
        except _NOT_READ:
            # A long name, or a tag of tomorrow, which may hold one.
            return True
        return False

    def read_all(self, texts: Sequence[msgspec.Raw]) -> list[Any]:
        """`read` of each."""
        longest = max((memoryview(text).nbytes for text in texts), default=0)
        if longest <= MAX_NAME_LENGTH and not any(map(_may_be_deep, texts)):
            keys_of = self._decode if self._alone else self.keys_of
            try:
                return [*map(RawItem, map(keys_of, texts), texts)]
            except _NOT_READ:
                # One of them lacks a key attribute: that one alone is parsed.
                pass
        return [self.read(text) for text in texts]

    def keys_of(self, text: bytes | msgspec.Raw) -> Image:
        """The key attributes in an item's text, by name. Raises what `msgspec` does for a text without them."""
        keys = self._decode(text)
        return keys if self._alone else {name: keys[name] for name in self.key_names}


def _may_be_deep(text: bytes | msgspec.Raw) -> bool:
    """Whether there are brackets enough for more than MAX_LEVELS levels; those in strings are counted too."""
    text = bytes(text)
    return len(text) > 2 * MAX_LEVELS and text.count(b"{") + text.count(b"[") > MAX_LEVELS


# Half of what names may have: a character can be two of Java's, which parsing counts.
_Name = Annotated[str, msgspec.Meta(max_length=MAX_NAME_LENGTH // 2)]


class _Value(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """An attribute value of a type that DynamoDB has; names stand in maps only."""

    S: str | msgspec.UnsetType = msgspec.UNSET
    N: str | msgspec.UnsetType = msgspec.UNSET
    B: str | msgspec.UnsetType = msgspec.UNSET
    NULL: bool | msgspec.UnsetType = msgspec.UNSET
    BOOL: bool | msgspec.UnsetType = msgspec.UNSET
    SS: list[str] | msgspec.UnsetType = msgspec.UNSET
    NS: list[str] | msgspec.UnsetType = msgspec.UNSET
    BS: list[str] | msgspec.UnsetType = msgspec.UNSET
    M: dict[_Name, _Value] | msgspec.UnsetType = msgspec.UNSET
    L: list[_Value] | msgspec.UnsetType = msgspec.UNSET


class ExportLineReader:
    """Reads the lines of an export's data files, as ItemReader reads items."""

    def __init__(self, items: ItemReader, *, incremental: bool) -> None:
        self._items = items
        self._incremental = incremental
        self._full = msgspec.json.Decoder(_FullLine).decode
        self._change = msgspec.json.Decoder(_ChangeLine).decode

    def read(self, text: bytes) -> object:
        """A RawItem, or the line's value: for a delete, and where the item's text is not carried as it stands."""
        if not can_stand_in_a_line(text):
            return parse_json(text)
        try:
            if not self._incremental:
                item = self._items.read(bytes(self._full(text).Item))
                return item if type(item) is RawItem else parse_json(text)
            line = self._change(text)
            image = bytes(line.NewImage)
            if image in (b"", b"null"):
                return parse_json(text)
            item = self._items.read(image, write_ms(line.Metadata))
            # Keys that are spelled otherwise than in the image are compared as values.
            if type(item) is RawItem and item.keys == self._items.keys_of(bytes(line.Keys)):
                return item
            return parse_json(text)
        except _NOT_READ:
            return parse_json(text)


class _FullLine(msgspec.Struct, gc=False):
    Item: msgspec.Raw


class _ChangeLine(msgspec.Struct, gc=False):
    Keys: msgspec.Raw
    NewImage: msgspec.Raw = msgspec.Raw()
    Metadata: Any = None


def write_ms(metadata: object) -> int | None:
    """Milliseconds of `{"WriteTimestampMicros": {"N": …}}`, or None where it is no such thing."""
    stamp = metadata.get("WriteTimestampMicros") if type(metadata) is dict else None
    micros = stamp.get("N") if type(stamp) is dict else None
    return int(micros) // 1000 if type(micros) is str and _DIGITS(micros) else None
