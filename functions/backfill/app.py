"""backfill: the states of the state machine and its workers, and the stream check; batch files out."""

from __future__ import annotations

import os
from typing import Any

from aws_lambda_powertools import Logger, Metrics

from lakebound.adapters.backfill_ports import ports_of, switch_threads_soon
from lakebound.adapters.bootstrap import run_rules
from lakebound.adapters.clients import client
from lakebound.adapters.telemetry import report_backfill
from lakebound.backfill.run_context import RunContext
from lakebound.backfill.state_machine import perform
from lakebound.settings import BackfillSettings

SETTINGS = BackfillSettings.read(os.environ)
CONTEXT = RunContext(run_rules(SETTINGS, client), ports_of(SETTINGS, client))
logger = Logger()
metrics = Metrics()
metrics.set_default_dimensions(table=SETTINGS.table)
switch_threads_soon()


@metrics.log_metrics
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer with the state's new document, or a unit's counts; never with a key."""
    answer = perform(CONTEXT, event, lambda: context.get_remaining_time_in_millis() / 1000)
    report_backfill(logger, metrics, str(event["action"]), answer)
    return answer
