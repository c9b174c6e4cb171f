"""What `run` prints: a line a step, for people or for machines, and a last line that says how it went."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lakebound.counts import count_text
from lakebound.errors import Misconfigured
from lakebound.times import iso
from lakebound_spark.lake.fleet_config import LeftOut
from lakebound_spark.lake.schedule import End, Step
from lakebound_spark.lake.steps import Outcome
from lakebound_spark.lake.turns import Ended
from lakebound_spark.platform.failure_causes import Retry, cause_of


@dataclass(slots=True)
class Teller:
    """Prints each turn that ended, and keeps what the last line and the exit status need."""

    as_json: bool = False
    left_out: Sequence[LeftOut] = ()
    _turns: int = 0
    _last: dict[Step, Ended[Outcome]] = field(default_factory=dict)
    _said: dict[Step, tuple[str, ...]] = field(default_factory=dict)

    def begin(self) -> None:
        """Print what is left out of the run."""
        tell_left_out(self.left_out, as_json=self.as_json)

    def tell(self, ended: Ended[Outcome]) -> None:
        """Print one turn. A person is told once that there is nothing new, and warned once of what stays as it is."""
        self._turns += 1
        self._last[ended.step] = ended
        said = self._words(ended)
        if self.as_json:
            print(json.dumps(_document(ended, said)), flush=True)
            return
        before, self._said[ended.step] = self._said.get(ended.step, ()), said
        for text in said if ended.error else [text for text in said if text not in before]:
            is_news = ended.outcome is not None and text == said[0]
            print(
                f"{iso(round(ended.ended * 1000))[11:19]} {text}",
                file=sys.stdout if is_news else sys.stderr,
                flush=True,
            )

    def _words(self, ended: Ended[Outcome]) -> tuple[str, ...]:
        step = ended.step
        if ended.error is not None:
            again = f"; tried again at {iso(round(ended.due * 1000))[11:19]}" if ended.due is not None else ""
            return (f"{step.name} of {step.table} failed: {failure_text(ended.error)}{again}",)
        assert ended.outcome is not None
        return f"{step.name}: {ended.outcome.said}", *ended.outcome.warnings

    def sentence(self, tables: int, seconds: float) -> str:
        """What the run did, for a person: its last line."""
        ran = f"ran {count_text(self._turns, 'step')} of {count_text(tables, 'table')}, {seconds:.0f} s"
        failed = [f"{step.name} of {step.table}" for step, one in self._last.items() if one.error]
        wrong = [
            f"{step.name} of {step.table}" for step, one in self._last.items() if one.outcome and one.outcome.is_problem
        ]
        parts = [f"left out: {', '.join(one.table for one in self.left_out)}"] if self.left_out else []
        parts += [f"failed at the last try: {', '.join(failed)}"] if failed else []
        return "; ".join([ran, *parts, *([f"something is wrong: {', '.join(wrong)}"] if wrong else [])])

    @property
    def status(self) -> int:
        """0 when the last turn of every step went well, 2 when one waits for a person, else 1."""
        failures = [one.error for one in self._last.values() if one.error]
        if self.left_out or any(needs_person(error) for error in failures):
            return 2
        return 1 if failures or any(one.outcome and one.outcome.is_problem for one in self._last.values()) else 0


def tell_left_out(left_out: Sequence[LeftOut], *, as_json: bool) -> None:
    """Print why each of these tables does not run: on standard error, or as JSON lines."""
    for one in left_out:
        said = f"{one.table} is left out: {one.why}"
        if as_json:
            print(json.dumps({"table": one.table, "step": None, "end": "left out", "said": [said]}), flush=True)
        else:
            print(said, file=sys.stderr, flush=True)


def needs_person(error: Exception) -> bool:
    """Whether the step would fail again until somebody has set something right."""
    return isinstance(error, Misconfigured) or cause_of(error).next is Retry.STOPS_AGAIN


def failure_text(error: Exception) -> str:
    """Why a step failed, without an item's value, and what to do where that is known."""
    if isinstance(error, Misconfigured):
        return str(error)
    cause = cause_of(error)
    return f"{cause}: {cause.advice}" if cause.advice else f"{cause}{cause.unsaid}"


def _document(ended: Ended[Outcome], said: Sequence[str]) -> dict[str, Any]:
    is_problem = ended.outcome is not None and ended.outcome.is_problem
    return {
        "table": ended.step.table,
        "step": ended.step.name,
        "end": "problem" if is_problem and ended.end is End.DONE else ended.end.value,
        "began": iso(round(ended.began * 1000)),
        "seconds": round(ended.ended - ended.began, 3),
        "due": _time(ended.due),
        "counts": dict(ended.outcome.counts) if ended.outcome else {},
        "said": list(said),
    }


def plan(rows: Sequence[tuple[Step, float | None, float | None]], now: float) -> str:
    """The table of `--dry-run`: each step with its schedule, when it was last done, and when it is due."""
    lines = [("step", "schedule (UTC)", "last done", "due", "table")]
    for step, done, due in rows:
        at = "not in this run" if due is None else "now" if due <= now else _minute(due)
        lines.append((step.name, str(step.timing), "" if done is None else _minute(done), at, step.table))
    widths = [max(len(line[place]) for line in lines) for place in range(5)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def plan_lines(rows: Sequence[tuple[Step, float | None, float | None]]) -> str:
    """The same for machines: a JSON object a step."""
    documents = (
        {"table": step.table, "step": step.name, "schedule": str(step.timing), "done": _time(done), "due": _time(due)}
        for step, done, due in rows
    )
    return "\n".join(map(json.dumps, documents))


def _time(moment: float | None) -> str | None:
    return None if moment is None else iso(round(moment * 1000))


def _minute(moment: float) -> str:
    return iso(round(moment * 1000))[:16].replace("T", " ")
