"""Where a run of the demo leaves what it made."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TABLE: Final = "flights"
CONFIG: Final = Path(__file__).with_name("flights.yaml")
"""The merge job's configuration."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Where a run leaves what it made."""

    folder: Path

    @property
    def stack(self) -> Path:
        return self.folder / "stack"

    @property
    def files(self) -> Path:
        return self.folder / "files"

    @property
    def silver(self) -> Path:
        return self.folder / "silver" / TABLE

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint"

    @property
    def verified(self) -> Path:
        """What `lakebound verify` found."""
        return self.folder / "verified.json"

    @property
    def report(self) -> Path:
        """The page of `lakebound report`."""
        return self.folder / "report.html"

    @property
    def kept(self) -> Path:
        """What is known of a stack that KEEP=1 left up."""
        return self.folder / "kept.json"

    def clear(self) -> None:
        """Remove what an earlier run left."""
        for made in (self.stack, self.files, self.silver.parent, self.checkpoint):
            shutil.rmtree(made, ignore_errors=True)
        for file in (self.kept, self.verified, self.report):
            file.unlink(missing_ok=True)


def shown(path: Path) -> str:
    """A path as a person here would type it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
