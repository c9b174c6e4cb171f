"""What a person sees while the demo runs: bars that never pass their end, on a terminal and in plain lines."""

import io
import random
import re

import pytest
from rich.console import Console

from demo import board as module
from demo.board import Board


def shown(terminal: bool, seed: int, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What the bar `in files` shows as (count, total), while counts and totals move as the seed says."""
    monkeypatch.setattr(module, "LINE_EVERY_SECONDS", 0.0005)
    out = io.StringIO()
    board = Board(Console(file=out, force_terminal=terminal, width=120, highlight=False, color_system=None))
    board.bars({"written": 10, "in files": 10})
    add = board.adder("in files")
    chance = random.Random(seed)
    with board:
        for _ in range(200):
            add(chance.randrange(9))
            if chance.random() < 0.1:
                board.total("in files", chance.randrange(1, 900))
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    return [
        (int(count.replace(",", "")), int(total.replace(",", "")))
        for count, total in re.findall(r"in files[^\d\n]*([\d,]+)/([\d,]+)", text)
    ]


@pytest.mark.parametrize("terminal", [False, True], ids=["lines", "terminal"])
@pytest.mark.parametrize("seed", range(5))
def test_progress_never_passes_its_end(terminal: bool, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    told = shown(terminal, seed, monkeypatch)
    assert told
    assert [(count, total) for count, total in told if count > total] == []


def test_red_control_a_bar_without_an_end_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Board, "_shown", lambda board, name: board._counts[name])
    assert any(count > total for count, total in shown(False, 1, monkeypatch))
