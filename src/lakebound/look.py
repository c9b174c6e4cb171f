"""A look at the stream, every five minutes by the template's schedule: what may be missing is recorded as a gap.

The order matters: gaps are recorded before what was seen is saved, so that a look that dies between the two finds
them again, under the same keys.
"""

from __future__ import annotations

from typing import Any, Final

from lakebound.backfill import ClockSkewed
from lakebound.continuity import StreamNow, StreamSeen, expired_failures, find_gaps, lost_failures
from lakebound.errors import LakeboundError, Misconfigured
from lakebound.gaps import STREAM_CAUSES
from lakebound.layout import RedrivenKey, SeenKey, redriven_folder
from lakebound.ports import StoredObject
from lakebound.redrive import pending_failures
from lakebound.requests import iso
from lakebound.runs import RunStages, label_ms
from lakebound.sources import SLICE_MS, Slice

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
        key = SeenKey(table).format()
        stored = ports.documents.load(key)
        previous = StreamSeen.decode(key, stored[0]) if stored else None
        now = ports.clock.now_ms()
        mapping, facts = ports.mapping.mapping(), ports.source.describe()
        told = mapping.told_ms if mapping.told_ms is not None else now
        if abs(told - now) > MAX_SKEW_MS or (previous is not None and now < previous.looked_ms - MAX_SKEW_MS):
            raise ClockSkewed(
                "this function's clock is not the service's, or it went back since the last look",
                hint="The next look tries again",
            )
        slices, unknown = self._slices(previous, now)
        seen = StreamNow(
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
        found += [*lost_failures(slices, now), *expired_failures(gone, now)]
        new = [gap for gap in found if self._gaps.record(gap)]
        failures = {one.key: one.modified_ms for one in waiting}
        body = StreamSeen(stream, delivered, failures, now).encode()
        ports.documents.save(key, body, stored[1] if stored else None)
        return {
            "table": table,
            "delivered_until": None if delivered is None else iso(delivered),
            "open_gaps": len(self._gaps.open()),
            "new_gaps": [{"from": iso(gap.from_ms), "cause": gap.cause} for gap in new],
            "failure_objects": len(waiting),
            "failure_objects_expiring": sum(self._expires_soon(one, now) for one in waiting),
            "unknown": unknown,
        }

    def _slices(self, previous: StreamSeen | None, now: int) -> tuple[list[Slice], str]:
        """The metrics since everything was delivered, or none and why: without them nothing is proved."""
        if self._ports.measured is None:
            return [], "the stream's function is not known"
        begin = now - _LOOKED_BACK_MS
        if previous is not None and previous.delivered_ms is not None:
            begin = max(now - _MOST_LOOKED_BACK_MS, min(begin, previous.delivered_ms))
        try:
            return self._ports.measured.slices(begin // SLICE_MS * SLICE_MS, now), ""
        except LakeboundError as error:
            return [], error.what

    def _failures(self, previous: StreamSeen | None, mapping_id: str) -> tuple[list[StoredObject], dict[str, int]]:
        """(failure objects that wait, when Lambda wrote those that are gone without having been redriven)."""
        store, table = self._ports.store, self._rules.table
        known = dict(previous.failures) if previous else {}
        # A stack made again has another mapping; what the one before it gave up on still waits in its own folder.
        mappings = sorted({mapping_id, *(key.split("/")[2] for key in known)})
        waiting = [one for mapping in mappings for one in pending_failures(store, table, mapping).objects]
        there = {one.key for one in waiting}
        missing = {key: at for key, at in known.items() if key not in there}
        if not missing:
            return waiting, {}
        redriven = {one.key for one in store.list(redriven_folder(table))}
        gone = {key: at for key, at in missing.items() if RedrivenKey.of(table, key).format() not in redriven}
        return waiting, gone

    def _expires_soon(self, failure: StoredObject, now: int) -> bool:
        return now - failure.modified_ms > self._rules.failure_retention_ms - DAY_MS
