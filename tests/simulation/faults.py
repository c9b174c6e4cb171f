"""The simulation's fault registry: what it injects, at which hop, where, and what must come of it.

A history draws a rate for each fault (most of them 0: a few faults at a time meet more often than all at once). The
docs' fault table is generated from here, and a test fails when a registered fault never fires.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SOURCE: Final = "source and stream"
INGEST: Final = "stream_ingest → SQS"
SQS: Final = "SQS"
FLUSH: Final = "flusher → S3"
BACKFILL: Final = "backfill"
OPERATOR: Final = "operator"

NO_LOSS: Final = "no loss; silver equals the source"
HEALED: Final = "GAP is raised; a full or incremental heal makes silver equal again"
COMPARED: Final = "nothing tells of it but a comparison, such as the nightly verify; a heal makes silver equal again"
EXPIRED: Final = "its alarm is on for days before; a heal makes silver equal again"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `rates` are the probabilities a history may draw beside 0."""

    name: str
    hop: str
    what: str
    where: str
    outcome: str
    rates: tuple[float, ...] = (0.02, 0.1, 0.3)
    needs: tuple[str, ...] = ()
    """Faults without which this one cannot happen."""


FAULTS: Final[tuple[Fault, ...]] = (
    Fault("noop_write", SOURCE, "a write that changes nothing", "table write", "no record, chain unbroken"),
    Fault("ttl_delete", SOURCE, "TTL delete", "table write", NO_LOSS),
    Fault("hammer", SOURCE, "one key hammered, several versions in a second", "table write", NO_LOSS),
    Fault("time_error", SOURCE, "creation time up to 20 s off and backwards", "stream record", NO_LOSS),
    Fault("split", SOURCE, "shard split", "stream", NO_LOSS, (0.1, 0.3)),
    Fault("rollover", SOURCE, "shard rollover", "stream", NO_LOSS, (0.1, 0.3)),
    Fault("child_first", SOURCE, "child shard read before its parent", "stream mapping", NO_LOSS, (0.3, 1.0)),
    Fault("stream_off", SOURCE, "stream disabled, writes, stream re-enabled: new label", "table", HEALED, (0.05, 0.2)),
    Fault("stream_swap", SOURCE, "stream re-created between two writes: lower numbers", "table", NO_LOSS, (0.05, 0.2)),
    Fault("table_recreated", SOURCE, "table re-created under the same name", "table", HEALED, (0.05, 0.2)),
    Fault("trim", SOURCE, "mapping off for 25 h: the stream is trimmed", "stream mapping", HEALED, (0.05, 0.2)),
    Fault("poison", SOURCE, "poison record first, middle, last", "stream", "quarantined with its bytes; others go on"),
    Fault("poison_unnumbered", SOURCE, "poison record without sequence number", "stream", "quarantined; others go on"),
    Fault("crash_before", INGEST, "crash before a call to SQS or S3", "any call", NO_LOSS, (0.01, 0.05, 0.2)),
    Fault("crash_after", INGEST, "crash after a call took effect", "any call", NO_LOSS, (0.01, 0.05, 0.2)),
    Fault("killed", INGEST, "sandbox killed while a call is in flight", "paused call", NO_LOSS, (0.05, 0.2)),
    Fault("slow", INGEST, "a slow call: the invocation runs into its deadline", "any call", NO_LOSS, (0.05, 0.3)),
    Fault("entry_refused", INGEST, "subset of SendMessageBatch entries failing", "SendMessageBatch", NO_LOSS),
    Fault("entry_unanswered", INGEST, "malformed answer: an entry in neither list", "SendMessageBatch", NO_LOSS),
    Fault("sqs_error", INGEST, "throttle, KMS denied, queue unavailable", "any SQS call", NO_LOSS),
    Fault("sqs_lost_answer", INGEST, "reset after acceptance", "any SQS call", NO_LOSS),
    Fault("sqs_outage", INGEST, "queue unavailable for minutes to hours", "every SQS call", NO_LOSS, (0.1, 0.3)),
    Fault("twice_at_once", INGEST, "same delivery twice at once", "stream mapping", NO_LOSS),
    Fault("clock", INGEST, "writer's clock up to 50 min off", "Clock", NO_LOSS, (0.3, 1.0)),
    Fault(
        "destination_denied",
        INGEST,
        "retries exhausted and the destination denied",
        "stream mapping",
        HEALED,
        (0.3,),
        ("crash_before", "sqs_error"),
    ),
    Fault("duplicate", SQS, "message delivered twice, or again after its deletion", "ReceiveMessage", NO_LOSS),
    Fault(
        "expired_receipt", SQS, "visibility expires while held; stale receipt", "visibility timeout", NO_LOSS, (1.0,)
    ),
    Fault("empty_receive", SQS, "receive empty though there is a backlog", "ReceiveMessage", NO_LOSS),
    Fault("in_flight_limit", SQS, "in-flight limit reached", "ReceiveMessage", NO_LOSS, (1.0,)),
    Fault("foreign_message", SQS, "foreign or forged message", "queue", "dead letter; no file, others go on"),
    Fault("purge", SQS, "queue purged by hand", "queue", COMPARED, (0.05, 0.1)),
    Fault("expiry", SQS, "messages past their retention", "queue, DLQ", EXPIRED, (0.05, 0.1)),
    Fault("s3_error", FLUSH, "500, 503, bad checksum", "PutObject, GetObject", NO_LOSS),
    Fault("s3_conflict", FLUSH, "409 on a conditional put", "PutObject", NO_LOSS),
    Fault("s3_lost_answer", FLUSH, "success with lost response", "PutObject", NO_LOSS),
    Fault("s3_inner_retry", FLUSH, "the client repeats a put that was stored: 412", "PutObject", NO_LOSS),
    Fault("s3_outage", FLUSH, "S3 unavailable for minutes to hours", "every S3 call", NO_LOSS, (0.1, 0.3)),
    Fault("delete_refused", FLUSH, "partial delete", "DeleteMessageBatch", NO_LOSS),
    Fault("mapping_keeps", FLUSH, "the mapping's own delete is lost", "queue mapping", NO_LOSS),
    Fault("page_crash", BACKFILL, "crash before, after a page's file; page read again", "scan page", NO_LOSS),
    Fault("zombie_page", BACKFILL, "a page read long ago is written after its retry", "scan page", NO_LOSS),
    Fault("scan_throttled", BACKFILL, "throttling", "scan page, re-read", NO_LOSS),
    Fault("scan_empty_page", BACKFILL, "empty page with a start key", "scan page", NO_LOSS, (1.0,)),
    Fault("overlap", BACKFILL, "two backfills overlapping", "backfill", NO_LOSS, (0.5, 1.0)),
    Fault("scan_clock", BACKFILL, "scanner's clock up to 5 s off", "scan page", NO_LOSS, (0.5, 1.0)),
    Fault(
        "early_sweep", BACKFILL, "sweep while writes go on and stream records are in flight", "sweep", NO_LOSS, (0.5,)
    ),
    Fault("redrive", OPERATOR, "redrive of both DLQs while the stream runs, twice", "DLQ, failure objects", NO_LOSS),
    Fault("mapping_off", OPERATOR, "mapping disabled for an hour", "stream mapping", NO_LOSS, (0.1, 0.3)),
    Fault("replay", OPERATOR, "the same files merged again", "silver", "no row changes", (0.3, 1.0)),
)

BY_NAME: Final = {fault.name: fault for fault in FAULTS}
