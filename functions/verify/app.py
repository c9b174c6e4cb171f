"""verify: each night one share of the table's keys is compared with the lake."""

from __future__ import annotations

import os
from typing import Any

from aws_lambda_powertools import Logger

from lakebound.adapters.bootstrap import verify_redaction
from lakebound.adapters.clients import client
from lakebound.adapters.clock import SystemClock
from lakebound.adapters.nightly_verify import tonight, verify_share
from lakebound.adapters.telemetry import report_verify
from lakebound.settings import VerifySettings

SETTINGS = VerifySettings.read(os.environ)
REDACTION = verify_redaction(SETTINGS, client)
CLOCK = SystemClock()
logger = Logger()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer with how many keys were compared and how many differ; never with a key."""
    selection = tonight(SETTINGS, CLOCK)
    report = verify_share(
        SETTINGS, selection, REDACTION, client, CLOCK, lambda: context.get_remaining_time_in_millis() / 1000
    )
    report_verify(logger, SETTINGS.source.table, report, selection)
    return {"compared": str(selection), "keys": report.keys, "unequal": report.wrong}
