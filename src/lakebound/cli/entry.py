"""The process behind the command `lakebound`: what a person's Ctrl-C and a failure of AWS come to, in every verb.

Exit status: 0 ok, 1 found a problem, 2 usage, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from types import FrameType
from typing import Final

INTERRUPTED: Final = 130
"""128 and SIGINT, as shells count it."""


def main() -> None:
    """Run the command of this process's arguments, then exit."""
    # A command in the background of a script ignores SIGINT, and so does this one then.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupt)
    # What a library logs for its own people (a broken link to Spark, a retry) is no part of what a verb tells.
    logging.disable(logging.CRITICAL)
    _fill_closed_streams()
    try:
        # The verbs' libraries take a second to load: Ctrl-C in that second ends in one line too.
        from lakebound.cli.app import run

        status = run()
    except KeyboardInterrupt:
        status = INTERRUPTED
    if status == INTERRUPTED:
        print("lakebound: interrupted; what was done stays done, and the same command goes on", file=sys.stderr)
        # Threads that wait for an answer, and Spark, would hold the process or tell of their own end.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)
    sys.exit(status)


def _fill_closed_streams() -> None:
    # A service may start a verb with closed streams, as `>&-` does. Python has None for these, and the next file that
    # is opened would get their number.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - it stays open to the end


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    # The next Ctrl-C ends what the first one's cleaning up still waits for.
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    raise KeyboardInterrupt
