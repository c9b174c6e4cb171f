"""The simulated table and its stream: shards that split and roll over, numbers that grow longer, labels that change."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.simulation.choices import Choices
from tests.simulation.ledger import Entry

Image = dict[str, Any]
TABLE = "things"
MAX_TIME_ERROR_MS = 20_000


@dataclass(slots=True, eq=False)
class Shard:
    """A shard: its share of the keys, its records by lane (parallelisation keeps one key in one lane)."""

    number: int
    keys: tuple[int, ...]
    parents: tuple[Shard, ...]
    next_sequence: int
    lanes: list[Lane] = field(default_factory=list)
    closed: bool = False

    def drained(self) -> bool:
        """Whether nothing of it is left to read."""
        return self.closed and all(lane.position >= len(lane.entries) for lane in self.lanes)


@dataclass(slots=True, eq=False)
class Lane:
    """One ordered part of a shard that the mapping works through, a batch at a time."""

    shard: Shard
    entries: list[Entry] = field(default_factory=list)
    position: int = 0
    attempts: int = 0
    limit: int = 0
    busy: bool = False
    epoch: int = 0


class Stream:
    """One stream of the table: its label, and its shards."""

    def __init__(self, label_ms: int, keys: int, lanes: int, first_sequence: int) -> None:
        self.label = f"{datetime.fromtimestamp(label_ms / 1000, UTC):%Y-%m-%dT%H:%M:%S}.{label_ms % 1000:03d}"
        self.arn = f"arn:aws:dynamodb:eu-central-1:123456789012:table/{TABLE}/stream/{self.label}"
        self.enabled_ms = label_ms
        self._lanes = lanes
        self.shards: list[Shard] = []
        self._open(tuple(range(keys)), (), first_sequence)

    def _open(self, keys: tuple[int, ...], parents: tuple[Shard, ...], sequence: int) -> Shard:
        shard = Shard(len(self.shards), keys, parents, sequence)
        shard.lanes = [Lane(shard) for _ in range(self._lanes)]
        self.shards.append(shard)
        return shard

    def shard_of(self, key: int) -> Shard:
        """The open shard that takes writes of a key."""
        return next(shard for shard in self.shards if not shard.closed and key in shard.keys)

    def lane_of(self, key: int) -> Lane:
        """The lane that a key's next record goes to."""
        return self.shard_of(key).lanes[key % self._lanes]

    def split(self, shard: Shard, parts: int) -> None:
        """Close a shard and open its children; a child's numbers go on after the parent's, with more digits "
        "at times."""
        shard.closed = True
        at = (len(shard.keys) + 1) // 2 if parts == 2 else len(shard.keys)
        for keys in (shard.keys[:at], shard.keys[at:]):
            if keys:
                self._open(keys, (shard,), shard.next_sequence * 10 + 7)

    def readable(self, child_first: bool) -> list[Lane]:
        """Lanes with something to read now, none busy; children only after their parents."""
        return [
            lane
            for shard in self.shards
            if child_first or all(parent.drained() for parent in shard.parents)
            for lane in shard.lanes
            if not lane.busy and lane.position < len(lane.entries)
        ]


@dataclass(slots=True)
class Version:
    """One committed state of an item: what a point-in-time export can see."""

    time_ms: int
    image: Image | None


class Table:
    """The source: items, their history (for exports), and the stream that is enabled, if any."""

    def __init__(self, choices: Choices, keys: int, composite: bool) -> None:
        self._choices = choices
        self.keys = [self._key_image(number, composite) for number in range(keys)]
        self.texts = [self._key_text(number, composite) for number in range(keys)]
        self.items: dict[int, Image] = {}
        self.past: dict[int, list[Version]] = {number: [] for number in range(keys)}
        self.stream: Stream | None = None
        self.counter = 0

    @staticmethod
    def _key_image(number: int, composite: bool) -> Image:
        if composite:
            return {"pk": {"S": f"é|{number // 2}"}, "sk": {"N": str(number % 2 - 1)}}
        return {"pk": {"S": f"k{number}"}}

    @staticmethod
    def _key_text(number: int, composite: bool) -> str:
        # Written out from the contract, so that the code's own key is compared with something.
        return f"pk=S:é\\|{number // 2}|sk=N:{number % 2 - 1}" if composite else f"pk=S:k{number}"

    def new_image(self, number: int, flavour: int) -> Image:
        """An image no write had before."""
        self.counter += 1
        image = dict(self.keys[number])
        image["n"] = {"N": str(self.counter)}
        if flavour == 1:
            image["exact"] = {"N": "12345678901234567890123456789012345678"}
            image["tags"] = {"SS": ["", "Ä\u2028", "\n"]}
        elif flavour == 2:
            image["raw"] = {"B": "AP8="}
            image["tomorrow"] = {"FLOAT32VECTOR": [0.5, None, {"null": True}]}
            image["odd"] = {"N": "NaN", "S": ["x"]}
            image["deep"] = {"M": {"l": {"L": [{"NULL": True}, {"BOOL": False}, {"N": "1E-130"}]}}}
        elif flavour == 3:
            # Hardly compressible: passes a small message limit and goes by claim check.
            value, parts = self.counter * 2654435761, []
            for _ in range(150):
                value = (value * 6364136223846793005 + 1442695040888963407) % 2**64
                parts.append(f"{value:016x}")
            image["long"] = {"S": "".join(parts)}
        return image

    def write(self, number: int, image: Image | None, now_ms: int, stamp_error_ms: int, ttl: bool) -> Entry | None:
        """Commit one write; the stream's record, or None when nothing changed or no stream is enabled."""
        old = self.items.get(number)
        if old == image:
            return None
        if image is None:
            del self.items[number]
        else:
            self.items[number] = image
        self.past[number].append(Version(now_ms, image))
        if self.stream is None:
            return None
        event = "REMOVE" if image is None else "MODIFY" if old else "INSERT"
        body: dict[str, Any] = {
            "ApproximateCreationDateTime": max(0, now_ms + stamp_error_ms) // 1000,
            "Keys": self.keys[number],
            "SizeBytes": 100,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        }
        if image is not None:
            body["NewImage"] = image
        if old is not None:
            body["OldImage"] = old
        return self._append(self.stream, number, event, body, now_ms, ttl)

    def _append(self, stream: Stream, number: int, event: str, body: dict[str, Any], now_ms: int, ttl: bool) -> Entry:
        shard, lane = stream.shard_of(number), stream.lane_of(number)
        shard.next_sequence += 1 + self._choices.below(3)
        sequence = str(shard.next_sequence)
        body["SequenceNumber"] = sequence
        name = f"{stream.label}/{shard.number}/{sequence}"
        record: dict[str, Any] = {
            "eventID": name,
            "eventName": event,
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": "eu-central-1",
            "eventSourceARN": stream.arn,
            "dynamodb": body,
        }
        if ttl:
            record["userIdentity"] = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
        version = f"{stream.label}|{'0' * (40 - len(sequence))}{sequence}"
        entry = Entry(name, record, version, self.texts[number], now_ms)
        lane.entries.append(entry)
        return entry

    def forge(self, number: int, kind: int, now_ms: int, unnumbered: bool) -> Entry | None:
        """A poison record in the stream: no change of the table, and nothing that can be carried."""
        if self.stream is None:
            return None
        body: dict[str, Any] = {
            "ApproximateCreationDateTime": now_ms // 1000,
            "Keys": self.keys[number],
            "NewImage": {**self.keys[number], "\udfff": {"N": "1"}},
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        }
        if kind == 1:
            body["NewImage"] = {**self.keys[number], "s": {"S": "\ud800"}}
        elif kind == 2:
            del body["ApproximateCreationDateTime"]
            body["NewImage"] = dict(self.keys[number])
        elif kind == 3:
            body["NewImage"] = {"pk": {"S": "another"}}
        entry = self._append(self.stream, number, "MODIFY", body, now_ms, ttl=False)
        entry.poison = True
        if unnumbered:
            del body["SequenceNumber"]
        return entry

    def as_of(self, number: int, time_ms: int) -> Image | None:
        image = None
        for version in self.past[number]:
            if version.time_ms > time_ms:
                break
            image = version.image
        return image
