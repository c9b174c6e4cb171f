"""Settings: what the functions read from their environment, with names, defaults and limits in one table.

A missing required setting fails at start with its name and what to set; no bucket or table name is ever a default.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lakebound.errors import Misconfigured
from lakebound.layout import partitioner


@dataclass(frozen=True, slots=True)
class Setting:
    """One environment variable. `default` None means required; `least` and `most` bound whole numbers."""

    name: str
    functions: tuple[str, ...]
    default: str | None
    meaning: str
    least: int | None = None
    most: int | None = None
    choices: tuple[str, ...] = ()


_INGEST: Final = "stream_ingest"
_FLUSHER: Final = "flusher"

SETTINGS: Final[tuple[Setting, ...]] = (
    Setting("TABLE_NAME", (_INGEST, _FLUSHER), None, "source table"),
    Setting("S3_BUCKET", (_INGEST, _FLUSHER), None, "bucket that files go to"),
    Setting("S3_PREFIX", (_INGEST, _FLUSHER), "", "data prefix in the bucket; empty means `ddb/<table>`"),
    Setting("QUEUE_URL", (_INGEST, _FLUSHER), None, "buffer queue"),
    Setting("FILE_FORMAT", (_INGEST, _FLUSHER), "ndjson.gz", "format of batch files", choices=("ndjson.gz",)),
    Setting(
        "PARTITION_BY",
        (_INGEST,),
        "ingest",
        "time that chooses the hour partition: `ingest` (when the record was written) or `event` (its creation time)",
        choices=("ingest", "event"),
    ),
    Setting(
        "PARTITION_TEMPLATE",
        (_INGEST,),
        "dt=%Y-%m-%d/HH=%H",
        "hour partition in UTC; `{op}` becomes `upserts` or `deletes`",
    ),
    Setting("MESSAGE_BYTES", (_INGEST,), "262144", "largest SQS body in bytes", least=65_536, most=1_048_576),
    Setting("MAX_RECORDS", (_FLUSHER,), "0", "records at which a file closes; 0 means no limit", least=0),
    Setting(
        "MAX_FILE_BYTES",
        (_FLUSHER,),
        "67108864",
        "compressed bytes at which a file closes",
        least=1,
        most=134_217_728,
    ),
    Setting(
        "MAX_SECONDS",
        (_FLUSHER,),
        "30",
        "age in seconds of the oldest record in hand at which a file closes",
        0,
        600,
    ),
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


_TABLE_NAME = re.compile(r"[A-Za-z0-9_.-]{3,255}").fullmatch


def _table(environment: Environment) -> str:
    table = environment.text("TABLE_NAME")
    # An ARN here would match no record: everything would go to quarantine as another table's.
    if not _TABLE_NAME(table):
        raise Misconfigured(
            f"TABLE_NAME is {table!r}", hint="Use the table's name, not its ARN: 3 to 255 letters, digits, _ . and -"
        )
    return table


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """stream_ingest's settings."""

    table: str
    bucket: str
    queue_url: str
    partition_by_event: bool
    partition_template: str
    message_bytes: int

    @staticmethod
    def read(values: Mapping[str, str]) -> IngestSettings:
        """From an environment. Raises Misconfigured."""
        environment = Environment(values)
        environment.text("FILE_FORMAT")
        template = environment.text("PARTITION_TEMPLATE")
        partitioner(template)
        return IngestSettings(
            table=_table(environment),
            bucket=environment.text("S3_BUCKET"),
            queue_url=environment.text("QUEUE_URL"),
            partition_by_event=environment.text("PARTITION_BY") == "event",
            partition_template=template,
            message_bytes=environment.number("MESSAGE_BYTES"),
        )


@dataclass(frozen=True, slots=True)
class FlushSettings:
    """The flusher's settings."""

    table: str
    bucket: str
    prefix: str
    queue_url: str
    max_records: int
    max_file_bytes: int
    max_seconds: int

    @staticmethod
    def read(values: Mapping[str, str]) -> FlushSettings:
        """From an environment. Raises Misconfigured."""
        environment = Environment(values)
        environment.text("FILE_FORMAT")
        table = _table(environment)
        return FlushSettings(
            table=table,
            bucket=environment.text("S3_BUCKET"),
            prefix=data_prefix(environment.text("S3_PREFIX"), table),
            queue_url=environment.text("QUEUE_URL"),
            max_records=environment.number("MAX_RECORDS"),
            max_file_bytes=environment.number("MAX_FILE_BYTES"),
            max_seconds=environment.number("MAX_SECONDS"),
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
