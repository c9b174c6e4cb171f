"""SAM CLI, as a program of its own: it is no library of ours, since its exact pins would clash with everyone's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from lakebound.operate.sam_parameters import refused

_MAKES_OWN: Final = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")


class SamCli:
    """SAM's `build` and `deploy` in one folder. Raises Misconfigured where a program that they need is missing.

    ``program`` is SAM itself; without it the clone's own (`.venv-sam`), else the one on the path.
    """

    def __init__(self, root: Path, program: str = "") -> None:
        self._root = root
        own = root / ".venv-sam" / "bin" / "sam"
        found = shutil.which(program) if program else str(own) if own.exists() else shutil.which("sam")
        if program and not found:
            raise refused(f"There is no program {program}", "Give --sam the path of SAM CLI, or put it on the path")
        if not found:
            raise refused(
                "SAM CLI is missing: there is no program sam on the path",
                "Install it, then repeat: pipx install aws-sam-cli (or as"
                " https://docs.aws.amazon.com/serverless-application-model/ says)",
            )
        if shutil.which("make") is None:
            raise refused("make is missing, by which SAM builds the layer", "Install it, then repeat")
        # SAM runs in the folder of the stack, and a path may be meant from this one.
        self.program = os.path.abspath(found)

    def build(self, layer: Mapping[str, str]) -> int:
        """The exit status of `sam build`. ``layer`` are the variables for the makefile of the layer.

        SAM does not show what the makefile says of a layer without bytecode; `has_bytecode` tells.
        """
        return self._run(["build"], {**layer, "LAKEBOUND_PYTHON": _python_with_pip(self._root)})

    @property
    def has_bytecode(self) -> bool:
        """Whether the layer that was built has its modules compiled, as it has where the runtime's Python was found."""
        built = self._root / ".aws-sam" / "build" / "LakeboundLayer" / "python" / "lakebound"
        return not built.exists() or any(built.glob("__pycache__/*.pyc"))

    def deploy(self, arguments: Sequence[str], layer: Mapping[str, str]) -> int:
        """The exit status of `sam deploy`."""
        return self._run(["deploy", *arguments], layer)

    def _run(self, words: Sequence[str], more: Mapping[str, str]) -> int:
        # Variables that make was given reach the makefile of the layer through these, and are no business of it.
        environment = {name: text for name, text in os.environ.items() if name not in _MAKES_OWN}
        return subprocess.run(
            [self.program, *words], cwd=self._root, env=environment | dict(more), check=False
        ).returncode


def _python_with_pip(root: Path) -> str:
    """The Python whose pip fetches the layer's wheels. `uvx` and `uv tool` give this process one without pip."""
    for candidate in (sys.executable, "python3"):
        asked = [candidate, "-m", "pip", "--version"]
        if shutil.which(candidate) and subprocess.run(asked, capture_output=True, check=False).returncode == 0:
            return candidate
    made = root / ".pip"
    if subprocess.run([sys.executable, "-m", "venv", str(made)], capture_output=True, check=False).returncode != 0:
        raise refused("No Python here has pip, by which the layer is built", "Install pip for python3, then repeat")
    return str(made / "bin" / "python")
