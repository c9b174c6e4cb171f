"""A heal looks before it reads: nothing that is still on its way may bring back what it removes. And how it chooses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lakebound.backfill.start_states import COUNTS_SETTLE_MS, has_left
from lakebound.record.redaction import Redaction, parse_paths
from lakebound.source.facts import QueueCounts
from lakebound.source.gaps import Gap, GapBook
from lakebound.transport.object_keys import REDRIVEN
from tests.support.backfill_world import START_MS, World, world
from tests.support.export_files import exports_of
from tests.support.registers import visible_items
from tests.support.state_machine import Execution, Failed, start

MINUTE = 60_000
LARGE = 400 * 1024**3
"""A table so large that reading it whole takes longer than the windows of an incremental export."""

FAILED = "aws/lambda/m/shard-1/2026/11/18/failed"


def with_a_gap(size: int = LARGE, **options: Any) -> World:
    made = world(**options)
    exports_of(made)
    made.table.size = size
    made.clock.pass_ms(10 * MINUTE)
    GapBook("cars", made.bucket, made.bucket).record(Gap(made.clock.ms, made.clock.ms + 20 * MINUTE, "mapping_behind"))
    return made


def a_ghost_on_its_way(made: World, held: bool) -> list[Any]:
    """INSERT of k just before the gap, its DELETE lost in it. Held: the INSERT is in no file yet."""
    made.table.put("other", 1)
    if not held:
        made.table.put("k", 1)
    made.table.flush(made.bucket)
    if held:
        made.table.put("k", 1)
    made.clock.pass_ms(1_000)
    made.table.lost = lambda ms: True
    made.table.delete("k")
    made.table.lost = lambda ms: False
    made.clock.pass_ms(21 * MINUTE)
    return [one for one in made.table.stream if one["dynamodb"]["Keys"]["id"]["S"] == "k"]


def heal(made: World, name: str = "heal-1") -> Execution:
    return start(made.function, {"mode": "heal"}, name=name, sleep=made.clock.sleep)


def visible(made: World) -> set[str]:
    records = made.table.delivered() + [one for one in made.bucket.records() if one["origin"] != "stream"]
    return set(visible_items(records))


def dead(made: World) -> None:
    made.dead.send(["the INSERT of k"])


def redrive_dead(made: World) -> None:
    (body,) = [message.body for message in made.dead.messages]
    made.dead.messages.clear()
    made.buffer.send([body])


def given_up(made: World) -> None:
    made.bucket.objects[FAILED] = b"{}"


def redrive_stream(made: World) -> None:
    made.bucket.put_if_absent(REDRIVEN.key_about("cars", FAILED), b"{}", {})
    made.buffer.send(["the INSERT of k"])


def write_buffer(made: World) -> None:
    """The flusher: what is in the buffer becomes a file of everything that was delivered."""
    made.table.flush(made.bucket)
    made.buffer.messages.clear()


@pytest.mark.parametrize(
    ("wait", "redrive", "command"),
    [(dead, redrive_dead, "dlq redrive --from buffer"), (given_up, redrive_stream, "dlq redrive --from stream")],
)
def test_a_dead_record_is_redriven_and_written_before_the_heal_reads(wait: Any, redrive: Any, command: str) -> None:
    made = with_a_gap()
    assert a_ghost_on_its_way(made, held=True)
    wait(made)
    execution = heal(made)
    with pytest.raises(Failed) as failed:
        execution.run()
    assert failed.value.state == "Look at the stream"
    assert command in failed.value.cause
    assert "redrive this execution" in failed.value.cause
    redrive(made)
    made.clock.at(made.clock.ms + 15 * MINUTE, lambda: write_buffer(made))
    result = execution.run()
    assert made.calls[-1]["action"] == "finish"
    assert result["mode"] == "incremental_export"
    assert visible(made) == {"id=S:other"}


def test_a_record_in_the_buffer_is_waited_for() -> None:
    made = with_a_gap()
    a_ghost_on_its_way(made, held=True)
    made.buffer.send(["the INSERT of k"])
    written = made.clock.ms + 25 * MINUTE
    made.clock.at(written, lambda: write_buffer(made))
    execution = heal(made)
    execution.run()
    looked = [json.loads(text) for text in execution.documents if '"waiting_for"' in text]
    assert any(one["waiting_for"].startswith("the buffer queue") for one in looked)
    assert made.clock.ms > written
    assert visible(made) == {"id=S:other"}


@pytest.mark.parametrize("wait", [dead, given_up])
def test_without_the_look_the_ghost_comes_back(wait: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lakebound.backfill.start_states.undelivered_before_heal", lambda *heal: "")
    made = with_a_gap()
    a_ghost_on_its_way(made, held=True)
    wait(made)
    heal(made).run()
    assert visible(made) == {"id=S:other", "id=S:k"}


def test_a_record_that_was_written_in_time_is_no_ghost() -> None:
    made = with_a_gap()
    a_ghost_on_its_way(made, held=False)
    heal(made).run()
    assert visible(made) == {"id=S:other"}


def test_what_is_redriven_after_a_refusal_is_waited_for_although_an_earlier_look_was_clear() -> None:
    """Clear at the first look; a message dies before the second, is redriven, and the buffer's oldest is young again:
    it counts from a new moment, not from the first look's."""
    made = with_a_gap()
    a_ghost_on_its_way(made, held=True)
    made.buffer.send(["the INSERT of k"])

    def die() -> None:
        made.dead.messages += made.buffer.messages
        made.buffer.messages.clear()

    made.clock.at(made.clock.ms + 3 * MINUTE, die)
    execution = heal(made)
    with pytest.raises(Failed, match="--from buffer"):
        execution.run()
    made.clock.pass_ms(30 * MINUTE)
    redrive_dead(made)
    made.clock.at(made.clock.ms + 10 * MINUTE, lambda: write_buffer(made))
    execution.run()
    assert visible(made) == {"id=S:other"}


def test_a_busy_queue_lets_the_heal_go_on_once_its_oldest_message_is_young_enough() -> None:
    made = with_a_gap()
    a_ghost_on_its_way(made, held=False)

    def churn() -> None:
        made.buffer.messages.clear()
        made.buffer.send(["a later one"])
        made.clock.at(made.clock.ms + MINUTE, churn)

    churn()
    heal(made).run()
    assert visible(made) == {"id=S:other"}


@pytest.mark.parametrize(
    ("seen", "after_ms", "left"),
    [
        (QueueCounts(0, 0), COUNTS_SETTLE_MS, True),
        (QueueCounts(0, 0), COUNTS_SETTLE_MS - 1, False),
        (QueueCounts(0, 5), 10**9, False),
        (QueueCounts(0, 5, 10 * MINUTE, 7 * MINUTE), 15 * MINUTE, True),
        (QueueCounts(0, 5, 10 * MINUTE, 8 * MINUTE), 15 * MINUTE, False),
        (QueueCounts(0, 5, 10 * MINUTE, 30 * MINUTE), 15 * MINUTE, False),
    ],
)
def test_when_everything_of_a_moment_has_left_the_buffer(seen: QueueCounts, after_ms: int, left: bool) -> None:
    assert has_left(seen, 0, after_ms) is left


def estimated(made: World) -> dict[str, Any]:
    state = made.function({"action": "validate", "input": {"mode": "heal"}, "execution": "heal-1"})
    return made.function({"action": "estimate", "state": state})["estimate"]


def test_a_large_table_is_healed_by_windows_and_the_result_says_why() -> None:
    made = with_a_gap()
    a_ghost_on_its_way(made, held=False)
    told = estimated(made)
    assert (told["mode"], told["recommended"]) == ("incremental_export", "incremental_export")
    result = heal(made).run()
    assert result["mode"] == "incremental_export"
    assert result["reason"] == told["reason"] == "less than a quarter of the table changed in these hours"
    assert result["next"].endswith("lakebound backfill close --run heal-1 --source DATA --target TARGET")
    assert "sweep" not in result["next"]


def test_a_tiny_table_is_read_whole_and_swept() -> None:
    made = with_a_gap(size=0)
    a_ghost_on_its_way(made, held=False)
    assert estimated(made)["mode"] == "scan"
    result = heal(made).run()
    assert result["mode"] == "scan"
    assert "done sooner than an export" in result["reason"]
    assert "--aside ASIDE --target TARGET, merge once more, then close" in result["next"]


def test_a_gap_from_before_the_recovery_period_is_not_healed_by_windows() -> None:
    made = with_a_gap()
    made.clock.pass_ms(25 * MINUTE)
    gap = START_MS + 10 * MINUTE
    made.table.recovery_from_ms = gap - 3 * MINUTE
    assert estimated(made)["mode"] == "incremental_export"
    made.table.recovery_from_ms = gap - 3 * MINUTE + 1
    told = estimated(made)
    assert told["mode"] != "incremental_export"
    assert "the recovery period begins later" in told["reason"]
    made.table.recovery_from_ms = None
    assert estimated(made)["mode"] == "scan"


def test_a_table_whose_keys_are_hashed_is_read_whole() -> None:
    made = with_a_gap(redaction=Redaction.of((), parse_paths("HASH_ATTRIBUTES", "id"), b"sixteen bytes or more"))
    made.clock.pass_ms(25 * MINUTE)
    told = estimated(made)
    assert told["mode"] != "incremental_export"
    assert "HASH_ATTRIBUTES names a key attribute" in told["reason"]


def test_records_that_came_too_late_are_healed_by_a_read_of_the_whole_table() -> None:
    """A window's rows would be older than the purged tombstones too, and be set aside by the merge for ever."""
    made = with_a_gap()
    made.clock.pass_ms(25 * MINUTE)
    assert estimated(made)["mode"] == "incremental_export"
    GapBook("cars", made.bucket, made.bucket).record(Gap(made.clock.ms - 1, made.clock.ms, "records_stale"))
    told = estimated(made)
    assert told["mode"] in ("scan", "export")
    assert "the tombstones of their time are purged" in told["reason"]


def test_a_gap_without_an_end_is_not_healed() -> None:
    made = with_a_gap()
    GapBook("cars", made.bucket, made.bucket).record(Gap(5, None, "mapping_disabled"))
    with pytest.raises(Failed, match="not whole yet"):
        heal(made).run()
