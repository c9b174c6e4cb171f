"""Options and arguments that name what a verb will write: refused before the verb asks or reads anything.

A verb that has read a table for an hour would else find that there is no folder for its result.
"""

from __future__ import annotations

import os
from pathlib import Path

from lakebound.errors import Misconfigured


def file_to_write(value: Path | None) -> Path | None:
    """A file in a folder that is there. Raises Misconfigured."""
    # os.path and not Path's own, which raises where nobody may look.
    if value is not None and not os.path.isdir(value.parent):
        raise Misconfigured(f"There is no folder {value.parent} for {value}", hint="Make it, or give another path")
    if value is not None:
        _refuse_readonly(value if value.exists() else value.parent, value)
    return value


def folder_to_fill(value: Path | None) -> Path | None:
    """A folder that is there, or can be made. Raises Misconfigured."""
    if value is not None:
        above = next(one for one in (value, *value.absolute().parents) if os.path.lexists(one))
        if not os.path.isdir(above):
            raise Misconfigured(f"{value} cannot be made: {above} is no folder", hint="Give another path")
        _refuse_readonly(above, value)
    return value


def _refuse_readonly(there: Path, value: Path) -> None:
    if not os.access(there, os.W_OK):
        raise Misconfigured(f"{value} cannot be written", hint="Check your rights there, or give another path")
