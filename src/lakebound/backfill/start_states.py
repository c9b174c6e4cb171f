"""The first states of a run: its input is checked, its cost told, and the stream waited for."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any, Final

import orjson

from lakebound.backfill import estimate as estimates
from lakebound.backfill import exports
from lakebound.backfill.exports import Window
from lakebound.backfill.key_reread import TimeRange
from lakebound.backfill.run_context import RunStages
from lakebound.backfill.run_input import BackfillRequest
from lakebound.errors import Misconfigured
from lakebound.record.table_identity import TableArn
from lakebound.source.facts import QueueCounts, TableDescription, Upstream
from lakebound.source.gaps import RECORDS_STALE
from lakebound.times import iso
from lakebound.transport.object_keys import RunFolder

EXPORT_SETTLES_MS: Final = 5 * 60_000
"""Exports reach up to about five minutes ago (LatestRestorableDateTime)."""

LEAST_WAIT_SECONDS: Final = 60
MAX_WAIT_SECONDS: Final = 900
COUNTS_SETTLE_MS: Final = 2 * 60_000
"""SQS counts approximately; a minute after the last change it counts right."""

_CHANGES_EXPAND: Final = 8
"""Bytes of items to a byte of compressed batch files, both images in them: a rough guess for the estimate."""


def has_left(waiting: QueueCounts, moment_ms: int, now_ms: int) -> bool:
    """Whether everything that was in the buffer queue at that moment has left it.

    Counts are right about a minute after the fact. The oldest message was younger than the time since the moment: it
    came after it. A message that was received more than three times is in the counts, not in that age.
    """
    if not waiting.buffered:
        return now_ms - moment_ms >= COUNTS_SETTLE_MS
    if waiting.measured_ms is None or waiting.oldest_age_ms is None:
        return False
    return waiting.measured_ms - waiting.oldest_age_ms > moment_ms + COUNTS_SETTLE_MS


class OpeningStages(RunStages):
    """Validate, Estimate, Look at the stream."""

    def validate(self, value: object, execution: str) -> dict[str, Any]:
        """The state document of a checked input."""
        RunFolder.of(self._rules.table, execution)
        request = BackfillRequest.parse(value)
        facts = self._refuse_another_table()
        if facts.is_foreign and request.mode not in ("scan", "heal"):
            raise Misconfigured(f"mode {request.mode} {estimates.FOREIGN}", hint="Use mode scan")
        return {
            "run": execution,
            "mode": request.mode,
            "request": request.fields(),
            "started": iso(self._ports.clock.now_ms()),
            "wait_seconds": 0,
        }

    def _refuse_another_table(self) -> TableDescription:
        """The table that the run would read, which has to be the one whose stream the mapping reads.

        Somebody points the mapping at the stream of another account's table of this name: the records keep coming, and
        a run that reads this account's table would write its items, and its deletes, over them.
        """
        facts = self._ports.source.describe()
        if self._ports.mapping is None:
            return facts
        stream = self._ports.mapping.mapping().stream_arn
        followed, read = TableArn.of_stream(stream), TableArn.parse(facts.arn)
        if followed is not None and read is not None and followed != read:
            raise Misconfigured(
                f"the stream that is followed is of {followed}, and this run would read {read}",
                hint=f"Deploy the stack with TableName={followed.table} and TableStreamArn={stream}, or with the "
                f"LatestStreamArn of {read.table}; then start a new backfill",
            )
        return facts

    def estimate(self, state: dict[str, Any]) -> dict[str, Any]:
        """Adds what the run will take; decides how `heal` heals."""
        request = BackfillRequest.parse(state["request"])
        facts = self._ports.source.describe(recovery=True)
        heals: list[tuple[int, str]] = []
        stretch: Window | None = None
        if request.mode == "heal":
            stretch, heals = self._open_gap()
        elif request.from_ms is not None and request.to_ms is not None:
            stretch = Window(request.from_ms, request.to_ms)
        heals_gap = request.mode == "heal"
        barred = self._no_windows(facts, stretch, heals) if heals_gap and stretch else ""
        told = estimates.estimate(facts, request, self._changed_bytes(stretch), barred)
        mode = told.recommended if heals_gap else request.mode
        state |= {"mode": mode, "heals": heals, "stretch": [stretch.from_ms, stretch.to_ms] if stretch else None}
        option = told.option(mode)
        if option.impossible:
            hint = "Use mode scan" if facts.is_foreign else "Enable it, or use mode scan"
            raise Misconfigured(f"mode {mode} {option.impossible}", hint=hint)
        state["estimate"] = {
            "items": option.items,
            "bytes": option.bytes,
            "read_units": option.read_units,
            "dollars": option.dollars,
            "minutes": option.minutes,
            "mode": mode,
            "recommended": told.recommended,
            "reason": told.reason,
        }
        return state

    def _no_windows(self, facts: TableDescription, stretch: Window, heals: Sequence[tuple[int, str]]) -> str:
        """Why this gap cannot be healed by incremental exports and the re-read; empty when it can."""
        if any(cause == RECORDS_STALE for _, cause in heals):
            # A window's rows bear its end as label, which is older than the purged tombstones too.
            return "would give rows that the merge sets aside too: the tombstones of their time are purged"
        hidden = self._rules.redaction
        if hidden is not None and hidden.hashes_any(facts.key_names):
            return "cannot be followed by the re-read: HASH_ATTRIBUTES names a key attribute"
        # The windows begin W before the gap, on a whole second.
        begin = exports.windows(stretch.from_ms - self._rules.wait_ms, stretch.to_ms + self._rules.wait_ms)[0].from_ms
        if facts.recovery_from_ms is not None and begin < facts.recovery_from_ms:
            return "does not reach back to the gap's start: the recovery period begins later"
        return ""

    def _open_gap(self) -> tuple[Window, list[tuple[int, str]]]:
        gaps = self._gaps.open()
        if not gaps:
            raise Misconfigured("there is no open gap", hint="Nothing needs healing; `lakebound status` lists gaps")
        ends = [gap.to_ms for gap in gaps if gap.to_ms is not None]
        if len(ends) < len(gaps):
            raise Misconfigured(
                "a gap is still open-ended: the stream is not whole yet",
                hint="Enable the stream and its mapping, wait until it has caught up (a look ends the gap about "
                "50 minutes after that), then redrive this execution",
            )
        begin = min(gap.from_ms for gap in gaps)
        return Window(begin, max(ends)), [(gap.from_ms, gap.cause) for gap in gaps]

    def _changed_bytes(self, stretch: Window | None) -> int | None:
        if stretch is None:
            return None
        wide = TimeRange(stretch.from_ms - self._rules.wait_ms, stretch.to_ms + self._rules.wait_ms)
        files = self._told_files(wide)
        return _CHANGES_EXPAND * sum(stored.size for stored in files)

    def cover(self, state: dict[str, Any]) -> dict[str, Any]:
        """`wait_seconds` until the stream covers the first page (condition 4 of ORDERING.md); 0 when it does."""
        facts = self._ports.source.describe()
        now = self._ports.clock.now_ms()
        ready = self._covered_from(facts) + self._rules.wait_ms
        mode, stretch = state["mode"], state.get("stretch")
        if mode == "incremental_export" and stretch:
            # The windows end W after the gap, and an export reaches up to some minutes ago.
            end = stretch[1] + (self._rules.wait_ms if state["request"]["mode"] == "heal" else 0)
            ready = max(ready, end + EXPORT_SETTLES_MS)
        elif stretch:
            ready = max(ready, stretch[1] + self._rules.wait_ms)
        wait = max(0, ceil((ready - now) / 1000))
        state["waiting_for"] = "the stream to cover the first page" if wait else ""
        if state["request"]["mode"] == "heal" and self._ports.upstream is not None:
            held = self._held_up(state, self._ports.upstream, now)
            if held:
                wait, state["waiting_for"] = max(wait, LEAST_WAIT_SECONDS), held
        state["wait_seconds"] = min(MAX_WAIT_SECONDS, wait)
        state["covered_from"] = iso(ready)
        return state

    def _held_up(self, state: dict[str, Any], upstream: Upstream, now: int) -> str:
        """What is still on its way from the stream to the files and has to land first; empty when nothing is.

        INSERT for k waits in the dead-letter queue, its DELETE is lost in the gap. A heal that lists keys now does not
        read k again, and a redrive after it brings k back for ever. So at one moment after the gap's end nothing may
        be dead, and the heal goes on once everything that was in the buffer at that moment has left it, with nothing
        dead at any look until then.
        """
        documents = self._ports.documents
        key = RunFolder.of(self._rules.table, state["run"]).work("clear")
        stored = documents.load(key)
        clear: int | None = orjson.loads(stored[0])["clear"] if stored else None
        waiting = upstream.look()
        refusal = self._dead(waiting)
        if refusal is not None:
            # What is redriven now is in the buffer after this moment: the next look begins with another one.
            documents.save(key, orjson.dumps({"clear": None}), stored[1] if stored else None)
            raise refusal
        if clear is None:
            if now < state["stretch"][1]:
                return "the gap's end"
            clear = now
            documents.save(key, orjson.dumps({"clear": clear}), stored[1] if stored else None)
        return "" if has_left(waiting, clear, now) else "the buffer queue to write what it holds"

    def _dead(self, waiting: QueueCounts) -> Misconfigured | None:
        """Why nothing may be read yet: what a redrive would bring back after the heal."""
        after = "and a redrive after the heal would bring back what it removed"
        if waiting.dead:
            return Misconfigured(
                f"{waiting.dead} messages wait in the dead-letter queue, {after}",
                hint="Run `lakebound dlq redrive --from buffer`, then redrive this execution",
            )
        if self._ports.mapping is None:
            return None
        failures, _ = self._failures(self._seen()[0], self._ports.mapping.mapping().mapping_id)
        if not failures:
            return None
        return Misconfigured(
            f"{len(failures)} failure objects of the stream wait, {after}",
            hint="Run `lakebound dlq redrive --from stream`, then redrive this execution. An object that holds no "
            "records cannot be redriven: delete it, and the next look records its gap",
        )
