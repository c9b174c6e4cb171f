"""What tests of the command share: how it is run, and a stack for it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest
from moto import mock_aws

from lakebound.cli import app, deployed
from tests.support.operator_stack import Operated, deploy

Lakebound = Callable[..., int]


@pytest.fixture
def lakebound(monkeypatch: pytest.MonkeyPatch) -> Lakebound:
    """Runs the command with these arguments; its exit status."""

    def call(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["lakebound", *arguments])
        with pytest.raises(SystemExit) as left:
            app.main()
        return int(left.value.code or 0)

    return call


@pytest.fixture
def operated(monkeypatch: pytest.MonkeyPatch) -> Iterator[Operated]:
    """A stack on moto, of which the command is told by LAKEBOUND_STACK."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("LAKEBOUND_STACK", "lake")
    with mock_aws():
        made = deploy()
        monkeypatch.setattr(deployed, "aws_client", made.scripted)
        yield made
