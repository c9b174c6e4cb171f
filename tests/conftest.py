"""Options and markers of every test run; fixtures live beside the tests that use them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

SPARK = Path(__file__).parent / "spark"
E2E = Path(__file__).parent / "e2e"

# The machine that runs the checks is shared and slow at times: a deadline in milliseconds would fail by chance. The
# same examples each time, so that a failure is a failure for everyone; `make soak` looks further.
settings.register_profile("lakebound", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lakebound")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Everything under tests/spark belongs to the Spark part; a process takes whole files, and the whole of tests/e2e.

    So that one session serves a file's tests, and one run of the demo all that look at it (`--dist loadgroup`, which
    reads the groups before any `pytest_collection_modifyitems` of ours).
    """
    if SPARK in item.path.parents:
        item.add_marker(pytest.mark.spark)
    together = E2E if E2E in item.path.parents else item.path
    item.add_marker(pytest.mark.xdist_group(str(together.relative_to(E2E.parent))))
