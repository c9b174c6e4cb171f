"""How long a step may go on failing before the driver ends, so that whoever started it is told."""

from __future__ import annotations

from dataclasses import dataclass, field

from lakebound.times import iso
from lakebound_spark.lake.schedule import Daily, Step
from lakebound_spark.lake.steps import Outcome
from lakebound_spark.lake.turns import Ended


@dataclass(slots=True)
class Patience:
    """With ``seconds`` of 0 it has no end."""

    seconds: float
    _since: dict[Step, float] = field(default_factory=dict)

    def lost_over(self, ended: Ended[Outcome]) -> str | None:
        """A sentence once the step has not gone well for so long; None before that.

        A daily step says by its outcome what is wrong with the data, and says so to the audit's alarm: only its errors
        count.
        """
        is_problem = ended.outcome is not None and ended.outcome.is_problem
        step = ended.step
        if ended.error is None and not (is_problem and not isinstance(step.timing, Daily)):
            self._since.pop(step, None)
            return None
        since = self._since.setdefault(step, ended.began)
        if not self.seconds or ended.ended - since < self.seconds:
            return None
        return (
            f"{step.name} of {step.table} has failed since {iso(round(since * 1000))}, longer than --fail-after "
            "allows, so the driver ends. Nothing is lost: the same command goes on from where it was"
        )
