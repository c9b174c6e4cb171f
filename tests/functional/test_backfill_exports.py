"""Exports in AWS's layout become the same record in the same layout."""

from __future__ import annotations

import gzip
import hashlib
import json
from base64 import b64decode
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lakebound.backfill.export_states import start_exports
from lakebound.backfill.exports import FULL, INCREMENTAL, ExpectedExport, read_manifest, windows
from lakebound.backfill.run_context import RunContext
from lakebound.backfill.run_state import RunState
from lakebound.backfill.segment_states import read_segment
from lakebound.backfill.state_machine import ACTIONS
from lakebound.errors import LakeboundError, ObjectMissing
from lakebound.times import TimeRange
from tests.support.backfill_world import START_MS, TABLE_ARN, World, world
from tests.support.export_files import ID, TABLE_ID, Exports, exporting, exports_of, layout, md5
from tests.support.state_machine import Failed, start

FIXTURES = Path(__file__).resolve().parents[1] / "events" / "export"
MARGIN = 60_000
HOUR = 3_600_000


def by_key(made: World) -> dict[str, Any]:
    return {one["key"]: one for one in made.bucket.records()}


def test_a_full_export_becomes_the_table_at_its_time_without_read_capacity() -> None:
    made, exports = exporting(50)
    result = start(made.function, {"mode": "export"}, sleep=made.clock.sleep).run()
    records = made.bucket.records()
    assert {one["keys"]["id"]["S"]: one["new_image"] for one in records} == made.table.items
    ((_, _, _, at),) = exports.started.values()
    assert {one["snapshot_label_ms"] for one in records} == {at - MARGIN}
    assert {(one["origin"], one["event_name"]) for one in records} == {("export", "SNAPSHOT")}
    assert result["consumed_capacity"] == 0
    assert made.table.pages == 0
    assert result["records"] == 50


def test_a_data_file_that_outlasts_an_invocation_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lakebound.backfill.exports.LINES_PER_PAGE", 7)
    made, _ = exporting(100, timeout=21, max_seconds=0)

    def carry(context: RunContext, event: dict[str, Any], seconds_left: Any) -> dict[str, Any]:
        left = iter([100.0] * 2)
        return read_segment(context, event["run"], event["unit"], lambda: next(left, 0.0))

    monkeypatch.setitem(ACTIONS, "carry", carry)
    result = start(made.function, {"mode": "export"}, sleep=made.clock.sleep).run()
    assert sum(call["action"] == "carry" for call in made.calls) > 6
    assert result["records"] == 100 == len(made.bucket.records())
    assert len({one["event_id"] for one in made.bucket.records()}) == 100


def test_an_export_is_started_once_however_often_the_state_runs() -> None:
    made, exports = exporting(5)
    failures = iter([True, True])

    def strike(key: str) -> None:
        if "manifests/" in key and next(failures, False):
            raise ValueError("a defect")

    made.bucket.before = strike
    execution = start(made.function, {"mode": "export"}, sleep=made.clock.sleep)
    for _ in range(2):
        with pytest.raises(Failed):
            execution.run()
    assert execution.run()["records"] == 5
    assert exports.starts == 1
    start_exports(made.context, RunState.parse(made.calls[-1]["state"]))
    assert exports.starts == 1


def damaged_data(objects: dict[str, bytes]) -> None:
    key = next(key for key in objects if key.endswith(".json.gz"))
    objects[key] = objects[key][:-9]


def damaged_listing(objects: dict[str, bytes]) -> None:
    key = next(key for key in objects if key.endswith("manifest-files.json"))
    objects[key] = objects[key].splitlines()[0] + b"\n"


def a_line_too_few(objects: dict[str, bytes]) -> None:
    key = next(key for key in objects if key.endswith("manifest-files.json"))
    lines = [json.loads(line) for line in objects[key].splitlines()]
    lines[0]["itemCount"] += 1
    lines[1]["itemCount"] -= 1
    objects[key] = b"".join(json.dumps(line).encode() + b"\n" for line in lines)


@pytest.mark.parametrize(
    ("damage", "state", "sentence"),
    [
        (damaged_data, "Convert lines", "md5"),
        (damaged_listing, "Check export manifests", "names files of"),
        (a_line_too_few, "Convert lines", "does not hold the"),
    ],
)
def test_a_damaged_export_is_not_used(damage: Any, state: str, sentence: str) -> None:
    made, exports = exporting(20)
    exports.damage = damage
    with pytest.raises(Failed) as failed:
        start(made.function, {"mode": "export"}, sleep=made.clock.sleep).run()
    assert failed.value.state == state
    assert sentence in failed.value.cause
    assert "start a new backfill" in failed.value.cause.lower()


def test_an_incremental_export_carries_net_states_with_its_windows_end_as_label() -> None:
    made, _ = exporting(10)
    begin = made.clock.ms // 1000 * 1000
    made.clock.pass_ms(60_000)
    made.table.put("car-001", 777)
    made.table.delete("car-002")
    made.table.put("new", 1)
    made.table.put("short", 1)
    made.table.delete("short")
    made.clock.pass_ms(30 * 60_000)
    end = begin + 20 * 60_000
    iso = "2026-11-18T11:06:50Z"
    value = {"mode": "incremental_export", "from": iso, "to": "2026-11-18T11:26:50Z"}
    assert begin == START_MS + 10_000
    start(made.function, value, sleep=made.clock.sleep).run()
    found = {name.removeprefix("id=S:"): one for name, one in by_key(made).items()}
    assert found.keys() == {"car-001", "car-002", "new"}
    assert found["car-002"]["event_name"] == "ABSENT"
    assert found["car-002"]["is_deleted"] is True
    assert found["car-001"]["new_image"]["v"] == {"N": "777"}
    assert {one["snapshot_label_ms"] for one in found.values()} == {end - MARGIN}
    assert {one["approx_creation_time_ms"] for one in found.values()} == {begin + 60_000}


def test_windows_cover_the_range_and_keep_their_limits() -> None:
    for hours in (0.01, 0.25, 1, 23.9, 24, 24.1, 48, 100, 35 * 24):
        made = windows(TimeRange(START_MS, START_MS + int(hours * HOUR)))
        assert made[0].from_ms <= START_MS
        assert made[-1].to_ms >= START_MS + int(hours * HOUR)
        assert all(one.to_ms == two.from_ms for one, two in pairwise(made))
        assert all(15 * 60_000 <= one.to_ms - one.from_ms <= 24 * HOUR for one in made)
        assert all(edge % 1000 == 0 for one in made for edge in (one.from_ms, one.to_ms))
        assert all(one.to_ms - made[0].from_ms >= 12 * HOUR for one in made[:-1])


def stored(folder: Path) -> World:
    made = world()
    for path in folder.rglob("*"):
        if path.is_file():
            made.bucket.objects[str(path.relative_to(folder))] = path.read_bytes()
    return made


PREFIX = "2026-Nov"
SUMMARY = f"{PREFIX}/AWSDynamoDB/{ID}/manifest-summary.json"
WHOLE = ExpectedExport(FULL, TABLE_ARN, TABLE_ID, 5, time_ms=START_MS)
MINUTE_EARLIER = TimeRange(START_MS - 60_000, START_MS + HOUR)
HOURLY = ExpectedExport(INCREMENTAL, TABLE_ARN, TABLE_ID, 5, window=TimeRange(START_MS, START_MS + HOUR))


def plainly(key: str, body: bytes) -> Any:
    """An object as it is compared: what one zlib compresses, another need not compress to the same bytes."""
    if key.endswith(".gz"):
        return gzip.decompress(body)
    if key.endswith("manifest-files.json"):
        entries = [json.loads(line) for line in body.splitlines()]
        return [{name: entry[name] for name in ("itemCount", "dataFileS3Key")} for entry in entries]
    return "a checksum" if key.endswith("manifest-files.md5") else body


def test_the_fixtures_are_what_the_layout_says() -> None:
    ten = json.loads((FIXTURES / "items.json").read_text())
    kinds = {tag for item in ten for value in item.values() for tag in value}
    assert kinds == {"S", "N", "B", "BOOL", "NULL", "SS", "NS", "BS", "L", "M"}
    lines = json.loads((FIXTURES / "changes.json").read_text())
    assert any("NewImage" not in line for line in lines)
    full = layout(PREFIX, [{"Item": item} for item in ten], FULL, START_MS)
    incremental = layout(PREFIX, lines, INCREMENTAL, START_MS, HOURLY.window)
    for name, objects in (("full", full), ("incremental", incremental)):
        stored = {
            str(path.relative_to(FIXTURES / name)): path for path in (FIXTURES / name).rglob("*") if path.is_file()
        }
        assert stored.keys() == objects.keys()
        for key, body in objects.items():
            assert plainly(key, stored[key].read_bytes()) == plainly(key, body), key


@pytest.mark.parametrize(("folder", "wanted"), [("full", WHOLE), ("incremental", HOURLY)])
def test_a_fixture_is_whole_in_itself(folder: str, wanted: ExpectedExport) -> None:
    bucket = stored(FIXTURES / folder).bucket
    for name in ("manifest-summary", "manifest-files"):
        checksum = bucket.objects[SUMMARY.replace("manifest-summary.json", f"{name}.md5")].decode()
        assert checksum == md5(bucket.objects[SUMMARY.replace("manifest-summary.json", f"{name}.json")])
    for file in read_manifest(bucket, SUMMARY, wanted):
        body = bucket.objects[file.key]
        assert (file.md5, file.items) == (md5(body), len(gzip.decompress(body).splitlines()))


def test_the_md5_of_a_manifest_is_over_the_object_as_stored() -> None:
    # The developer guide's sample of manifest-files.json, page S3DataExport.Output.
    checksum, etag = "sQMSpEILNgoQmarvDFonGQ==", "af83d6f217c19b8b0fff8023d8ca4716-1"
    # S3's etag of an object put in one part is hex(md5(md5(object))) and "-1".
    assert hashlib.md5(b64decode(checksum)).hexdigest() + "-1" == etag
    # The control: over the inflated lines the sample's two fields could not agree.
    lines = b'{"Item":{"id":{"S":"k"}}}\n'
    body = gzip.compress(lines)
    assert hashlib.md5(hashlib.md5(lines).digest()).hexdigest() != hashlib.md5(hashlib.md5(body).digest()).hexdigest()


def without_prefix(objects: dict[str, bytes]) -> None:
    """The manifests as the developer guide's sample shows them: keys that leave the export's prefix out."""
    for key, body in list(objects.items()):
        if key.endswith(("manifest-summary.json", "manifest-files.json")):
            objects[key] = body.replace(f"{PREFIX}/AWSDynamoDB".encode(), b"AWSDynamoDB")


@pytest.mark.parametrize("change", [lambda objects: None, without_prefix])
def test_keys_in_a_manifest_are_whole_or_lack_the_exports_prefix(change: Any) -> None:
    bucket = stored(FIXTURES / "full").bucket
    change(bucket.objects)
    files = read_manifest(bucket, SUMMARY, WHOLE)
    assert files
    assert all(file.key.startswith(f"{PREFIX}/AWSDynamoDB/{ID}/data/") for file in files)
    assert all(file.key in bucket.objects for file in files)


def test_a_manifest_whose_listing_is_nowhere_is_told() -> None:
    bucket = stored(FIXTURES / "full").bucket
    del bucket.objects[SUMMARY.replace("summary", "files")]
    for change in (lambda objects: None, without_prefix):
        change(bucket.objects)
        with pytest.raises(ObjectMissing):
            read_manifest(bucket, SUMMARY, WHOLE)


@pytest.mark.parametrize(
    ("folder", "wanted", "sentence"),
    [
        ("full", HOURLY, "another kind"),
        ("incremental", WHOLE, "another kind"),
        ("full", replace(WHOLE, table_arn=TABLE_ARN + "2"), "another table"),
        ("full", replace(WHOLE, table_id="another"), "created again"),
        ("full", replace(WHOLE, time_ms=START_MS + 2_000), "another exportTime"),
        ("incremental", replace(HOURLY, window=MINUTE_EARLIER), "another exportFromTime"),
        ("incremental", replace(HOURLY, window=TimeRange(START_MS, START_MS + 2 * HOUR)), "another exportToTime"),
    ],
)
def test_an_export_that_was_not_asked_for_is_not_used(folder: str, wanted: ExpectedExport, sentence: str) -> None:
    bucket = stored(FIXTURES / folder).bucket
    with pytest.raises(LakeboundError, match=sentence):
        read_manifest(bucket, SUMMARY, wanted)


def test_a_table_created_again_while_its_export_ran_is_refused() -> None:
    made, exports = exporting(5)

    def created_again(objects: dict[str, bytes]) -> None:
        key = next(key for key in objects if key.endswith("manifest-summary.json"))
        objects[key] = objects[key].replace(b"table-1", b"table-2")

    exports.damage = created_again
    with pytest.raises(Failed, match="created again"):
        start(made.function, {"mode": "export"}, sleep=made.clock.sleep).run()
    assert made.bucket.records() == []


def test_the_full_fixture_converts_exactly() -> None:
    made = stored(FIXTURES / "full")
    made.table.table_id = TABLE_ID
    ten = json.loads((FIXTURES / "items.json").read_text())

    class Stored(Exports):
        def start(self, kind: str, prefix: str, token: str, window: TimeRange | None) -> str:
            self.started[token] = (kind, SUMMARY, window, START_MS)
            return token

    exports_of(made, Stored)
    assert start(made.function, {"mode": "export"}, sleep=made.clock.sleep).run()["records"] == len(ten)
    found = sorted((one["new_image"] for one in made.bucket.records()), key=lambda item: item["id"]["S"])
    assert found == sorted(ten, key=lambda item: item["id"]["S"])
