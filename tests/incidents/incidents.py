"""Incidents: each is staged, seen by its alarm's condition, repaired by its page's command, and ends equal.

On the ports, in the pipeline's own time; `python -m tests.incidents` writes docs/INCIDENTS.md of them. Two more have
real parts of their own: a wrong type in a silver column (tests/spark/test_repairs.py), and the deploy of real
code onto the local stack (tests/local_stack).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from lakebound.operate.discard import discard_messages, discard_objects, undelivered_failures
from lakebound.operate.redrive import redrive_by_copy, redrive_failures, redrive_quarantine
from lakebound.operate.status import GAP, LAGGING, OK
from lakebound.transport.dead_letters import peek_dead_letters
from lakebound.transport.undelivered import MAX_FAILURE_BYTES, pending_failures, pending_quarantine
from lakebound_spark.silver.due_merge import MergeSchedule
from tests.incidents.oncall import OnCall, Row, is_on
from tests.incidents.plant import MAPPING, Plant
from tests.incidents.schedules import PlayedHeartbeat, PlayedNight
from tests.support.backfill_world import unavailable, world
from tests.support.registers import receive_all
from tests.support.state_machine import Failed, start
from tests.support.stream_records import TABLE
from tests.support.use_case_world import noise

HOUR: Final = 3_600

REDRIVE_BUFFER: Final = "lakebound dlq redrive --from buffer"
REDRIVE_STREAM: Final = "lakebound dlq redrive --from stream"
REDRIVE_QUARANTINE: Final = "lakebound dlq redrive --from quarantine"
ENABLE_MAPPING: Final = "aws lambda update-event-source-mapping --enabled --uuid ID"
ENABLE_KEY: Final = "aws kms enable-key --key-id KEY"
DEPLOY: Final = "lakebound deploy"
HEAL: Final = "lakebound backfill start --mode heal"
REPAIR: Final = "lakebound verify --target TARGET --repair"
DISCARD_BUFFER: Final = "lakebound dlq discard --from buffer --all"
START_RUN: Final = "lakebound-run"
START_MERGE: Final = "lakebound-merge-changes"
DISCARD_STREAM: Final = "lakebound dlq discard --from stream --all"
PUBLISH_VERIFY: Final = "lakebound verify --target TARGET --publish"
SMALLER_SHARE: Final = "lakebound deploy -p VerifyShare=1/60"
REDRIVE_EXECUTION: Final = "aws stepfunctions redrive-execution --execution-arn ARN"


def plant() -> Plant:
    """A pipeline that is well, with ten items in the table and in the lake."""
    made = Plant()
    for number in range(10):
        made.write(f"k{number}", "first")
    made.run(60)
    assert_well(made)
    return made


def assert_well(made: Plant) -> None:
    report = made.compare()
    assert report.is_equal, str(report)
    assert report.left_out == ()
    assert made.status().state == OK


def on_call(incident: str, made: Plant) -> OnCall:
    return OnCall(incident, made.clock, made.measured)


def begin(incident: str) -> tuple[Plant, OnCall]:
    """A plant that is well, and the person who will be called of this incident."""
    made = plant()
    return made, on_call(incident, made)


def end(made: Plant, call: OnCall) -> Row:
    """What the person on call met, once the plant is well again."""
    assert_well(made)
    return call.over()


def redrive_dead(made: Plant) -> None:
    redrive_by_copy(TABLE, made.dead, made.buffer, made.clock)


def redrive_stream(made: Plant) -> None:
    assert redrive_failures(made.ingest, pending_failures(made.bucket, TABLE, MAPPING)).failed == {}


def poison_record() -> Row:
    made, call = begin("poison record (a clock two hours ahead)")
    made.write("k1", "second", ApproximateCreationDateTime=made.clock.now_ms() // 1000 + 2 * HOUR)
    made.write("k2", "second")
    made.run(60)
    call.called("Quarantine")
    assert "quarantine" in made.pages()
    assert made.compare().stale + made.compare().different == ("id=S:k1",), "its neighbour went on"
    made.clock.sleep(2 * HOUR)
    call.follow(REDRIVE_QUARANTINE, lambda: redrive_quarantine(made.ingest, pending_quarantine(made.bucket, TABLE)))
    made.run(60)
    return end(made, call)


def oversized_record() -> Row:
    made, call = begin("oversized record")
    made.write("big", noise(390_000, 1))
    made.run(60)
    assert any("/claims/" in key for key in made.bucket.objects)
    call.finds("oversized", "it travels by claim check")
    return end(made, call)


def bucket_outage() -> Row:
    made, call = begin("buffer DLQ filled by an S3 outage of seven hours")
    made.outage.down.add("bucket")
    made.write("k1", "second")
    # An hour must fill no dead-letter queue; only a day of refusals does.
    made.run(HOUR, step=60)
    assert made.dead.messages == []
    made.run(6 * HOUR, step=600)
    call.called("DeadLetters")
    assert "dead-letters" in made.pages()
    assert not made.compare().is_equal
    made.outage.down.clear()
    call.follow(REDRIVE_BUFFER, lambda: redrive_dead(made))
    made.run(60)
    return end(made, call)


def junk_in_the_queues() -> Row:
    """Somebody else's bytes in the buffer queue and beside the failure objects: no redrive ever ends that."""
    made, call = begin("junk in the queues")
    made.buffer.send(["a message of another sender"])
    made.bucket.put_if_absent(f"aws/lambda/{MAPPING}/notes.txt", b"a note of somebody's", {})
    made.write("k1", "second")
    # Within minutes it is a dead letter, not in the 2.8 hours of ten visibility timeouts.
    made.run(600)
    assert made.compare().is_equal, "its neighbour went on"
    assert (len(made.buffer.messages), len(made.dead.messages)) == (0, 1)
    call.called("DeadLetters")
    assert "dead-letters" in made.pages()
    redrive_dead(made)
    assert made.status().state == LAGGING, "a redrive never ends it"
    call.follow(DISCARD_BUFFER, lambda: discard_dead(made))
    call.follow(DISCARD_STREAM, lambda: discard_failures(made))
    assert sum("/discarded/" in key for key in made.bucket.objects) == 2, "a copy of each"
    return end(made, call)


def discard_dead(made: Plant) -> None:
    ids = {one.message_id for one in peek_dead_letters(TABLE, made.dead, made.bucket, 1_000) if one.verdict}
    assert set(discard_messages(TABLE, ids, made.dead, made.bucket, made.clock).discarded) == ids


def discard_failures(made: Plant) -> None:
    waits = list(undelivered_failures(made.bucket, pending_failures(made.bucket, TABLE, MAPPING)))
    discard_objects("stream", waits, made.bucket, TABLE, made.clock, MAX_FAILURE_BYTES)


def failure_objects() -> Row:
    made, call = begin("failures in S3 (the queue refused for ten minutes)")
    made.outage.down.add("queue")
    made.write("k1", "second")
    made.write("k2", None)
    made.run(600, step=60)
    call.called("FailureObjects")
    assert "failure-objects" in made.pages()
    made.outage.down.clear()
    made.write("k1", "third")
    made.run(60)
    # The later change is in the lake before the earlier ones come back: their versions keep them behind it.
    call.follow(REDRIVE_STREAM, lambda: redrive_stream(made))
    made.run(60)
    assert_well(made)
    row = call.over()
    before = set(made.bucket.objects)
    redrive_stream(made)
    made.run(60)
    assert set(made.bucket.objects) == before, "redriven twice changes nothing"
    return row


def stream_unread() -> Row:
    made, call = begin("stream not read for 25 h")
    made.mapping_enabled = False
    made.write("k1", "second")
    made.write("k2", None)
    made.run(22 * HOUR, step=300)
    assert made.status().state == LAGGING
    assert {"stream-behind", "mapping-disabled"} <= made.pages()
    call.called("StreamBehindTwentyHours")
    made.run(3 * HOUR, step=300)
    assert made.status().state == GAP
    call.called("StatusGap")
    call.follow(ENABLE_MAPPING, lambda: setattr(made, "mapping_enabled", True))
    made.run(2 * HOUR, step=60)
    assert made.pages() == {"status-gap"}
    assert set(made.compare().ghost) == {"id=S:k2"}, "what the stream forgot must show, or the heal proves nothing"
    call.follow(HEAL, lambda: made.heal("heal-1"))
    return end(made, call)


def stream_anew() -> Row:
    made, call = begin("stream re-created")
    made.write("k1", "lost")
    made.write("k2", None)
    made.stream.clear()
    made.make_stream_anew()
    made.write("k3", "on the new stream")
    made.run(600)
    assert made.status().state == GAP
    assert {"stream-recreated", "status-gap"} <= made.pages()
    call.called("StatusGap")
    call.follow(DEPLOY, lambda: setattr(made, "mapped_arn", made.stream_arn))
    made.run(2 * HOUR, step=60)
    assert made.pages() == {"status-gap"}
    assert made.compare().different + made.compare().stale == ("id=S:k1",)
    call.follow(HEAL, lambda: made.heal("heal-2"))
    return end(made, call)


def backfill_failed() -> Row:
    """Throttled on its way, then failed in the middle of a segment; redriven, it reads no page twice."""
    made = world(page_items=20, timeout=120, capacity=40, max_records=100)
    for number in range(800):
        made.table.put(f"k{number:04}", number)
    failed = 0
    refused: list[str] = []

    def outage(key: str) -> None:
        # The fourth file on: the bucket refuses until the retries of the state are used up.
        if key.startswith("ddb/") and len(made.bucket.records()) >= 300 and len(refused) < 6:
            refused.append(key)
            unavailable(key)

    made.bucket.before = outage
    call = OnCall("backfill throttled, then failed in mid-segment", made.clock, lambda: {"ExecutionsFailed": failed})
    given = {"segments": 1, "read_capacity": 200}
    execution = start(made.function, given, sleep=made.clock.sleep)
    with pytest.raises(Failed, match="could not put"):
        execution.run()
    failed = 1
    assert made.table.throttles > 0
    assert 0 < len(made.bucket.records()) < 800, "in the middle of its only segment"
    call.called("BackfillFailed")

    results: list[dict[str, int]] = []
    pages = made.table.pages
    call.follow(REDRIVE_EXECUTION, lambda: results.append(execution.run()))
    failed = 0
    assert results[0]["records"] == 800
    assert made.table.pages - pages < 800 / 20, "it goes on from the checkpoint"
    found = receive_all(made.bucket.records())
    assert {key.partition(":")[2]: one.visible for key, one in found.items()} == made.table.items
    return call.over()


def row_edited() -> Row:
    made, call = begin("silver drifted (one row edited)")
    made.edited["id=S:k3"] = '{"id":{"S":"k3"},"v":{"S":"by hand"}}'
    # Nothing that is merged again changes the row: its registers are right.
    made.run(60)
    assert made.compare().different == ("id=S:k3",)
    call.finds("unequal", "`lakebound verify` ends with 1")

    def repair() -> None:
        done = made.repair(made.compare().different)
        assert (done.items, done.absent, len(done.files)) == (1, 0, 1)

    call.follow(REPAIR, repair)
    return end(made, call)


def key_disabled() -> Row:
    made, call = begin("KMS key disabled for an hour")
    made.outage.down |= {"bucket", "queue"}
    made.write("k1", "second")
    made.run(HOUR, step=60)
    call.called("FailureObjects")
    assert made.pages() & {"failure-objects", "stream-behind"}
    call.follow(ENABLE_KEY, made.outage.down.clear)
    call.follow(REDRIVE_STREAM, lambda: redrive_stream(made))
    made.run(20 * 60)
    call.follow(REDRIVE_BUFFER, lambda: redrive_dead(made))
    made.run(60)
    return end(made, call)


def flood() -> Row:
    made, call = begin("flood ×50")
    for number in range(5_000):
        made.write(f"k{number % 700}", f"flood {number}")
    made.clock.sleep(600)
    call.called("StreamLagging")
    assert "stream-behind" in made.pages()

    def more() -> None:
        for _ in range(60):
            made.deliver()

    call.follow("StreamParallelization", more)
    made.run(120)
    assert made.stream == []
    return end(made, call)


def bad_deploy(function: str, alarm: str) -> Row:
    made, call = begin(f"bad deploy of {function}, rolled back under load")
    made.broken.add(function)
    for number in range(200):
        made.write(f"k{number % 20}", f"load {number}")
        if number % 20 == 0:
            made.run(120)
    call.called(alarm)
    call.follow(DEPLOY, made.broken.clear)
    made.run(600)
    call.follow(REDRIVE_STREAM, lambda: redrive_stream(made))
    call.follow(REDRIVE_BUFFER, lambda: redrive_dead(made))
    made.run(600)
    made.errors.clear()  # the alarm looks at five minutes
    return end(made, call)


def merge_job_stopped() -> Row:
    made, call = begin("merge job stopped for two hours")
    job = made.start_merge_job()
    made.run(300)
    assert_well(made)
    job.is_running = False
    for number in range(8):
        made.write(f"k{number}", f"while it stood still {number}")
        made.run(HOUR / 4)
    call.called("MergeMissing")
    assert made.status().state == LAGGING
    assert made.pages() == {"merge-missing"}
    by_table = made.status().facts.waiting
    assert by_table is not None
    assert by_table.oldest_ms is not None
    assert by_table.count == 8, "found without CloudWatch too"
    assert by_table.oldest_ms - job.published().published_ms <= 120_000, "since when it stands still"
    assert not made.compare().is_equal
    call.follow(START_RUN, job.start)
    made.run(60)
    call.is_called_too("SilverLag")
    made.run(300)
    return end(made, call)


def merge_fails() -> Row:
    made, call = begin("the merge fails while appends go on")
    job = made.start_merge_job(MergeSchedule(600))
    made.run(300)
    job.merge_fails = True
    for number in range(6):
        made.write(f"k{number}", f"appended {number}")
        made.run(300)
    assert made.compare().is_equal, "_live has them"
    assert len(job.merged) < len(job.live), "silver has not"
    call.called("SilverPending")
    assert made.pages() == {"silver-pending"}
    assert "could not be merged (MemoryError); nothing is lost" in job.told[0]

    def start_on_a_larger_machine() -> None:
        job.merge_fails = False
        job.start()

    call.follow(START_MERGE, start_on_a_larger_machine)
    made.run(120)
    assert job.merged == job.live
    return end(made, call)


def heartbeat_stops() -> Row:
    """On a table that nobody writes, a disabled mapping of the queue holds up nothing that another alarm would see."""
    made, call = begin("no heartbeat arrives (the queue's mapping was disabled)")
    made.heartbeat = PlayedHeartbeat(made)
    made.run(1_800)
    assert_well(made)
    assert not is_on("HeartbeatMissing", made.measured())
    made.queue_mapping_enabled = False
    made.run(2_100)
    call.called("HeartbeatMissing")
    assert made.pages() >= {"heartbeat-missing", "mapping-disabled"}
    assert made.status().state == LAGGING
    call.follow(ENABLE_MAPPING, lambda: setattr(made, "queue_mapping_enabled", True))
    made.run(30)
    return end(made, call)


def night_finds_a_difference() -> Row:
    made, call = begin("the nightly verify finds a difference (one row edited)")
    made.night = PlayedNight(made, of=2)
    made.edited["id=S:k3"] = '{"id":{"S":"k3"},"v":{"S":"by hand"}}'
    made.run(24 * HOUR, step=HOUR)
    if not made.night.puts[-1][1]:
        made.run(24 * HOUR, step=HOUR)  # this share was the other half
    call.called("Unequal")

    def repair() -> None:
        assert made.repair(made.compare().different).items == 1

    call.follow(REPAIR, repair)
    made.run(60)
    call.follow(PUBLISH_VERIFY, lambda: made.night and made.night.publish(made.compare()))
    return end(made, call)


def queue_purged() -> Row:
    made, call = begin("buffer queue purged (PurgeQueue, by hand or by a tool)")
    made.night = PlayedNight(made, of=2)
    made.write("k1", "lost")
    made.write("k2", None)
    made.write("new", "lost")
    made.deliver()
    assert made.buffer.messages, "or nothing is lost"
    made.buffer.messages.clear()
    made.run(2 * HOUR, step=600)
    # Lambda delivered them, so the stream is whole and the queue is empty: nothing is there to be seen.
    assert (made.status().state, made.pages()) == (OK, set())
    made.run(24 * HOUR, step=HOUR)
    if not made.night.puts[-1][1]:
        made.run(24 * HOUR, step=HOUR)  # this share was the other half
    assert (made.status().state, made.pages()) == (OK, set())
    call.called("Unequal")

    def repair() -> None:
        found = made.compare()
        assert (found.missing, found.ghost) == (("id=S:new",), ("id=S:k2",))
        repaired = made.repair([*found.missing, *found.ghost, *found.stale, *found.different])
        assert (repaired.items, repaired.absent) == (2, 1)

    call.follow(REPAIR, repair)
    made.run(60)
    call.follow(PUBLISH_VERIFY, lambda: made.night and made.night.publish(made.compare()))
    return end(made, call)


def night_does_not_end() -> Row:
    made, call = begin("the nightly verify does not end in time")
    made.night = PlayedNight(made, of=2)
    made.run(24 * HOUR, step=HOUR)
    for number in range(2_600):
        made.write(f"grown{number}", "first")
    made.run(27 * HOUR, step=600)
    assert "too much for one invocation" in made.night.told[-1]
    call.called("VerifyMissing")
    call.follow(SMALLER_SHARE, lambda: setattr(made.night, "of", 30))
    made.run(24 * HOUR, step=HOUR)
    return end(made, call)


INCIDENTS: Final[dict[str, Callable[[], Row]]] = {
    "poison record": poison_record,
    "oversized record": oversized_record,
    "bucket outage": bucket_outage,
    "failure objects": failure_objects,
    "stream unread": stream_unread,
    "stream anew": stream_anew,
    "backfill failed": backfill_failed,
    "row edited": row_edited,
    "key disabled": key_disabled,
    "flood": flood,
    "bad deploy of stream_ingest": lambda: bad_deploy("stream_ingest", "StreamIngestErrors"),
    "bad deploy of flusher": lambda: bad_deploy("flusher", "FlusherErrors"),
    "junk in the queues": junk_in_the_queues,
    "merge job stopped": merge_job_stopped,
    "merge fails": merge_fails,
    "heartbeat stops": heartbeat_stops,
    "night finds a difference": night_finds_a_difference,
    "queue purged": queue_purged,
    "night does not end": night_does_not_end,
}
