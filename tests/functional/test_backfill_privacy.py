"""A backfill writes what the stream would have written: redacted the same, in the same format."""

from __future__ import annotations

import json

import pytest

from lakebound.errors import Misconfigured
from lakebound.events import StreamDecoder
from lakebound.layout import DataKey
from lakebound.redaction import Redaction, parse_paths
from tests.functional.backfill_world import PREFIX, World, world
from tests.statemachines.machine import Failed, start

CANARY = "canary-4711"
KEY = b"sixteen bytes or more"


def redaction(drop: str = "", hashed: str = "") -> Redaction:
    return Redaction.of(parse_paths("DROP_ATTRIBUTES", drop), parse_paths("HASH_ATTRIBUTES", hashed), KEY)


def with_a_canary(rules: Redaction) -> World:
    made = world(redaction=rules)
    made.table.put("car-1", 1)
    made.table.items["car-1"] |= {"owner": {"S": CANARY}, "trips": {"L": [{"M": {"home": {"S": CANARY}}}]}}
    made.table.items["car-2"] = {"id": {"S": "car-2"}, "owner": {"S": CANARY}, "trips": {"L": []}}
    return made


def kept(made: World) -> str:
    whole = [json.dumps(record) for record in made.bucket.records()]
    return "".join(whole) + b"".join(made.bucket.objects.values()).decode("latin-1") + json.dumps(made.calls)


def test_a_dropped_and_a_hashed_value_land_nowhere() -> None:
    made = with_a_canary(redaction(drop="owner", hashed="trips.home"))
    start(made.function, {}).run()
    assert {one["keys"]["id"]["S"] for one in made.bucket.records()} == {"car-1", "car-2"}
    assert CANARY not in kept(made)
    assert not any("owner" in one["new_image"] for one in made.bucket.records())


def test_without_redaction_the_canary_is_seen() -> None:
    made = world()
    made.table.items["car-1"] = {"id": {"S": "car-1"}, "owner": {"S": CANARY}}
    start(made.function, {}).run()
    assert CANARY in kept(made)


def test_a_hashed_key_is_the_streams_key() -> None:
    rules = redaction(hashed="id")
    made = with_a_canary(rules)
    start(made.function, {}).run()
    streamed = {rules.event(StreamDecoder("cars").decode(one, made.clock.ms)).key for one in made.table.stream}
    assert streamed
    assert streamed <= {one["key"] for one in made.bucket.records()}


def test_a_heal_by_windows_is_refused_where_keys_are_hashed() -> None:
    made = world(redaction=redaction(hashed="id"))
    with pytest.raises((Misconfigured, Failed), match="hash"):
        start(
            made.function,
            {"mode": "incremental_export", "from": "2026-11-01T00:00:00Z", "to": "2026-11-01T01:00:00Z"},
            sleep=made.clock.sleep,
        ).run()


@pytest.mark.parametrize("file_format", ["avro", "parquet"])
def test_a_snapshot_reads_back_the_same_from_every_format(file_format: str) -> None:
    made = world(file_format=file_format)
    for number in range(30):
        made.table.put(f"car-{number:02}", number)
    start(made.function, {"segments": 2}).run()
    names = [DataKey.parse(PREFIX, key) for key in made.bucket.objects]
    assert {one.ext for one in names if one is not None} == {file_format}
    assert {one["keys"]["id"]["S"]: one["new_image"] for one in made.bucket.records()} == made.table.items
