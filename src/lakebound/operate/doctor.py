"""Checks whether everything is as it must be, before a deployment and after it. Each check has its fix."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from lakebound.counts import count_text
from lakebound.errors import LakeboundError
from lakebound.operate.nightly_share import fitting_share, keys_a_night
from lakebound.ports import Clock
from lakebound.record.attributes import Image, canonical_key

GOOD: Final = "good"
WARN: Final = "warn"
UNKNOWN: Final = "unknown"
"""The pipeline needs it, and it could not be checked. It counts as much as BAD."""

BAD: Final = "bad"

NEEDED: Final = frozenset(("table", "stream mapping", "queue mapping", "buffer queue", "dead-letter queue", "bucket"))
"""The parts that must be checked to know whether the pipeline runs, besides each function and its errors."""

SMALLEST_CONCURRENCY: Final = 20
READERS_A_SHARD: Final = 2


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked. `fix` is empty when it is good."""

    name: str
    level: str
    told: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class TableFacts:
    """What the table's description and the account say before a deployment. None: could not be found out."""

    table: str
    exists: bool
    stream_arn: str | None = None
    view: str | None = None
    ttl: str | None = None
    recovery: bool | None = None
    table_key: str | None = None
    """ARN of the customer key that the table is encrypted with, empty for none."""
    readers: tuple[str, ...] = ()
    """Mappings that read the stream already."""
    concurrency: int | None = None
    """The account's unreserved concurrent executions."""
    key_enabled: bool | None = None
    """Of the key given for the stack."""
    is_foreign: bool = False
    """Whether another account owns the table."""
    unknown: tuple[str, ...] = ()
    """What could not be checked, and why: `part: reason`."""


def check_table(facts: TableFacts, *, is_new: bool = False) -> Iterator[Check]:
    """What must hold before a deployment: of an existing table, or (`is_new`) of one that the stack is to create."""
    if facts.is_foreign:
        yield from _check_foreign_table(facts)
        return
    if not facts.exists and is_new:
        yield Check("table", GOOD, f"{facts.table} does not exist; lakebound deploy creates it with PartitionKeyName")
        return
    if not facts.exists:
        fix = (
            "check --table, the region and the account; for a table that the stack is to create: "
            f"lakebound doctor --before --table {facts.table} --new-table"
        )
        yield Check("table", BAD, f"{facts.table} does not exist", fix)
        return
    if is_new:
        fix = f"leave --new-table out, and take it as it is: lakebound init --table {facts.table}"
        yield Check("table", BAD, f"{facts.table} exists already: a stack that creates it would fail", fix)
        return
    yield Check("table", GOOD, f"{facts.table} exists")
    yield from _stream(facts)
    yield from _not_looked_at(facts.unknown)
    if not _names(facts.unknown) & {"time to live"}:
        what = f"on attribute {facts.ttl}: expired items arrive as TTL deletes" if facts.ttl else "off"
        yield Check("time to live", GOOD, what)
    if facts.recovery is False:
        what = "point-in-time recovery is off: no export, so backfills scan, and gaps are healed by a full scan"
        fix = (
            f"aws dynamodb update-continuous-backups --table-name {facts.table} "
            "--point-in-time-recovery-specification PointInTimeRecoveryEnabled=true"
        )
        yield Check("recovery", WARN, what, fix)
    elif facts.recovery:
        yield Check("recovery", GOOD, "point-in-time recovery is on")
    if facts.table_key:
        yield Check(
            "table key", WARN, "a customer key encrypts the table", f"deploy with TableKmsKeyArn={facts.table_key}"
        )
    yield from _account(facts)


def _check_foreign_table(facts: TableFacts) -> Iterator[Check]:
    """What the owner's policy lets this account see. The rest is reported as not seen, never as good."""
    if not facts.exists:
        what = f"{facts.table} of another account does not exist, or its policy lets nobody of this account see it"
        yield Check("table", BAD, what, "let its owner put the policies that lakebound init --table ARN prints")
        return
    yield Check("table", GOOD, f"{facts.table} of another account can be described")
    yield from _stream(facts)
    yield Check(
        "time to live", WARN, "not seen: only its owner is told", "ask: expired items arrive as TTL deletes either way"
    )
    what = "another account's table cannot be exported: backfills scan, and gaps are healed by a full scan"
    yield Check("recovery", WARN, what, "for exports, deploy the stack in the table's own account")
    if facts.table_key:
        fix = f"deploy with TableKmsKeyArn={facts.table_key}, and let its owner add the statement that init prints"
        yield Check("table key", WARN, "a KMS key encrypts the table, and its policy has to allow this account", fix)
    yield from _account(facts)


def _account(facts: TableFacts) -> Iterator[Check]:
    if facts.concurrency is not None and facts.concurrency < SMALLEST_CONCURRENCY:
        what = f"only {count_text(facts.concurrency, 'concurrent execution', 'is', 'are')} left in this account"
        yield Check("concurrency", BAD, what, "ask for more in Service Quotas (Lambda, concurrent executions)")
    elif facts.concurrency is not None:
        yield Check("concurrency", GOOD, f"{count_text(facts.concurrency, 'concurrent execution', 'is', 'are')} left")
    if facts.key_enabled is False:
        yield Check("key", BAD, "the KMS key is not enabled", "enable it, or give another KmsKeyArn")


def _stream(facts: TableFacts) -> Iterator[Check]:
    if facts.stream_arn is None:
        fix = (
            f"aws dynamodb update-table --table-name {facts.table} "
            "--stream-specification StreamEnabled=true,StreamViewType=NEW_AND_OLD_IMAGES"
        )
        yield Check("stream", BAD, "the table has no stream", fix)
        return
    if facts.view == "NEW_AND_OLD_IMAGES":
        yield Check("stream", GOOD, f"new and old images; deploy with TableStreamArn={facts.stream_arn}")
    elif facts.view == "NEW_IMAGE":
        what = "new images only: everything works but the audit of the old-image chain"
        yield Check(
            "stream", WARN, what, "a view cannot be edited: switch the stream off and on before the first deploy"
        )
    else:
        what = f"the view {facts.view} carries no items: every record would go to quarantine"
        yield Check("stream", BAD, what, "switch the stream off, and on with NEW_AND_OLD_IMAGES")
    if len(facts.readers) >= READERS_A_SHARD:
        what = (
            f"{count_text(len(facts.readers), 'mapping', 'reads', 'read')} the stream already, and a "
            "shard takes two readers"
        )
        yield Check("readers", BAD, what, "remove one, or let one function feed both")
    elif not _names(facts.unknown) & {"readers"}:
        scope = ", as far as this account's mappings show" if facts.is_foreign else ""
        yield Check("readers", GOOD, f"{len(facts.readers)} of 2 places at a shard are taken{scope}")


def _names(unknown: Sequence[str]) -> set[str]:
    return {one.partition(": ")[0] for one in unknown}


def _not_looked_at(unknown: Sequence[str], needed: frozenset[str] = frozenset()) -> Iterator[Check]:
    """`needed` are the parts that must be checked to know whether the pipeline runs."""
    for one in unknown:
        name, _, why = one.partition(": ")
        level = UNKNOWN if name in needed or name.startswith(("errors of ", "function ")) else WARN
        fix = "get the right to read it, or try again; docs/OPERATIONS.md#status"
        yield Check(name, level, f"could not be checked: {why}", fix)


@dataclass(frozen=True, slots=True)
class StackFacts:
    """What a deployed stack looks like."""

    stack: str
    status: str
    mappings: Mapping[str, Mapping[str, Any]]
    functions: Mapping[str, Mapping[str, Any]]
    table_stream: str | None
    alarms: int | None
    alarms_without_action: int | None
    alarms_gone: tuple[str, ...] = ()
    """Names of alarms that the stack made and that do not exist."""
    alarms_off: tuple[str, ...] = ()
    """Names of alarms whose actions are switched off."""
    drifted: tuple[str, ...] = ()
    key_enabled: bool | None = None
    last_errors: Mapping[str, tuple[float, float] | None] = field(default_factory=dict)
    """By function: (invocations, errors) of the last hour. None: CloudWatch has no value of either."""
    table_refused: str = ""
    """Why the stack may not read its table: it follows the stream of another one, or of another region's."""
    is_tagged: bool | None = None
    """Whether status --all and its like find the stack. None: not looked for."""
    nightly: tuple[int, int] | None = None
    """(Items of the table, shares of VerifyShare) where a function of the stack verifies each night."""
    unknown: tuple[str, ...] = ()
    """What could not be checked, and why: `part: reason`."""
    missing: tuple[str, ...] = ()
    """Parts that were looked for and do not exist."""


def check_stack(facts: StackFacts) -> Iterator[Check]:
    """What must hold once it is deployed."""
    whole = facts.status.endswith("_COMPLETE") and "ROLLBACK" not in facts.status
    yield Check(
        "stack", GOOD if whole else BAD, f"{facts.stack} is {facts.status}", "" if whole else "lakebound deploy"
    )
    for part in facts.missing:
        yield _missing(part)
    yield from _not_looked_at(facts.unknown, NEEDED)
    for name, mapping in facts.mappings.items():
        yield _mapping(name, mapping)
    stream = facts.mappings.get("stream", {}).get("EventSourceArn")
    if facts.table_stream is None and not {"table"} & (_names(facts.unknown) | set(facts.missing)):
        fix = "switch it on with NEW_AND_OLD_IMAGES; docs/OPERATIONS.md#stream-recreated"
        yield Check("stream", BAD, "the table has no stream: no change is delivered", fix)
    if facts.table_stream is not None and stream is not None and stream != facts.table_stream:
        fix = "deploy with the new TableStreamArn, then lakebound backfill start --mode heal"
        yield Check("stream", BAD, "the table has another stream than the one that is read", fix)
    if facts.table_refused:
        yield Check("source", BAD, facts.table_refused, "mend it in samconfig.toml, then lakebound deploy")
    runtimes = set()
    for name, function in facts.functions.items():
        state, update = function.get("State", "Active"), function.get("LastUpdateStatus", "Successful")
        runtimes.add(function.get("Runtime"))
        well = state in ("Active", "Inactive") and update == "Successful"
        yield Check(
            f"function {name}",
            GOOD if well else BAD,
            f"{state}, last update {update}",
            "" if well else "lakebound deploy",
        )
    if len(runtimes) > 1:
        yield Check(
            "versions", BAD, f"the functions run on {', '.join(sorted(map(str, runtimes)))}", "lakebound deploy"
        )
    for name, counted in facts.last_errors.items():
        yield _errors(name, counted)
    if facts.nightly is not None:
        yield _nightly(*facts.nightly)
    if facts.alarms is not None:
        none = facts.alarms == 0
        yield Check(
            "alarms", BAD if none else GOOD, count_text(facts.alarms, "alarm"), "lakebound deploy" if none else ""
        )
        if facts.alarms_gone:
            yield Check("alarms gone", BAD, _names_told(facts.alarms_gone), "docs/OPERATIONS.md#part-missing")
        if facts.alarms_off:
            what = f"{_names_told(facts.alarms_off)}; with its actions switched off an alarm notifies nobody"
            fix = f"aws cloudwatch enable-alarm-actions --alarm-names {' '.join(facts.alarms_off)}"
            yield Check("alarms off", WARN, what, fix)
        if facts.alarms_without_action:
            what = f"{count_text(facts.alarms_without_action, 'alarm', 'notifies', 'notify')} nobody"
            yield Check("alarm topic", WARN, what, "deploy with AlarmTopicArn")
    if facts.is_tagged is False:
        what = "status --all, doctor --all and cost --all pass the stack over: no function of it bears the tag"
        yield Check("tag", WARN, what, _tag_again(facts))
    for resource in facts.drifted:
        yield Check("drift", BAD, f"{resource} was changed by hand", "lakebound deploy puts it back")
    if facts.key_enabled is False:
        yield Check("key", BAD, "the KMS key is not enabled", "enable it; docs/OPERATIONS.md#key-disabled")


def _names_told(names: Sequence[str]) -> str:
    return f"{len(names):,}: {', '.join(names)}"


def _tag_again(facts: StackFacts) -> str:
    """CloudFormation does not notice a tag that somebody took away. The functions come with stream_ingest first."""
    arns = [str(one["FunctionArn"]) for one in facts.functions.values() if "FunctionArn" in one]
    if not arns:
        return "lakebound deploy"
    return f"aws lambda tag-resource --resource {arns[0]} --tags lakebound:stack={facts.stack}"


def _missing(part: str) -> Check:
    if part == "table":
        fix = "check the region and the account; docs/OPERATIONS.md#table-missing"
        return Check("table", BAD, "the table does not exist: deleted, or of another region or account", fix)
    return Check(part, BAD, "it does not exist: deleted by hand", "docs/OPERATIONS.md#part-missing")


def _errors(name: str, counted: tuple[float, float] | None) -> Check:
    if counted is None:
        what = "CloudWatch knows of no invocation in the last hour: it had nothing to do, or does not run"
        return Check(f"errors of {name}", WARN, what, "lakebound doctor --smoke tells which")
    invocations, errors = counted
    if not errors:
        return Check(
            f"errors of {name}", GOOD, f"none in {count_text(round(invocations), 'invocation')} of the last hour"
        )
    fix = f"read the log group of {name}; docs/OPERATIONS.md#function-errors"
    what = f"{errors:,.0f} of {count_text(round(max(invocations, errors)), 'invocation')} of the last hour failed"
    return Check(f"errors of {name}", BAD, what, fix)


def _nightly(items: int, of: int) -> Check:
    keys, fitting = keys_a_night(items, of), fitting_share(items)
    told = f"VerifyShare 1/{of} compares about {count_text(keys, 'key')} a night"
    if of >= fitting:
        return Check("nightly verify", GOOD, told)
    fix = f"lakebound deploy -p VerifyShare=1/{fitting}"
    return Check("nightly verify", WARN, f"{told}; what nine minutes are not enough for is not judged", fix)


def _mapping(name: str, mapping: Mapping[str, Any]) -> Check:
    state, result = mapping.get("State", "unknown"), str(mapping.get("LastProcessingResult", ""))
    if state not in ("Enabled", "Enabling", "Updating", "Creating"):
        fix = (
            f"aws lambda update-event-source-mapping --enabled --uuid {mapping.get('UUID', 'UUID')}; "
            "docs/OPERATIONS.md#mapping-disabled"
        )
        return Check(f"{name} mapping", BAD, f"it is {state}", fix)
    if result.startswith("PROBLEM"):
        return Check(f"{name} mapping", BAD, result, "docs/OPERATIONS.md#stream-behind")
    return Check(f"{name} mapping", GOOD, f"{state}")


# ── the smoke test ──────────────────────────────────────────────────────────────────────────────────────────


class SmokeTable(Protocol):
    """The source table, one item of it."""

    def put(self, item: Image) -> None:
        """Raises LakeboundError."""

    def delete(self, keys: Image) -> None:
        """Raises LakeboundError."""


CountRecords = Callable[[str], int]
"""How many records of a key have arrived, in files or as tombstones in silver. Raises LakeboundError."""


@dataclass(frozen=True, slots=True)
class Smoke:
    """How long the test item took, in seconds. None: it did not arrive in time, or was not looked for."""

    key: str
    to_file: float | None
    to_silver: float | None = None


SMOKE_RECORDS: Final = 3
"""Put, changed, removed."""


def smoke(
    table: SmokeTable,
    keys: Image,
    count_in_files: CountRecords,
    clock: Clock,
    *,
    count_in_silver: CountRecords | None = None,
    limit_s: float = 300.0,
    every_s: float = 2.0,
) -> Smoke:
    """Put one test item, change it, remove it, and wait until all three records are in files (and gone in silver)."""
    key = canonical_key(keys)
    started = clock.now_ms()
    write_item(table, keys)
    to_file = _wait(lambda: count_in_files(key) >= SMOKE_RECORDS, clock, started, limit_s, every_s)
    to_silver = None
    if count_in_silver is not None and to_file is not None:
        to_silver = _wait(lambda: count_in_silver(key) > 0, clock, started, limit_s, every_s)
    return Smoke(key, to_file, to_silver)


def write_item(table: SmokeTable, keys: Image) -> None:
    """Put the test item, change it, and remove it: SMOKE_RECORDS records. Raises LakeboundError, without the item."""
    try:
        table.put(keys | {"lakebound_smoke": {"S": "put"}})
        table.put(keys | {"lakebound_smoke": {"S": "changed"}})
    finally:
        # Also when the second put failed: the test leaves no item behind.
        table.delete(keys)


def _wait(arrived: Callable[[], bool], clock: Clock, started: int, limit_s: float, every_s: float) -> float | None:
    while True:
        if arrived():
            return (clock.now_ms() - started) / 1000
        if clock.now_ms() - started >= limit_s * 1000:
            return None
        clock.sleep(every_s)


def smoke_keys(schema: Sequence[tuple[str, str]], token: str) -> Image:
    """Key attributes for the test item that no real item has: (name, type) and a random token of hexadecimal digits.

    Raises LakeboundError for a type that no key can have.
    """
    made: Image = {}
    for name, kind in schema:
        if kind == "S":
            made[name] = {"S": f"lakebound-smoke-{token}"}
        elif kind == "N":
            made[name] = {"N": str(-int(token[:12], 16) - 1)}
        elif kind == "B":
            made[name] = {"B": b64encode(f"lakebound-smoke-{token}".encode()).decode()}
        else:
            raise LakeboundError(f"The key attribute {name} has type {kind}", hint="Keys are S, N or B")
    return made
