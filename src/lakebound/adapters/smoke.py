"""The ports of `smoke` over boto3."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from lakebound.adapters.calls import call
from lakebound.adapters.executions import Machine
from lakebound.adapters.stack import Stack
from lakebound.attributes import canonical_key
from lakebound.errors import LakeboundError
from lakebound.layout import RunFolder
from lakebound.ports import Clock, ObjectStore
from lakebound.redrive import MAX_FAILURE_BYTES, FailureObject, Pending, Road, pending_failures, redrive_failures
from lakebound.smoke import until

Clients = Callable[[str], Any]
_BROKEN: Final = {"MESSAGE_BYTES": "smoke test: fails on purpose"}
"""With this the function fails as it starts: no record is read, none is quarantined."""

_SETTLES_S: Final = 120.0


class StreamDeliveries:
    """Port Deliveries. The function's variables and the mapping's retries are changed, and put back as they were."""

    def __init__(self, stack: Stack, clients: Clients, road: Road) -> None:
        self._function = stack.output("StreamIngestName")
        self._mapping = stack.stream_mapping
        self._table = stack.table
        self._lambda = clients("lambda")
        self._road = road
        self._clock: Clock = road.clock
        self._variables: dict[str, str] | None = None
        self._retries: int | None = None
        self._since_ms = 0

    def refuse(self) -> None:
        self._since_ms = self._clock.now_ms()
        mapping = call(self._lambda, "get_event_source_mapping", f"mapping {self._mapping}", UUID=self._mapping)
        function = self._configuration()
        self._retries = int(mapping.get("MaximumRetryAttempts", -1))
        self._variables = dict(function.get("Environment", {}).get("Variables", {}))
        self._set(self._variables | _BROKEN)
        self._retry(0)

    def accept(self) -> None:
        # Each by itself: where the one cannot be put back the other still is.
        variables, retries = self._variables, self._retries
        failures = []
        if variables is not None:
            try:
                self._set(variables)
                self._variables = None
            except LakeboundError as failure:
                failures.append(str(failure))
        if retries is not None:
            try:
                self._retry(retries)
                self._retries = None
            except LakeboundError as failure:
                failures.append(str(failure))
        if failures:
            raise LakeboundError(
                f"{self._function} is still set to fail: {'; '.join(failures)}",
                hint="Run `make deploy` now: until then every delivery goes to the failure objects",
            )

    def given_up(self, key: str) -> int:
        sequences = set()
        for stored in self._since().objects:
            with suppress(LakeboundError):
                failure = FailureObject.decode(stored.key, self._road.store.get(stored.key, MAX_FAILURE_BYTES))
                sequences |= {_sequence(record) for record in failure.records if _key(record) == key}
        return len(sequences)

    def redrive(self) -> int:
        since = self._since()
        result = redrive_failures(self._road, since)
        if result.failed:
            raise LakeboundError(
                f"{len(result.failed)} failure objects could not be redriven",
                hint="Run `lakebound dlq redrive --from stream`",
            )
        return result.redriven

    def _since(self) -> Pending:
        found = pending_failures(self._road.store, self._table, self._mapping)
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


def _sequence(record: object) -> str:
    return str(record["dynamodb"].get("SequenceNumber"))  # type: ignore[index]


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


def alarms_of(clients: Clients, stack: Stack) -> tuple[list[str], dict[str, bool]]:
    """(the names of the stack's alarms, those that exist with whether each notifies anybody). Raises LakeboundError."""
    cloudformation, wanted = clients("cloudformation"), []
    more: dict[str, str] = {}
    while True:
        answer = call(cloudformation, "list_stack_resources", f"stack {stack.name}", StackName=stack.name, **more)
        wanted += [
            one["PhysicalResourceId"]
            for one in answer.get("StackResourceSummaries", ())
            if one["ResourceType"] == "AWS::CloudWatch::Alarm"
        ]
        if not answer.get("NextToken"):
            break
        more = {"NextToken": answer["NextToken"]}
    found: dict[str, bool] = {}
    # By name, a hundred at most: a prefix would find the alarms of the neighbour `lake-prod` for `lake`.
    for start in range(0, len(wanted), 100):
        names = wanted[start : start + 100]
        answer = call(clients("cloudwatch"), "describe_alarms", "alarms", AlarmNames=names, MaxRecords=100)
        found |= {one["AlarmName"]: bool(one.get("AlarmActions")) for one in answer.get("MetricAlarms", ())}
    return wanted, found


def keys_of(clients: Clients, stack: Stack, newest_file: str | None) -> dict[str, str | None]:
    """Where the stack's customer key has to be, with the key that is there. Raises LakeboundError."""
    places: dict[str, str | None] = {}
    for name, output in (("buffer queue", "BufferQueueUrl"), ("dead-letter queue", "DeadLetterQueueUrl")):
        url = stack.output(output)
        told = call(clients("sqs"), "get_queue_attributes", name, QueueUrl=url, AttributeNames=["KmsMasterKeyId"])
        places[name] = told.get("Attributes", {}).get("KmsMasterKeyId")
    if newest_file is not None:
        head = call(clients("s3"), "head_object", "the newest file", Bucket=stack.bucket, Key=newest_file)
        places["newest file"] = head.get("SSEKMSKeyId")
    for name, output in (
        ("log of stream_ingest", "StreamIngestLogGroup"),
        ("log of flusher", "FlusherLogGroup"),
        ("log of backfill", "BackfillLogGroup"),
    ):
        group = stack.output(output)
        told = call(clients("logs"), "describe_log_groups", name, logGroupNamePrefix=group)
        places[name] = next(
            (one.get("kmsKeyId") for one in told.get("logGroups", ()) if one["logGroupName"] == group), None
        )
    return places
