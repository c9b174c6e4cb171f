"""The ledger: where every record is, kept at each step, and whoever moves a record out of its last place is caught.

Promises G3 (conservation), G4 (no overwrite) and G5 (an object is whole and holds what its name says) are checked here
as things happen, with decoders of its own (stdlib gzip, plain JSON), never with the code under test.
"""

from __future__ import annotations

import gzip
import json
from base64 import b64decode
from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import orjson

from tests.simulation.turns import Violated

Record = dict[str, Any]


@dataclass(slots=True)
class Entry:
    """One record of the stream and every place that holds it."""

    name: str
    record: Record
    version: str
    key: str
    written_ms: int
    poison: bool = False
    delivered: bool = False
    acknowledged: bool = False
    in_object: bool = False
    in_quarantine: bool = False
    in_failure: bool = False
    messages: int = 0
    lost_by: str = ""

    def place(self) -> bool:
        """Whether the record is somewhere durable."""
        return not self.acknowledged or self.in_object or self.in_quarantine or self.in_failure or self.messages > 0


def lines_of(body: bytes) -> list[Record]:
    lines = gzip.decompress(body).split(b"\n")
    if lines.pop():
        raise Violated("G5: a file does not end in a line feed")
    return [orjson.loads(line) for line in lines]


def payload_text(record: object) -> bytes:
    """The bytes a quarantine object must keep of a record."""
    return json.dumps(record, ensure_ascii=True, separators=(",", ":")).encode()


@dataclass(slots=True)
class Ledger:
    """Every record that the stream ever held, and the places it is in."""

    prefix: str
    entries: dict[str, Entry] = field(default_factory=dict)
    by_payload: dict[str, str] = field(default_factory=dict)
    bodies: dict[str, tuple[str, ...]] = field(default_factory=dict)
    forged: set[str] = field(default_factory=set)
    checks: int = 0

    def written(self, entry: Entry) -> None:
        """The stream holds a new record."""
        self.entries[entry.name] = entry
        if entry.poison:
            self.by_payload[sha256(payload_text(entry.record)).hexdigest()] = entry.name

    def acknowledge(self, name: str) -> None:
        """The stream's checkpoint passes a record (G1)."""
        entry = self.entries[name]
        entry.acknowledged = True
        self._held(entry, "the checkpoint passed it")

    def lose(self, name: str, why: str) -> None:
        """The platform gave a record up, loudly: it may be in no place from here on."""
        entry = self.entries[name]
        if not (entry.in_object or entry.in_quarantine or entry.messages):
            entry.lost_by = entry.lost_by or why

    def _held(self, entry: Entry, what: str) -> None:
        self.checks += 1
        if entry.delivered and not entry.place() and not entry.lost_by:
            raise Violated(f"G3: record {entry.name} is in no durable place after {what}")

    def message_names(self, body: str, objects: dict[str, bytes]) -> tuple[str, ...]:
        """The records a message body holds; none for a forged one."""
        known = self.bodies.get(body)
        if known is not None:
            return known
        if body in self.forged:
            return ()
        document = orjson.loads(body)
        if "claim" in document:
            held = objects.get(document["claim"]["key"])
            if held is None:
                raise Violated("G1: a claim check was sent before its document was stored")
            if sha256(held).hexdigest() != document["claim"]["sha256"]:
                raise Violated("G4: a claim check's document is another")
            document = orjson.loads(held)
        names: list[str] = []
        for member in document["members"]:
            records = lines_of(b64decode(member["data"]))
            if len(records) != member["count"]:
                raise Violated("G5: a member's count is not its number of lines")
            names += [record["event_id"] for record in records]
        self.bodies[body] = tuple(names)
        return self.bodies[body]

    def message_in(self, names: tuple[str, ...]) -> None:
        """A message became durable."""
        for name in names:
            entry = self.entries[name]
            entry.messages += 1
            entry.lost_by = ""

    def message_out(self, names: tuple[str, ...], what: str, loud: str = "") -> None:
        """A message ended. With `loud` the platform gave it up and said so."""
        for name in names:
            entry = self.entries[name]
            entry.messages -= 1
            if loud:
                # Also before the checkpoint: an answer under way may acknowledge what a purge has just taken.
                self.lose(name, loud)
            self._held(entry, what)

    def data_object(self, key: str, body: bytes) -> list[Record]:
        """A batch file was stored: it must be whole and as its name says, each record as it was delivered."""
        origin, _, count, digest = key.rsplit("/", 1)[1].removesuffix(".ndjson.gz").split("-")
        if sha256(body).hexdigest()[: len(digest)] != digest or len(digest) < 32:
            raise Violated(f"G4: {key} is not named by its content")
        records = lines_of(body)
        if len(records) != int(count):
            raise Violated(f"G5: {key} holds {len(records)} records, its name says {count}")
        for record in records:
            if record["origin"] == "stream":
                self._carried(record)
            if (record["origin"] == "stream") != (origin == "stream"):
                raise Violated(f"{key} mixes stream records and base records")
        return records

    def _carried(self, record: Record) -> None:
        entry = self.entries[record["event_id"]]
        said = entry.record["dynamodb"]
        seconds = said["ApproximateCreationDateTime"]
        if (
            record["new_image"] != said.get("NewImage")
            or record["old_image"] != said.get("OldImage")
            or record["keys"] != said["Keys"]
            or record["key"] != entry.key
            or record["version"] != entry.version
            or record["approx_creation_time_ms"] != round(seconds * 1000)
            or record["event_name"] != entry.record["eventName"]
            or record["is_deleted"] != (entry.record["eventName"] == "REMOVE")
            or record["ttl_expired"] != ("userIdentity" in entry.record)
            or entry.poison
        ):
            raise Violated(f"G7: record {entry.name} is not carried as DynamoDB said it")
        entry.in_object = True

    def quarantine_object(self, key: str, body: bytes) -> None:
        """A quarantine object was stored: it must keep the record's bytes."""
        digest = sha256(b64decode(json.loads(body)["payload"])).hexdigest()
        name = self.by_payload.get(digest)
        if name is None or digest not in key:
            raise Violated(f"G6: {key} keeps other bytes than the record's")
        self.entries[name].in_quarantine = True

    def failure_object(self, names: list[str]) -> None:
        """Lambda wrote a failure object with the payload."""
        for name in names:
            self.entries[name].in_failure = True

    def check_all(self) -> None:
        """G3 in full."""
        for entry in self.entries.values():
            self._held(entry, "the full check")

    def summary(self) -> Counter[str]:
        """How many records ended where."""
        places: Counter[str] = Counter()
        for entry in self.entries.values():
            places["records"] += 1
            places["in_object"] += entry.in_object
            places["quarantined"] += entry.in_quarantine
            places["lost_loudly"] += bool(entry.lost_by)
        return places
