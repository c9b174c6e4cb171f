"""The properties of the core and its use cases again, for many more and other examples each time: `make soak`."""

from importlib import import_module
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

MODULES = [
    import_module(f"tests.{name}")
    for name in (
        "functional.test_flush",
        "functional.test_ingest",
        "unit.test_attributes",
        "unit.test_batches",
        "unit.test_envelope",
        "unit.test_stream_records",
        "unit.test_infer",
        "unit.test_object_keys",
        "unit.test_messages",
        "unit.test_quarantine",
        "unit.test_raw_items",
    )
]
"""The one place that loads other test modules: it runs their own properties again."""

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
