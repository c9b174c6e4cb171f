"""What a backfill knows of its source before it reads: the table, its stream, the mapping, what is still on its way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

SLICE_MS: Final = 5 * 60_000
"""The length of a slice of metrics."""


@dataclass(frozen=True, slots=True)
class TableDescription:
    """A table as DynamoDB describes it. `items` and `size` (bytes) are counted by DynamoDB about every six hours."""

    name: str
    arn: str
    table_id: str
    key_names: tuple[str, ...]
    items: int
    size: int
    read_capacity: int
    """Provisioned read units a second; 0 on demand."""
    stream_arn: str | None
    recovery_from_ms: int | None
    """The earliest time that exports reach; None without point-in-time recovery."""
    is_foreign: bool = False
    """Whether another account owns it. Then nothing but a scan reads it: DynamoDB exports tables of the asking account
    only, and tells nobody else of backups (developer guide, "API operations supported by resource-based policies")."""


@dataclass(frozen=True, slots=True)
class MappingFacts:
    """The mapping that delivers the stream. `modified_ms` is when it was last updated or changed its state."""

    mapping_id: str
    stream_arn: str
    state: str
    modified_ms: int
    result: str = ""
    """LastProcessingResult: begins with PROBLEM when the stream cannot be read or the function not be called."""
    service_ms: int | None = None
    """The service's own clock when it answered this; None where it does not say."""


@dataclass(frozen=True, slots=True)
class Slice:
    """What was measured of the stream's deliveries in one slice of time; a slice without any value is left out."""

    start_ms: int
    age_ms: int | None = None
    """The greatest IteratorAge: how old the last record of a delivery was. None: nothing was delivered or tried."""
    failed: int = 0
    """Deliveries that failed, were throttled or cut short."""
    lost: int = 0
    """Deliveries that Lambda gave up on and could not write to the bucket either."""


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """The buffer queue and its dead-letter queue as seen at one moment. Counts are SQS's own, about a minute old.

    `oldest_age_ms` was the age of the buffer's oldest message at some time after `measured_ms`; None where there is no
    such metric. It passes over messages that were received more than three times (as SQS's documentation says).
    """

    dead: int
    buffered: int
    measured_ms: int | None = None
    oldest_age_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Concurrency:
    """How many invocations the account takes at once without a reservation, and the most that ran in the last hour."""

    limit: int
    used: int

    @property
    def free(self) -> int:
        """What nobody used; never negative."""
        return max(0, self.limit - self.used)


class TableDescriber(Protocol):
    """The source's describer."""

    def describe(self, *, recovery: bool = False) -> TableDescription:
        """The table; `recovery_from_ms` only with `recovery`. Raises Misconfigured, LakeboundError."""


class MappingDescriber(Protocol):
    """The stream mapping's describer."""

    def mapping(self) -> MappingFacts:
        """Raises Misconfigured, LakeboundError."""


class DeliveryMetrics(Protocol):
    """The metrics of the stream's deliveries."""

    def slices(self, from_ms: int, to_ms: int) -> list[Slice]:
        """The slices that begin in [from, to) and have a value, the earliest first. Raises LakeboundError."""


class Upstream(Protocol):
    """The buffer queue and its dead-letter queue."""

    def counts(self) -> QueueCounts:
        """What they hold now; messages in a flusher's hands count. Raises LakeboundError."""


class Account(Protocol):
    """The account's Lambda concurrency in this region."""

    def concurrency(self) -> Concurrency | None:
        """None where the account may not be asked. Raises LakeboundError where it does not answer."""
