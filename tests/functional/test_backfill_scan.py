"""A scan from the first state to the last, interrupted anywhere, by the real state machine file."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from lakebound.backfill.checkpoints import Checkpoint
from lakebound.backfill.finish_state import finish
from lakebound.backfill.segment_states import plan_scan
from lakebound.backfill.segment_worker import Ahead, when_taken
from lakebound.errors import LakeboundError
from tests.support.backfill_world import STREAM, World, at_once, filled, mapped, unavailable
from tests.support.state_machine import Failed, start
from tests.support.use_case_world import Killed, at_calls, killed

SEGMENT = "_lakebound/cars/backfills/run-1/segments/0.json"


def half_read(segments: int) -> World:
    """Invocations too short for a segment; `run-1` is planned, and nothing is read."""
    made = filled(60, timeout=20.5, max_seconds=0)
    made.table.page_ms = 400
    made.plan(segments)
    return made


def scanned(made: World) -> dict[str, Any]:
    return {one["keys"]["id"]["S"]: one["new_image"] for one in made.bucket.records()}


def test_an_empty_input_reads_the_whole_table_once() -> None:
    made = filled(100)
    result = start(made.function, {}).run()
    assert scanned(made) == made.table.items
    assert (result["records"], result["segments"], result["quarantined"]) == (100, 4, 0)
    assert result["consumed_capacity"] == 100
    assert result["manifest"] == "_lakebound/cars/manifests/run-1.json"
    assert "lakebound-sweep --run run-1" in result["next"]
    assert {one["origin"] for one in made.bucket.records()} == {"scan"}


def test_an_empty_table_is_a_result_too() -> None:
    assert start(filled(0).function, {}).run()["records"] == 0


def test_short_invocations_go_on_from_the_checkpoint_and_read_nothing_twice() -> None:
    made = filled(200, timeout=21, max_seconds=240)
    made.table.page_ms = 400
    result = start(made.function, {"segments": 2}).run()
    assert len([call for call in made.calls if call["action"] == "carry"]) > 10
    assert result["records"] == 200 == len(made.bucket.records())
    assert scanned(made) == made.table.items


def test_event_ids_are_unique_and_say_where_a_record_came_from() -> None:
    made = filled(50)
    made.table.page_ms = 0
    start(made.function, {"segments": 2}).run()
    ids = [one["event_id"] for one in made.bucket.records()]
    assert len(set(ids)) == 50
    assert all(one.split("|")[0] == "run-1" and one.split("|")[1] in "01" for one in ids)


def test_the_label_is_the_time_before_the_page_less_the_margin() -> None:
    made = filled(9, margin_ms=7_000)
    made.table.page_ms = 1_000
    began = made.clock.ms
    start(made.function, {"segments": 1}).run()
    labels = sorted({one["snapshot_label_ms"] for one in made.bucket.records()})
    assert labels == [began - 7_000, began - 6_000, began - 5_000]
    manifest = json.loads(made.bucket.objects["_lakebound/cars/manifests/run-1.json"])
    assert (manifest["min_label_ms"], manifest["max_label_ms"]) == (labels[0], labels[-1])


@pytest.mark.parametrize("moment", range(12))
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("ahead", [when_taken, at_once])
def test_a_kill_at_any_write_loses_nothing(moment: int, after: bool, ahead: Ahead) -> None:
    """Killed before or after each write in turn; the platform's retry, then nothing is missing and counts agree."""
    made = filled(60, max_records=20, ahead=ahead)
    setattr(made.bucket, "after" if after else "before", at_calls({moment}, killed))
    execution = start(made.function, {"segments": 2})
    try:
        result = execution.run()
    except Killed:
        result = execution.run()
    assert scanned(made) == made.table.items
    manifest = json.loads(made.bucket.objects[result["manifest"]])
    assert sum(count for _, count, _ in manifest["files"]) == result["records"] == 60
    assert all(key in made.bucket.objects for key, _, _ in manifest["files"])


def test_a_files_page_is_durable_before_the_checkpoint_moves() -> None:
    made = filled(30, max_records=6)
    start(made.function, {"segments": 1}).run()
    written = made.bucket.written
    seen = {key for key in written if "/segments/" not in key}
    first = next(place for place, key in enumerate(written) if "/segments/" in key)
    assert any(key.startswith("ddb/") for key in written[:first])
    state = Checkpoint.decode("k", made.bucket.objects["_lakebound/cars/backfills/run-1/segments/0.json"])
    assert {file.key for file in state.files} <= seen


def test_an_outage_of_the_bucket_fails_with_the_next_step_and_redrives_from_there() -> None:
    made = filled(40)
    outage = at_calls(range(6), unavailable)
    made.bucket.before = lambda key: outage(key) if key.startswith("ddb/") else None
    execution = start(made.function, {"segments": 4}, sleep=made.clock.sleep)
    with pytest.raises(Failed) as failed:
        execution.run()
    assert (failed.value.state, failed.value.error) == ("Read pages", "StoreUnavailable")
    validated = sum(call["action"] == "validate" for call in made.calls)
    result = execution.run()
    assert sum(call["action"] == "validate" for call in made.calls) == validated == 1
    assert result["records"] == 40
    assert scanned(made) == made.table.items


def test_a_redrive_after_a_timeout_in_mid_segment_goes_on_from_the_checkpoint() -> None:
    made = filled(60, max_records=9)
    strike = at_calls({2}, killed)
    made.bucket.after = lambda key: strike(key) if key.startswith("ddb/") else None
    execution = start(made.function, {"segments": 1})
    with pytest.raises(Killed):
        execution.run()
    before = made.table.pages
    result = execution.run()
    assert made.table.pages - before < 20
    assert result["records"] == 60
    assert scanned(made) == made.table.items


def test_another_segment_count_is_refused_on_resume() -> None:
    made = filled(60, timeout=20.5, max_seconds=0)
    made.table.page_ms = 400
    state = made.plan(3)
    made.function({"action": "carry", "run": "run-1", "unit": 0})
    assert state.document()["units"] == [0, 1, 2]
    changed = replace(state, request=replace(state.request, segments=5))
    with pytest.raises(Exception, match="was started with 3 segments and cannot go on with 5"):
        plan_scan(made.context, changed)
    checkpoint = Checkpoint.decode(SEGMENT, made.bucket.objects[SEGMENT])
    with pytest.raises(Exception, match="was started with 3 segments and cannot go on with 5"):
        checkpoint.check("run-1", 0, 5, "table-1")


def test_a_run_with_a_segment_that_is_not_done_has_no_manifest() -> None:
    made = half_read(1)
    assert not made.function({"action": "carry", "run": "run-1", "unit": 0})["done"]
    with pytest.raises(LakeboundError, match="segment 0 of run run-1 is not done"):
        finish(made.context, "run-1")
    assert not [key for key in made.bucket.objects if "/manifests/" in key]


def test_a_table_made_again_is_refused() -> None:
    made = half_read(1)
    made.function({"action": "carry", "run": "run-1", "unit": 0})
    made.table.table_id = "table-2"
    with pytest.raises(Exception, match="created again"):
        made.function({"action": "carry", "run": "run-1", "unit": 0})


def test_two_invocations_of_one_segment_agree_with_whoever_saved_first() -> None:
    """A zombie: an aborted child's function goes on reading while the redrive's has read the segment to its end."""
    made = filled(30, max_records=6)
    made.plan(1)
    saved: list[bytes] = []

    def meanwhile(key: str) -> None:
        if key.startswith("ddb/") and not saved:
            saved.append(b"")
            assert made.function({"action": "carry", "run": "run-1", "unit": 0})["done"]
            saved[0] = made.bucket.objects[SEGMENT]

    made.bucket.after = meanwhile
    answer = made.function({"action": "carry", "run": "run-1", "unit": 0})
    assert (answer["done"], answer["records"]) == (True, 30)
    assert made.bucket.objects[SEGMENT] == saved[0], "the zombie wrote over the checkpoint of the one that went on"
    assert finish(made.context, "run-1")["records"] == 30
    assert scanned(made) == made.table.items


def test_a_clock_that_is_far_off_reads_nothing() -> None:
    made = filled(10)
    made.table.skew_ms = 9_000
    execution = start(made.function, {})
    with pytest.raises(Failed) as failed:
        execution.run()
    assert failed.value.error == "ClockSkewed"
    assert made.bucket.records() == []


def test_a_run_waits_until_the_stream_covers_it() -> None:
    made = filled(10)
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        made.clock.sleep(seconds)

    mapped(made, modified_ms=made.clock.ms - 1_000)
    began = made.clock.ms
    start(made.function, {}, sleep=sleep).run()
    assert sum(slept) == 179
    assert min(one["snapshot_label_ms"] for one in made.bucket.records()) >= began - 1_000 + 180_000 - 60_000


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (lambda made: setattr(made.table, "stream_arn", None), "has no stream"),
        (lambda made: setattr(made.table, "stream_arn", STREAM.replace("09:06", "09:07")), "another stream"),
        (lambda made: mapped(made, state="Disabled"), "mapping is Disabled"),
    ],
)
def test_a_stream_that_does_not_run_is_said_before_anything_is_read(break_it: Any, sentence: str) -> None:
    made = filled(10)
    break_it(made)
    with pytest.raises(Failed) as failed:
        start(made.function, {}).run()
    assert failed.value.state == "Look at the stream"
    assert sentence in failed.value.cause
    assert "redrive" in failed.value.cause
    assert made.table.pages == 0


def test_no_key_enters_the_state() -> None:
    made = filled(0, timeout=21)
    made.table.page_ms = 300
    for number in range(60):
        made.table.put(f"CANARY-{number}", 987_654_321)
    execution = start(made.function, {"segments": 2})
    execution.run()
    assert len(execution.documents) > 20
    told = "".join(execution.documents) + json.dumps(made.calls)
    assert "CANARY" not in told
    assert "987654321" not in told


def test_a_file_that_disappeared_fails_the_manifest() -> None:
    made = filled(20)

    def lose(key: str) -> None:
        if key.endswith("/segments/3.json"):
            lost = next(one for one in made.bucket.objects if one.startswith("ddb/"))
            del made.bucket.objects[lost]

    made.bucket.after = lose
    with pytest.raises(Failed) as failed:
        start(made.function, {"segments": 4}).run()
    assert failed.value.state == "Check manifest"
    assert "is missing" in failed.value.cause


def test_an_item_that_cannot_be_carried_goes_to_quarantine_and_its_neighbours_go_on() -> None:
    made = filled(20)
    made.table.items["bad"] = {"id": {"S": "bad"}, "x": {"S": "\ud800"}}
    result = start(made.function, {}).run()
    assert (result["records"], result["quarantined"]) == (20, 1)
    kept = [key for key in made.bucket.objects if "/quarantine/" in key]
    assert len(kept) == 1
    assert json.loads(made.bucket.objects[kept[0]])["reason"] == "lone_surrogate"
    assert json.loads(made.bucket.objects[kept[0]])["stage"] == "backfill"
