"""Seeded items and deliveries: what the benchmarks carry. The same name and count always give the same records."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Final

TABLE: Final = "cars"
STREAM_ARN: Final = f"arn:aws:dynamodb:us-east-1:123456789012:table/{TABLE}/stream/2026-11-01T08:00:00.000"
CREATED_S: Final = 1_795_000_000

Item = dict[str, Any]


def _number(chance: random.Random, digits: int, scale: int) -> dict[str, str]:
    value = chance.randrange(10**digits)
    text = f"{value / 10**scale:.{scale}f}".rstrip("0").rstrip(".") if scale else str(value)
    return {"N": text}


_NUMBERS: Final = (
    ("soc", 4, 2),
    ("odometer_km", 7, 1),
    ("speed_kmh", 4, 1),
    ("battery_v", 5, 2),
    ("battery_a", 5, 2),
    ("battery_temp", 3, 1),
    ("motor_temp", 3, 1),
    ("cabin_temp", 3, 1),
    ("latitude", 8, 6),
    ("longitude", 8, 6),
    ("heading", 4, 1),
    ("altitude_m", 5, 1),
    ("tyre_fl", 3, 2),
    ("tyre_fr", 3, 2),
    ("tyre_rl", 3, 2),
    ("tyre_rr", 3, 2),
    ("range_km", 4, 1),
    ("trip_id", 9, 0),
)


def flat_item(chance: random.Random, key: int) -> Item:
    """28 attributes, 19 of them numbers: a car's telemetry, about 1 kB of DynamoDB-JSON."""
    item: Item = {
        "vin": {"S": f"WLB{key:014d}"},
        "recorded_at": {"S": f"2026-11-{chance.randrange(1, 28):02d}T{chance.randrange(24):02d}:15:30.123Z"},
    }
    for name, digits, scale in _NUMBERS:
        item[name] = _number(chance, digits, scale)
    item["updated_ms"] = {"N": str(1_795_000_000_000 + chance.randrange(10**9))}
    item["state"] = {"S": chance.choice(("parked", "driving", "charging"))}
    item["firmware"] = {"S": chance.choice(("2026.40.1", "2026.44.2"))}
    item["driver"] = {"S": f"driver-{chance.randrange(100_000):05d}"}
    item["locked"] = {"BOOL": chance.random() < 0.5}
    item["plugged"] = {"BOOL": chance.random() < 0.2}
    item["fault"] = {"NULL": True}
    item["note"] = {"S": chance.choice(("", "service due", "Reifen prüfen"))}
    return item


def nested_item(chance: random.Random, key: int) -> Item:
    """An order: maps in lists in maps, sets and a binary, about 3 kB of DynamoDB-JSON."""
    lines = [
        {
            "M": {
                "sku": {"S": f"SKU-{chance.randrange(10**6):06d}"},
                "quantity": {"N": str(chance.randrange(1, 9))},
                "price": _number(chance, 6, 2),
                "options": {
                    "M": {
                        "colour": {"S": chance.choice(("red", "blue"))},
                        "gift": {"BOOL": chance.random() < 0.1},
                    }
                },
                "serials": {"L": [{"S": f"{chance.getrandbits(48):012x}"} for _ in range(3)]},
            }
        }
        for _ in range(10)
    ]
    return {
        "order_id": {"S": f"o-{key:010d}"},
        "customer": {"M": {"id": {"N": str(chance.randrange(10**9))}, "tags": {"SS": ["vip", f"t{key % 50}"]}}},
        "lines": {"L": lines},
        "totals": {"NS": [str(chance.randrange(10**6)) for _ in range(1)]},
        "signature": {"B": "3q2+7w=="},
        "placed_ms": {"N": str(1_795_000_000_000 + chance.randrange(10**9))},
    }


def large_item(chance: random.Random, key: int) -> Item:
    """A document of 100 KB of text in one attribute."""
    words = ("charge", "session", "meter", "kWh", "Zähler", "tariff", "[{}]", '"quoted"', "2026")
    text = " ".join(f"{chance.choice(words)}{chance.randrange(1000)}" for _ in range(10_000))
    return {
        "id": {"S": f"d-{key:08d}"},
        "revision": {"N": str(chance.randrange(10**6))},
        "text": {"S": text[:100_000]},
    }


CORPORA: Final[dict[str, tuple[Callable[[random.Random, int], Item], str, int]]] = {
    "flat": (flat_item, "vin", 1000),
    "nested": (nested_item, "order_id", 400),
    "large": (large_item, "id", 16),
}
"""name: (item maker, key attribute, records of one delivery; 16 large ones are 4 MB of the 6 MB that Lambda sends)."""


def items(corpus: str, count: int) -> Iterator[Item]:
    """`count` items of a corpus."""
    make, _, _ = CORPORA[corpus]
    chance = random.Random(f"{corpus}:{count}")
    for key in range(count):
        yield make(chance, key)


def _changed(chance: random.Random, item: Item) -> Item:
    """The item before its last change: a third of its numbers were a little less or more."""
    before = dict(item)
    for name, value in item.items():
        if "N" in value and chance.random() < 0.33:
            number = Decimal(value["N"])
            step = Decimal(chance.randrange(-50, 51)).scaleb(int(number.as_tuple().exponent))
            before[name] = {"N": str(number + step)}
    return before


def delivery(corpus: str, count: int | None = None) -> dict[str, Any]:
    """What Lambda hands to stream_ingest: MODIFY records with both images."""
    return {"Records": list(records(corpus, CORPORA[corpus][2] if count is None else count))}


def records(corpus: str, count: int) -> Iterator[dict[str, Any]]:
    """The same records one by one, each of a key of its own."""
    make, key_name, _ = CORPORA[corpus]
    chance = random.Random(f"{corpus}:{count}:delivery")
    for key in range(count):
        yield _record(chance, make(chance, key), key_name, key)


def _record(chance: random.Random, new: Item, key_name: str, key: int) -> dict[str, Any]:
    return {
        "eventID": f"{chance.getrandbits(128):032x}",
        "eventName": "MODIFY",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "us-east-1",
        "dynamodb": {
            "ApproximateCreationDateTime": CREATED_S,
            "Keys": {key_name: new[key_name]},
            "NewImage": new,
            "OldImage": _changed(chance, new),
            "SequenceNumber": f"82040000000000000{key:010d}",
            "SizeBytes": 1000,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
        "eventSourceARN": STREAM_ARN,
    }
