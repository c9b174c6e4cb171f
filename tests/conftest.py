"""Options and markers of every test run, and what tests of the command in any folder share: it, AWS and a stack.

A fixture imports what it needs: the Spark tests on Spark 3.5 run in an environment without the command's libraries.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.run import HOMES

TESTS = Path(__file__).parent

# The machine that runs the checks is shared and slow at times: a deadline in milliseconds would fail by chance. The
# same examples each time, so that a failure is a failure for everyone; `make soak` looks further.
settings.register_profile("lakebound", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lakebound")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything under tests/spark belongs to the Spark part, so that one run of tests shares one session."""
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        if folder == "spark":
            item.add_marker(pytest.mark.spark)
        for mark, folders in HOMES.items():
            if item.get_closest_marker(mark) and folder not in folders:
                raise pytest.UsageError(f"{item.nodeid} is marked {mark}: add {folder} to HOMES of tests/run.py")


@pytest.fixture
def lakebound(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """The command in this process, and what it prints."""
    from tests.support.operator_stack import Lakebound

    return Lakebound(monkeypatch, capsys)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """moto in this process, with a region and credentials."""
    from moto import mock_aws

    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with mock_aws():
        yield


@pytest.fixture
def operated(aws: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stack on moto; the command gets its name from LAKEBOUND_STACK."""
    from lakebound.cli import deployed
    from tests.support import operator_stack

    monkeypatch.setenv("LAKEBOUND_STACK", "lake")
    made = operator_stack.deploy()
    monkeypatch.setattr(deployed, "aws_client", made.scripted)
    return made


class WholeFolders(LoadScopeScheduling):  # type: ignore[misc]  # the library has no types
    """Gives a process all tests of a folder, so that what a folder's session fixture made serves each of its files."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0].rpartition("/")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling | None:
    """`--dist loadscope` by folder. (Groups by mark, `--dist loadgroup` of pytest-xdist 3.8, part under pytest 9.)"""
    return WholeFolders(config, log) if config.getvalue("dist") == "loadscope" else None
