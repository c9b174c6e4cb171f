"""Invocations that take turns: each runs in a thread of its own, and never more than one of them runs.

The use cases under test are plain synchronous code. To have two flushers hold the same message, or a crash fall between
two calls, an invocation must stop inside a call to a port and go on later: that is what a thread that hands the turn
back and forth gives, and since nothing ever runs beside it, the same decisions give the same history.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Crash(BaseException):
    """The sandbox is gone. Not an Exception: no handler under test may catch it."""


class Violated(BaseException):
    """A promise is broken. Not an Exception, so that no code under test can swallow it."""


class Turn:
    """One call that can stop in the middle. `resume` runs it to its next `pause`, or to its end."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._go = threading.Lock()
        self._back = threading.Lock()
        self._go.acquire()
        self._back.acquire()
        self._thread: threading.Thread | None = None
        self._doomed = False
        self.finished = False
        self.value: Any = None
        self.error: BaseException | None = None

    def resume(self) -> bool:
        """Run on; True when the call has ended, with `value` or `error` set."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        else:
            self._go.release()
        self._back.acquire()
        if self.finished:
            self._thread.join()
        return self.finished

    def pause(self) -> None:
        """Called from inside: hand the turn back. Raises Crash when the invocation was killed meanwhile."""
        self._back.release()
        self._go.acquire()
        if self._doomed:
            raise Crash

    def kill(self) -> None:
        """End a paused call: it sees Crash where it stopped."""
        self._doomed = True
        while not self.finished:
            if self._thread is None:
                self.finished, self.error = True, Crash()
                return
            self.resume()

    def _run(self) -> None:
        try:
            self.value = self._work()
        except BaseException as error:
            self.error = error
        self.finished = True
        self._back.release()
