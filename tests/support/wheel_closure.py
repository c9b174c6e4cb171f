"""An environment that holds a wheel and what it asks for, and nothing else: what `pipx install lakebound` makes.

No index is asked: the packages are those of this environment, which the lock files pin. Taken are exactly the ones
that the wheel's metadata reaches, so a library that a verb imports and the metadata lacks is missed here too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement


def requirements(wheel: Path, extras: tuple[str, ...] = ()) -> list[Requirement]:
    """What the wheel asks for on this machine."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(archive.read(name).decode())
    return _asked(metadata.get_all("Requires-Dist") or [], extras)


def _asked(lines: list[str], extras: tuple[str, ...]) -> list[Requirement]:
    found = [Requirement(line) for line in lines]
    return [
        one
        for one in found
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in ("", *extras))
    ]


def closure(asked: list[Requirement]) -> set[str]:
    """The names of the packages that these reach. Fails where one is missing here, or not in the asked range."""
    found: set[str] = set()
    waiting = list(asked)
    while waiting:
        one = waiting.pop()
        here = distribution(one.name)
        assert one.specifier.contains(here.version, prereleases=True), f"{one} is {here.version} here"
        if here.metadata["Name"] not in found or one.extras:
            found.add(here.metadata["Name"])
            waiting += _asked(here.requires or [], tuple(one.extras))
    return found


def install(wheel: Path, folder: Path, extras: tuple[str, ...] = ()) -> Path:
    """A virtual environment in ``folder`` with the wheel and its closure; returns its folder of programs."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site = Path(
        subprocess.check_output(
            [folder / "bin" / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
        ).strip()
    )
    for name in closure(requirements(wheel, extras)):
        here = distribution(name)
        for file in here.files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                target = site / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(file.locate()), target)
    command = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"]
    subprocess.run([*command, "--no-deps", "--no-index", str(wheel)], check=True, env=_clean())
    return folder / "bin"


def _clean() -> dict[str, str]:
    return {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
