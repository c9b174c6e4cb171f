"""Base records: what one backfill read, as change events of one origin (ORDERING.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson

from lakebound.counts import count_text
from lakebound.errors import Poison
from lakebound.record.attributes import Image, canonical_key
from lakebound.record.raw_items import ItemReader, RawItem, write_ms
from lakebound.record.stream_records import ChangeEvent, check_keys

LABEL_DIGITS: Final = 15
"""A label stands in a register's text with so many digits, so that texts sort as labels do."""


def base_register(label_ms: int, run: str, *, is_present: bool) -> str:
    """A base record's register, as silver's `_base` holds it: it sorts as the tuple (label, run, present) does."""
    return f"{label_ms:0{LABEL_DIGITS}d}|{run}|{int(is_present)}"


class SnapshotDecoder:
    """Turns what one backfill read into base records of one origin (ORDERING.md). Total, as StreamDecoder is.

    What DynamoDB itself serves is legal by construction, so images are not checked here. `reader` reads items' and
    lines' texts into the values that the methods take.
    """

    def __init__(self, table: str, run: str, origin: str, key_names: Sequence[str]) -> None:
        self._table = table
        self._run = run
        self._origin = origin
        self.reader = ItemReader(key_names)

    def item(self, item: object, label_ms: int, event_id: str) -> ChangeEvent:
        """SNAPSHOT: a RawItem or an item's values. Poison: `keys`, `image_shape`, `undecodable`."""
        if type(item) is RawItem:
            return self._event(item.keys, item.image(), label_ms, event_id, item.created_ms)
        image = _values(item)
        return self._event(self._keys_of(image), image, label_ms, event_id, None)

    def absent(self, keys: Image, label_ms: int, event_id: str) -> ChangeEvent:
        """ABSENT: a read that found no item under these key attributes. Poison: `keys`."""
        return self._event(self._keys_of(keys), None, label_ms, event_id, None)

    def export_line(self, line: object, label_ms: int, event_id: str) -> ChangeEvent:
        """SNAPSHOT: one line of a full export. Poison beside `item`'s: `record_shape`."""
        if type(line) is RawItem:
            return self.item(line, label_ms, event_id)
        if type(line) is not dict or "Item" not in line:
            raise _no_line(line, "a line of a full export without Item")
        return self.item(line["Item"], label_ms, event_id)

    def change_line(self, line: object, label_ms: int, event_id: str) -> ChangeEvent:
        """SNAPSHOT or ABSENT: one line of an incremental export, the item's state at the window's end.

        The write time is kept beside the label and never orders anything: put delivered, delete lost, and a row with
        its own write time as label would live for ever. Poison: `record_shape`, `keys_differ` and `item`'s.
        """
        if type(line) is RawItem:
            return self.item(line, label_ms, event_id)
        if type(line) is not dict or type(line.get("Keys")) is not dict:
            raise _no_line(line, "a line of an incremental export without Keys")
        keys = self._keys_of(line["Keys"])
        image = line.get("NewImage")
        if image is not None:
            check_keys(keys, _values(image), "new")
        return self._event(keys, image, label_ms, event_id, write_ms(line.get("Metadata")))

    def _keys_of(self, image: Image) -> Image:
        try:
            return {name: image[name] for name in self.reader.key_names}
        except KeyError:
            raise Poison("keys", "a key attribute of the table is missing") from None

    def _event(
        self, keys: Image, image: Image | orjson.Fragment | None, label_ms: int, event_id: str, created_ms: int | None
    ) -> ChangeEvent:
        return ChangeEvent(
            "ABSENT" if image is None else "SNAPSHOT",
            event_id,
            self._origin,
            self._table,
            canonical_key(keys),
            keys,
            image,
            None,
            False,
            None,
            None,
            label_ms,
            self._run,
            created_ms,
            None,
        )


def _values(item: object) -> Image:
    if type(item) is bytes:
        raise _no_line(item, "")
    if type(item) is not dict:
        raise Poison("image_shape", f"an item was expected, not {type(item).__name__}")
    return item


def _no_line(line: object, detail: str) -> Poison:
    if type(line) is bytes:
        return Poison("undecodable", f"{count_text(len(line), 'byte')} not in JSON")
    return Poison("record_shape", detail)
