"""The first states of a run: its input is checked, its cost told, and the stream waited for."""

from __future__ import annotations

from math import ceil
from typing import Any, Final

from lakebound import estimate as estimates
from lakebound.errors import Misconfigured
from lakebound.exports import Window
from lakebound.layout import RunFolder
from lakebound.requests import BackfillRequest, iso
from lakebound.reread import Stretch
from lakebound.runs import RunStages

EXPORT_SETTLES_MS: Final = 5 * 60_000
"""Exports reach up to about five minutes ago (LatestRestorableDateTime)."""

MAX_WAIT_SECONDS: Final = 900
_CHANGES_EXPAND: Final = 8
"""Bytes of items to a byte of compressed batch files, both images in them: a rough guess for the estimate."""


class OpeningStages(RunStages):
    """Validate, Estimate, Look at the stream."""

    def validate(self, value: object, execution: str) -> dict[str, Any]:
        """The state document of a checked input."""
        RunFolder.of(self._rules.table, execution)
        request = BackfillRequest.parse(value)
        return {
            "run": execution,
            "mode": request.mode,
            "request": request.fields(),
            "started": iso(self._ports.clock.now_ms()),
            "wait_seconds": 0,
        }

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
        told = estimates.estimate(facts, request, self._changed_bytes(stretch))
        mode = request.mode
        if mode == "heal":
            mode = told.recommended
            begin = stretch.from_ms - self._rules.wait_ms if stretch else 0
            if mode == "incremental_export" and begin < (facts.recovery_from_ms or 0):
                mode = "scan"
        state |= {"mode": mode, "heals": heals, "stretch": [stretch.from_ms, stretch.to_ms] if stretch else None}
        option = told.option(mode)
        if option.impossible:
            raise Misconfigured(f"mode {mode} {option.impossible}", hint="Enable it, or use mode scan")
        state["estimate"] = {
            "items": option.items,
            "bytes": option.bytes,
            "read_units": option.read_units,
            "dollars": option.dollars,
            "minutes": option.minutes,
            "recommended": told.recommended,
            "reason": told.reason,
        }
        return state

    def _open_gap(self) -> tuple[Window, list[tuple[int, str]]]:
        gaps = self._gaps.open()
        if not gaps:
            raise Misconfigured("there is no open gap", hint="Nothing needs healing; `lakebound status` lists gaps")
        ends = [gap.to_ms for gap in gaps if gap.to_ms is not None]
        if len(ends) < len(gaps):
            raise Misconfigured(
                "a gap is still open-ended: the stream is not whole yet",
                hint="Enable the stream and its mapping, wait until it has caught up, then redrive",
            )
        begin = min(gap.from_ms for gap in gaps)
        return Window(begin, max(ends)), [(gap.from_ms, gap.cause) for gap in gaps]

    def _changed_bytes(self, stretch: Window | None) -> int | None:
        if stretch is None:
            return None
        wide = Stretch(stretch.from_ms - self._rules.wait_ms, stretch.to_ms + self._rules.wait_ms)
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
        state["wait_seconds"] = min(MAX_WAIT_SECONDS, max(0, ceil((ready - now) / 1000)))
        state["covered_from"] = iso(ready)
        return state
