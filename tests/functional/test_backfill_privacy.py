"""A backfill writes what the stream would have written: redacted the same, in the same format."""

from __future__ import annotations

import io
import json
from base64 import b64decode
from itertools import count
from typing import Any

import pytest
from aws_lambda_powertools import Logger, Metrics

from lakebound.adapters.telemetry import report_backfill
from lakebound.errors import Misconfigured
from lakebound.record.redaction import Redaction, parse_paths
from lakebound.record.stream_records import StreamDecoder
from lakebound.times import iso
from lakebound.transport.object_keys import DataKey
from tests.support.backfill_world import PREFIX, World, world
from tests.support.canaries import CANARY, SPELLINGS, canaried, seen
from tests.support.state_machine import Failed, start

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


# Every sink of a run, in every mode: objects, what the state machine keeps, log lines, metrics.

_services = count(1)
MODES = ["scan", "export", "incremental_export"]


def run(made: World, mode: str) -> list[str]:
    """A whole run; what it told: log lines, metrics, the events and answers that the state machine keeps."""
    out = io.StringIO()
    logger = Logger(service=f"backfill-{next(_services)}", stream=out)
    metrics = Metrics(namespace="Lakebound", service="backfill")
    metrics.clear_metrics()
    answers: list[Any] = []

    def function(event: dict[str, Any]) -> dict[str, Any]:
        answer = made.function(event)
        report_backfill(logger, metrics, str(event["action"]), answer)
        answers.append(answer)
        return answer

    given: dict[str, Any] = {"mode": mode}
    if mode == "incremental_export":
        given |= {name: iso(made.clock.ms - ago) for name, ago in (("from", 7_000_000), ("to", 1_000_000))}
    answers.append(start(function, given, sleep=made.clock.sleep).run())
    told = [out.getvalue(), json.dumps(metrics.serialize_metric_set()), json.dumps([made.calls, answers])]
    metrics.clear_metrics()
    assert "BackfillRecords" in told[1]
    assert '"action":"finish"' in told[0]
    return told


def objects(made: World) -> list[str]:
    """Keys and contents of all that the backfill wrote, inflated and decoded. What DynamoDB exported itself is raw, as
    the guarantees name it."""
    found = [json.dumps(made.bucket.records())]
    for key, body in made.bucket.objects.items():
        if "AWSDynamoDB/" in key:
            continue
        found += [key, body.decode("latin-1")]
        if "/quarantine/" in key:
            found.append(b64decode(json.loads(body)["payload"]).decode())
    return found


@pytest.mark.parametrize("mode", MODES)
def test_no_redacted_value_is_in_any_object_log_line_or_metric(mode: str) -> None:
    # An incremental export is refused where keys are hashed: there its keys are no canaries.
    if mode == "incremental_export":
        made = canaried(redaction(drop="owner", hashed="trips.home"), key="item")
    else:
        made = canaried(redaction(drop="owner", hashed="id,trips.home"))
    assert seen([*run(made, mode), *objects(made)]) == []
    assert "kept" in objects(made)[0]
    assert any("/quarantine/" in key for key in made.bucket.objects), "the item of a name too long"


@pytest.mark.parametrize("mode", MODES)
def test_without_redaction_values_are_in_objects_only(mode: str) -> None:
    """Also the red control: unredacted, every spelling is found where it may be."""
    made = canaried(None)
    told = run(made, mode)
    assert seen(told) == []
    assert set(seen(objects(made))) == set(SPELLINGS)
    assert seen([*told, CANARY]) == [CANARY]
