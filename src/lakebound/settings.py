"""Settings: what the functions read from their environment, with names, defaults and limits in one table.

A missing required setting fails at start with its name and what to set; no bucket or table name is ever a default.

Named tuples, here and in what every function loads beside it: a frozen dataclass takes a millisecond to define, which
each cold start pays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from lakebound.errors import Misconfigured
from lakebound.record.redaction import Path, parse_paths
from lakebound.record.table_identity import Home, Refused, Source, decide, is_table_name
from lakebound.transport.object_keys import FORMATS, partitioner


class Setting(NamedTuple):
    """One environment variable. `default` None means required; `least` and `most` bound whole numbers."""

    name: str
    functions: tuple[str, ...]
    default: str | None
    meaning: str
    least: int | None = None
    most: int | None = None
    choices: tuple[str, ...] = ()
    wired: bool = False
    """Set by the template from its own resources: no parameter."""


_INGEST: Final = "stream_ingest"
_FLUSHER: Final = "flusher"
_BACKFILL: Final = "backfill"
_HEARTBEAT: Final = "heartbeat"
_VERIFY: Final = "verify"

SETTINGS: Final[tuple[Setting, ...]] = (
    Setting("TABLE_NAME", (_INGEST, _FLUSHER, _BACKFILL, _VERIFY), None, "source table"),
    Setting("S3_BUCKET", (_INGEST, _FLUSHER, _BACKFILL), None, "bucket that files go to"),
    Setting("S3_PREFIX", (_INGEST, _FLUSHER, _BACKFILL), "", "data prefix in the bucket; empty means `ddb/<table>`"),
    Setting("QUEUE_URL", (_INGEST, _FLUSHER, _BACKFILL, _VERIFY), None, "buffer queue"),
    Setting("FILE_FORMAT", (_INGEST, _FLUSHER, _BACKFILL), "ndjson.gz", "format of batch files", choices=FORMATS),
    Setting(
        "PARTITION_BY",
        (_INGEST,),
        "ingest",
        "time that chooses the hour partition: `ingest` (when the record was written) or `event` (its creation time)",
        choices=("ingest", "event"),
    ),
    Setting(
        "PARTITION_TEMPLATE",
        (_INGEST, _BACKFILL),
        "dt=%Y-%m-%d/HH=%H",
        "hour partition in UTC; `{op}` becomes `upserts` or `deletes`",
    ),
    Setting("MESSAGE_BYTES", (_INGEST,), "262144", "largest SQS body in bytes", least=65_536, most=1_048_576),
    Setting("MAX_RECORDS", (_FLUSHER, _BACKFILL), "0", "records at which a file closes; 0 means no limit", least=0),
    Setting(
        "MAX_FILE_BYTES",
        (_FLUSHER, _BACKFILL),
        "67108864",
        "compressed bytes at which a file closes",
        least=1,
        most=134_217_728,
    ),
    Setting(
        "MAX_SECONDS",
        (_FLUSHER, _BACKFILL),
        "30",
        "age in seconds of the oldest record in hand at which a file closes",
        0,
        600,
    ),
    Setting(
        "DROP_ATTRIBUTES",
        (_INGEST, _BACKFILL, _VERIFY),
        "",
        "paths of attributes that land nowhere, separated by commas: `email,address.street`; paths pass through lists",
    ),
    Setting(
        "HASH_ATTRIBUTES",
        (_INGEST, _BACKFILL, _VERIFY),
        "",
        "paths of attributes of which only an HMAC-SHA-256 lands, as an S",
    ),
    Setting(
        "HASH_KEY_ARN",
        (_INGEST, _BACKFILL, _VERIFY),
        "",
        "secret of Secrets Manager, or parameter of the Parameter Store, that holds the key of HASH_ATTRIBUTES",
    ),
    Setting(
        "SNAPSHOT_MARGIN_SECONDS",
        (_BACKFILL,),
        "60",
        "seconds by which a label is older than its read (MARGIN); smaller only where all clocks are one clock",
        1,
        3_600,
    ),
    Setting(
        "SCAN_PASS_THROUGH",
        (_BACKFILL,),
        "true",
        "whether scan pages bypass botocore's parser; the records are the same",
        choices=("true", "false"),
    ),
    Setting(
        "STREAM_MAPPING_ID", (_BACKFILL,), "", "event source mapping of the stream; empty: not checked", wired=True
    ),
    Setting(
        "STREAM_INGEST_NAME",
        (_BACKFILL,),
        "",
        "function that the stream mapping calls, whose metrics prove what was delivered; empty: not checked",
        wired=True,
    ),
    Setting(
        "DEAD_LETTER_QUEUE_URL",
        (_BACKFILL,),
        "",
        "dead-letter queue of the buffer, which must be empty before a heal reads; empty: not checked",
        wired=True,
    ),
    Setting(
        "FAILURE_RETENTION_DAYS",
        (_BACKFILL,),
        "30",
        "days that the bucket keeps the failure objects that Lambda writes under `aws/lambda/`",
        14,
        3_650,
    ),
    Setting(
        "TABLE_STREAM_ARN",
        (_INGEST, _BACKFILL, _VERIFY),
        "",
        "stream that is read; it gives the ARN of a table of another account; empty: a table of this account",
        wired=True,
    ),
    Setting(
        "STACK_HOME",
        (_INGEST, _BACKFILL, _VERIFY),
        "",
        "partition, region and account of the stack (`aws:us-east-1:123456789012`), compared with the "
        "table's; empty: not compared",
        wired=True,
    ),
    Setting(
        "HEARTBEAT_TABLE",
        (_FLUSHER, _HEARTBEAT),
        "",
        "table of the stack's own that the heartbeat is written into; its messages are no data; empty: there is none",
        wired=True,
    ),
    Setting("VERIFY_TARGET", (_VERIFY,), "", "silver table in S3 that the table is compared with each night"),
    Setting("VERIFY_SHARE", (_VERIFY,), "1/30", "share of the keys that a night compares, another each night"),
    Setting("EXPORT_KMS_KEY", (_BACKFILL,), "", "KMS key that exports are encrypted with; empty: S3's own", wired=True),
)

_BY_NAME: Final = {setting.name: setting for setting in SETTINGS}


class Environment:
    """Reads settings out of an environment, each checked against SETTINGS. Raises Misconfigured."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def text(self, name: str) -> str:
        """The setting's text; its default where it is unset or empty."""
        setting = _BY_NAME[name]
        text = self._values.get(name, "").strip()
        if not text:
            if setting.default is None:
                raise Misconfigured(f"{name} is not set", hint=f"Set it to the {setting.meaning}")
            return setting.default
        if setting.choices and text not in setting.choices:
            raise Misconfigured(f"{name} is {text!r}", hint=f"Use one of: {', '.join(setting.choices)}")
        return text

    def number(self, name: str) -> int:
        """The setting's whole number, within its limits."""
        setting = _BY_NAME[name]
        text = self.text(name)
        most = "" if setting.most is None else f" and at most {setting.most}"
        hint = f"Use a whole number of at least {setting.least}{most}"
        try:
            number = int(text)
        except ValueError:
            raise Misconfigured(f"{name} is {text!r}", hint=hint) from None
        if (setting.least is not None and number < setting.least) or (
            setting.most is not None and number > setting.most
        ):
            raise Misconfigured(f"{name} is {number}", hint=hint)
        return number


def _table(environment: Environment) -> str:
    table = environment.text("TABLE_NAME")
    # An ARN here would match no record: everything would go to quarantine as another table's.
    if not is_table_name(table):
        raise Misconfigured(
            f"TABLE_NAME is {table!r}", hint="Use the table's name, not its ARN: 3 to 255 letters, digits, _ . and -"
        )
    return table


def source(environment: Environment) -> Source:
    """The table that is read, and by what name. Raises Misconfigured for a stream of another table or region."""
    table = _table(environment)
    home_text = environment.text("STACK_HOME")
    home = Home.parse(home_text)
    if home_text and home is None:
        raise Misconfigured(f"STACK_HOME is {home_text!r}", hint="Use partition:region:account")
    decision = decide(table, environment.text("TABLE_STREAM_ARN"), home)
    if isinstance(decision, Refused):
        raise decision.error()
    return decision


class RedactionSettings(NamedTuple):
    """Whose values never land, and where the key is that hashes them."""

    drop: tuple[Path, ...]
    hashed: tuple[Path, ...]
    key_arn: str

    @staticmethod
    def read(values: Mapping[str, str]) -> RedactionSettings:
        """From an environment. Raises Misconfigured."""
        environment = Environment(values)
        hashed = parse_paths("HASH_ATTRIBUTES", environment.text("HASH_ATTRIBUTES"))
        key_arn = environment.text("HASH_KEY_ARN")
        if hashed and not key_arn:
            raise Misconfigured(
                "HASH_KEY_ARN is not set",
                hint="HASH_ATTRIBUTES needs a key: set it to the ARN of a secret or parameter",
            )
        return RedactionSettings(parse_paths("DROP_ATTRIBUTES", environment.text("DROP_ATTRIBUTES")), hashed, key_arn)


class IngestSettings(NamedTuple):
    """stream_ingest's settings."""

    table: str
    source: Source
    bucket: str
    queue_url: str
    partition_by_event: bool
    partition_template: str
    message_bytes: int
    file_format: str
    redaction: RedactionSettings

    @staticmethod
    def read(values: Mapping[str, str]) -> IngestSettings:
        """From an environment. Raises Misconfigured."""
        environment = Environment(values)
        template = environment.text("PARTITION_TEMPLATE")
        partitioner(template)
        origin = source(environment)
        # Read by nothing here: a prefix that the other two functions refuse must not start this one either.
        data_prefix(environment.text("S3_PREFIX"), origin.table)
        return IngestSettings(
            table=origin.table,
            source=origin,
            bucket=environment.text("S3_BUCKET"),
            queue_url=environment.text("QUEUE_URL"),
            partition_by_event=environment.text("PARTITION_BY") == "event",
            partition_template=template,
            message_bytes=environment.number("MESSAGE_BYTES"),
            file_format=environment.text("FILE_FORMAT"),
            redaction=RedactionSettings.read(values),
        )


class FlushSettings(NamedTuple):
    """The flusher's settings."""

    table: str
    bucket: str
    prefix: str
    queue_url: str
    max_records: int
    max_file_bytes: int
    max_seconds: int
    file_format: str
    heartbeat_table: str

    @staticmethod
    def read(values: Mapping[str, str]) -> FlushSettings:
        """From an environment. Raises Misconfigured."""
        environment = Environment(values)
        table = _table(environment)
        return FlushSettings(
            table=table,
            bucket=environment.text("S3_BUCKET"),
            prefix=data_prefix(environment.text("S3_PREFIX"), table),
            queue_url=environment.text("QUEUE_URL"),
            max_records=environment.number("MAX_RECORDS"),
            max_file_bytes=environment.number("MAX_FILE_BYTES"),
            max_seconds=environment.number("MAX_SECONDS"),
            file_format=environment.text("FILE_FORMAT"),
            heartbeat_table=environment.text("HEARTBEAT_TABLE"),
        )


class HeartbeatSettings(NamedTuple):
    """The heartbeat's settings."""

    heartbeat_table: str

    @staticmethod
    def read(values: Mapping[str, str]) -> HeartbeatSettings:
        """From an environment. Raises Misconfigured."""
        table = Environment(values).text("HEARTBEAT_TABLE")
        if not table:
            raise Misconfigured(
                "HEARTBEAT_TABLE is not set", hint="Set it to the table that the heartbeat is written into"
            )
        return HeartbeatSettings(table)


class VerifySettings(NamedTuple):
    """The settings of the nightly verify."""

    source: Source
    queue_url: str
    target: str
    share: str
    redaction: RedactionSettings

    @staticmethod
    def read(values: Mapping[str, str]) -> VerifySettings:
        """From an environment. Raises Misconfigured."""
        environment = Environment(values)
        target = environment.text("VERIFY_TARGET")
        if not target:
            raise Misconfigured("VERIFY_TARGET is not set", hint="Set it to the address of the silver table in S3")
        return VerifySettings(
            source=source(environment),
            queue_url=environment.text("QUEUE_URL"),
            target=target,
            share=environment.text("VERIFY_SHARE"),
            redaction=RedactionSettings.read(values),
        )


class BackfillSettings(NamedTuple):
    """The backfill's settings."""

    table: str
    source: Source
    bucket: str
    prefix: str
    partition_template: str
    max_records: int
    max_file_bytes: int
    max_seconds: int
    margin_ms: int
    pass_through: bool
    queue_url: str
    dead_letter_url: str
    mapping_id: str
    stream_ingest: str
    failure_retention_days: int
    kms_key: str
    file_format: str
    redaction: RedactionSettings

    @staticmethod
    def read(values: Mapping[str, str]) -> BackfillSettings:
        """From an environment. Raises Misconfigured."""
        environment = Environment(values)
        origin = source(environment)
        template = environment.text("PARTITION_TEMPLATE")
        partitioner(template)
        return BackfillSettings(
            table=origin.table,
            source=origin,
            bucket=environment.text("S3_BUCKET"),
            prefix=data_prefix(environment.text("S3_PREFIX"), origin.table),
            partition_template=template,
            max_records=environment.number("MAX_RECORDS"),
            max_file_bytes=environment.number("MAX_FILE_BYTES"),
            max_seconds=environment.number("MAX_SECONDS"),
            margin_ms=environment.number("SNAPSHOT_MARGIN_SECONDS") * 1000,
            pass_through=environment.text("SCAN_PASS_THROUGH") == "true",
            queue_url=environment.text("QUEUE_URL"),
            dead_letter_url=environment.text("DEAD_LETTER_QUEUE_URL"),
            mapping_id=environment.text("STREAM_MAPPING_ID"),
            stream_ingest=environment.text("STREAM_INGEST_NAME"),
            failure_retention_days=environment.number("FAILURE_RETENTION_DAYS"),
            kms_key=environment.text("EXPORT_KMS_KEY"),
            file_format=environment.text("FILE_FORMAT"),
            redaction=RedactionSettings.read(values),
        )


def data_prefix(prefix: str, table: str) -> str:
    """The data prefix without slashes at its ends; `ddb/<table>` when none is given. Raises Misconfigured."""
    clean = prefix.strip("/") or f"ddb/{table}"
    if clean.split("/")[0] in ("_lakebound", "aws"):
        raise Misconfigured(
            f"S3_PREFIX is {prefix!r}",
            hint="_lakebound/ and aws/ hold what is not data; choose another prefix",
        )
    return clean
