"""heartbeat: every few minutes an item of the stack's own goes the way of a change; the flusher measures it."""

from __future__ import annotations

import os
from typing import Any

from aws_lambda_powertools import Logger

from lakebound.adapters.clients import client
from lakebound.adapters.clock import SystemClock
from lakebound.adapters.heartbeat_table import HeartbeatTable
from lakebound.live.heartbeat import beat
from lakebound.settings import HeartbeatSettings

SETTINGS = HeartbeatSettings.read(os.environ)
ITEMS = HeartbeatTable(SETTINGS.heartbeat_table, client("dynamodb"))
CLOCK = SystemClock()
logger = Logger()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer once the item is written, changed and removed; a call that fails fails the invocation."""
    beat(ITEMS, CLOCK)
    logger.info("heartbeat written")
    return {}
