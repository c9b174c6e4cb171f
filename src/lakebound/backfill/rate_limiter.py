"""The rate at which a backfill reads: a token bucket over consumed capacity, which slows down when the table throttles.

The cost of a page is known only after the read. So the bucket may go into debt, and the next page waits until the debt
is paid.
"""

from __future__ import annotations

from typing import Final

BURST_SECONDS: Final = 1.0
"""Unused capacity is kept for so long. A run that encodes a file for a second then makes up for that second."""

LEAST_RATE: Final = 1.0
_BACK_OFF: Final = 0.5
_STEP_UP: Final = 0.05
_STEP_SECONDS: Final = 1.0


class RateLimiter:
    """One reader's share of the capacity, in read units a second.

    A throttle halves the rate; each second then gives back 5 % of the share. `rate` and `ready_ms` come from the
    previous invocation's checkpoint, so this one keeps its debt and its rate.
    """

    def __init__(self, share: float, now_ms: int, *, rate: float | None = None, ready_ms: int = 0) -> None:
        self.share = max(share, LEAST_RATE)
        self.rate = min(max(rate or self.share, LEAST_RATE), self.share)
        self._tokens = -max(0, ready_ms - now_ms) / 1000 * self.rate
        self._filled_ms = now_ms
        self._stepped_ms = now_ms
        self._units_per_item: float | None = None

    def wait_seconds(self, now_ms: int) -> float:
        """Seconds until the next page may be requested."""
        self._fill(now_ms)
        return max(0.0, -self._tokens / self.rate)

    def ready_ms(self, now_ms: int) -> int:
        """The moment at which the debt is paid."""
        return now_ms + round(self.wait_seconds(now_ms) * 1000)

    def spent(self, units: float, items: int, now_ms: int) -> None:
        """Charge a page of so many items for the units that it consumed."""
        self._fill(now_ms)
        self._tokens -= units
        if items:
            self._units_per_item = units / items
        if now_ms - self._stepped_ms >= _STEP_SECONDS * 1000:
            self.rate = min(self.share, self.rate + _STEP_UP * self.share)
            self._stepped_ms = now_ms

    def throttled(self, now_ms: int) -> None:
        """Halve the rate after the table refused a page, and pause for a second."""
        self._fill(now_ms)
        self.rate = max(LEAST_RATE, self.rate * _BACK_OFF)
        self._tokens = min(self._tokens, 0.0) - self.rate
        self._stepped_ms = now_ms

    def page_limit(self) -> int | None:
        """The greatest number of items of the next page; None for a whole page (1 MB).

        On a table of 5 units a second, a page of 256 units would use up the burst capacity that production saved.
        """
        if self.rate >= 256:
            return None
        if self._units_per_item is None:
            return max(1, int(self.rate))
        return max(1, int(self.rate / self._units_per_item)) if self._units_per_item else None

    def _fill(self, now_ms: int) -> None:
        self._tokens = min(self.rate * BURST_SECONDS, self._tokens + (now_ms - self._filled_ms) / 1000 * self.rate)
        self._filled_ms = now_ms
