"""How much Lambda concurrency the account has left."""

from __future__ import annotations

from typing import Any, Final

from lakebound.adapters.aws_calls import call
from lakebound.adapters.cloudwatch import Metric, ask
from lakebound.errors import Misconfigured
from lakebound.ports import Clock
from lakebound.source.facts import SLICE_MS, Concurrency

_LOOKED_BACK_MS: Final = 3_600_000


class LambdaAccount:
    """Port Account. The most that ran at once is CloudWatch's UnreservedConcurrentExecutions of all functions."""

    def __init__(self, client: Any, cloudwatch: Any, clock: Clock) -> None:
        self._client = client
        self._cloudwatch = cloudwatch
        self._clock = clock
        self._used = {"used": Metric("AWS/Lambda", "UnreservedConcurrentExecutions", {}, "Maximum")}

    def concurrency(self) -> Concurrency | None:
        """See Account."""
        try:
            limits = call(self._client, "get_account_settings", "account")["AccountLimit"]
        except Misconfigured:
            # An organisation's policy may forbid it: then the run is as careful as on the smallest account.
            return None
        end = self._clock.now_ms()
        begin = (end - _LOOKED_BACK_MS) // SLICE_MS * SLICE_MS
        values = ask(self._cloudwatch, self._used, begin, end, SLICE_MS)
        used = max((found["used"] for found in values.values()), default=0.0)
        return Concurrency(int(limits["UnreservedConcurrentExecutions"]), int(used))
