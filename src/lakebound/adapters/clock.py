"""The machine's clock."""

from __future__ import annotations

import time


class SystemClock:
    """Port Clock over the operating system."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
