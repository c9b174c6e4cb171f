"""Gathers what `status` judges of a deployed stack."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from lakebound.adapters.alarms import alarms_of
from lakebound.adapters.aws_calls import call
from lakebound.adapters.cloudwatch import function_activity, newest
from lakebound.adapters.dead_letters import count_messages
from lakebound.adapters.probes import Clients, Probes, describe_table
from lakebound.adapters.silver_metrics import published_silver
from lakebound.adapters.stack import Stack, function_environment
from lakebound.operate.silver_lag import TableFacts, waiting_files
from lakebound.operate.status import (
    BUFFER,
    DEAD,
    FAILURES,
    GAPS,
    HEARTBEAT,
    LAG,
    NEWEST_FILE,
    OLDEST_MESSAGE,
    QUARANTINE,
    QUEUE_MAPPING,
    SILVER,
    STREAM_CHECK,
    STREAM_MAPPING,
    TABLE,
    WAITING,
    FunctionFacts,
    PipelineFacts,
    function_part,
    last_stream_check,
    newest_file,
    open_gaps,
)
from lakebound.ports import ObjectStore
from lakebound.settings import Environment
from lakebound.transport.object_keys import Partition, heartbeat_prefix, partitioner
from lakebound.transport.undelivered import pending_failures, pending_quarantine

_ACTIVITY_MS: Final = 15 * 60_000
_ROLES: Final = (
    ("stream_ingest", "StreamIngestName", "StreamIngestLogGroup"),
    ("flusher", "FlusherName", "FlusherLogGroup"),
    ("backfill", "BackfillName", "BackfillLogGroup"),
)


def observe_pipeline(
    stack: Stack, clients: Clients, store: ObjectStore, now_ms: int, table: TableFacts | None = None
) -> PipelineFacts:
    """Everything that `status` judges. ``table`` is what a silver table says, where one is looked at.

    What cannot be found out is None and named in `unknown`: one missing right or one service that does not answer hides
    nothing else.
    """
    probes = Probes()
    newest_of = partial(newest, clients("cloudwatch"))
    source = probes.run(TABLE, lambda: describe_table(clients("dynamodb"), stack.source)) or {}
    specification = source.get("StreamSpecification") or {}
    stream = probes.run(STREAM_MAPPING, lambda: _mapping(clients, stack.stream_mapping)) or {}
    queue = probes.run(QUEUE_MAPPING, lambda: _mapping(clients, stack.output("QueueMappingId"))) or {}
    sqs = clients("sqs")
    buffered = probes.run(BUFFER, lambda: sum(count_messages(sqs, stack.output("BufferQueueUrl"))))
    dead = probes.run(DEAD, lambda: sum(count_messages(sqs, stack.output("DeadLetterQueueUrl"))))
    failures = probes.run(FAILURES, lambda: pending_failures(store, stack.table, stack.stream_mapping))
    poison = probes.run(QUARANTINE, lambda: pending_quarantine(store, stack.table))
    gaps = probes.run(GAPS, lambda: open_gaps(store, stack.table))
    heartbeat_minutes = int(stack.parameters.get("HeartbeatMinutes") or 0)
    check = probes.run(STREAM_CHECK, lambda: last_stream_check(store, stack.table))
    return PipelineFacts(
        now_ms=now_ms,
        stack=stack.name,
        table=stack.table,
        # A stream that was switched off keeps its LatestStreamArn for a day.
        table_stream=source.get("LatestStreamArn") if specification.get("StreamEnabled", bool(specification)) else None,
        stream_view=specification.get("StreamViewType"),
        mapping_stream=stream.get("EventSourceArn"),
        mapping_state=stream.get("State"),
        mapping_result=stream.get("LastProcessingResult"),
        queue_mapping_state=queue.get("State"),
        iterator_age_ms=probes.run(
            LAG,
            lambda: newest_of("AWS/Lambda", "IteratorAge", {"FunctionName": stack.output("StreamIngestName")}),
        ),
        oldest_message_s=probes.run(
            OLDEST_MESSAGE,
            lambda: newest_of("AWS/SQS", "ApproximateAgeOfOldestMessage", stack.buffer_dimensions),
        ),
        buffered=buffered or 0,
        dead=dead or 0,
        failure_objects=len(failures.objects) if failures else 0,
        oldest_failure_ms=failures.objects[0].modified_ms if failures and failures.objects else None,
        failure_retention_days=int(stack.parameters.get("FailureRetentionDays") or 30),
        quarantined=len(poison.objects) if poison else 0,
        gaps=gaps or (),
        newest_file_ms=probes.run(NEWEST_FILE, lambda: _newest_file(clients, stack, store, now_ms)),
        alarms=probes.run("alarms", lambda: _alarms(clients, stack)) or (),
        functions=tuple(_functions(probes, clients, stack, now_ms)),
        silver=probes.run(SILVER, lambda: published_silver(clients("cloudwatch"), stack.table, now_ms)),
        silver_within_s=60 * int(stack.parameters.get("SilverLagMinutes") or 0),
        waiting=None
        if table is None
        else probes.run(
            WAITING,
            lambda: waiting_files(store, stack.prefix, _partition(clients, stack), table.taken_until_ms, now_ms),
        ),
        mark=None if table is None else table.mark,
        heartbeat_minutes=heartbeat_minutes,
        newest_heartbeat_ms=probes.run(HEARTBEAT, lambda: _newest_heartbeat(clients, stack, store, now_ms))
        if heartbeat_minutes
        else None,
        looked_ms=check.looked_ms if check else None,
        delivered_ms=check.delivered_ms if check else None,
        stream_mapping_id=stack.outputs.get("StreamMappingId", ""),
        queue_mapping_id=stack.outputs.get("QueueMappingId", ""),
        # Last: what stands above fills them.
        unknown=tuple(probes.unknown),
        missing=tuple(probes.missing),
    )


def _functions(probes: Probes, clients: Clients, stack: Stack, now_ms: int) -> Iterator[FunctionFacts]:
    for role, output, group in _ROLES:
        name = stack.outputs.get(output)
        if not name:
            continue  # a stack from before that output
        probes.run(function_part(role), partial(function_environment, clients("lambda"), name))
        ask = partial(function_activity, clients("cloudwatch"), name, now_ms - _ACTIVITY_MS, now_ms)
        activity = probes.run(f"errors of {role}", ask)
        if activity is not None:
            logs = stack.outputs.get(group) or f"/lakebound/{stack.name}/{role}"
            yield FunctionFacts(role, logs, activity.invocations, activity.errors, activity.throttles)


def _mapping(clients: Clients, mapping_id: str) -> dict[str, Any]:
    return call(clients("lambda"), "get_event_source_mapping", f"mapping {mapping_id}", UUID=mapping_id)


def _alarms(clients: Clients, stack: Stack) -> tuple[str, ...]:
    alarms = alarms_of(clients("cloudformation"), clients("cloudwatch"), stack.name)
    return tuple(alarm["AlarmName"] for alarm in alarms if alarm.get("StateValue") == "ALARM")


def _newest_file(clients: Clients, stack: Stack, store: ObjectStore, now_ms: int) -> int | None:
    file = newest_file(store, stack.prefix, _partition(clients, stack), now_ms)
    return None if file is None else file.modified_ms


def _newest_heartbeat(clients: Clients, stack: Stack, store: ObjectStore, now_ms: int) -> int | None:
    prefix = heartbeat_prefix(stack.table)
    file = newest_file(store, prefix, _partition(clients, stack), now_ms, hours_back=2)
    return None if file is None else file.modified_ms


def _partition(clients: Clients, stack: Stack) -> Partition:
    environment = function_environment(clients("lambda"), stack.output("StreamIngestName"))
    return partitioner(Environment(environment).text("PARTITION_TEMPLATE"))
