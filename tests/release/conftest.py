"""A release as `make package` makes it, once for the tests of this folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo.local_stack import LocalStack
from release import artefacts
from tests.support.wheel import ROOT

BUCKET = "releases"


@dataclass(frozen=True, slots=True)
class Release:
    """The folder with what a release holds, and the local stack whose S3 has its code."""

    folder: Path
    stack: LocalStack

    @property
    def template(self) -> Path:
        return self.folder / f"lakebound-template-{artefacts.version()}.yaml"


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """Build and upload take half a minute."""
    folder = tmp_path_factory.mktemp("release")
    with LocalStack() as stack:
        stack.client("s3").create_bucket(Bucket=BUCKET)
        command = [sys.executable, "-m", "release.artefacts", BUCKET, "--folder", str(folder)]
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | stack.env(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        yield Release(folder, stack)
