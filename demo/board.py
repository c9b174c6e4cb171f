"""What a person sees while the demo runs: steps with their seconds, and bars; plain lines where nobody watches."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

LINE_EVERY_SECONDS = 10.0


class Board:
    """Steps one after the other, and bars that grow side by side while it is entered."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._totals: dict[str, int] = {}
        self._tasks: dict[str, TaskID] = {}
        self._ended = threading.Event()
        self._progress: Progress | None = None
        self._teller: threading.Thread | None = None

    @contextmanager
    def step(self, name: str) -> Iterator[Callable[[str], None]]:
        """Show a step while it lasts, then what it took; the yielded function adds a remark."""
        remarks: list[str] = []
        started = time.monotonic()
        with self._console.status(name):
            yield remarks.append
        remark = f"  [dim]{', '.join(remarks)}[/]" if remarks else ""
        self._console.print(f"[green]✓[/] {name:<24} {time.monotonic() - started:5.1f} s{remark}", soft_wrap=True)

    def bars(self, totals: Mapping[str, int]) -> None:
        """The bars to show, and where each one ends."""
        self._totals = dict(totals)
        self._counts = dict.fromkeys(totals, 0)

    def say(self, text: str) -> None:
        """A line above the bars, from any thread."""
        self._console.print(f"  {text}", markup=False, soft_wrap=True)

    def total(self, name: str, number: int) -> None:
        """Where a bar ends, as far as is known now."""
        with self._lock:
            self._totals[name] = number
            if self._progress is not None:
                self._progress.update(self._tasks[name], total=number, completed=self._shown(name))

    def adder(self, name: str) -> Callable[[int], None]:
        """A function that lets a bar grow, from any thread."""

        def add(more: int) -> None:
            with self._lock:
                self._counts[name] += more
                if self._progress is not None:
                    self._progress.update(self._tasks[name], completed=self._shown(name))

        return add

    def _shown(self, name: str) -> int:
        """How far a bar is, never beyond its end.

        Where it ends is an estimate until the backfill has told how much it read, and a record that came twice counts
        twice.
        """
        return min(self._counts[name], self._totals[name])

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            columns = (TextColumn("  {task.description:<10}"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn())
            progress = Progress(*columns, console=self._console)
            self._tasks = {name: progress.add_task(name, total=total) for name, total in self._totals.items()}
            self._progress = progress
            progress.start()
        else:
            self._teller = threading.Thread(target=self._tell, daemon=True)
            self._teller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._progress is not None:
            self._progress.stop()
        if self._teller is not None:
            self._teller.join()

    def _tell(self) -> None:
        started = time.monotonic()
        while not self._ended.wait(LINE_EVERY_SECONDS):
            self._line(time.monotonic() - started)
        self._line(time.monotonic() - started)

    def _line(self, seconds: float) -> None:
        with self._lock:
            counts = [f"{name} {self._shown(name):,}/{total:,}" for name, total in self._totals.items()]
        self._console.print(f"  {seconds:4.0f} s  {'   '.join(counts)}", soft_wrap=True)
