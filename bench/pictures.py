"""The one picture of a page: bars with their figures, small, and readable on a light and on a dark ground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

INK: Final = "#7d828a"
"""A grey that stands out from white and from black; the ground is left clear."""
MET: Final = "#2a8fbd"
MISSED: Final = "#d9822b"
AIM: Final = INK


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: what it is about, how long it is, the text at its end, and the aim if one was set."""

    name: str
    value: float
    told: str
    aim: float | None = None
    missed: bool = False


def draw(path: Path, title: str, axis: str, bars: Sequence[Bar], *, powers: bool = False) -> None:
    """Write an SVG file of ``bars``, the first on top. ``powers`` makes each step of the axis ten times the last.

    Text stays text, in the reader's own font: as paths it makes a hundred kilobytes.
    """
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    colours = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor"), INK)
    fixed = {"svg.hashsalt": "lakebound", "svg.fonttype": "none", "font.family": "sans-serif", "text.parse_math": False}
    with matplotlib.rc_context({**colours, **fixed}):
        figure, axes = pyplot.subplots(figsize=(9, 0.36 * len(bars) + 1.3))
        for place, bar in enumerate(reversed(bars)):
            axes.barh(place, bar.value, color=MISSED if bar.missed else MET, height=0.6)
            end = max(bar.value, bar.aim or 0), place
            axes.annotate(bar.told, end, (6, 0), textcoords="offset points", va="center", fontsize=9)
            if bar.aim is not None:
                axes.plot([bar.aim, bar.aim], [place - 0.4, place + 0.4], color=AIM, linewidth=2)
        axes.set_yticks(range(len(bars)), [bar.name for bar in reversed(bars)], fontsize=9)
        if powers:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
            axes.tick_params(which="minor", bottom=False)
        else:
            axes.set_xlim(0)
        axes.margins(x=0.3)
        if any(bar.aim is not None for bar in bars):
            axis += "; grey stroke: aim; orange: aim missed"
        figure.supxlabel(axis, x=0.01, horizontalalignment="left", fontsize=9)
        figure.suptitle(title, x=0.01, horizontalalignment="left", fontsize=12)
        axes.spines[["top", "right"]].set_visible(False)
        figure.tight_layout()
        figure.savefig(path, metadata={"Date": None}, transparent=True)
        pyplot.close(figure)
