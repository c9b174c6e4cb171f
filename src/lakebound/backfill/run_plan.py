"""The plan of a run, a document that is written once and before the first page."""

from __future__ import annotations

from dataclasses import dataclass

import orjson


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run reads, in how many units and how fast. A redrive reads it and so cuts the table the same way."""

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
    """Why the run chose its mode; empty where the operator chose it."""

    def encode(self) -> bytes:
        """As one JSON document."""
        return orjson.dumps({name: getattr(self, name) for name in self.__slots__})

    @staticmethod
    def decode(body: bytes) -> RunPlan:
        """The plan that a document of `encode` holds."""
        fields = orjson.loads(body)
        fields["windows"] = tuple((begin, end) for begin, end in fields["windows"])
        fields["reread"] = tuple(fields["reread"]) if fields["reread"] else None
        fields["heals"] = tuple((begin, cause) for begin, cause in fields["heals"])
        return RunPlan(**fields)
