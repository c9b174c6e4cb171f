"""A look at the stream, every five minutes by the template's schedule: what may be missing is recorded as a gap.

The order matters: gaps are recorded before what was seen is saved, so that a look that dies between the two finds
them again, under the same keys.
"""

from __future__ import annotations

from typing import Any, Final

from lakebound.backfill.run_context import RunStages, label_ms
from lakebound.backfill.segment_worker import ClockSkewed
from lakebound.errors import LakeboundError, Misconfigured
from lakebound.ports import StoredObject
from lakebound.source.delivery_proof import StreamCheck, StreamFacts, expired_failures, find_gaps, lost_failures
from lakebound.source.facts import SLICE_MS, Slice
from lakebound.source.gaps import STREAM_CAUSES
from lakebound.times import iso
from lakebound.transport.object_keys import StreamCheckKey

DAY_MS: Final = 86_400_000
MAX_SKEW_MS: Final = 6_000
"""The local clock may be five seconds from the service's, whose `Date` is cut to the second."""

_LOOKED_BACK_MS: Final = 2 * 3_600_000
_MOST_LOOKED_BACK_MS: Final = 14 * DAY_MS


class LookStages(RunStages):
    """The function's action `look`; no state of the state machine."""

    def look(self) -> dict[str, Any]:
        """Looks, records, remembers; what is to be known of it, without a key.

        Raises ClockSkewed, Misconfigured, LakeboundError, and Overtaken when another look was saved meanwhile.
        """
        ports, table = self._ports, self._rules.table
        if ports.mapping is None:
            raise Misconfigured("the stream's mapping is not known", hint="Set STREAM_MAPPING_ID to its id")
        previous, tag = self._seen()
        now = ports.clock.now_ms()
        mapping, facts = ports.mapping.mapping(), ports.source.describe()
        told = mapping.told_ms if mapping.told_ms is not None else now
        if abs(told - now) > MAX_SKEW_MS or (previous is not None and now < previous.looked_ms - MAX_SKEW_MS):
            raise ClockSkewed(
                "this function's clock is not the service's, or it went back since the last look",
                hint="The next look tries again",
            )
        slices, unknown = self._slices(previous, now)
        seen = StreamFacts(
            stream_arn=facts.stream_arn,
            label_ms=label_ms(facts.stream_arn) if facts.stream_arn else 0,
            mapping=mapping,
            slices=slices,
            now_ms=now,
        )
        unhealed = self._gaps.open()
        open_ended = [gap for gap in unhealed if gap.to_ms is None and gap.cause in STREAM_CAUSES]
        delivered, stream, found = find_gaps(previous, seen, open_ended)
        waiting, gone = self._failures(previous, mapping.mapping_id)
        found += [*lost_failures(slices or (), now), *expired_failures(gone, now)]
        new = [gap for gap in found if self._gaps.record(gap)]
        failures = {one.key: one.modified_ms for one in waiting}
        body = StreamCheck(stream, delivered, failures, now).encode()
        ports.documents.save(StreamCheckKey(table).format(), body, tag)
        return {
            "table": table,
            "delivered_until": None if delivered is None else iso(delivered),
            "open_gaps": len(self._gaps.open()),
            "new_gaps": [{"from": iso(gap.from_ms), "cause": gap.cause} for gap in new],
            "failure_objects": len(waiting),
            "failure_objects_expiring": sum(self._expires_soon(one, now) for one in waiting),
            "unknown": unknown,
        }

    def _slices(self, previous: StreamCheck | None, now: int) -> tuple[list[Slice] | None, str]:
        """The metrics since everything was delivered, or none and why: without them nothing is proved."""
        if self._ports.measured is None:
            return None, "the stream's function is not known"
        begin = now - _LOOKED_BACK_MS
        if previous is not None and previous.delivered_ms is not None:
            begin = max(now - _MOST_LOOKED_BACK_MS, min(begin, previous.delivered_ms))
        try:
            return self._ports.measured.slices(begin // SLICE_MS * SLICE_MS, now), ""
        except LakeboundError as error:
            return None, error.what

    def _expires_soon(self, failure: StoredObject, now: int) -> bool:
        return now - failure.modified_ms > self._rules.failure_retention_ms - DAY_MS
