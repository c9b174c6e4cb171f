"""Writes dist/: what a release holds (`make package BUCKET=name`).

lakebound-VERSION-py3-none-any.whl     the package
lakebound-template-VERSION.yaml        the packaged template; its code lies in the bucket
lakebound-bundle-template-VERSION.zip  for `databricks bundle init`
lakebound-terraform-VERSION.zip        the Terraform module
SHA256SUMS                             of the four, as `sha256sum --check` reads it
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import yaml

from lakebound.adapters.stack_files import parameters_of
from lakebound.operate.deploy_plan import Plan

ROOT: Final = Path(__file__).resolve().parent.parent
ARCHIVES: Final = {"bundle-template": ROOT / "spark" / "bundle_template", "terraform": ROOT / "terraform"}
"""The folders that a release has as archives."""
APPLICATION: Final = "AWS::ServerlessRepo::Application"
APPLICATION_FILES: Final = {"ReadmeUrl": "release/APPLICATION.md", "LicenseUrl": "LICENSE"}
"""What the Serverless Application Repository shows, by its names in the template's metadata."""


def version(root: Path = ROOT) -> str:
    """The package's version, which pyproject.toml alone keeps."""
    return str(tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"])


def wheel(folder: Path) -> Path:
    """The wheel, built into ``folder``."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)], cwd=ROOT, check=True
    )
    return folder / f"lakebound-{version()}-py3-none-any.whl"


def template(folder: Path, bucket: str) -> Path:
    """The packaged template: built by SAM CLI for the template's own default platform, its code put into ``bucket``."""
    sam = str(ROOT / ".venv-sam" / "bin" / "sam")
    made = folder / f"lakebound-template-{version()}.yaml"
    build = ROOT / ".build" / "package"
    defaults: dict[str, Any] = parameters_of(ROOT / "template.yaml")
    usual = Plan("", {name: str(defaults[name]["Default"]) for name in ("Runtime", "Architecture")}, [])
    layer = usual.layer(defaults) | {"LAKEBOUND_PYTHON": sys.executable}
    subprocess.run([sam, "build", "--build-dir", str(build)], cwd=ROOT, env=os.environ | layer, check=True)
    add_application_files(build / "template.yaml")
    upload = ["--s3-bucket", bucket, "--s3-prefix", f"lakebound/{version()}", "--no-progressbar"]
    command = [sam, "package", "--template-file", str(build / "template.yaml"), *upload]
    subprocess.run([*command, "--output-template-file", str(made)], cwd=build, check=True)
    return made


def add_application_files(built: Path) -> None:
    """Name them in a built template, whose own paths are relative to it."""
    text: dict[str, Any] = yaml.safe_load(built.read_text("utf-8"))
    text["Metadata"][APPLICATION] |= {name: str(ROOT / place) for name, place in APPLICATION_FILES.items()}
    built.write_text(yaml.safe_dump(text, sort_keys=False, allow_unicode=True), "utf-8")


def archive(folder: Path, name: str) -> Path:
    """One of ``ARCHIVES``: the files that Git has, and the same bytes each time."""
    source = ARCHIVES[name]
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=source, capture_output=True, text=True, check=True).stdout
    made = folder / f"lakebound-{name}-{version()}.zip"
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as written:
        for place in sorted(filter(None, listed.split("\0"))):
            written.writestr(zipfile.ZipInfo(place), (source / place).read_bytes())
    return made


def sums(files: Iterable[Path]) -> str:
    """The text of SHA256SUMS."""
    return "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)


def main() -> None:
    """Write them into dist/, or the folder that is given."""
    arguments = argparse.ArgumentParser(prog="python -m release.artefacts", description=__doc__.splitlines()[0])
    arguments.add_argument("bucket", help="the bucket for the code that the packaged template names")
    arguments.add_argument("--folder", type=Path, default=ROOT / "dist")
    asked = arguments.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    made = [
        wheel(asked.folder),
        template(asked.folder, asked.bucket),
        *(archive(asked.folder, name) for name in ARCHIVES),
    ]
    (asked.folder / "SHA256SUMS").write_text(sums(made))


if __name__ == "__main__":
    main()
