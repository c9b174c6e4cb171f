"""The properties of the core and its use cases again, for many more and other examples each time: `make soak`."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.functional import test_flush, test_ingest
from tests.unit import (
    test_attributes,
    test_batches,
    test_envelope,
    test_events,
    test_infer,
    test_layout,
    test_messages,
    test_quarantine,
    test_said,
)

MODULES = [
    test_attributes,
    test_batches,
    test_envelope,
    test_events,
    test_flush,
    test_infer,
    test_ingest,
    test_layout,
    test_messages,
    test_quarantine,
    test_said,
]
PROPERTIES = {
    f"{module.__name__.rpartition('.')[2]}.{name}": test
    for module in MODULES
    for name, test in vars(module).items()
    if name.startswith("test_") and hasattr(test, "hypothesis") and not hasattr(test, "pytestmark")
}
FURTHER = settings(
    max_examples=5_000, derandomize=False, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)


@pytest.mark.soak
@pytest.mark.parametrize("test", PROPERTIES.values(), ids=PROPERTIES)
def test_a_property_holds_further(test: Any) -> None:
    FURTHER(given(**test.hypothesis._given_kwargs)(test.hypothesis.inner_test))()


def test_every_module_has_properties_to_look_further_into() -> None:
    assert {name.partition(".")[0] for name in PROPERTIES} == {module.__name__.rpartition(".")[2] for module in MODULES}
