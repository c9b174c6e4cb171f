"""Charts as inline SVG and HTML: axes with units, figures beside them, drawn in the page's own colours."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import ceil
from typing import Final

from lakebound.times import utc

_WIDTH: Final = 360
_HEIGHT: Final = 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 14, 30, 46
_SLOTS: Final = 160

_MINUTE: Final = 60_000
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
_STEPS: Final = tuple(
    [_MINUTE * n for n in (1, 2, 5, 10, 20, 30)] + [_HOUR * n for n in (1, 2, 4, 6, 12)] + [_DAY * n for n in (1, 2, 7)]
)
_MANY: Final = ((2e6, 1e6, "million "), (20_000.0, 1_000.0, "thousand "), (0.0, 1.0, ""))
"""From how many of a thing on an axis counts which number of it."""
_SCALES: Final = ((2 * 3600.0, 3600.0, "hours"), (600.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))
"""From how many seconds on an axis has which unit, and how many seconds that is."""


def seconds_over_time(points: Sequence[tuple[int, float]], what: str, when: str) -> str:
    """A line of (milliseconds, seconds) with both axes; `what` and `when` say what they measure, without the unit.

    Thinned to the greatest of each of 160 slots of time: a peak is never averaged away.
    """
    peak = max(value for _, value in points)
    _, unit_s, unit = next(one for one in _SCALES if peak >= one[0])
    return _over_time(points, what, when, unit, unit_s)


def counts_over_time(points: Sequence[tuple[int, float]], what: str, when: str, unit: str) -> str:
    """The same of (milliseconds, number of `unit`), in thousands or millions where a label would not fit otherwise."""
    peak = max(value for _, value in points)
    _, many, word = next(one for one in _MANY if peak >= one[0])
    return _over_time(points, what, when, f"{word}{unit}", many)


def _over_time(points: Sequence[tuple[int, float]], what: str, when: str, unit: str, unit_s: float) -> str:
    start, end = points[0][0], points[-1][0]
    peak = max(value for _, value in points)
    ticks = value_ticks(peak / unit_s)
    slots: dict[int, float] = {}
    for at, value in points:
        slot = round((at - start) / max(1, end - start) * (_SLOTS - 1))
        slots[slot] = max(slots.get(slot, 0.0), value / unit_s)

    def across(share: float) -> float:
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def up(value: float) -> float:
        return _HEIGHT - _BOTTOM - value / ticks[-1] * (_HEIGHT - _TOP - _BOTTOM)

    places = [(across(slot / (_SLOTS - 1)), up(value)) for slot, value in sorted(slots.items())]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2"/>' for x, y in places) if len(places) < 40 else ""
    grid = "".join(
        f'<line class="axis" x1="{_LEFT}" y1="{up(tick):.1f}" x2="{_WIDTH - _RIGHT}" y2="{up(tick):.1f}"/>'
        f'<text class="end" x="{_LEFT - 6}" y="{up(tick) + 5:.1f}">{tick:,g}</text>'
        for tick in ticks
    )
    form = "%b %-d" if end - start >= 2 * _DAY else "%H:%M"
    for at in time_ticks(start, end):
        x = across((at - start) / max(1, end - start))
        grid += f'<line class="axis" x1="{x:.1f}" y1="{_HEIGHT - _BOTTOM}" x2="{x:.1f}" y2="{_HEIGHT - _BOTTOM + 4}"/>'
        grid += f'<text class="mid" x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 18}">{utc(at):{form}}</text>'
    name = f"{what}, {unit}; the greatest is {peak / unit_s:,.1f}"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(name)}">{grid}'
        f'<polyline points="{path}"/>{dots}'
        f'<text x="2" y="14">{escape(what)}, {unit}</text>'
        f'<text class="mid" x="{across(0.5):.0f}" y="{_HEIGHT - 5}">{escape(when)}, UTC</text></svg>'
    )


def value_ticks(greatest: float) -> list[float]:
    """From 0 in steps of 1, 2 or 5 times a power of ten, three to six of them, the last not below the greatest."""
    step = 1e-9
    while True:
        for times in (1, 2, 5):
            if step * times * 5 >= greatest:
                # Rounded, for 0.1 is not 5 × 0.02 nor 0.3 three times that.
                count = max(1, ceil(round(greatest / (step * times), 9)))
                return [round(step * times * at, 9) for at in range(max(count, 2) + 1)]
        step *= 10


def time_ticks(start_ms: int, end_ms: int) -> list[int]:
    """At most five whole times of a clock between the two, or the start alone where there is none."""
    step = next((one for one in _STEPS if (end_ms - start_ms) // one < 5), None)
    if step is None:
        step = -(-(end_ms - start_ms) // (4 * _DAY)) * _DAY
    return list(range(-(-start_ms // step) * step, end_ms + 1, step)) or [start_ms]


def bars(rows: Sequence[tuple[str, int]], what: str, count: str) -> str:
    """A bar for each (label, number), with heads that say what the labels and the numbers are."""
    most = max((number for _, number in rows), default=0) or 1
    lines = [
        f'<li><span>{escape(label)}</span><i style="--share:{number / most * 100:.1f}%"></i><b>{number:,}</b></li>'
        for label, number in rows
    ]
    head = f'<li class="small"><span>{escape(what)}</span><span></span><span class="number">{escape(count)}</span></li>'
    return f'<ul class="bars">{head}{"".join(lines)}</ul>'
