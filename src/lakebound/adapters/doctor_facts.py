"""Gathers what `doctor` judges. What cannot be found out is None, and named with its reason."""

from __future__ import annotations

from functools import partial
from typing import Any

from lakebound.adapters.alarms import StackAlarms
from lakebound.adapters.aws_calls import NotThere, call
from lakebound.adapters.cloudwatch import total
from lakebound.adapters.dead_letters import count_messages
from lakebound.adapters.probes import Clients, Probes, describe_table
from lakebound.adapters.raw_answers import request_key
from lakebound.adapters.stack import Stack
from lakebound.adapters.tagged_stacks import STACK_TAG
from lakebound.errors import Misconfigured
from lakebound.operate.doctor import StackFacts, TableFacts
from lakebound.operate.file_check import MAX_FILE_BYTES, records_before_damage
from lakebound.operate.sample import parse_share
from lakebound.ports import Clock, ObjectStore
from lakebound.record.attributes import Image
from lakebound.record.table_identity import Source
from lakebound.transport.object_keys import DataKey, Partition, data_folders

_FUNCTIONS = ("StreamIngestName", "FlusherName", "BackfillName")


def examine_table(clients: Clients, source: Source, key: str = "") -> TableFacts:
    """Before a deployment. Raises LakeboundError only where DynamoDB itself does not answer, or may not.

    Of another account's table only the description is to be had, where its policy allows that.
    """
    dynamodb, table = clients("dynamodb"), source.asked
    try:
        described = describe_table(dynamodb, source)
    except NotThere:
        return TableFacts(source.table, exists=False, is_foreign=source.is_foreign)
    stream = described.get("StreamSpecification") or {}
    arn = described.get("LatestStreamArn") if stream.get("StreamEnabled") else None
    probes = Probes()
    ttl = backups = None
    if not source.is_foreign:
        ttl = probes.run(
            "time to live",
            lambda: call(dynamodb, "describe_time_to_live", table, TableName=table)["TimeToLiveDescription"],
        )
        backups = probes.run(
            "recovery",
            lambda: call(dynamodb, "describe_continuous_backups", table, TableName=table)[
                "ContinuousBackupsDescription"
            ],
        )
    recovery = None
    if backups is not None:
        status = (backups.get("PointInTimeRecoveryDescription") or {}).get("PointInTimeRecoveryStatus")
        recovery = status == "ENABLED"
    aws_lambda = clients("lambda")
    readers = (
        probes.run("readers", lambda: call(aws_lambda, "list_event_source_mappings", "mappings", EventSourceArn=arn))
        if arn
        else None
    )
    limits = probes.run("concurrency", lambda: call(aws_lambda, "get_account_settings", "account")["AccountLimit"])
    key_enabled = _key_enabled(probes, clients, key)
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
        key_enabled=key_enabled,
        is_foreign=source.is_foreign,
        unknown=tuple(probes.unknown),
    )


def examine_stack(clients: Clients, stack: Stack, *, look_for_tag: bool = False) -> StackFacts:
    """After a deployment. ``look_for_tag``: also whether the verbs with --all find the stack."""
    probes = Probes()
    aws_lambda, sqs = clients("lambda"), clients("sqs")
    mappings = {}
    for name, output in (("stream", "StreamMappingId"), ("queue", "QueueMappingId")):
        mapping_id = stack.output(output)
        found = probes.run(
            f"{name} mapping", partial(call, aws_lambda, "get_event_source_mapping", mapping_id, UUID=mapping_id)
        )
        if found is not None:
            mappings[name] = found
    functions = {}
    names = [stack.outputs[output] for output in _FUNCTIONS if stack.outputs.get(output)]
    for function in names:
        found = probes.run(
            f"function {function}",
            partial(call, aws_lambda, "get_function_configuration", function, FunctionName=function),
        )
        if found is not None:
            functions[function] = found
    refused, table = "", None
    try:
        source = stack.source
        table = probes.run("table", lambda: describe_table(clients("dynamodb"), source))
    except Misconfigured as error:
        refused = str(error)
    for name, output in (("buffer queue", "BufferQueueUrl"), ("dead-letter queue", "DeadLetterQueueUrl")):
        probes.run(name, partial(count_messages, sqs, stack.output(output)))
    listing = partial(call, clients("s3"), "list_objects_v2", stack.bucket, Bucket=stack.bucket, MaxKeys=1)
    probes.run("bucket", partial(listing, Prefix=f"{stack.prefix}/"))
    alarms = probes.run("alarms", lambda: StackAlarms.of(clients("cloudformation"), clients("cloudwatch"), stack.name))
    errors = {}
    for name in functions:
        counted = probes.run(f"errors of {name}", lambda name=name: (_errors(clients("cloudwatch"), name),))  # type: ignore[misc]
        if counted is not None:
            (errors[name],) = counted
    tagged = None
    if look_for_tag:
        arns = [one["FunctionArn"] for one in functions.values() if "FunctionArn" in one]
        tagged = probes.run("tag", lambda: any(_bears_tag(aws_lambda, arn, stack.name) for arn in arns))
    described = table or {}
    specification = described.get("StreamSpecification") or {}
    return StackFacts(
        stack=stack.name,
        status=stack.status,
        mappings=mappings,
        functions=functions,
        # A stream that was switched off keeps its LatestStreamArn for a day.
        table_stream=described.get("LatestStreamArn") if specification.get("StreamEnabled") else None,
        table_refused=refused,
        alarms=None if alarms is None else len(alarms.found),
        alarms_without_action=None if alarms is None else list(alarms.notifying(once_on=True).values()).count(False),
        alarms_gone=() if alarms is None else alarms.gone,
        alarms_off=() if alarms is None else alarms.off,
        drifted=probes.run("drift", lambda: _drifted(clients("cloudformation"), stack.name)) or (),
        key_enabled=_key_enabled(probes, clients, stack.parameters.get("KmsKeyArn", "")),
        last_errors=errors,
        is_tagged=tagged,
        nightly=_nightly(stack, described.get("ItemCount")),
        # Last: what stands above fills them.
        unknown=tuple(probes.unknown),
        missing=tuple(probes.missing),
    )


def _bears_tag(aws_lambda: Any, arn: str, stack: str) -> bool:
    tags = call(aws_lambda, "list_tags", f"function {arn}", Resource=arn).get("Tags") or {}
    return bool(tags.get(STACK_TAG) == stack)


def _nightly(stack: Stack, items: int | None) -> tuple[int, int] | None:
    share = stack.parameters.get("VerifyShare", "")
    if items is None or not share or not stack.parameters.get("VerifyTarget"):
        return None
    return items, parse_share(share)


def _key_enabled(probes: Probes, clients: Clients, key: str) -> bool | None:
    if not key:
        return None
    found = probes.run("key", lambda: call(clients("kms"), "describe_key", "key", KeyId=key)["KeyMetadata"])
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


def _errors(client: Any, function: str) -> tuple[float, float] | None:
    """(invocations, errors) of the last hour; None without a value of either. Raises LakeboundError."""
    of_function = {"FunctionName": function}
    invocations = total(client, "AWS/Lambda", "Invocations", of_function, hours=1)
    errors = total(client, "AWS/Lambda", "Errors", of_function, hours=1)
    return None if not invocations and not errors else (invocations or 0.0, errors or 0.0)


class SmokeItem:
    """Port SmokeTable over DynamoDB."""

    def __init__(self, source: Source, client: Any) -> None:
        self._source = source
        self._table = source.asked
        self._client = client

    def schema(self) -> list[tuple[str, str]]:
        """(name, type) of the key attributes."""
        described = describe_table(self._client, self._source)
        kinds = {one["AttributeName"]: one["AttributeType"] for one in described["AttributeDefinitions"]}
        return [(one["AttributeName"], kinds[one["AttributeName"]]) for one in described["KeySchema"]]

    def put(self, item: Image) -> None:
        call(self._client, "put_item", f"table {self._table}", TableName=self._table, Item=request_key(item))

    def delete(self, keys: Image) -> None:
        call(self._client, "delete_item", f"table {self._table}", TableName=self._table, Key=request_key(keys))


class VersionCounter:
    """Counts the versions of a key in the batch files that are written from now on. Reads each file once."""

    def __init__(self, store: ObjectStore, prefix: str, partition: Partition, clock: Clock) -> None:
        self._store = store
        self._prefix = prefix
        self._partition = partition
        self._clock = clock
        self._since_ms = clock.now_ms()
        self._read: set[str] = set()
        self._versions: set[str] = set()

    def __call__(self, key: str) -> int:
        """How many versions of the key are in files. Asked for one key only. Raises LakeboundError."""
        for folder in data_folders(self._prefix, self._partition, self._since_ms, self._clock.now_ms()):
            for stored in self._store.list(folder):
                data = DataKey.parse(self._prefix, stored.key)
                if data is None or data.time_ms < self._since_ms - 60_000 or stored.key in self._read:
                    continue
                self._read.add(stored.key)
                for record in records_before_damage(data.ext, self._store.get(stored.key, MAX_FILE_BYTES)):
                    if record["key"] == key and record["version"]:
                        self._versions.add(record["version"])
        return len(self._versions)
