"""The stack on which the tests of one file work."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from demo.local_stack import LocalStack


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack() as stack:
        yield stack
