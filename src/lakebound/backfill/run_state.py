"""The document that the state machine hands from one state of a run to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lakebound.backfill.run_input import BackfillRequest
from lakebound.times import TimeRange


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """A run between two of its states: what was asked, what was decided, counts and times; never a key.

    A field without a value has not been decided yet, and the document leaves it out.
    """

    run: str
    mode: str
    request: BackfillRequest
    started: str | None = None
    wait_seconds: int | None = None
    heals: tuple[tuple[int, str], ...] = ()
    """(from, cause) of the gaps that this run heals."""
    stretch: TimeRange | None = None
    """The hours that were asked for, or the gap's; None where the run is not about some hours."""
    estimate: Mapping[str, Any] | None = None
    """What the run will take in its mode, for whoever looks at the execution."""
    waiting_for: str | None = None
    covered_from: str | None = None
    units: Sequence[int] | None = None
    """Numbers of the segments that the next map reads."""
    concurrency: int | None = None
    exports: int | None = None
    ready: bool | None = None

    @property
    def is_heal(self) -> bool:
        """Whether the run was asked to heal, in whichever mode it does."""
        return self.request.mode == "heal"

    def document(self) -> dict[str, Any]:
        """As the state machine keeps it."""
        fields = {name: value for name in self.__slots__ if (value := getattr(self, name)) is not None}
        fields["request"] = self.request.fields()
        del fields["heals"]
        if self.estimate is not None:
            fields["heals"] = [list(gap) for gap in self.heals]
            fields["stretch"] = [self.stretch.from_ms, self.stretch.to_ms] if self.stretch else None
        if self.units is not None:
            fields["units"] = list(self.units)
        return fields

    @staticmethod
    def parse(document: Mapping[str, Any]) -> RunState:
        """The state behind a document of ours. Raises Misconfigured for a request that is none."""
        fields = {name: document[name] for name in RunState.__slots__ if document.get(name) is not None}
        fields["request"] = BackfillRequest.parse(document["request"])
        fields["heals"] = tuple((begin, cause) for begin, cause in fields.get("heals", ()))
        if "stretch" in fields:
            fields["stretch"] = TimeRange(*fields["stretch"])
        return RunState(**fields)
