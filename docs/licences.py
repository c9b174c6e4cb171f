"""Writes docs/LICENCES.md: the licence of every package that a deployment of ours carries (`make licences`).

The Lambda layers carry the packages that src/*.txt pin, the wheel those that pyproject.toml names. pip-licenses reads
each package's own metadata in .venv. The page leaves out tools that only build or test: no deployment carries them.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "LICENCES.md"
ALLOWED: Final = re.compile(r"(Apache|MIT|BSD|PSF|Python Software Foundation|MPL-2\.0|0BSD|ISC)", re.IGNORECASE)
"""Licences that ask of whoever ships such a package to keep its notice, and nothing more."""

_CDK: Final = "cdk"
"""The extra of which a deployment carries nothing: the CDK runs where somebody synthesises an app. .venv has none."""

_NAME = re.compile(r"[A-Za-z0-9._-]+")


def carried(root: Path = ROOT) -> set[str]:
    """The normalised names of what a deployment carries."""
    locked = [line for lock in sorted((root / "src").glob("*.txt")) for line in lock.read_text().splitlines()]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = [name for extra, names in project["optional-dependencies"].items() if extra != _CDK for name in names]
    found = (_NAME.match(line) for line in [*locked, *project["dependencies"], *extras])
    return {re.sub(r"[-_.]+", "-", name[0]).lower() for name in found if name}


def licences(names: set[str]) -> list[dict[str, Any]]:
    """Name, Version and License of each package, from pip-licenses."""
    command = [
        ".venv-audit/bin/pip-licenses",
        f"--python={sys.executable}",
        "--format=json",
        "--from=mixed",
        "--packages",
    ]
    done = subprocess.run([*command, *sorted(names)], cwd=ROOT, capture_output=True, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return sorted(found, key=lambda entry: str(entry["Name"]).lower())


def page(entries: list[dict[str, Any]]) -> str:
    """The page's text."""
    rows = [f"| {entry['Name']} | {entry['Version']} | {entry['License']} |" for entry in entries]
    return "\n".join(
        [
            "# Licences",
            "",
            "For whoever clears Lakebound for use in an organisation. After it you know the licence of every package",
            "that a deployment carries.",
            "",
            "Lakebound itself is Apache-2.0. The Lambda layers carry the packages that `src/*.txt` pin, the wheel",
            "those that `pyproject.toml` names. The extra `cdk` brings the AWS CDK (Apache-2.0): it runs where an",
            "app is synthesised, and no deployment carries it. *`make licences` writes this page; a test fails when",
            "one is missing.*",
            "",
            "| package | version | licence |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def listed(text: str) -> dict[str, str]:
    """The licence of each package on a page, by its normalised name."""
    rows = re.findall(r"^\| ([A-Za-z0-9._-]+) \| [^|]+ \| ([^|]+) \|$", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): licence.strip() for name, licence in rows if name != "package"}


def faults(text: str, names: set[str]) -> list[str]:
    """The packages that a page lacks, and those whose licence is not allowed."""
    known = listed(text)
    missing = [f"{name} is not listed: run make licences" for name in sorted(names - known.keys())]
    return missing + [f"{name}: {licence}" for name, licence in sorted(known.items()) if not ALLOWED.search(licence)]


if __name__ == "__main__":
    PAGE.write_text(page(licences(carried())))
