"""Options and markers of every test run; fixtures live beside the tests that use them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

SPARK = Path(__file__).parent / "spark"

# The machine that runs the checks is shared and slow at times: a deadline in milliseconds would fail by chance. The
# same examples each time, so that a failure is a failure for everyone; `make soak` looks further.
settings.register_profile("lakebound", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lakebound")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything under tests/spark belongs to the Spark part, so that one run of tests shares one session."""
    for item in items:
        if SPARK in item.path.parents:
            item.add_marker(pytest.mark.spark)


class WholeFolders(LoadScopeScheduling):  # type: ignore[misc]  # the library has no types
    """Gives a process all tests of a folder, so that what a folder's session fixture made serves each of its files."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0].rpartition("/")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling | None:
    """`--dist loadscope` by folder. (Groups by mark, `--dist loadgroup` of pytest-xdist 3.8, part under pytest 9.)"""
    return WholeFolders(config, log) if config.getvalue("dist") == "loadscope" else None
