"""Options of every test run; fixtures live beside the tests that use them."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# The machine that runs the checks is shared and slow at times: a deadline in milliseconds would fail by chance. The
# same examples each time, so that a failure is a failure for everyone; `make soak` looks further.
settings.register_profile("lakebound", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lakebound")
