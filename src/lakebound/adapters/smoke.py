"""The ports of `smoke` over boto3."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any, Final

from lakebound.adapters.alarms import StackAlarms
from lakebound.adapters.aws_calls import call
from lakebound.adapters.doctor_facts import SmokeItem, VersionCounter
from lakebound.adapters.executions import Machine
from lakebound.adapters.probes import Clients
from lakebound.adapters.s3 import S3Store
from lakebound.adapters.stack import Stack
from lakebound.counts import count_text
from lakebound.errors import LakeboundError
from lakebound.operate import smoke
from lakebound.operate.doctor import smoke_keys
from lakebound.operate.redrive import IngestPipeline, redrive_failures
from lakebound.operate.smoke import Step, until
from lakebound.operate.status import newest_file
from lakebound.ports import Clock, ObjectStore
from lakebound.record.attributes import canonical_key
from lakebound.transport.object_keys import RunFolder
from lakebound.transport.undelivered import MAX_FAILURE_BYTES, FailureObject, Pending, pending_failures

_BROKEN: Final = {"MESSAGE_BYTES": "smoke test: fails on purpose"}
"""With this setting the function fails at its start: it reads no record, and quarantines none."""

_UNBROKEN: Final = {"MESSAGE_BYTES": "MessageBytes"}
"""The parameter of the stack that has the setting's right value."""

_SETTLES_S: Final = 120.0


class StreamDeliveries:
    """Port Deliveries. Changes the function's variables and the mapping's retries, and restores them."""

    def __init__(self, stack: Stack, clients: Clients, clock: Clock, pipeline: Callable[[], IngestPipeline]) -> None:
        """`pipeline` is called before the function is set to fail: after that its settings cannot be read."""
        self._stack = stack
        self._function = stack.output("StreamIngestName")
        self._mapping = stack.stream_mapping
        self._table = stack.table
        self._lambda = clients("lambda")
        self._make_pipeline = pipeline
        self._made: IngestPipeline | None = None
        self._clock = clock
        self._variables: dict[str, str] | None = None
        self._retries: int | None = None
        self._since_ms = 0

    def refuse(self) -> None:
        self._since_ms = self._clock.now_ms()
        # What a killed smoke test left is not what to restore later.
        self.mend()
        self._pipeline()
        self._variables, self._retries = self._there()
        self._set(self._variables | _BROKEN)
        self._retry(0)

    def accept(self) -> None:
        # Each by itself: where the one cannot be put back the other still is.
        failures = []
        try:
            if self._variables is not None:
                self._set(self._variables)
                self._variables = None
        except LakeboundError as failure:
            failures.append(str(failure))
        try:
            if self._retries is not None:
                self._retry(self._retries)
                self._retries = None
        except LakeboundError as failure:
            failures.append(str(failure))
        if failures:
            raise LakeboundError(
                f"{self._function} is still set to fail: {'; '.join(failures)}",
                hint="Run `lakebound smoke --mend` now: until then every delivery goes to the failure objects",
            )

    def mend(self) -> bool:
        """Restore what a killed smoke test left changed, by the stack's parameters. Returns whether there was anything.

        A deployment would not: the template is the same as before, so CloudFormation finds nothing to change.
        """
        variables, retries = self._there()
        wanted = int(self._stack.parameters.get("StreamMaxRetries", retries))
        broken = _BROKEN.items() <= variables.items()
        if broken:
            self._variables = variables | {
                name: self._stack.parameters[parameter] for name, parameter in _UNBROKEN.items()
            }
        if broken or retries != wanted:
            self._retries = wanted
        self.accept()
        return broken or retries != wanted

    def _there(self) -> tuple[dict[str, str], int]:
        """(the function's variables, the mapping's retries) as they are now."""
        mapping = call(self._lambda, "get_event_source_mapping", f"mapping {self._mapping}", UUID=self._mapping)
        variables = dict(self._configuration().get("Environment", {}).get("Variables", {}))
        return variables, int(mapping.get("MaximumRetryAttempts", -1))

    def _pipeline(self) -> IngestPipeline:
        if self._made is None:
            self._made = self._make_pipeline()
        return self._made

    def given_up(self, key: str) -> int:
        sequences = set()
        for stored in self._since().objects:
            with suppress(LakeboundError):
                failure = FailureObject.decode(stored.key, self._pipeline().store.get(stored.key, MAX_FAILURE_BYTES))
                records: list[Any] = [record for record in failure.records if _key(record) == key]
                sequences |= {str(record["dynamodb"].get("SequenceNumber")) for record in records}
        return len(sequences)

    def redrive(self) -> int:
        since = self._since()
        result = redrive_failures(self._pipeline(), since)
        if result.failed:
            raise LakeboundError(
                f"{count_text(len(result.failed), 'failure object')} could not be redriven",
                hint="Run `lakebound dlq redrive --from stream`",
            )
        return result.redriven

    def _since(self) -> Pending:
        found = pending_failures(self._pipeline().store, self._table, self._mapping)
        # S3 cuts a time to the second.
        return Pending(tuple(one for one in found.objects if one.modified_ms >= self._since_ms - 1000), found.already)

    def _configuration(self) -> dict[str, Any]:
        name = f"function {self._function}"
        return call(self._lambda, "get_function_configuration", name, FunctionName=self._function)

    def _set(self, variables: dict[str, str]) -> None:
        changed = {"FunctionName": self._function, "Environment": {"Variables": variables}}
        call(self._lambda, "update_function_configuration", f"function {self._function}", **changed)
        until(
            lambda: self._configuration().get("LastUpdateStatus", "Successful") != "InProgress",
            self._clock,
            _SETTLES_S,
            f"the function {self._function} was still being updated",
            1.0,
        )

    def _retry(self, times: int) -> None:
        name = f"mapping {self._mapping}"
        call(self._lambda, "update_event_source_mapping", name, UUID=self._mapping, MaximumRetryAttempts=times)
        until(
            lambda: call(self._lambda, "get_event_source_mapping", name, UUID=self._mapping).get("State") != "Updating",
            self._clock,
            _SETTLES_S,
            f"the {name} was still being updated",
            1.0,
        )


def _key(record: object) -> str:
    try:
        return canonical_key(record["dynamodb"]["Keys"])  # type: ignore[index]
    except (KeyError, TypeError, LakeboundError):
        return ""


class ExportRuns:
    """Port Runs over the stack's state machine."""

    def __init__(self, stack: Stack, client: Any, store: ObjectStore) -> None:
        self._machine = Machine(stack.output("BackfillMachineArn"), client)
        self._table = stack.table
        self._store = store

    def begin(self, name: str) -> None:
        self._machine.start({"mode": "export"}, name)

    def exporting(self, name: str) -> bool:
        state = self._machine.state(name)
        if state.ended:
            raise LakeboundError(f"run {name} ended as {state.status} before it could be stopped: {state.cause}")
        key = RunFolder.of(self._table, name).work("export-0")
        return any(stored.key == key for stored in self._store.list(key))

    def stop(self, name: str) -> None:
        self._machine.stop(name)

    def redrive(self, name: str) -> None:
        self._machine.redrive(name)

    def status(self, name: str) -> str:
        return self._machine.state(name).status

    def records(self, name: str) -> int:
        output = self._machine.state(name).output or {}
        return int(output.get("records", 0))


def alarm_actions(clients: Clients, stack: Stack) -> tuple[list[str], dict[str, bool]]:
    """(the names of the stack's alarms, those that exist with whether each notifies anybody). Raises LakeboundError."""
    alarms = StackAlarms.of(clients("cloudformation"), clients("cloudwatch"), stack.name)
    return list(alarms.names), alarms.notifying()


def encryption_keys(clients: Clients, stack: Stack, newest_file: str | None) -> dict[str, str | None]:
    """Where the stack's customer key has to be, with the key that is there. Raises LakeboundError."""
    places: dict[str, str | None] = {}
    for name, output in (("buffer queue", "BufferQueueUrl"), ("dead-letter queue", "DeadLetterQueueUrl")):
        url = stack.output(output)
        answer = call(clients("sqs"), "get_queue_attributes", name, QueueUrl=url, AttributeNames=["KmsMasterKeyId"])
        places[name] = answer.get("Attributes", {}).get("KmsMasterKeyId")
    if newest_file is not None:
        head = call(clients("s3"), "head_object", "the newest file", Bucket=stack.bucket, Key=newest_file)
        places["newest file"] = head.get("SSEKMSKeyId")
    for name, output in (
        ("log of stream_ingest", "StreamIngestLogGroup"),
        ("log of flusher", "FlusherLogGroup"),
        ("log of backfill", "BackfillLogGroup"),
    ):
        group = stack.output(output)
        answer = call(clients("logs"), "describe_log_groups", name, logGroupNamePrefix=group)
        places[name] = next(
            (one.get("kmsKeyId") for one in answer.get("logGroups", ()) if one["logGroupName"] == group), None
        )
    return places


STEPS: Final = ("item", "failure destination", "stopped export", "alarms", "customer key")
"""The names of the steps, in order."""


def smoke_steps(
    stack: Stack,
    clients: Clients,
    pipeline: Callable[[], IngestPipeline],
    clock: Clock,
    limit_s: float,
    export_limit_s: float,
) -> list[Step]:
    """The steps for a stack, in order. Nothing is asked or changed before they act.

    `limit_s` bounds the wait for an item or a delivery, `export_limit_s` the wait for the export.
    """
    token = secrets.token_hex(8)

    def count_versions(made: IngestPipeline) -> VersionCounter:
        return VersionCounter(made.store, stack.prefix, made.rules.partition, clock)

    def item(undo: ExitStack) -> str:
        one, made = SmokeItem(stack.source, clients("dynamodb")), pipeline()
        return smoke.item(one, smoke_keys(one.schema(), token), count_versions(made), clock, limit_s)

    def delivery(undo: ExitStack) -> str:
        one = SmokeItem(stack.source, clients("dynamodb"))
        keys = smoke_keys(one.schema(), secrets.token_hex(8))
        deliveries = StreamDeliveries(stack, clients, clock, pipeline)
        deliveries.mend()
        return smoke.failed_delivery(one, keys, deliveries, count_versions(pipeline()), clock, limit_s, undo)

    def export(undo: ExitStack) -> str:
        runs = ExportRuns(stack, clients("stepfunctions"), S3Store(stack.bucket, clients("s3")))
        return smoke.stopped_export(runs, f"smoke-{token}", clock, export_limit_s, undo)

    def alarms(undo: ExitStack) -> str:
        return smoke.alarms(*alarm_actions(clients, stack))

    def key(undo: ExitStack) -> str:
        arn = stack.parameters.get("KmsKeyArn", "")
        if not arn:
            return smoke.customer_key("", {})
        made = pipeline()
        newest = newest_file(made.store, stack.prefix, made.rules.partition, clock.now_ms())
        return smoke.customer_key(arn, encryption_keys(clients, stack, newest.key if newest else None))

    return [
        Step(
            "item",
            "puts, changes and removes one item, and waits until its three records are in files",
            item,
            "lakebound status; then docs/OPERATIONS.md#stream-behind",
        ),
        Step(
            "failure destination",
            "makes stream_ingest fail and its mapping retry nothing, writes one item, restores both, and redrives what "
            "Lambda gave up on",
            delivery,
            "lakebound doctor; lakebound dlq redrive --from stream; docs/OPERATIONS.md#failure-objects. If nothing is "
            "under aws/lambda/, check the role's right to write there, and the bucket's policy",
        ),
        Step(
            "stopped export",
            "starts an export backfill of the whole table ($0.10 a GB), stops it, redrives it, and waits for its end",
            export,
            "lakebound backfill list; docs/OPERATIONS.md#backfill-failed. Point-in-time recovery must be on",
        ),
        Step(
            "alarms",
            "checks that each alarm of the stack exists and notifies somebody",
            alarms,
            "lakebound deploy with AlarmTopicArn; somebody deleted a missing alarm by hand: docs/GO-LIVE.md",
        ),
        Step(
            "customer key",
            "reads which key encrypts the queues, the newest file and the logs; only with KmsKeyArn",
            key,
            "docs/OPERATIONS.md#key-disabled; an existing bucket keeps its owner's encryption",
        ),
    ]
