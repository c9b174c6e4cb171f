"""The action `look` over the ports: gaps are recorded by themselves, once, get their end, and are never forgotten."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any

import pytest
from aws_lambda_powertools import Logger, Metrics

from lakebound.adapters.telemetry import report_backfill
from lakebound.backfill.segment_worker import ClockSkewed
from lakebound.errors import LakeboundError, Misconfigured
from lakebound.ports import Overtaken
from lakebound.source.facts import SLICE_MS, Slice
from lakebound.source.gaps import RETENTION_MS, Gap, GapBook
from lakebound.transport.object_keys import REDRIVEN, GapKey, StreamCheckKey
from tests.support.backfill_world import STREAM, World, mapped, world
from tests.support.use_case_world import Killed

HOUR = 3_600_000
DAY = 24 * HOUR
FAILED = "aws/lambda/m/shard-1/2026/11/18/failed"


def look(made: World) -> dict[str, Any]:
    return made.function({"action": "look"})


def looks(made: World, ms: int, every: int = SLICE_MS) -> list[dict[str, Any]]:
    found = []
    for _ in range(ms // every):
        made.clock.pass_ms(every)
        found.append(look(made))
    return found


def gaps(made: World) -> list[Gap]:
    return GapBook("cars", made.bucket, made.bucket).all()


@pytest.fixture
def made() -> World:
    """A pipeline that has been well for two hours, and was looked at."""
    made = world()
    assert looks(made, 2 * HOUR)[-1]["open_gaps"] == 0
    return made


def test_a_mapping_off_for_30_hours_is_one_gap_that_ends_once_the_stream_is_whole(made: World) -> None:
    off_at = made.clock.ms
    mapped(made, state="Disabled")
    answers = looks(made, 30 * HOUR)
    (gap,) = gaps(made)
    assert (gap.cause, gap.to_ms) == ("mapping_disabled", None)
    assert off_at - HOUR <= gap.from_ms <= off_at
    new = [answer for answer in answers if answer["new_gaps"]]
    assert len(new) == 1
    assert new[0]["new_gaps"][0]["cause"] == "mapping_disabled"
    assert gap.detected_at_ms - gap.from_ms == pytest.approx(RETENTION_MS, abs=SLICE_MS)
    on_at = made.clock.ms
    mapped(made, state="Enabled")
    looks(made, 40 * 60_000)
    assert gaps(made)[0].to_ms is None, "what it delivers now may still fail"
    looks(made, HOUR)
    (ended,) = gaps(made)
    assert (ended.from_ms, ended.detected_at_ms) == (gap.from_ms, gap.detected_at_ms)
    assert ended.to_ms is not None
    assert ended.to_ms >= on_at
    assert look(made)["open_gaps"] == 1, "it has an end, and nobody has healed it"


def test_a_mapping_that_is_off_for_an_hour_is_none(made: World) -> None:
    mapped(made, state="Disabled")
    looks(made, HOUR)
    mapped(made, state="Enabled")
    looks(made, 30 * HOUR, HOUR // 2)
    assert gaps(made) == []


def test_a_stream_that_was_made_anew_is_a_gap_until_the_new_one_is_read(made: World) -> None:
    before = made.clock.ms
    made.table.stream_arn = None
    look(made)
    made.table.stream_arn = STREAM.replace("2026-11-18T09", "2026-11-18T11")
    looks(made, 2 * HOUR)
    (gap,) = gaps(made)
    assert (gap.cause, gap.to_ms) == ("stream_recreated", None)
    assert gap.from_ms <= before
    mapped(made, stream_arn=made.table.stream_arn, mapping_id="m2")
    deployed = made.clock.ms
    looks(made, 2 * HOUR)
    (ended,) = gaps(made)
    assert ended.to_ms is not None
    assert ended.to_ms >= deployed


def test_a_failure_object_that_expires_unredriven_is_a_gap_and_a_redriven_one_is_none(made: World) -> None:
    written = made.clock.ms
    redriven = FAILED + "-2"
    made.bucket.objects |= {FAILED: b"{}", redriven: b"{}"}
    made.bucket.times |= {FAILED: written, redriven: written}
    assert look(made)["failure_objects"] == 2
    made.bucket.put_if_absent(REDRIVEN.key_about("cars", redriven), b"{}", {})
    assert look(made)["failure_objects"] == 1
    answers = looks(made, 30 * DAY - 2 * HOUR, HOUR)
    assert [answer["failure_objects_expiring"] for answer in (answers[0], answers[-1])] == [0, 1]
    assert gaps(made) == []
    del made.bucket.objects[FAILED], made.bucket.objects[redriven]
    assert look(made)["new_gaps"]
    assert not look(made)["new_gaps"]
    (gap,) = gaps(made)
    assert gap.cause == "failures_expired"
    assert gap.from_ms <= written - RETENTION_MS
    assert gap.to_ms is not None
    assert written <= gap.to_ms < made.clock.ms


def test_what_another_mapping_gave_up_on_is_remembered_after_the_stack_was_made_anew(made: World) -> None:
    made.bucket.objects[FAILED] = b"{}"
    made.bucket.times[FAILED] = made.clock.ms
    look(made)
    mapped(made, mapping_id="m2")
    assert look(made)["failure_objects"] == 1
    assert gaps(made) == []
    del made.bucket.objects[FAILED]
    look(made)
    assert [gap.cause for gap in gaps(made)] == ["failures_expired"]


def test_a_delivery_that_could_not_even_become_a_failure_object_is_a_gap_once(made: World) -> None:
    made.metrics.kept.append(Slice(made.clock.ms // SLICE_MS * SLICE_MS, 5, failed=1, lost=1))
    looks(made, HOUR)
    (gap,) = gaps(made)
    assert gap.cause == "failures_lost"
    GapBook("cars", made.bucket, made.bucket).close(gap, "run-1")
    assert looks(made, HOUR)[-1]["open_gaps"] == 0


@pytest.mark.parametrize("dies_at", ["before the gap", "before what was seen"])
def test_a_look_that_dies_between_its_writes_is_made_good_by_the_next(made: World, dies_at: str) -> None:
    mapped(made, state="Disabled")
    looks(made, 23 * HOUR)
    key = StreamCheckKey("cars").format()

    def die(written: str) -> None:
        if gaps_or_seen(written):
            raise Killed

    def gaps_or_seen(written: str) -> bool:
        return written == key if dies_at == "before what was seen" else GapKey.parse("cars", written) is not None

    while not gaps(made):
        made.bucket.before = die if made.clock.ms % HOUR < SLICE_MS else lambda written: None
        try:
            looks(made, SLICE_MS)
        except Killed:
            made.bucket.before = lambda written: None
    looks(made, HOUR)
    assert len(gaps(made)) == 1


def test_two_looks_at_once_do_not_overwrite_each_other(made: World) -> None:
    def another(written: str) -> None:
        made.bucket.before = lambda other: None
        made.clock.pass_ms(1)
        look(made)

    made.bucket.before = another
    with pytest.raises(Overtaken):
        look(made)


def test_a_clock_that_jumps_sees_nothing(made: World) -> None:
    kept = dict(made.bucket.objects)
    made.mapping.facts = replace(made.mapping.facts, service_ms=made.clock.ms)
    for jump in (25 * HOUR, -2 * HOUR):
        made.clock.ms += jump
        with pytest.raises(ClockSkewed):
            look(made)
        made.clock.ms -= jump
    # Without the service's own clock, one that goes back is seen by the last look.
    made.mapping.facts = replace(made.mapping.facts, service_ms=None)
    made.clock.ms -= HOUR
    with pytest.raises(ClockSkewed):
        look(made)
    assert made.bucket.objects == kept


def test_without_metrics_nothing_is_proved_and_the_rest_is_seen(made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(from_ms: int, to_ms: int) -> list[Slice]:
        raise LakeboundError("GetMetricData failed", hint="Try again")

    before = look(made)["delivered_until"]
    monkeypatch.setattr(made.metrics, "slices", refuse)
    made.metrics.kept.append(Slice(made.clock.ms, 5, failed=1))
    answer = looks(made, HOUR)[-1]
    assert (answer["unknown"], answer["delivered_until"]) == ("GetMetricData failed", before)
    made.table.stream_arn = None
    assert look(made)["new_gaps"][0]["cause"] == "stream_recreated"


def test_a_look_needs_to_know_the_mapping(made: World) -> None:
    object.__setattr__(made.context.ports, "mapping", None)
    with pytest.raises(Misconfigured, match="STREAM_MAPPING_ID"):
        look(made)


def test_the_metric_gap_is_put_as_the_alarm_looks_at_it(made: World, capsys: pytest.CaptureFixture[str]) -> None:
    logger, metrics = Logger(service="backfill"), Metrics(namespace="Lakebound", service="backfill")
    logging.getLogger("backfill").setLevel(logging.INFO)
    for value in (0, 1):
        report_backfill(logger, metrics, "look", look(made))
        put = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"Gap"' in line]
        assert [one["Gap"] for one in put] == [[value]]
        (directive,) = put[0]["_aws"]["CloudWatchMetrics"]
        assert (directive["Namespace"], directive["Dimensions"]) == ("Lakebound", [["table"]])
        assert put[0]["table"] == "cars"
        made.table.stream_arn = None
