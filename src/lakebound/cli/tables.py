"""Tables on a terminal of any width. What a cell holds is never cut: a number that lost its end is another number."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len

_BETWEEN: Final = "  "
_NARROWEST: Final = 20


@dataclass(frozen=True, slots=True)
class Column:
    """A column's head; numbers stand at the right and never wrap, words at the left and wrap between words."""

    head: str
    is_number: bool = False


def terminal_width() -> int:
    """Columns of the terminal, or COLUMNS; 100 in a file or a pipe."""
    return max(_NARROWEST, shutil.get_terminal_size((100, 24)).columns)


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """The table's lines.

    At most `width` wide where words wrap enough for that; else one block a row, a line for each cell, with nothing cut
    even where a single cell is wider than the terminal.
    """
    widths = _widths(columns, rows, width)
    if widths is None:
        return _blocks(columns, rows, width)
    lines = _row([column.head for column in columns], columns, widths)
    lines.append(_BETWEEN.join("─" * wide for wide in widths))
    for row in rows:
        lines += _row(row, columns, widths)
    return lines


def listing(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[str]:
    """Heads and rows, each column as wide as its widest cell: what is there to be copied stands on one line."""
    cells = [[column.head for column in columns], *rows]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    return [line for row in cells for line in _row(row, columns, widths)]


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[int] | None:
    """A width for each column, or None where the words' longest ones do not fit beside the numbers."""
    cells = [[column.head, *(row[place] for row in rows)] for place, column in enumerate(columns)]
    natural = [max(map(cell_len, column)) for column in cells]
    least = [
        wide if column.is_number else max(cell_len(word) for cell in found for word in cell.split() or [""])
        for column, found, wide in zip(columns, cells, natural, strict=True)
    ]
    room = width - cell_len(_BETWEEN) * (len(columns) - 1)
    if sum(least) > room:
        return None
    widths = list(natural)
    while (over := sum(widths) - room) > 0:
        # The widest column that can give something gives it, until it is as wide as the next.
        place = max((at for at in range(len(widths)) if widths[at] > least[at]), key=lambda at: widths[at])
        widths[place] -= min(over, max(1, (widths[place] - least[place]) // 2))
    return widths


def _row(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> list[str]:
    wrapped = [
        [cell] if cell_len(cell) <= wide else _wrapped(cell, wide) for cell, wide in zip(cells, widths, strict=True)
    ]
    lines = []
    for at in range(max(map(len, wrapped))):
        parts = [found[at] if at < len(found) else "" for found in wrapped]
        padded = [
            " " * (wide - cell_len(part)) + part if column.is_number else part + " " * (wide - cell_len(part))
            for part, column, wide in zip(parts, columns, widths, strict=True)
        ]
        lines.append(_BETWEEN.join(padded).rstrip())
    return lines


def _wrapped(cell: str, wide: int) -> list[str]:
    """The cell's words in lines of that width. Not textwrap's: it counts letters, and 漢 is two columns wide."""
    lines: list[str] = []
    for word in cell.split():
        if lines and cell_len(lines[-1]) + 1 + cell_len(word) <= wide:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines or [""]


def _blocks(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    head = max(cell_len(column.head) for column in columns)
    lines: list[str] = []
    for row in rows:
        for column, cell in zip(columns, row, strict=True):
            if head + cell_len(_BETWEEN) + cell_len(cell) <= width:
                lines.append(f"{column.head}{' ' * (head - cell_len(column.head))}{_BETWEEN}{cell}".rstrip())
            else:
                lines += [column.head, f"{_BETWEEN}{cell}"]
        lines.append("")
    return lines[:-1]
