"""Change events: one change of one item, from whatever DynamoDB delivered."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson

from lakebound.attributes import Image, canonical_item, canonical_key, check_image
from lakebound.errors import Misconfigured, Poison
from lakebound.legality import surely_legal
from lakebound.said import ItemReader, SaidItem, write_ms

MAX_FUTURE_MS: Final = 3_600_000
"""A creation time further ahead of the writer's clock is poison: it would hide every later repair of its key."""

_STREAM_ARN = re.compile(
    r"arn:[a-z-]+:dynamodb:[a-z0-9-]*:[0-9]*:table/(?P<table>[A-Za-z0-9_.-]{1,255})/stream/(?P<label>[0-9T:.-]{10,40})"
).fullmatch
_SEQUENCE = re.compile(r"[0-9]{1,40}").fullmatch
_TTL_SERVICE: Final = "dynamodb.amazonaws.com"


class ChangeEvent(NamedTuple):
    """The contract's record without `schema`, `is_deleted` and the writer's clock, which the envelope adds.

    A new image is values, or the item's text as DynamoDB said it (`said.parsed` gives the values of both).
    """

    event_name: str
    event_id: str
    origin: str
    source_table: str
    key: str
    keys: Image
    new_image: Image | orjson.Fragment | None
    old_image: Image | None
    ttl_expired: bool
    sequence_number: str | None
    version: str | None
    snapshot_label_ms: int | None
    snapshot_run: str | None
    approx_creation_time_ms: int | None
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class StreamSource:
    """One stream: its table, and the label that tells it from the table's earlier and later streams."""

    arn: str
    table: str
    label: str

    @staticmethod
    def parse(arn: object) -> StreamSource | None:
        """The value behind a stream ARN, or None."""
        parts = _STREAM_ARN(arn) if type(arn) is str else None
        return StreamSource(str(arn), parts["table"], parts["label"]) if parts else None


def version_of(label: str, sequence_number: str) -> str:
    """`<stream label>|<sequence number padded with zeros to 40>`: as text, versions sort as commits did.

    Sequence numbers have 21 to 40 digits and no fixed length, so neither numbers nor raw text compare them.
    """
    return f"{label}|{sequence_number.zfill(40)}"


def sequence_number_of(record: object) -> str | None:
    """A delivery record's usable sequence number, or None; never raises, whatever the record is."""
    dynamodb = record.get("dynamodb") if type(record) is dict else None
    sequence = dynamodb.get("SequenceNumber") if type(dynamodb) is dict else None
    return sequence if type(sequence) is str and _SEQUENCE(sequence) else None


class StreamDecoder:
    """Turns a delivery's records into change events for one table. Total: a record gives an event or raises Poison."""

    def __init__(self, table: str) -> None:
        if not table:
            raise Misconfigured("TABLE_NAME is empty", hint="Set it to the source table's name")
        self._table = table
        self._sources: dict[object, StreamSource] = {}

    def images_surely_legal(self, records: Iterable[object]) -> bool:
        """Whether no image of these records needs a check of its own but for its names; False decides nothing."""
        try:
            bodies: list[Any] = [record["dynamodb"] for record in records]  # type: ignore[index]
            keys = [body["Keys"] for body in bodies]
            # Each kind by itself: what looks alike is looked through faster.
            new_images = [image for body in bodies if (image := body.get("NewImage")) is not None]
            old_images = [image for body in bodies if (image := body.get("OldImage")) is not None]
        except (AttributeError, KeyError, TypeError):
            return False
        return surely_legal(keys) and surely_legal(new_images) and surely_legal(old_images)

    def decode(self, record: object, now_ms: int, images_are_legal: bool = False) -> ChangeEvent:
        """The record's change event. `images_are_legal` when `images_surely_legal` said so of this record.

        Poison codes beside `check_image`'s: `record_shape`, `foreign_table`, `event_name`, `sequence_number`,
        `creation_time`, `view_type`, `keys`, `keys_differ`.
        """
        if type(record) is not dict:
            raise Poison("record_shape", f"a record was expected, not {type(record).__name__}")
        source = self._source(record.get("eventSourceARN"))
        body = record.get("dynamodb")
        event_id = record.get("eventID")
        if type(body) is not dict or type(event_id) is not str:
            raise Poison("record_shape", "no dynamodb body or no eventID")
        event_name = record.get("eventName")
        sequence = body.get("SequenceNumber")
        if type(sequence) is not str or not _SEQUENCE(sequence):
            raise Poison("sequence_number", "missing, not digits, or more than 40 of them")
        keys = body.get("Keys")
        if type(keys) is not dict or not keys:
            raise Poison("keys", "no Keys")
        if not images_are_legal:
            check_image(keys)
        new_image, old_image = self._images(event_name, body, keys, images_are_legal)
        size = body.get("SizeBytes")
        # By position: a tuple made by name takes three times as long, and this is the path of every record.
        return ChangeEvent(
            str(event_name),
            event_id,
            "stream",
            source.table,
            canonical_key(keys),
            keys,
            new_image,
            old_image,
            event_name == "REMOVE" and _is_ttl(record.get("userIdentity")),
            sequence,
            version_of(source.label, sequence),
            None,
            None,
            _creation_ms(body.get("ApproximateCreationDateTime"), now_ms),
            # Readers hold it in 64 signed bits; a forged one above them would cost the whole file.
            size if type(size) is int and 0 <= size < 2**63 else None,
        )

    def _source(self, arn: object) -> StreamSource:
        source = self._sources.get(arn) if type(arn) is str else None
        if source is not None:
            return source
        source = StreamSource.parse(arn)
        if source is None or source.table != self._table:
            raise Poison("foreign_table", f"the record is not of a stream of {self._table}")
        self._sources = {arn: source}
        return source

    def _images(
        self, event_name: object, body: dict[str, Any], keys: Image, are_legal: bool
    ) -> tuple[Image | None, Image | None]:
        if body.get("StreamViewType") in ("KEYS_ONLY", "OLD_IMAGE"):
            raise Poison("view_type", "the stream carries no new images; enable NEW_AND_OLD_IMAGES")
        new_image, old_image = body.get("NewImage"), body.get("OldImage")
        if event_name in ("INSERT", "MODIFY"):
            if new_image is None:
                raise Poison("view_type", f"{event_name} without a new image; enable NEW_AND_OLD_IMAGES on the table")
            if not are_legal:
                check_image(new_image)
            _check_keys(keys, new_image, "new")
        elif event_name == "REMOVE":
            if new_image is not None:
                raise Poison("record_shape", "REMOVE with a new image")
        else:
            raise Poison("event_name", "neither INSERT, MODIFY nor REMOVE")
        if old_image is not None:
            if not are_legal:
                check_image(old_image)
            _check_keys(keys, old_image, "old")
        return new_image, old_image


def _check_keys(keys: Image, image: Image, which: str) -> None:
    for name, value in keys.items():
        held = image.get(name)
        # Equal text is the rule; DynamoDB normalises numbers, yet a forged or replayed record may not have.
        if held != value and (held is None or canonical_item({name: held}) != canonical_item({name: value})):
            raise Poison("keys_differ", f"the {which} image's key attributes are not the record's Keys")


def _creation_ms(value: object, now_ms: int) -> int:
    if not (type(value) is int or type(value) is float):
        raise Poison("creation_time", "missing or not a number")
    if not 0 <= value <= (now_ms + MAX_FUTURE_MS) / 1000:
        raise Poison("creation_time", "negative, or more than an hour ahead of the writer's clock")
    return value * 1000 if type(value) is int else round(value * 1000)


def _is_ttl(identity: object) -> bool:
    if type(identity) is not dict:
        return False
    kind = identity.get("type", identity.get("Type"))
    principal = identity.get("principalId", identity.get("PrincipalId"))
    return kind == "Service" and principal == _TTL_SERVICE


class SnapshotDecoder:
    """Turns what one backfill read into base records of one origin (ORDERING.md). Total, as StreamDecoder is.

    What DynamoDB serves itself is legal by construction, so no image is looked through here. `reader` reads items' and
    lines' texts into the values that the methods take.
    """

    def __init__(self, table: str, run: str, origin: str, key_names: Sequence[str]) -> None:
        self._table = table
        self._run = run
        self._origin = origin
        self.reader = ItemReader(key_names)

    def item(self, item: object, label_ms: int, event_id: str) -> ChangeEvent:
        """SNAPSHOT: a SaidItem or an item's values. Poison: `keys`, `image_shape`, `undecodable`."""
        if type(item) is SaidItem:
            return self._event(item.keys, item.image(), label_ms, event_id, item.created_ms)
        image = _values(item)
        return self._event(self._keys_of(image), image, label_ms, event_id, None)

    def absent(self, keys: Image, label_ms: int, event_id: str) -> ChangeEvent:
        """ABSENT: a read that found no item under these key attributes. Poison: `keys`."""
        return self._event(self._keys_of(keys), None, label_ms, event_id, None)

    def export_line(self, line: object, label_ms: int, event_id: str) -> ChangeEvent:
        """SNAPSHOT: one line of a full export. Poison beside `item`'s: `record_shape`."""
        if type(line) is SaidItem:
            return self.item(line, label_ms, event_id)
        if type(line) is not dict or "Item" not in line:
            raise _no_line(line, "a line of a full export without Item")
        return self.item(line["Item"], label_ms, event_id)

    def change_line(self, line: object, label_ms: int, event_id: str) -> ChangeEvent:
        """SNAPSHOT or ABSENT: one line of an incremental export, the item's state at the window's end.

        The write time is kept beside the label and never orders anything: put delivered, delete lost, and a row with
        its own write time as label would live for ever. Poison: `record_shape`, `keys_differ` and `item`'s.
        """
        if type(line) is SaidItem:
            return self.item(line, label_ms, event_id)
        if type(line) is not dict or type(line.get("Keys")) is not dict:
            raise _no_line(line, "a line of an incremental export without Keys")
        keys = self._keys_of(line["Keys"])
        image = line.get("NewImage")
        if image is not None:
            _check_keys(keys, _values(image), "new")
        return self._event(keys, image, label_ms, event_id, write_ms(line.get("Metadata")))

    def _keys_of(self, image: Image) -> Image:
        try:
            return {name: image[name] for name in self.reader.key_names}
        except KeyError:
            raise Poison("keys", "a key attribute of the table is missing") from None

    def _event(
        self,
        keys: Image,
        image: Image | orjson.Fragment | None,
        label_ms: int,
        event_id: str,
        created_ms: int | None,
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
        return Poison("undecodable", f"{len(line)} bytes that are not JSON")
    return Poison("record_shape", detail)
