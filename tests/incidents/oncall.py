"""The person on call: is called by an alarm, opens its page, follows that page's command, and sees that it is over.

The alarm is the template's own, judged by its metric, threshold and page; the command must stand on that page of
docs/OPERATIONS.md, or on a page that it links to.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from lakebound.ports import Clock
from tests.support.rendered_template import NEW, of_type, render
from tests.support.translated_template import ROOT, translated

_CROSSED: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
}


@dataclass(frozen=True, slots=True)
class Row:
    """One incident, repaired. `seconds` are the pipeline's own, from the first command until all is equal again.

    None where no command was needed, or where time is Spark's.
    """

    incident: str
    alarm: str
    page: str
    commands: tuple[str, ...]
    seconds: float | None


@lru_cache(maxsize=1)
def alarms() -> dict[str, dict[str, Any]]:
    asked = {"SilverLagMinutes": "15", "HeartbeatMinutes": "5", "VerifyAlarms": "on"}
    return of_type(render(translated(), {**NEW, **asked})["Resources"], "AWS::CloudWatch::Alarm")


@lru_cache(maxsize=1)
def sections() -> dict[str, str]:
    """The pages of docs/OPERATIONS.md by their anchor."""
    parts = re.split(r'<a id="([a-z-]+)"></a>', (ROOT / "docs" / "OPERATIONS.md").read_text())
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def is_on(name: str, metrics: Mapping[str, float]) -> bool:
    """Whether the alarm's condition holds for the value of its metric. Periods are not looked at.

    What counts the values of a metric looks at `METRIC SampleCount`. A metric without a value crosses nothing.
    """
    alarm = alarms()[name]
    metric = alarm["MetricName"] + (" SampleCount" if alarm.get("Statistic") == "SampleCount" else "")
    if metric not in metrics:
        return False
    return _CROSSED[alarm["ComparisonOperator"]](metrics[metric], float(alarm["Threshold"]))


def page_of(name: str) -> str:
    """The page that the alarm's description ends with."""
    return str(alarms()[name]["AlarmDescription"]).rpartition("#")[2]


def stands_on(command: str, page: str) -> bool:
    """Whether the command is on the page, or on one that the page links to."""
    linked = re.findall(r"\(#([a-z-]+)\)", sections()[page])
    return any(f"`{command}`" in text for text in [re.sub(r"\s+", " ", sections()[name]) for name in (page, *linked)])


@dataclass
class OnCall:
    """One incident. `metrics` gives what CloudWatch would hold now, by metric."""

    incident: str
    clock: Clock
    metrics: Callable[[], Mapping[str, float]]
    alarm: str = ""
    page: str = ""
    commands: list[str] = field(default_factory=list)
    _began_ms: int | None = None

    def called(self, alarm: str) -> None:
        """The alarm is on."""
        assert is_on(alarm, self.metrics()), f"{alarm} is not on: {self.metrics()}"
        self.alarm, self.page = alarm, page_of(alarm)

    def is_called_too(self, alarm: str) -> None:
        """Another alarm is on, which the first one's page tells of."""
        assert is_on(alarm, self.metrics()), f"{alarm} is not on: {self.metrics()}"
        assert re.search(rf"\b{alarm}\b", sections()[self.page]), f"#{self.page} does not tell of {alarm}"

    def finds(self, page: str, by: str) -> None:
        """No alarm looks at this: it is found by a command of the operator's own."""
        assert page in sections()
        self.alarm, self.page = f"none: {by}", page

    def follow(self, command: str, act: Callable[[], object]) -> None:
        """Do what the page says."""
        assert stands_on(command, self.page), f"{command} stands neither on #{self.page} nor on a page that it links to"
        if self._began_ms is None:
            self._began_ms = self.clock.now_ms()
        self.commands.append(command)
        act()

    def over(self) -> Row:
        """The alarm is off, and this was it."""
        if self.alarm in alarms():
            assert not is_on(self.alarm, self.metrics()), f"{self.alarm} is still on"
        seconds = None if self._began_ms is None else (self.clock.now_ms() - self._began_ms) / 1000
        return Row(self.incident, self.alarm, self.page, tuple(self.commands), seconds)
