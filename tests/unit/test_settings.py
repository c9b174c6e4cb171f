"""Settings: each mistake has its sentence, and the sentence says what to set."""

from typing import Any

import pytest

from lakebound.errors import Misconfigured
from lakebound.record.table_identity import Source
from lakebound.settings import SETTINGS, Environment, FlushSettings, IngestSettings, RedactionSettings, data_prefix

INGEST = {"TABLE_NAME": "flights", "S3_BUCKET": "lake", "QUEUE_URL": "https://sqs/buffer"}


def test_only_what_is_required_is_needed() -> None:
    assert IngestSettings.read(INGEST) == IngestSettings(
        table="flights",
        source=Source.own("flights"),
        bucket="lake",
        queue_url="https://sqs/buffer",
        partition_by_event=False,
        partition_template="dt=%Y-%m-%d/HH=%H",
        message_bytes=262_144,
        file_format="ndjson.gz",
        redaction=RedactionSettings(drop=(), hashed=(), key_arn=""),
    )
    assert FlushSettings.read(INGEST) == FlushSettings(
        table="flights",
        bucket="lake",
        prefix="ddb/flights",
        queue_url="https://sqs/buffer",
        max_records=0,
        max_file_bytes=67_108_864,
        max_seconds=30,
        file_format="ndjson.gz",
        heartbeat_table="",
    )


def test_an_empty_text_is_the_default() -> None:
    """CloudFormation passes an unset parameter as an empty text."""
    empty = {setting.name: "" for setting in SETTINGS}
    assert IngestSettings.read(empty | INGEST) == IngestSettings.read(INGEST)
    assert FlushSettings.read(empty | INGEST) == FlushSettings.read(INGEST)


def test_everything_can_be_set() -> None:
    ingest = IngestSettings.read(
        INGEST | {"PARTITION_BY": "event", "PARTITION_TEMPLATE": "d=%Y/%H", "MESSAGE_BYTES": "1048576"}
    )
    assert (ingest.partition_by_event, ingest.partition_template, ingest.message_bytes) == (True, "d=%Y/%H", 1_048_576)
    flush = FlushSettings.read(
        INGEST | {"S3_PREFIX": "/raw/flights/", "MAX_RECORDS": "5", "MAX_FILE_BYTES": "1", "MAX_SECONDS": "0"}
    )
    assert (flush.prefix, flush.max_records, flush.max_file_bytes, flush.max_seconds) == ("raw/flights", 5, 1, 0)


BYTES = "Use a whole number of at least 65536 and at most 1048576"
FORMATS = "Use one of: ndjson.gz, avro, parquet"
NO_NAME = "Use the table's name, not its ARN: 3 to 255 letters, digits, _ . and -"
NOT_DATA = "_lakebound/ and aws/ hold what is not data; choose another prefix"
ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/flights"
NO_PATH = "does not give a folder path. Use names, =, _ and - between slashes, such as dt=%Y-%m-%d/HH=%H"
MISTAKES: list[tuple[Any, dict[str, str], str]] = [
    (IngestSettings, {"TABLE_NAME": ""}, "TABLE_NAME is not set. Set it to the source table"),
    (IngestSettings, {"TABLE_NAME": "  "}, "TABLE_NAME is not set. Set it to the source table"),
    (IngestSettings, {"TABLE_NAME": ARN}, f"TABLE_NAME is '{ARN}'. {NO_NAME}"),
    (IngestSettings, {"S3_BUCKET": ""}, "S3_BUCKET is not set. Set it to the bucket that files go to"),
    (IngestSettings, {"QUEUE_URL": ""}, "QUEUE_URL is not set. Set it to the buffer queue"),
    (IngestSettings, {"FILE_FORMAT": "csv"}, f"FILE_FORMAT is 'csv'. {FORMATS}"),
    (IngestSettings, {"PARTITION_BY": "Event"}, "PARTITION_BY is 'Event'. Use one of: ingest, event"),
    (IngestSettings, {"S3_PREFIX": "aws"}, f"S3_PREFIX is 'aws'. {NOT_DATA}"),
    (
        IngestSettings,
        {"PARTITION_TEMPLATE": "dt=%Y/%M"},
        "PARTITION_TEMPLATE has the directive %M. Use %Y, %m, %d, %H and {op} only",
    ),
    (IngestSettings, {"PARTITION_TEMPLATE": "../%Y"}, f"PARTITION_TEMPLATE '../%Y' {NO_PATH}"),
    (IngestSettings, {"MESSAGE_BYTES": "256k"}, f"MESSAGE_BYTES is '256k'. {BYTES}"),
    (IngestSettings, {"MESSAGE_BYTES": "65535"}, f"MESSAGE_BYTES is 65535. {BYTES}"),
    (IngestSettings, {"MESSAGE_BYTES": "1048577"}, f"MESSAGE_BYTES is 1048577. {BYTES}"),
    (FlushSettings, {"TABLE_NAME": ""}, "TABLE_NAME is not set. Set it to the source table"),
    (FlushSettings, {"TABLE_NAME": "a/b"}, f"TABLE_NAME is 'a/b'. {NO_NAME}"),
    (FlushSettings, {"MAX_RECORDS": "-1"}, "MAX_RECORDS is -1. Use a whole number of at least 0"),
    (FlushSettings, {"MAX_RECORDS": "many"}, "MAX_RECORDS is 'many'. Use a whole number of at least 0"),
    (
        FlushSettings,
        {"MAX_FILE_BYTES": "0"},
        "MAX_FILE_BYTES is 0. Use a whole number of at least 1 and at most 134217728",
    ),
    (FlushSettings, {"MAX_SECONDS": "601"}, "MAX_SECONDS is 601. Use a whole number of at least 0 and at most 600"),
    (FlushSettings, {"MAX_SECONDS": "1.5"}, "MAX_SECONDS is '1.5'. Use a whole number of at least 0 and at most 600"),
    (FlushSettings, {"S3_PREFIX": "_lakebound/x"}, f"S3_PREFIX is '_lakebound/x'. {NOT_DATA}"),
    (FlushSettings, {"S3_PREFIX": "/aws/"}, f"S3_PREFIX is '/aws/'. {NOT_DATA}"),
    (FlushSettings, {"FILE_FORMAT": "json"}, f"FILE_FORMAT is 'json'. {FORMATS}"),
]


@pytest.mark.parametrize(("settings", "values", "sentence"), MISTAKES, ids=lambda value: str(value)[:40])
def test_a_mistake_has_its_sentence(settings: Any, values: dict[str, str], sentence: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        settings.read(INGEST | values)
    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    "setting", [setting for setting in SETTINGS if setting.default], ids=lambda setting: setting.name
)
def test_every_default_is_within_its_own_limits(setting: object) -> None:
    name = setting.name  # type: ignore[attr-defined]
    environment = Environment({})
    assert environment.text(name)
    if setting.least is not None:  # type: ignore[attr-defined]
        assert environment.number(name) >= setting.least  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("prefix", "clean"), [("", "ddb/flights"), ("/", "ddb/flights"), ("a", "a"), ("/a/b/", "a/b"), ("aws2", "aws2")]
)
def test_a_prefix_has_no_slashes_at_its_ends(prefix: str, clean: str) -> None:
    assert data_prefix(prefix, "flights") == clean
