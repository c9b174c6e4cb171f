"""Gathers what `doctor` judges, with boto3. What cannot be found out is None, and judged as nothing."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from lakebound.adapters.alarms import alarms_of
from lakebound.adapters.calls import NotThere, call
from lakebound.adapters.stack import Stack
from lakebound.attributes import Image
from lakebound.doctor import StackFacts, TableFacts
from lakebound.encoders.choice import reader_of
from lakebound.errors import LakeboundError, Misconfigured
from lakebound.layout import DataKey
from lakebound.ports import ObjectStore
from lakebound.tables import Source

Clients = Callable[[str], Any]
_MAX_FILE_BYTES = 512 * 1024 * 1024


def examine_table(clients: Clients, source: Source, key: str = "") -> TableFacts:
    """Before a deployment. Raises LakeboundError only where DynamoDB itself does not answer, or may not.

    Of another account's table only the description is to be had, where its policy allows that.
    """
    dynamodb, table = clients("dynamodb"), source.asked
    try:
        described = _described(dynamodb, source)
    except NotThere:
        return TableFacts(source.table, exists=False, is_foreign=source.is_foreign)
    stream = described.get("StreamSpecification") or {}
    arn = described.get("LatestStreamArn") if stream.get("StreamEnabled") else None
    ttl = backups = None
    if not source.is_foreign:
        ttl = _known(lambda: call(dynamodb, "describe_time_to_live", table, TableName=table)["TimeToLiveDescription"])
        backups = _known(
            lambda: call(dynamodb, "describe_continuous_backups", table, TableName=table)[
                "ContinuousBackupsDescription"
            ]
        )
    recovery = None
    if backups is not None:
        status = (backups.get("PointInTimeRecoveryDescription") or {}).get("PointInTimeRecoveryStatus")
        recovery = status == "ENABLED"
    aws_lambda = clients("lambda")
    readers = (
        _known(lambda: call(aws_lambda, "list_event_source_mappings", "mappings", EventSourceArn=arn)) if arn else None
    )
    limits = _known(lambda: call(aws_lambda, "get_account_settings", "account")["AccountLimit"])
    return TableFacts(
        table=source.table,
        exists=True,
        stream_arn=arn,
        view=stream.get("StreamViewType"),
        ttl=ttl.get("AttributeName") if ttl and ttl.get("TimeToLiveStatus") == "ENABLED" else None,
        recovery=recovery,
        table_key=(described.get("SSEDescription") or {}).get("KMSMasterKeyArn"),
        readers=tuple(one["FunctionArn"] for one in (readers or {}).get("EventSourceMappings") or ()),
        concurrency=limits.get("UnreservedConcurrentExecutions") if limits else None,
        key_enabled=_key_enabled(clients, key),
        is_foreign=source.is_foreign,
    )


def examine_stack(clients: Clients, stack: Stack) -> StackFacts:
    """After a deployment."""
    aws_lambda = clients("lambda")
    mappings = {}
    for name, output in (("stream", "StreamMappingId"), ("queue", "QueueMappingId")):
        mapping_id = stack.output(output)
        found = _known(partial(call, aws_lambda, "get_event_source_mapping", mapping_id, UUID=mapping_id))
        mappings[name] = found or {"State": "missing"}
    functions = {}
    for output in ("StreamIngestName", "FlusherName"):
        function = stack.output(output)
        found = _known(partial(call, aws_lambda, "get_function_configuration", function, FunctionName=function))
        functions[function] = found or {"State": "missing"}
    refused, table = "", None
    try:
        source = stack.source
        table = _known(lambda: _described(clients("dynamodb"), source))
    except Misconfigured as error:
        refused = str(error)
    alarms = _known(lambda: alarms_of(clients("cloudformation"), clients("cloudwatch"), stack.name))
    return StackFacts(
        stack=stack.name,
        status=stack.status,
        mappings=mappings,
        functions=functions,
        table_stream=(table or {}).get("LatestStreamArn"),
        table_refused=refused,
        alarms=None if alarms is None else len(alarms),
        alarms_without_action=None if alarms is None else sum(not alarm.get("AlarmActions") for alarm in alarms),
        drifted=_known(lambda: _drifted(clients("cloudformation"), stack.name)) or (),
        key_enabled=_key_enabled(clients, stack.parameters.get("KmsKeyArn", "")),
        last_errors={name: _errors(clients, name) for name in functions},
    )


def _described(client: Any, source: Source) -> dict[str, Any]:
    asked = source.asked
    described: dict[str, Any] = call(client, "describe_table", f"table {asked}", TableName=asked)["Table"]
    source.check_told(described["TableArn"])
    return described


def _known(look: Callable[[], Any]) -> Any:
    try:
        return look()
    except LakeboundError:
        return None


def _key_enabled(clients: Clients, key: str) -> bool | None:
    if not key:
        return None
    found = _known(lambda: call(clients("kms"), "describe_key", "key", KeyId=key)["KeyMetadata"])
    return None if found is None else bool(found["Enabled"])


def _drifted(cloudformation: Any, name: str) -> tuple[str, ...]:
    """What CloudFormation's newest drift detection found; start one in the console, it takes minutes."""
    answer = call(
        cloudformation,
        "describe_stack_resource_drifts",
        f"stack {name}",
        StackName=name,
        StackResourceDriftStatusFilters=["MODIFIED", "DELETED"],
    )
    return tuple(one["LogicalResourceId"] for one in answer.get("StackResourceDrifts") or ())


def _errors(clients: Clients, function: str) -> float:
    end = datetime.now(UTC)
    answer = _known(
        lambda: call(
            clients("cloudwatch"),
            "get_metric_statistics",
            function,
            Namespace="AWS/Lambda",
            MetricName="Errors",
            Dimensions=[{"Name": "FunctionName", "Value": function}],
            StartTime=end - timedelta(hours=1),
            EndTime=end,
            Period=3600,
            Statistics=["Sum"],
        )
    )
    return float(sum(point["Sum"] for point in (answer or {}).get("Datapoints") or ()))


class SmokeItem:
    """Port SmokeTable over DynamoDB."""

    def __init__(self, source: Source, client: Any) -> None:
        self._source = source
        self._table = source.asked
        self._client = client

    def schema(self) -> list[tuple[str, str]]:
        """(name, type) of the key attributes."""
        described = _described(self._client, self._source)
        kinds = {one["AttributeName"]: one["AttributeType"] for one in described["AttributeDefinitions"]}
        return [(one["AttributeName"], kinds[one["AttributeName"]]) for one in described["KeySchema"]]

    def put(self, item: Image) -> None:
        call(self._client, "put_item", f"table {self._table}", TableName=self._table, Item=_sendable(item))

    def delete(self, keys: Image) -> None:
        call(self._client, "delete_item", f"table {self._table}", TableName=self._table, Key=_sendable(keys))


def _sendable(image: Image) -> Image:
    return {name: {"B": b64decode(one["B"])} if "B" in one else one for name, one in image.items()}


class LandedInFiles:
    """Port Landed over the batch files that are written from a moment on; each is read once."""

    def __init__(self, store: ObjectStore, prefix: str, since_ms: int, partitions: Callable[[], list[str]]) -> None:
        self._store = store
        self._prefix = prefix
        self._since_ms = since_ms
        self._partitions = partitions
        self._read: set[str] = set()
        self._versions: set[str] = set()

    def count(self, key: str) -> int:
        """How many versions of the key were seen so far."""
        for partition in self._partitions():
            for stored in self._store.list(f"{self._prefix}/{partition}/"):
                data = DataKey.parse(self._prefix, stored.key)
                if data is None or data.time_ms < self._since_ms - 60_000 or stored.key in self._read:
                    continue
                self._read.add(stored.key)
                for record in reader_of(data.ext)(self._store.get(stored.key, _MAX_FILE_BYTES)):
                    if record["key"] == key and record["version"]:
                        self._versions.add(record["version"])
        return len(self._versions)
