"""What a function's settings become at start: the rules of its use case, for the function itself and for the operator's
command that does the same work from elsewhere.

`client` makes a client of an AWS service; only services that the settings need are asked for one. Each function below
imports its own use case: the cold start of one Lambda must not load what only another one runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lakebound.settings import BackfillSettings, FlushSettings, IngestSettings, VerifySettings
from lakebound.transport.object_keys import partitioner

if TYPE_CHECKING:
    from lakebound.backfill.run_context import RunRules
    from lakebound.live.flush import FlushRules
    from lakebound.live.ingest import IngestRules
    from lakebound.record.redaction import Redaction


def ingest_rules(settings: IngestSettings, client: Callable[[str], Any]) -> IngestRules:
    """Raises Misconfigured where the redaction that is asked for cannot be done."""
    from lakebound.live.ingest import IngestRules

    return IngestRules(
        table=settings.table,
        partition=partitioner(settings.partition_template),
        by_event_time=settings.partition_by_event,
        message_bytes=settings.message_bytes,
        file_format=settings.file_format,
        redaction=_redaction(settings, client),
    )


def flush_rules(settings: FlushSettings) -> FlushRules:
    """These settings as rules."""
    from lakebound.live.flush import FlushRules

    return FlushRules(
        table=settings.table,
        prefix=settings.prefix,
        max_records=settings.max_records,
        max_file_bytes=settings.max_file_bytes,
        max_seconds=settings.max_seconds,
        file_format=settings.file_format,
        heartbeat_table=settings.heartbeat_table,
    )


def run_rules(settings: BackfillSettings, client: Callable[[str], Any]) -> RunRules:
    """Raises Misconfigured where the redaction that is asked for cannot be done."""
    from lakebound.backfill.run_context import RunRules

    return RunRules(
        table=settings.table,
        prefix=settings.prefix,
        partition=partitioner(settings.partition_template),
        max_records=settings.max_records,
        max_file_bytes=settings.max_file_bytes,
        max_seconds=settings.max_seconds,
        margin_ms=settings.margin_ms,
        failure_retention_ms=settings.failure_retention_days * 86_400_000,
        file_format=settings.file_format,
        redaction=_redaction(settings, client),
    )


def verify_redaction(settings: VerifySettings, client: Callable[[str], Any]) -> Redaction | None:
    """By what items land otherwise than they are. Raises Misconfigured where it cannot be done."""
    return _redaction(settings, client)


def _redaction(
    settings: IngestSettings | BackfillSettings | VerifySettings, client: Callable[[str], Any]
) -> Redaction | None:
    from lakebound.adapters.secrets import AwsSecrets, key_attributes, redaction_at_start

    table = settings.source.asked
    return redaction_at_start(settings.redaction, AwsSecrets(client), lambda: key_attributes(client("dynamodb"), table))
