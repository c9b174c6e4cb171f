"""Change events: one change of one item, from whatever DynamoDB delivered."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import orjson

from lakebound.errors import Misconfigured, Poison
from lakebound.record.attributes import Image, canonical_key

MAX_FUTURE_MS: Final = 3_600_000
"""A creation time further ahead of the writer's clock is poison: it would hide every later repair of its key."""

_STREAM_ARN = re.compile(
    r"arn:[a-z-]+:dynamodb:[a-z0-9-]*:[0-9]*:table/(?P<table>[A-Za-z0-9_.-]{1,255})/stream/(?P<label>[0-9T:.-]{10,40})"
).fullmatch
_SEQUENCE = re.compile(r"[0-9]{1,40}").fullmatch
_TTL_SERVICE: Final = "dynamodb.amazonaws.com"


class ChangeEvent(NamedTuple):
    """The contract's record without `schema`, `is_deleted` and the writer's clock, which the envelope adds.

    A new image is values, or the item's text as DynamoDB said it (`attributes.parse_image` gives the values of both).
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
    old_image_refused: str | None = None
    """Why an old image that was delivered is not carried; not a field of the record. Its change travels without it."""


class StreamSource(NamedTuple):
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

    def decode(self, record: object, now_ms: int) -> ChangeEvent:
        """The record's change event. Of the images only key attributes are looked at: they alone place a record.

        An old image that is no image of these keys is left out and named in `old_image_refused`: it proves the chain,
        and without it the change still arrives. Poison codes: `record_shape`, `foreign_table`, `event_name`,
        `sequence_number`, `creation_time`, `view_type`, `image_shape`, `keys_differ`, and of a key attribute `keys`,
        `string`, `number`, `binary`.
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
        key = canonical_key(keys)
        new_image = _new_image(event_name, body, keys)
        old_image, refused = body.get("OldImage"), None
        if old_image is not None:
            try:
                check_keys(keys, old_image, "old")
            except Poison as poison:
                old_image, refused = None, poison.code
        size = body.get("SizeBytes")
        # By position: a tuple made by name takes three times as long, and this is the path of every record.
        return ChangeEvent(
            str(event_name),
            event_id,
            "stream",
            source.table,
            key,
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
            refused,
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


def _new_image(event_name: object, body: dict[str, Any], keys: Image) -> Image | None:
    if body.get("StreamViewType") in ("KEYS_ONLY", "OLD_IMAGE"):
        raise Poison("view_type", "the stream carries no new images; enable NEW_AND_OLD_IMAGES")
    new_image: Image | None = body.get("NewImage")
    if event_name in ("INSERT", "MODIFY"):
        if new_image is None:
            raise Poison("view_type", f"{event_name} without a new image; enable NEW_AND_OLD_IMAGES on the table")
        check_keys(keys, new_image, "new")
    elif event_name == "REMOVE":
        if new_image is not None:
            raise Poison("record_shape", "REMOVE with a new image")
    else:
        raise Poison("event_name", "neither INSERT, MODIFY nor REMOVE")
    return new_image


def check_keys(keys: Image, image: object, which: str) -> None:
    """Accept an image of the item with these keys, raise Poison (`image_shape`, `keys_differ`) otherwise."""
    if type(image) is not dict:
        raise Poison("image_shape", f"the {which} image is {type(image).__name__}, not a map of attributes")
    for name, value in keys.items():
        held = image.get(name)
        # Equal text is the rule; DynamoDB normalises numbers, yet a forged or replayed record may not have.
        if held != value and not _is_same_key(name, held, value):
            raise Poison("keys_differ", f"the {which} image's key attributes are not the record's Keys")


def _is_same_key(name: str, held: object, value: object) -> bool:
    try:
        return canonical_key({name: held}) == canonical_key({name: value})
    except Poison:
        return False


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
