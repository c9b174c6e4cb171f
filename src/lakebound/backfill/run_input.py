"""The input of a backfill's execution: what an operator asks for, checked as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from lakebound.errors import Misconfigured
from lakebound.times import epoch_ms, iso

MODES: Final = ("scan", "export", "incremental_export", "heal")
MAX_SEGMENTS: Final = 10_000
"""One child of the Distributed Map reads one segment, and a map run has at most 10,000 children at once."""

FIELDS: Final[tuple[tuple[str, str], ...]] = (
    ("mode", "scan (default), export, incremental_export or heal"),
    ("segments", f"parts of the scan, 0 to {MAX_SEGMENTS}; 0 chooses"),
    ("read_capacity", "read units a second that the run may consume; 0 chooses"),
    ("consistent", "true (default) or false: strongly consistent scan pages"),
    ("from", "start of an incremental export, 2026-11-01T00:00:00Z"),
    ("to", "end of an incremental export (not included)"),
)
_IGNORED: Final = frozenset({"Comment"})
"""The Step Functions console puts this field into the input that it suggests."""


@dataclass(frozen=True, slots=True)
class BackfillRequest:
    """A checked input. Times are UTC in milliseconds and fall on whole seconds."""

    mode: str = "scan"
    segments: int = 0
    read_capacity: float = 0
    consistent: bool = True
    from_ms: int | None = None
    to_ms: int | None = None

    @staticmethod
    def parse(value: object) -> BackfillRequest:
        """The request that an input holds. Raises Misconfigured, which lists the fields."""
        if not isinstance(value, Mapping):
            raise _refused("the input is not a JSON object")
        unknown = sorted(str(name) for name in value if name not in dict(FIELDS) and name not in _IGNORED)
        if unknown:
            raise _refused(f"unknown fields: {', '.join(name[:40] for name in unknown[:5])}")
        mode = value.get("mode", "scan")
        if mode not in MODES:
            raise _refused(f"mode must be one of {', '.join(MODES)}")
        segments, capacity = value.get("segments", 0), value.get("read_capacity", 0)
        consistent = value.get("consistent", True)
        if type(segments) is not int or not 0 <= segments <= MAX_SEGMENTS:
            raise _refused(f"segments must be a whole number from 0 to {MAX_SEGMENTS}")
        if type(capacity) not in (int, float) or not 0 <= capacity <= 10_000_000:
            raise _refused("read_capacity must be a number of read units a second, or 0")
        if type(consistent) is not bool:
            raise _refused("consistent must be true or false")
        begin, end = (_moment(name, value.get(name)) for name in ("from", "to"))
        _check_fit(str(mode), segments, consistent, begin, end)
        return BackfillRequest(str(mode), segments, float(capacity), consistent, begin, end)

    def fields(self) -> dict[str, Any]:
        """The input as a document, with every default written out."""
        document: dict[str, Any] = {
            "mode": self.mode,
            "segments": self.segments,
            "read_capacity": self.read_capacity,
            "consistent": self.consistent,
        }
        if self.from_ms is not None and self.to_ms is not None:
            document |= {"from": iso(self.from_ms), "to": iso(self.to_ms)}
        return document


def _check_fit(mode: str, segments: int, consistent: bool, begin: int | None, end: int | None) -> None:
    if mode == "incremental_export":
        if begin is None or end is None:
            raise _refused("an incremental export needs from and to")
        if end <= begin:
            raise _refused("to must be after from")
    elif begin is not None or end is not None:
        raise _refused(f"from and to belong to incremental_export, not to {mode}")
    if mode in ("export", "incremental_export") and segments:
        raise _refused(f"segments belong to a scan, not to {mode}")
    if mode != "scan" and not consistent:
        raise _refused(f"consistent: false belongs to a scan, not to {mode}")


def _moment(name: str, value: object) -> int | None:
    if value is None:
        return None
    try:
        if type(value) is not str:
            raise ValueError
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise _refused(f"{name} must be a time like 2026-11-01T00:00:00Z") from None
    if moment.tzinfo is None:
        raise _refused(f"{name} has no time zone; end it with Z for UTC")
    if moment.microsecond:
        raise _refused(f"{name} must be a whole second")
    return epoch_ms(moment)


def _refused(what: str) -> Misconfigured:
    known = ", ".join(name for name, _ in FIELDS)
    return Misconfigured(what, hint=f"Nothing was read. {{}} is a valid input; the fields are {known}")
