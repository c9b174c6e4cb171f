"""Looks at a running stack, and gathers what the operator's verbs judge."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Final

from lakebound.adapters.alarms import alarms_of
from lakebound.adapters.aws_calls import call
from lakebound.adapters.cloudwatch import Metric, datapoints, function_activity
from lakebound.adapters.dead_letters import count_messages
from lakebound.adapters.probes import Probes, describe_table
from lakebound.adapters.stack import Stack, function_environment
from lakebound.operate.status import (
    BUFFER,
    DEAD,
    FAILURES,
    GAPS,
    LAG,
    LOOKS,
    NEWEST_FILE,
    OLDEST_MESSAGE,
    QUARANTINE,
    QUEUE_MAPPING,
    STREAM_MAPPING,
    TABLE,
    FunctionFacts,
    PipelineFacts,
    last_stream_check,
    newest_file,
    open_gaps,
)
from lakebound.ports import ObjectStore
from lakebound.settings import Environment
from lakebound.transport.object_keys import partitioner
from lakebound.transport.undelivered import pending_failures, pending_quarantine

Clients = Callable[[str], Any]
_HOURS_LOOKED_AT: Final = 2
_ACTIVITY_MS: Final = 15 * 60_000
_ROLES: Final = (
    ("stream_ingest", "StreamIngestName", "StreamIngestLogGroup"),
    ("flusher", "FlusherName", "FlusherLogGroup"),
    ("backfill", "BackfillName", "BackfillLogGroup"),
)


class Observer:
    """One stack through the clients of its account."""

    def __init__(self, stack: Stack, clients: Clients, store: ObjectStore) -> None:
        self._stack = stack
        self._clients = clients
        self._store = store
        self._probes = Probes()

    def observe(self, now_ms: int) -> PipelineFacts:
        """Everything `status` judges. What cannot be found out is None and named, so that one missing right or one
        service that does not answer hides nothing else."""
        stack = self._stack
        table = self._probes.run(TABLE, lambda: describe_table(self._clients("dynamodb"), stack.source)) or {}
        specification = table.get("StreamSpecification") or {}
        stream = self._probes.run(STREAM_MAPPING, lambda: self._mapping(stack.stream_mapping)) or {}
        queue = self._probes.run(QUEUE_MAPPING, lambda: self._mapping(stack.output("QueueMappingId"))) or {}
        sqs = self._clients("sqs")
        buffered = self._probes.run(BUFFER, lambda: sum(count_messages(sqs, stack.output("BufferQueueUrl"))))
        dead = self._probes.run(DEAD, lambda: sum(count_messages(sqs, stack.output("DeadLetterQueueUrl"))))
        failures = self._probes.run(FAILURES, lambda: pending_failures(self._store, stack.table, stack.stream_mapping))
        poison = self._probes.run(QUARANTINE, lambda: pending_quarantine(self._store, stack.table))
        gaps = self._probes.run(GAPS, lambda: open_gaps(self._store, stack.table))
        check = self._probes.run(LOOKS, lambda: last_stream_check(self._store, stack.table))
        return PipelineFacts(
            now_ms=now_ms,
            stack=stack.name,
            table=stack.table,
            # A stream that was switched off keeps its LatestStreamArn for a day.
            table_stream=table.get("LatestStreamArn")
            if specification.get("StreamEnabled", bool(specification))
            else None,
            stream_view=specification.get("StreamViewType"),
            mapping_stream=stream.get("EventSourceArn"),
            mapping_state=stream.get("State"),
            mapping_result=stream.get("LastProcessingResult"),
            queue_mapping_state=queue.get("State"),
            iterator_age_ms=self._probes.run(LAG, self._iterator_age),
            oldest_message_s=self._probes.run(OLDEST_MESSAGE, self._oldest_message),
            buffered=buffered or 0,
            dead=dead or 0,
            failure_objects=len(failures.objects) if failures else 0,
            oldest_failure_ms=failures.objects[0].modified_ms if failures and failures.objects else None,
            failure_retention_days=int(stack.parameters.get("FailureRetentionDays") or 30),
            quarantined=len(poison.objects) if poison else 0,
            gaps=gaps or (),
            newest_file_ms=self._probes.run(NEWEST_FILE, lambda: self._newest_file(now_ms)),
            alarms=self._probes.run("alarms", self._alarms) or (),
            functions=tuple(self._functions(now_ms)),
            looked_ms=check.looked_ms if check else None,
            delivered_ms=check.delivered_ms if check else None,
            stream_mapping_id=stack.outputs.get("StreamMappingId", ""),
            queue_mapping_id=stack.outputs.get("QueueMappingId", ""),
            # Last: what stands above fills them.
            unknown=tuple(self._probes.unknown),
            missing=tuple(self._probes.missing),
        )

    def _functions(self, now_ms: int) -> Iterator[FunctionFacts]:
        for role, output, group in _ROLES:
            name = self._stack.outputs.get(output)
            if not name:
                continue  # a stack from before that output
            activity = self._probes.run(
                f"errors of {role}",
                lambda name=name: function_activity(  # type: ignore[misc]  # a default, so that it is this turn's
                    self._clients("cloudwatch"), name, now_ms - _ACTIVITY_MS, now_ms
                ),
            )
            if activity is not None:
                logs = self._stack.outputs.get(group) or f"/lakebound/{self._stack.name}/{role}"
                yield FunctionFacts(role, logs, activity.invocations, activity.errors, activity.throttles)

    def _mapping(self, mapping_id: str) -> dict[str, Any]:
        return call(self._clients("lambda"), "get_event_source_mapping", f"mapping {mapping_id}", UUID=mapping_id)

    def _iterator_age(self) -> int | None:
        value = self.metric(
            "AWS/Lambda", "IteratorAge", {"FunctionName": self._stack.output("StreamIngestName")}, "Maximum"
        )
        return None if value is None else int(value)

    def _oldest_message(self) -> int | None:
        queue = self._stack.output("BufferQueueUrl").rpartition("/")[2]
        value = self.metric("AWS/SQS", "ApproximateAgeOfOldestMessage", {"QueueName": queue}, "Maximum")
        return None if value is None else int(value)

    def metric(
        self, namespace: str, name: str, dimensions: dict[str, str], statistic: str, minutes: int = 15
    ) -> float | None:
        """The newest value of five minutes, or None where there is none."""
        points = datapoints(
            self._clients("cloudwatch"), Metric(namespace, name, dimensions, statistic), timedelta(minutes=minutes), 300
        )
        newest = max(points, key=lambda point: point["Timestamp"], default=None)
        return None if newest is None else float(newest[statistic])

    def total(
        self, namespace: str, name: str, dimensions: dict[str, str], hours: int, statistic: str = "Sum"
    ) -> float | None:
        """A metric summed up over the last hours; None where CloudWatch has no value of it. Raises LakeboundError."""
        period = 3600 if hours <= 24 * 14 else 86_400
        points = datapoints(
            self._clients("cloudwatch"), Metric(namespace, name, dimensions, statistic), timedelta(hours=hours), period
        )
        return float(sum(point[statistic] for point in points)) if points else None

    def _alarms(self) -> tuple[str, ...]:
        return tuple(alarm["AlarmName"] for alarm in self._all_alarms() if alarm.get("StateValue") == "ALARM")

    def count_alarms(self) -> int:
        """How many alarms the stack has. Raises LakeboundError."""
        return len(self._all_alarms())

    def _all_alarms(self) -> list[dict[str, Any]]:
        return alarms_of(self._clients("cloudformation"), self._clients("cloudwatch"), self._stack.name)

    def _newest_file(self, now_ms: int) -> int | None:
        """Only the hour partitions of now and the hour before: a listing of everything grows for ever."""
        environment = function_environment(self._clients("lambda"), self._stack.output("StreamIngestName"))
        partition = partitioner(Environment(environment).text("PARTITION_TEMPLATE"))
        hours = [now_ms - 3_600_000 * back for back in range(_HOURS_LOOKED_AT)]
        partitions = sorted({partition(hour, deletes) for hour in hours for deletes in (False, True)})
        return newest_file(self._store, self._stack.prefix, partitions)


def put_gap(client: Any, table: str, is_gap: bool) -> None:
    """Put the metric that the alarm StatusGap looks at. Raises LakeboundError."""
    _put(client, table, "Gap", float(is_gap))


def put_chain_breaks(client: Any, table: str, breaks: int) -> None:
    """Put the metric that the alarm ChainBreaks looks at. Raises LakeboundError."""
    _put(client, table, "ChainBreaks", float(breaks))


def _put(client: Any, table: str, name: str, value: float) -> None:
    metric = {"MetricName": name, "Dimensions": [{"Name": "table", "Value": table}], "Value": value, "Unit": "Count"}
    call(client, "put_metric_data", f"metric {name}", Namespace="Lakebound", MetricData=[metric])
