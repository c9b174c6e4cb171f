"""Port Exporter: exports of one table into the stack's bucket."""

from __future__ import annotations

from typing import Any

from lakebound.adapters.aws_calls import attempt, code_of
from lakebound.backfill.exports import ExportState
from lakebound.errors import LakeboundError, Misconfigured
from lakebound.times import TimeRange, epoch_ms, utc


class TableExporter:
    """`table_arn` has to be in the bucket's account (S3 takes exports of the own account only, as we grant them)."""

    def __init__(self, table_arn: str, bucket: str, kms_key: str, client: Any) -> None:
        self._table_arn = table_arn
        self._bucket = bucket
        self._kms_key = kms_key
        self._client = client

    def start(self, kind: str, prefix: str, token: str, window: TimeRange | None) -> str:
        arguments: dict[str, Any] = {
            "TableArn": self._table_arn,
            "S3Bucket": self._bucket,
            "S3Prefix": prefix,
            "ClientToken": token,
            "ExportFormat": "DYNAMODB_JSON",
            "ExportType": kind,
        }
        if self._kms_key:
            arguments |= {"S3SseAlgorithm": "KMS", "S3SseKmsKeyId": self._kms_key}
        if window is not None:
            arguments["IncrementalExportSpecification"] = {
                "ExportFromTime": utc(window.from_ms // 1000 * 1000),
                "ExportToTime": utc(window.to_ms // 1000 * 1000),
                "ExportViewType": "NEW_AND_OLD_IMAGES",
            }
        return str(
            attempt(self._client, "export_table_to_point_in_time", _error_of, **arguments)["ExportDescription"][
                "ExportArn"
            ]
        )

    def describe(self, arn: str) -> ExportState:
        described = attempt(self._client, "describe_export", _error_of, ExportArn=arn)["ExportDescription"]
        # Not StartTime in its stead: an export may be of an earlier moment, and a label that is too late hides changes.
        moment = described.get("ExportTime")
        return ExportState(
            arn=arn,
            status=str(described.get("ExportStatus", "")),
            manifest_key=described.get("ExportManifest"),
            export_time_ms=epoch_ms(moment) if moment is not None else None,
            items=int(described.get("ItemCount") or 0),
            billed_bytes=int(described.get("BilledSizeBytes") or 0),
            failure=str(described.get("FailureCode") or ""),
        )


def _error_of(failure: Exception) -> LakeboundError:
    match code_of(failure):
        case "PointInTimeRecoveryUnavailableException":
            return Misconfigured(
                "the table has no point-in-time recovery, which exports need",
                hint="Enable it, or start a backfill with mode scan",
            )
        case "InvalidExportTimeException":
            return Misconfigured(
                "DynamoDB refuses the export's times",
                hint="Both must lie in the recovery period, and `from` must be before `to`",
            )
        case "ExportConflictException":
            return LakeboundError(
                "another export has the token of this one and other arguments", hint="Start a new backfill"
            )
        case "LimitExceededException":
            return LakeboundError(
                "the account runs as many exports as it may", hint="Redrive the execution when one has ended"
            )
        case code:
            return LakeboundError(f"the export failed ({code})", hint="Check the role's rights, then redrive")
