"""The source table as a backfill reads it: scan pages, items by key, and the table's description.

Items stay the text that DynamoDB sent (`raw_answers`). With `pass_through=False` botocore parses the same answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final

from lakebound.adapters.aws_calls import FAILURES, THROTTLED, attempt, cause_of, code_of
from lakebound.adapters.raw_answers import ScanAnswer, answer_of, keep_bodies, request_key, scan_answer_of, table_part
from lakebound.backfill.segment_worker import ClockSkewed, Page, Throttled
from lakebound.errors import LakeboundError, Misconfigured
from lakebound.ports import Clock
from lakebound.record.attributes import Image
from lakebound.record.base_records import SnapshotDecoder
from lakebound.record.stream_records import ChangeEvent
from lakebound.record.table_identity import Source
from lakebound.source.facts import TableDescription
from lakebound.times import epoch_ms

MAX_SKEW_MS: Final = 5_000
"""The greatest difference between the local clock and the service's `Date`."""

_DATE_STEP_MS: Final = 1_000


class BackfillTable:
    """One table. No one else may use the client, because `keep_bodies` changes its answers.

    A bare name is a table of this account. Every call names another account's table by its ARN.
    """

    def __init__(self, source: Source | str, client: Any, clock: Clock, *, pass_through: bool = True) -> None:
        self._source = source if isinstance(source, Source) else Source.own(source)
        self.name = self._source.asked
        self._client = client
        self._clock = clock
        if pass_through:
            keep_bodies(client)

    def describe(self, *, recovery: bool = False) -> TableDescription:
        """The table's description, with `recovery` also its recovery period. Raises Misconfigured, LakeboundError."""
        table = self._call("describe_table", TableName=self.name)["Table"]
        provisioned = table.get("ProvisionedThroughput", {}).get("ReadCapacityUnits", 0)
        mode = table.get("BillingModeSummary", {}).get("BillingMode")
        on_demand = mode == "PAY_PER_REQUEST" or (mode is None and not provisioned)
        created = table.get("CreationDateTime")
        self._source.check_told(table["TableArn"])
        foreign = self._source.is_foreign
        return TableDescription(
            name=self._source.table,
            arn=table["TableArn"],
            # DynamoDB Local gives no id. There the moment of creation distinguishes two tables of one name.
            table_id=table.get("TableId") or (str(created.timestamp()) if created else "?"),
            key_names=tuple(element["AttributeName"] for element in table["KeySchema"]),
            items=int(table.get("ItemCount", 0)),
            size=int(table.get("TableSizeBytes", 0)),
            read_capacity=0 if on_demand else int(provisioned),
            stream_arn=table.get("LatestStreamArn") if _streams(table) else None,
            # DynamoDB describes a table's backups to the table's owner only.
            recovery_from_ms=self._recovery_from() if recovery and not foreign else None,
            is_foreign=foreign,
        )

    def _recovery_from(self) -> int | None:
        # An account may call DescribeContinuousBackups ten times a second, so no segment calls it.
        try:
            answer = self._client.describe_continuous_backups(TableName=self.name)
        except FAILURES:
            # Without recovery, or the right to ask about it, exports are impossible. A scan needs neither.
            return None
        recovery = answer.get("ContinuousBackupsDescription", {}).get("PointInTimeRecoveryDescription", {})
        if recovery.get("PointInTimeRecoveryStatus") != "ENABLED":
            return None
        earliest = recovery.get("EarliestRestorableDateTime")
        return epoch_ms(earliest) if earliest else 0

    def scan_page(
        self, segment: int, total: int, start: Any, limit: int | None, consistent: bool
    ) -> tuple[ScanAnswer, int]:
        """(the page, ms just before its request)."""
        arguments: dict[str, Any] = {
            "TableName": self.name,
            "Segment": segment,
            "TotalSegments": total,
            "ConsistentRead": consistent,
            "ReturnConsumedCapacity": "TOTAL",
        }
        if start:
            arguments["ExclusiveStartKey"] = request_key(start)
        if limit is not None:
            arguments["Limit"] = limit
        answer, before = self._timed("scan", **arguments)
        return scan_answer_of(answer), before

    def read_items(self, keys: Sequence[Image]) -> tuple[Any, int]:
        """One strongly consistent BatchGetItem of at most 100 different keys; the answer has the table's bare name."""
        wanted = {self.name: {"Keys": [request_key(key) for key in keys], "ConsistentRead": True}}
        answer, before = self._timed("batch_get_item", RequestItems=wanted, ReturnConsumedCapacity="TOTAL")
        values, table = answer_of(answer), self._source.table
        parts = {part: table_part(values.get(part), self.name, table) for part in ("Responses", "UnprocessedKeys")}
        return values | {part: {} if one is None else {table: one} for part, one in parts.items()}, before

    def _timed(self, operation: str, **arguments: Any) -> tuple[Any, int]:
        before = self._clock.now_ms()
        answer = self._call(operation, **arguments)
        after = self._clock.now_ms()
        _check_clock(answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date"), before, after)
        return answer, before

    def _call(self, operation: str, **arguments: Any) -> Any:
        def error_of(failure: Exception) -> LakeboundError:
            code = code_of(failure)
            if code in THROTTLED:
                return Throttled(f"table {self.name} throttled {operation}")
            if code == "ResourceNotFoundException":
                return Misconfigured(f"there is no table {self.name}", hint="Check TABLE_NAME and the region")
            if code == "AccessDeniedException":
                grant = "Let its owner put the policies of docs/GO-LIVE.md" if self._source.is_foreign else "Grant it"
                return Misconfigured(
                    f"the role may not {operation} table {self.name}", hint=f"{grant}, then redrive the execution"
                )
            return cause_of(failure, self._client.meta.endpoint_url) or LakeboundError(
                f"{operation} of table {self.name} failed ({code})", hint="Redrive the execution when DynamoDB answers"
            )

        return attempt(self._client, operation, error_of, **arguments)


@dataclass(frozen=True, slots=True)
class ScanSegment:
    """Port PageSource: one segment of a parallel scan."""

    table: BackfillTable
    decoder: SnapshotDecoder
    segment: int
    total: int
    consistent: bool
    margin_ms: int
    origin: str = "scan"

    def page(self, start: Any, limit: int | None) -> Page:
        answer, asked = self.table.scan_page(self.segment, self.total, start, limit, self.consistent)
        reader = None if answer.texts is None else self.decoder.reader.read_all
        values = answer.values if answer.texts is None else answer.texts
        # A page can be empty and still have a start key. Only a page without one ends the segment.
        return Page(asked, asked - self.margin_ms, values, answer.units, answer.next, reader)

    def decode(self, value: Any, label_ms: int, event_id: str) -> ChangeEvent:
        return self.decoder.item(value, label_ms, event_id)


def _streams(table: Mapping[str, Any]) -> bool:
    specification: Any = table.get("StreamSpecification")
    # MiniStack omits StreamEnabled for a table that CloudFormation made.
    return specification is not None and bool(specification.get("StreamEnabled", True))


def _check_clock(date: str | None, before_ms: int, after_ms: int) -> None:
    if date is None:
        raise ClockSkewed("DynamoDB's answer has no Date", hint="A proxy removed it: reach the service without one")
    server = epoch_ms(parsedate_to_datetime(date))
    if server + _DATE_STEP_MS < before_ms - MAX_SKEW_MS or server > after_ms + MAX_SKEW_MS:
        raise ClockSkewed(
            f"the local clock is {abs(after_ms - server) / 1000:.0f} s from DynamoDB's",
            hint="At most 5 s are safe. Redrive the execution; Lambda sets its own clock",
        )
