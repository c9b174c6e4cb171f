"""Commits that are tried again when another writer was quicker."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from delta.exceptions import DeltaConcurrentModificationException

ATTEMPTS: Final = 5

_Result = TypeVar("_Result")


def retried(commit: Callable[[], _Result]) -> _Result:
    """What ``commit`` returns. Another writer's commit (OPTIMIZE, a second job) can make Delta refuse this one; it is
    then tried again, five times in all. ``commit`` must be harmless to repeat."""
    for attempt in range(1, ATTEMPTS):
        try:
            return commit()
        except DeltaConcurrentModificationException:
            time.sleep(attempt)
    return commit()
