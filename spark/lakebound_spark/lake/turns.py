"""Turns of steps, one or several at a time: each runs until it has caught up or has to give way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Final, Generic, TypeVar

from lakebound_spark.lake.schedule import Agenda, Daily, End, Step

TURN_SECONDS: Final = 60.0
"""After so long a stream gives way to a step that waits, once its micro-batch under way has ended."""
ROUND_SECONDS: Final = 300.0
"""Where many tables wait, turns are shorter, so that a round of all of them takes about as long as this."""
SHORTEST_TURN_SECONDS: Final = 10.0
"""To begin a turn takes a second or two, of which most would be lost in a shorter one."""
_LOOK_SECONDS: Final = 1.0

T = TypeVar("T")


def turn_seconds(waiting: int) -> float:
    """How long a stream may run while so many tables wait.

    Ten busy tables beside forty quiet ones: with turns of a minute each of the forty would wait for ten minutes.
    """
    return min(TURN_SECONDS, max(SHORTEST_TURN_SECONDS, ROUND_SECONDS / waiting)) if waiting else float("inf")


class Turn(threading.Event):
    """Set once the driver is to stop, or the turn is over because another step waits."""

    def __init__(self, step: Step, agenda: Agenda, stop: threading.Event, clock: Callable[[], float]) -> None:
        super().__init__()
        self._step, self._agenda, self._stop, self._clock = step, agenda, stop, clock
        self._began = clock()

    def is_set(self) -> bool:
        if not super().is_set() and (self._stop.is_set() or self._is_over()):
            self.set()
        return super().is_set()

    @property
    def was_cut(self) -> bool:
        """Whether the step was told to give way; it may have caught up by itself at the same moment."""
        return super().is_set()

    def _is_over(self) -> bool:
        # What is done once a day is done whole: begun again it would begin from its start.
        if isinstance(self._step.timing, Daily):
            return False
        now = self._clock()
        return now - self._began >= turn_seconds(self._agenda.tables_waiting(self._step, now))


@dataclass(frozen=True, slots=True)
class Ended(Generic[T]):
    """A turn that has ended: what its work returned, or why it failed. ``due`` is the next one, None for never."""

    step: Step
    began: float
    ended: float
    end: End
    due: float | None
    outcome: T | None = None
    error: Exception | None = None


def run_turns(
    agenda: Agenda,
    work: Callable[[Step, Turn], T],
    tell: Callable[[Ended[T]], None],
    stop: threading.Event,
    clock: Callable[[], float],
    parallel: int = 1,
) -> None:
    """Run steps as they are due until none is left or ``stop`` is set, ``parallel`` tables at a time.

    ``tell`` gets each turn, in this thread, and may raise what is to end the others as well: they stop, and it is
    raised when the last of them has ended. ``stop`` lets turns end as they do when they give way.
    """

    def turn(step: Step) -> Ended[T]:
        over, began = Turn(step, agenda, stop, clock), clock()
        try:
            outcome = work(step, over)
        except Exception as error:
            now = clock()
            return Ended(step, began, now, End.FAILED, agenda.finish(step, now, End.FAILED), error=error)
        now, end = clock(), End.CUT if over.was_cut else End.DONE
        return Ended(step, began, now, end, agenda.finish(step, now, end), outcome)

    ended: SimpleQueue[Future[Ended[T]]] = SimpleQueue()
    with ThreadPoolExecutor(parallel, thread_name_prefix="step") as pool:
        running = 0
        try:
            while True:
                while running < parallel and not stop.is_set() and (step := agenda.take(clock())) is not None:
                    pool.submit(turn, step).add_done_callback(ended.put)
                    running += 1
                if not running and (stop.is_set() or agenda.next_due() is None):
                    return
                try:
                    one = ended.get(timeout=_LOOK_SECONDS)
                except Empty:
                    continue
                running -= 1
                tell(one.result())
        except BaseException:
            stop.set()
            raise
