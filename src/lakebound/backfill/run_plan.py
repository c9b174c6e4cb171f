"""What a run reads, how it is cut and how fast: the document that is written once, before the first page."""

from __future__ import annotations

from dataclasses import dataclass

import orjson


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run reads, how it is cut and how fast: written once, so that a redrive cannot cut the table otherwise."""

    run: str
    mode: str
    table_id: str
    units: int
    concurrency: int
    share: float
    consistent: bool
    margin_ms: int
    planned_ms: int
    items: int
    size: int
    windows: tuple[tuple[int, int], ...] = ()
    reread: tuple[int, int] | None = None
    heals: tuple[tuple[int, str], ...] = ()
    reason: str = ""
    """Why this way was chosen, where the run chose it."""

    def encode(self) -> bytes:
        """As one JSON document."""
        return orjson.dumps({name: getattr(self, name) for name in self.__slots__})

    @staticmethod
    def decode(body: bytes) -> RunPlan:
        """The plan behind a document of ours."""
        fields = orjson.loads(body)
        fields["windows"] = tuple((begin, end) for begin, end in fields["windows"])
        fields["reread"] = tuple(fields["reread"]) if fields["reread"] else None
        fields["heals"] = tuple((begin, cause) for begin, cause in fields["heals"])
        return RunPlan(**fields)
