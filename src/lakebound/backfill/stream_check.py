"""The stream check, every five minutes by the template's schedule: what may be missing is recorded as a gap.

The order matters: gaps are recorded before the check's result is saved, so that a check that dies between the two finds
them again, under the same keys.
"""

from __future__ import annotations

from typing import Any, Final

from lakebound.backfill.run_context import RunContext, label_ms
from lakebound.backfill.segment_worker import ClockSkewed
from lakebound.errors import LakeboundError, Misconfigured
from lakebound.ports import StoredObject
from lakebound.source.delivery_proof import StreamCheck, StreamFacts, expired_failures, find_gaps, lost_failures
from lakebound.source.facts import SLICE_MS, Slice
from lakebound.source.gaps import STREAM_CAUSES
from lakebound.times import iso
from lakebound.transport.object_keys import REDRIVEN, StreamCheckKey
from lakebound.transport.undelivered import pending_failures

DAY_MS: Final = 86_400_000
MAX_SKEW_MS: Final = 6_000
"""The local clock may be five seconds from the service's, whose `Date` is cut to the second."""

_METRICS_BACK_MS: Final = 2 * 3_600_000
_METRICS_BACK_MS_MAX: Final = 14 * DAY_MS


def check_stream(context: RunContext) -> dict[str, Any]:
    """Record the gaps that the stream's state shows, and save the check: its counts and times, without a key.

    Raises ClockSkewed, Misconfigured, LakeboundError, and Overtaken when another check was saved meanwhile.
    """
    ports, table = context.ports, context.rules.table
    if ports.mapping is None:
        raise Misconfigured("the stream's mapping is not known", hint="Set STREAM_MAPPING_ID to its id")
    previous, tag = last_check(context)
    now = ports.clock.now_ms()
    mapping, described = ports.mapping.mapping(), ports.source.describe()
    service_ms = mapping.service_ms if mapping.service_ms is not None else now
    if abs(service_ms - now) > MAX_SKEW_MS or (previous is not None and now < previous.looked_ms - MAX_SKEW_MS):
        raise ClockSkewed(
            "this function's clock is not the service's, or it went back since the last look",
            hint="The next look tries again",
        )
    slices, unknown = _metric_slices(context, previous, now)
    stream = StreamFacts(
        stream_arn=described.stream_arn,
        label_ms=label_ms(described.stream_arn) if described.stream_arn else 0,
        mapping=mapping,
        slices=slices,
        now_ms=now,
    )
    gaps = context.gaps
    open_ended = [gap for gap in gaps.open() if gap.to_ms is None and gap.cause in STREAM_CAUSES]
    delivered, stream_arn, found = find_gaps(previous, stream, open_ended)
    waiting, gone = failure_objects(context, previous, mapping.mapping_id)
    found += [*lost_failures(slices or (), now), *expired_failures(gone, now)]
    new = [gap for gap in found if gaps.record(gap)]
    failures = {failure.key: failure.modified_ms for failure in waiting}
    body = StreamCheck(stream_arn, delivered, failures, now).encode()
    ports.documents.save(StreamCheckKey(table).format(), body, tag)
    expires_from_ms = now - context.rules.failure_retention_ms + DAY_MS
    return {
        "table": table,
        "delivered_until": None if delivered is None else iso(delivered),
        "open_gaps": len(gaps.open()),
        "new_gaps": [{"from": iso(gap.from_ms), "cause": gap.cause} for gap in new],
        "failure_objects": len(waiting),
        "failure_objects_expiring": sum(failure.modified_ms < expires_from_ms for failure in waiting),
        "unknown": unknown,
    }


def last_check(context: RunContext) -> tuple[StreamCheck | None, str | None]:
    """The last stream check, and its document's tag; None before the first one."""
    key = StreamCheckKey(context.rules.table).format()
    stored = context.ports.documents.load(key)
    return (StreamCheck.decode(key, stored[0]), stored[1]) if stored else (None, None)


def failure_objects(
    context: RunContext, previous: StreamCheck | None, mapping_id: str
) -> tuple[list[StoredObject], dict[str, int]]:
    """(failure objects that wait, when Lambda wrote those that are gone without having been redriven)."""
    store, table = context.ports.store, context.rules.table
    known = dict(previous.failures) if previous else {}
    # A stack made again has another mapping; what the one before it gave up on still waits in its own folder.
    mappings = sorted({mapping_id, *(key.split("/")[2] for key in known)})
    waiting = [failure for mapping in mappings for failure in pending_failures(store, table, mapping).objects]
    there = {failure.key for failure in waiting}
    missing = {key: at for key, at in known.items() if key not in there}
    if not missing:
        return waiting, {}
    redriven = {stored.key for stored in store.list(REDRIVEN.prefix(table))}
    gone = {key: at for key, at in missing.items() if REDRIVEN.key_about(table, key) not in redriven}
    return waiting, gone


def _metric_slices(context: RunContext, previous: StreamCheck | None, now: int) -> tuple[list[Slice] | None, str]:
    """(the metrics since everything was delivered, ""), or (None, why there are none): then nothing is proved."""
    metrics = context.ports.metrics
    if metrics is None:
        return None, "the stream's function is not known"
    begin = now - _METRICS_BACK_MS
    if previous is not None and previous.delivered_ms is not None:
        begin = max(now - _METRICS_BACK_MS_MAX, min(begin, previous.delivered_ms))
    try:
        return metrics.slices(begin // SLICE_MS * SLICE_MS, now), ""
    except LakeboundError as error:
        return None, error.what
