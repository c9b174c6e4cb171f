"""AWS clients as every adapter wants them: standard retries and short timeouts.

botocore makes them. boto3 would add 30 ms to every cold start for resources and transfers that nothing here uses.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any, Final

import botocore.session
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import NoCredentialsError

_CONFIG: Final = Config(
    retries={"mode": "standard", "total_max_attempts": 3},
    connect_timeout=3,
    read_timeout=25,
    max_pool_connections=16,
)


def client(service: str, **overrides: Any) -> Any:
    """A client of one AWS service; endpoint, region and credentials come from the environment as for the AWS CLI.

    botocore itself looks at AWS_DEFAULT_REGION only; version 2 of the AWS CLI and every other SDK prefer AWS_REGION.
    """
    if named := os.environ.get("AWS_REGION"):
        overrides.setdefault("region_name", named)
    return _session().create_client(service, config=_CONFIG, **overrides)


def region() -> str | None:
    """The region of the environment, or of its profile. Raises BotoCoreError for a profile that is not there."""
    found = os.environ.get("AWS_REGION") or _session().get_config_variable("region")
    return str(found) if found else None


def credentials() -> ReadOnlyCredentials:
    """The credentials of now, for a client that is not botocore's. Raises BotoCoreError where there are none."""
    found = _session().get_credentials()
    if found is None:
        raise NoCredentialsError
    keys: ReadOnlyCredentials = found.get_frozen_credentials()
    return keys


class LateClient:
    """A client that is made at its first use, so that what a function seldom needs costs no cold start."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._made: Any = None

    def __getattr__(self, name: str) -> Any:
        if self._made is None:
            self._made = client(self._service)
        return getattr(self._made, name)


@cache
def _session() -> Any:
    session = botocore.session.get_session()
    key, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if "AWS_LAMBDA_FUNCTION_NAME" in os.environ and key and secret:
        # A function has its credentials in the environment, for as long as that lives. botocore would find them there
        # too, after it has made what reads profiles, SSO and instance metadata: a thirtieth of a cold start.
        session.set_credentials(key, secret, os.environ.get("AWS_SESSION_TOKEN"))
    return session
