"""The wheel, and the command that it installs, once for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.local_stack import LocalStack
from tests.support.wheel import build_wheel
from tests.support.wheel_closure import install


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment that holds the wheel without extras."""
    return install(wheel, tmp_path_factory.mktemp("installed") / "environment")


@pytest.fixture(scope="session")
def stack() -> Iterator[LocalStack]:
    with LocalStack() as stack:
        yield stack
