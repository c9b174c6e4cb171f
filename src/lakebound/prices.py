"""What AWS charges for what we use, us-east-1, in dollars. One place, one date; check before quoting."""

from __future__ import annotations

from typing import Final

AS_OF: Final = "2026-11"
ARCHITECTURE: Final = "arm64"
"""Whose prices hold where no stack says another: the template's default."""
REGION: Final = "us-east-1"

ON_DEMAND_READ_UNIT: Final = 0.125 / 1_000_000
ON_DEMAND_WRITE_UNIT: Final = 0.625 / 1_000_000
"""Not verified."""
EXPORT_GB: Final = 0.10
"""Full and incremental exports: per GB of table, and per GB of changes."""
LAMBDA_GB_SECOND: Final = {"arm64": 0.0000133334, "x86_64": 0.0000166667}
"""By the stack's parameter Architecture. That of arm64 was read on pages of others only."""
LAMBDA_REQUEST: Final = 0.20 / 1_000_000
S3_PUT: Final = 0.005 / 1_000
"""Not verified."""
STATE_TRANSITION: Final = 0.025 / 1_000
"""Step Functions, standard workflows. Not verified."""
SQS_REQUEST: Final = 0.40 / 1_000_000
"""A request is 64 KiB: a message of 256 KiB is four, sent and received."""
SQS_REQUEST_BYTES: Final = 64 * 1024
S3_GB_MONTH: Final = 0.023
"""Not verified."""
ALARM_MONTH: Final = 0.10
"""For each metric that an alarm evaluates; the first ten of an account are free, which is not counted. Not verified."""
COMPOSITE_ALARM_MONTH: Final = 0.50
"""Besides the alarms that it is made of. Not verified."""
DASHBOARD_MONTH: Final = 3.00
"""The first three of an account are free, which is not counted. Not verified."""
METRIC_MONTH: Final = 0.30
"""A custom metric that is put in every hour of the month. Not verified."""
METRIC_READ: Final = 0.01 / 1_000
"""GetMetricData, for each metric asked for."""
LOGS_GB: Final = 0.50
"""Not verified."""

INSTANCE_HOURS: Final = {
    "m5.xlarge": 0.192,
    "m6i.xlarge": 0.192,
    "m6i.2xlarge": 0.384,
    "m7g.xlarge": 0.1632,
    "m7g.2xlarge": 0.3264,
    "r5.xlarge": 0.252,
    "r6i.xlarge": 0.252,
    "r6i.2xlarge": 0.504,
    "i3.xlarge": 0.312,
}
"""EC2 on demand, Linux. Not verified, save m7g."""
JOBS_DBU: Final = 0.15
"""Databricks on AWS, Jobs Compute, Premium; the machines are paid to AWS besides. Not verified by its own page."""
