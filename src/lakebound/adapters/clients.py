"""boto3 clients as every adapter wants them: standard retries, short connects, no surprise."""

from __future__ import annotations

from typing import Any, Final

import boto3
from botocore.config import Config

_CONFIG: Final = Config(
    retries={"mode": "standard", "total_max_attempts": 3},
    connect_timeout=3,
    read_timeout=25,
    max_pool_connections=16,
)


def client(service: str, **overrides: Any) -> Any:
    """A client of one AWS service; endpoint, region and credentials come from the environment as boto3 reads them."""
    factory: Any = boto3.client
    return factory(service, config=_CONFIG, **overrides)
