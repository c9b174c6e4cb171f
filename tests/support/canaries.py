"""Values that must appear in no log, metric or exception, in every place of a record and every spelling."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from itertools import count
from typing import Any

from lakebound.record.redaction import Redaction
from tests.support.backfill_world import World, world
from tests.support.export_files import exports_of
from tests.support.stream_records import stream_record
from tests.support.use_case_world import noise


def canaries() -> Iterator[str]:
    for number in count(1):
        yield f"canary{number:03d}"


def canary_records(names: Iterator[str]) -> list[dict[str, Any]]:
    """Values of every type and key, in records that are carried, quarantined for every reason, and too large."""

    def text() -> dict[str, str]:
        return {"S": next(names)}

    def binary() -> dict[str, str]:
        return {"B": b64encode(next(names).encode()).decode()}

    def image() -> dict[str, Any]:
        return {
            "string": text(),
            "binary": binary(),
            "strings": {"SS": [next(names), next(names)]},
            "binaries": {"BS": [binary()["B"], binary()["B"]]},
            "list": {"L": [text(), {"M": {"inner": text(), next(names): {"NULL": True}}}]},
            next(names): {"BOOL": True},
        }

    def poisoned(value: object) -> dict[str, Any]:
        return image() | {"poison": value}

    poison = [
        {"N": next(names)},
        {"S": f"{next(names)}\ud800"},
        {"B": next(names)},
        {"SS": [next(names), ""]},
        {"NS": [next(names)]},
        {next(names): "x"},
        {"BOOL": next(names)},
        {"NULL": next(names)},
        {"L": next(names)},
        {"M": [next(names)]},
        next(names),
    ]
    records = [
        stream_record(number, keys={"id": text()}, attributes=poisoned(value)) for number, value in enumerate(poison)
    ]
    records += [
        stream_record(20, keys={"id": text(), "sort": binary()}, attributes=image()),
        stream_record(21, name="MODIFY", keys={"id": text()}, new={"id": text()} | image()),
        stream_record(22, keys={"id": {"BOOL": next(names)}}),
        stream_record(23, keys={"id": text()}) | {"eventName": next(names)},
        stream_record(24, keys={"id": text()}, created=next(names)),
        stream_record(25, keys={"id": text()}, attributes=image() | {"large": {"S": next(names) + noise(300_000, 1)}}),
        stream_record(26, keys={"id": text()}, eventSourceARN="arn:aws:dynamodb:eu-west-1:123456789012:table/cars"),
    ]
    unnumbered = stream_record(27, keys={"id": text()}, attributes=image())
    unnumbered["dynamodb"]["SequenceNumber"] = next(names)
    return [*records, unnumbered]


def every_spelling(canary: str) -> list[str]:
    """The canary itself, and within base64 at each of the three alignments."""
    spellings = [canary]
    for pad in range(3):
        encoded = b64encode(b"\0" * pad + canary.encode()).decode()
        spellings.append(encoded[4 if pad else 0 : 4 * ((pad + len(canary)) // 3)])
    return spellings


CANARY = "canary-4711"


def canaried(rules: Redaction | None, key: str = CANARY) -> World:
    """Items with canaries in every type, one of them of a name that no reader takes: it goes to quarantine."""
    made = world(redaction=rules)
    exports_of(made)
    made.clock.pass_ms(3_600_000)
    private = {
        "L": [
            {"S": CANARY},
            {"M": {CANARY: {"SS": [CANARY]}, "b": {"B": "Y2FuYXJ5LTQ3MTE="}, "n": {"N": "4711471147114711"}}},
        ]
    }
    for number in range(6):
        name = f"{key}-{number}"
        image: dict[str, Any] = {
            "id": {"S": name},
            "owner": private,
            "trips": {"L": [{"M": {"home": private, "kept": {"S": "kept"}}}]},
        }
        if number == 3:
            image["n" * 50_001] = {"S": "kept"}
        made.table.items[name] = image
        made.table._emit("INSERT", name, image, None)
    made.clock.pass_ms(3_600_000)
    return made


SPELLINGS = ("canary-4711", "Y2FuYXJ5LTQ3MTE", "4711471147114711")


def seen(sinks: list[str]) -> list[str]:
    return [spelling for spelling in SPELLINGS for sink in sinks if spelling in sink]
