"""How fast a backfill may read: a token bucket over consumed capacity, slower when the table throttles.

A page's cost is known only after it was read, so the bucket goes into debt and the next page waits until it is paid.
"""

from __future__ import annotations

from typing import Final

BURST_SECONDS: Final = 1.0
"""How much unused capacity is kept: encoding a file for a second does not cost the run that second."""

LEAST_RATE: Final = 1.0
_BACK_OFF: Final = 0.5
_STEP_UP: Final = 0.05
_STEP_SECONDS: Final = 1.0


class RateLimiter:
    """One reader's share of the capacity, in read units a second. Halved on a throttle, 5 % a second back.

    `rate` and `ready_ms` come from the checkpoint of the invocation before, so that neither its debt nor what it
    learned of the table is forgotten.
    """

    def __init__(self, share: float, now_ms: int, *, rate: float | None = None, ready_ms: int = 0) -> None:
        self.share = max(share, LEAST_RATE)
        self.rate = min(max(rate or self.share, LEAST_RATE), self.share)
        self._tokens = -max(0, ready_ms - now_ms) / 1000 * self.rate
        self._filled_ms = now_ms
        self._stepped_ms = now_ms
        self._units_per_item: float | None = None

    def wait_seconds(self, now_ms: int) -> float:
        """Seconds until the next page may be asked for."""
        self._fill(now_ms)
        return max(0.0, -self._tokens / self.rate)

    def ready_ms(self, now_ms: int) -> int:
        """When the debt is paid."""
        return now_ms + round(self.wait_seconds(now_ms) * 1000)

    def spent(self, units: float, items: int, now_ms: int) -> None:
        """A page was read."""
        self._fill(now_ms)
        self._tokens -= units
        if items:
            self._units_per_item = units / items
        if now_ms - self._stepped_ms >= _STEP_SECONDS * 1000:
            self.rate = min(self.share, self.rate + _STEP_UP * self.share)
            self._stepped_ms = now_ms

    def throttled(self, now_ms: int) -> None:
        """The table refused a page: half the rate, and a second of it as a pause."""
        self._fill(now_ms)
        self.rate = max(LEAST_RATE, self.rate * _BACK_OFF)
        self._tokens = min(self._tokens, 0.0) - self.rate
        self._stepped_ms = now_ms

    def page_limit(self) -> int | None:
        """Most items of the next page, or None for a whole one (1 MB).

        On a table of 5 units a second a page of 256 units would take what production saved up for a minute.
        """
        if self.rate >= 256:
            return None
        if self._units_per_item is None:
            return max(1, int(self.rate))
        return max(1, int(self.rate / self._units_per_item)) if self._units_per_item else None

    def _fill(self, now_ms: int) -> None:
        self._tokens = min(self.rate * BURST_SECONDS, self._tokens + (now_ms - self._filled_ms) / 1000 * self.rate)
        self._filled_ms = now_ms
