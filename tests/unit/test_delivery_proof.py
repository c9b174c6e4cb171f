"""What looks at the stream prove, and the gaps they find: each cause, its edges, seen twice; what must not count."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from lakebound.errors import LakeboundError
from lakebound.source import delivery_proof
from lakebound.source.delivery_proof import (
    QUIET_MS,
    SETTLED_MS,
    SLACK_MS,
    STRETCH,
    StreamCheck,
    StreamFacts,
    expired_failures,
    find_gaps,
    lost_failures,
    proofs,
)
from lakebound.source.facts import SLICE_MS, MappingFacts, Slice
from lakebound.source.gaps import RETENTION_MS, Gap

NOW = 6_000_000 * SLICE_MS // 10
STREAM = "arn:aws:dynamodb:us-east-1:123456789012:table/cars/stream/2026-11-18T09:06:40.000"
OTHER = STREAM.replace("11-18", "11-24")
MINUTE, HOUR = 60_000, 3_600_000
LONG_AGO = NOW - 30 * RETENTION_MS
LAG = SETTLED_MS + STRETCH * SLICE_MS + SLACK_MS
"""How far proof is behind a look at a table that is well and delivers at once."""


def now(**changed: Any) -> StreamFacts:
    mapping = MappingFacts("m", STREAM, "Enabled", LONG_AGO, "OK")
    plain = StreamFacts(STREAM, LONG_AGO, mapping, (), NOW)
    of_mapping = {name: changed.pop(name) for name in ("state", "modified_ms", "result") if name in changed}
    return replace(plain, mapping=replace(mapping, **of_mapping), **changed)


def seen(delivered_ms: int | None = NOW - HOUR, **changed: Any) -> StreamCheck:
    return replace(StreamCheck(STREAM, delivered_ms, {}, NOW - SLICE_MS), **changed)


def busy(from_ms: int, to_ms: int, age_ms: int = 2_000, failing: Iterable[int] = ()) -> list[Slice]:
    """A slice with deliveries in every five minutes; those that begin at a time of `failing` have a failure."""
    bad = set(failing)
    return [Slice(start, age_ms, failed=int(start in bad)) for start in range(from_ms, to_ms, SLICE_MS)]


def found(previous: StreamCheck | None, one: StreamFacts, open_ended: Sequence[Gap] = ()) -> list[tuple[Any, ...]]:
    return [(gap.from_ms, gap.to_ms, gap.cause) for gap in find_gaps(previous, one, open_ended)[2]]


def test_a_quiet_table_whose_mapping_is_well_is_proved_up_to_an_hour_ago() -> None:
    delivered, stream, gaps = find_gaps(seen(), now(), ())
    assert (delivered, stream, gaps) == (NOW - LAG, STREAM, [])


def test_a_busy_table_is_proved_less_the_greatest_age_of_the_stretch() -> None:
    slices = busy(NOW - 2 * HOUR, NOW, age_ms=9_000)
    assert find_gaps(seen(NOW - 2 * HOUR), now(slices=slices), ())[0] == NOW - LAG - 9_000


UNPROVED: dict[str, dict[str, Any]] = {
    "without any metrics": {"slices": None},
    "disabled": {"state": "Disabled"},
    "being disabled": {"state": "Disabling"},
    "being made": {"state": "Creating"},
    "in trouble": {"result": "PROBLEM: Lambda cannot read the stream"},
    "enabled just now": {"modified_ms": NOW - SETTLED_MS - STRETCH * SLICE_MS + 1},
    "on another stream": {"stream_arn": OTHER},
    "without a stream": {"stream_arn": None},
    "failing all the time": {"slices": busy(NOW - 2 * HOUR, NOW, failing=range(NOW - 2 * HOUR, NOW, SLICE_MS))},
    "failing every twenty minutes": {
        "slices": busy(NOW - 2 * HOUR, NOW, failing=range(NOW - 2 * HOUR, NOW, 4 * SLICE_MS))
    },
    "measured too little while": {"modified_ms": NOW - HOUR, "slices": [Slice(NOW - HOUR + 4 * SLICE_MS, 1, failed=1)]},
}


@pytest.mark.parametrize("name", UNPROVED)
def test_without_metrics_silence_proves_nothing(name: str) -> None:
    assert proofs(now(**UNPROVED[name])) == []


def test_a_slice_that_is_not_settled_proves_nothing() -> None:
    assert max(proof.at_ms for proof in proofs(now(slices=busy(NOW - HOUR, NOW)))) == NOW - SETTLED_MS


def test_silence_of_earlier_hours_proves_nothing_but_deliveries_do() -> None:
    assert min(proof.at_ms for proof in proofs(now())) == NOW - QUIET_MS + STRETCH * SLICE_MS
    assert min(proof.at_ms for proof in proofs(now(slices=busy(NOW - 9 * HOUR, NOW)))) < NOW - 8 * HOUR


def test_a_mapping_that_is_off_is_a_gap_once_the_stream_may_have_forgotten() -> None:
    off = now(state="Disabled", modified_ms=NOW - RETENTION_MS)
    assert found(seen(NOW - RETENTION_MS), off) == []
    assert found(seen(NOW - RETENTION_MS - 1), off) == [(NOW - RETENTION_MS - 1, None, "mapping_disabled")]


def test_a_mapping_that_reads_too_late_is_a_gap() -> None:
    late = now(slices=busy(NOW - 30 * HOUR, NOW, age_ms=RETENTION_MS))
    began = NOW - RETENTION_MS - LAG
    assert found(seen(began), late) == [(began, None, "mapping_behind")]
    in_time = now(slices=busy(NOW - 30 * HOUR, NOW, age_ms=RETENTION_MS // 2))
    assert found(seen(NOW - RETENTION_MS // 2 - 2 * HOUR), in_time) == []


def test_a_stream_that_is_in_trouble_for_a_day_is_a_gap_without_any_metric() -> None:
    trouble = now(result="PROBLEM: KMS key is disabled")
    assert found(seen(NOW - RETENTION_MS - 1), trouble) == [(NOW - RETENTION_MS - 1, None, "mapping_behind")]


@pytest.mark.parametrize("stream", [OTHER, None])
def test_another_stream_or_none_is_a_gap_at_once(stream: str | None) -> None:
    delivered, told, gaps = find_gaps(seen(), now(stream_arn=stream), ())
    assert [(gap.from_ms, gap.to_ms, gap.cause) for gap in gaps] == [(NOW - HOUR, None, "stream_recreated")]
    assert (delivered, told) == (NOW - HOUR, stream or STREAM)


def test_a_gap_that_is_open_ended_is_not_found_again_under_another_cause() -> None:
    gap = Gap(NOW - RETENTION_MS - HOUR, None, "mapping_disabled")
    assert found(seen(gap.from_ms), now(state="Enabling", modified_ms=NOW), [gap]) == []
    assert found(seen(gap.from_ms), now(stream_arn=OTHER), [gap]) == []
    assert found(seen(gap.from_ms, stream_arn=OTHER), now(stream_arn=OTHER), [gap]) == []


def test_seen_twice_a_gap_has_the_same_start_and_cause() -> None:
    off = now(state="Disabled", modified_ms=NOW - 2 * RETENTION_MS)
    later = replace(off, now_ms=NOW + SLICE_MS)
    previous = seen(NOW - 2 * RETENTION_MS)
    assert found(previous, off) == found(previous, later)


def test_a_gap_ends_when_everything_since_is_proved_and_not_before_the_mapping_was_enabled() -> None:
    gap = Gap(NOW - 40 * HOUR, None, "mapping_disabled", detected_at_ms=5)
    enabled = NOW - SETTLED_MS - STRETCH * SLICE_MS
    back = now(modified_ms=enabled, slices=busy(enabled, NOW, age_ms=3 * HOUR))
    delivered, _, (ended,) = find_gaps(seen(gap.from_ms), back, [gap])
    # What is younger than three hours before its stretch may still be on its way: the moment is below C.
    assert delivered == enabled - 3 * HOUR - SLACK_MS
    assert ended == Gap(gap.from_ms, enabled, "mapping_disabled", detected_at_ms=5)


def test_a_gap_does_not_end_while_the_mapping_reads_what_the_stream_is_about_to_forget() -> None:
    gap = Gap(NOW - 40 * HOUR, None, "mapping_disabled")
    back = now(modified_ms=NOW - 3 * HOUR, slices=busy(NOW - 3 * HOUR, NOW, age_ms=23 * HOUR))
    assert found(seen(gap.from_ms), back, [gap]) == []
    caught_up = replace(back, slices=busy(NOW - 3 * HOUR, NOW, age_ms=5 * HOUR))
    assert found(seen(gap.from_ms), caught_up, [gap])[0][1] is not None


def test_a_gap_of_another_stream_ends_on_deliveries_of_the_new_one_only() -> None:
    gap = Gap(NOW - 5 * HOUR, None, "stream_recreated")
    previous = seen(gap.from_ms, stream_arn=OTHER)
    deployed = NOW - 2 * HOUR
    # The old mapping went on and delivered the old stream's rest: its metrics have the same name.
    old = busy(NOW - 5 * HOUR, deployed)
    mapping = MappingFacts("m2", OTHER, "Enabled", deployed, "OK")
    one = replace(now(stream_arn=OTHER, label_ms=NOW - 4 * HOUR, slices=old), mapping=mapping)
    assert found(previous, replace(one, mapping=replace(mapping, modified_ms=NOW - 10 * MINUTE)), [gap]) == []
    ((begin, end, cause),) = found(previous, replace(one, slices=[*old, *busy(deployed, NOW)]), [gap])
    assert (begin, cause) == (NOW - 5 * HOUR, "stream_recreated")
    assert end is not None
    assert end >= deployed


def test_looks_that_were_missed_for_two_days_prove_that_nothing_was_or_find_the_gap() -> None:
    whole = now(slices=busy(NOW - 50 * HOUR, NOW))
    assert found(seen(NOW - 50 * HOUR), whole) == []
    hole = [one for one in whole.slices or () if not NOW - 40 * HOUR <= one.start_ms < NOW - 10 * HOUR]
    ((begin, end, cause),) = found(seen(NOW - 50 * HOUR), replace(whole, slices=hole))
    assert cause == "mapping_behind"
    assert NOW - 41 * HOUR < begin <= NOW - 40 * HOUR
    assert end is not None
    assert end >= NOW - 10 * HOUR


def test_the_first_look_at_a_new_stack_finds_nothing_and_believes_nothing() -> None:
    young = now(modified_ms=NOW - MINUTE, label_ms=LONG_AGO)
    assert find_gaps(None, young, ()) == (None, STREAM, [])
    assert find_gaps(seen(None), young, ()) == (None, STREAM, [])
    assert find_gaps(None, now(), ())[0] == NOW - LAG


def test_the_first_look_at_a_mapping_that_is_off_for_days_finds_its_gap() -> None:
    off_since = NOW - 3 * RETENTION_MS
    off = now(state="Disabled", modified_ms=off_since)
    assert found(None, off) == [(off_since - RETENTION_MS, None, "mapping_disabled")]
    assert found(None, replace(off, label_ms=off_since - HOUR)) == [(off_since - HOUR, None, "mapping_disabled")]
    assert found(None, now(state="Disabled", modified_ms=NOW - RETENTION_MS)) == []


def test_failure_objects_that_are_gone_are_one_gap_from_the_oldest_record_they_may_have_held() -> None:
    assert expired_failures({}, NOW) == []
    (gap,) = expired_failures({"a": NOW - 9 * HOUR, "b": NOW - HOUR}, NOW)
    assert gap.from_ms <= NOW - 9 * HOUR - RETENTION_MS
    assert gap.to_ms is not None
    assert gap.to_ms >= NOW - HOUR


def test_failure_objects_that_could_not_be_written_are_a_gap_each_slice_and_the_same_gap_each_look() -> None:
    slices = [Slice(NOW - HOUR, 5, lost=2), Slice(NOW, 5)]
    first, again = lost_failures(slices, NOW), lost_failures(slices, NOW + SLICE_MS)
    assert [(gap.from_ms, gap.to_ms, gap.cause) for gap in first] == [
        (NOW - HOUR - RETENTION_MS, NOW - HOUR + SLICE_MS, "failures_lost")
    ]
    assert [gap.from_ms for gap in again] == [gap.from_ms for gap in first]


def test_what_was_seen_is_read_back_and_anything_else_is_refused() -> None:
    one = seen(failures={"aws/lambda/m/x": 7})
    assert StreamCheck.decode("key", one.encode()) == one
    assert StreamCheck.decode("key", seen(None).encode()) == seen(None)
    for body in (b"", b"[]", b'{"stream_arn":1}'):
        with pytest.raises(LakeboundError, match="key is not the result of a stream check"):
            StreamCheck.decode("key", body)


# ── red controls: each careless rule must be seen to miss a gap ──


def test_taking_silence_for_delivery_misses_a_mapping_off_for_30_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_all_along() -> list[Gap]:
        """Every five minutes, from the last delivery on, until the mapping is enabled again."""
        previous, recorded = seen(NOW - LAG), list[Gap]()
        for at in range(NOW, NOW + 30 * HOUR, SLICE_MS):
            one = replace(now(state="Disabled", modified_ms=NOW), now_ms=at)
            delivered, _, gaps = find_gaps(previous, one, [gap for gap in recorded if gap.to_ms is None])
            recorded += gaps
            previous = replace(previous, delivered_ms=delivered, looked_ms=at)
        return recorded

    (gap,) = look_all_along()
    assert (gap.from_ms, gap.to_ms) == (NOW - LAG, None)
    monkeypatch.setattr(StreamFacts, "delivers_since_ms", property(lambda self: LONG_AGO))
    assert look_all_along() == []


def test_a_check_before_its_metrics_takes_a_failing_delivery_for_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A try of fifteen minutes began ten minutes ago; its failure is counted where it began, once it has ended."""
    slices = busy(NOW - HOUR, NOW - 2 * SLICE_MS)
    sound = max(proof.delivered_ms for proof in proofs(now(slices=slices)))
    monkeypatch.setattr(delivery_proof, "SETTLED_MS", 0)
    careless = max(proof.delivered_ms for proof in proofs(now(slices=slices)))
    failed = [*slices, Slice(NOW - 2 * SLICE_MS, 2_000, failed=1)]
    assert careless > max(proof.delivered_ms for proof in proofs(now(slices=failed))) >= sound
