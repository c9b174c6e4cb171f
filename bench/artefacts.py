"""Sizes of what is deployed: the layers as `sam build` builds them, and the functions beside them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from bench.loopback import ROOT
from demo.local_stack import host_architecture, host_runtime

LAYERS: Final = {
    "layer of every function": "LakeboundLayer",
    "layer of FILE_FORMAT parquet": "ParquetLayer",
}


class Size(NamedTuple):
    """Bytes of one artefact, as Lambda unpacks it (250 MB at most for a function and its layers) and as it is sent."""

    unpacked: int
    zipped: int


def built() -> Iterator[tuple[str, Size]]:
    """Build each layer for the template's default platform and measure it; then what is largest in the first."""
    with tempfile.TemporaryDirectory(prefix="lakebound-artefacts-") as folder:
        for told, name in LAYERS.items():
            _build(name, Path(folder) / name)
            yield told, _size(Path(folder) / name)
        packages = sorted((Path(folder) / LAYERS["layer of every function"] / "python").iterdir())
        sizes = {f"– {package.name}": _size(package) for package in packages if package.is_dir()}
        for told, size in sorted(sizes.items(), key=lambda entry: -entry[1].unpacked)[:6]:
            yield told, size
    for app in sorted((ROOT / "functions").glob("*/app.py")):
        yield f"function {app.parent.name}", _size(app.parent)


@contextmanager
def layer_for_this_machine() -> Iterator[Path]:
    """The layer of every function as it is deployed, but for this Python and processor; gone when the block ends."""
    with tempfile.TemporaryDirectory(prefix="lakebound-layer-") as folder:
        runtime, architecture = host_runtime(), host_architecture()
        _build(
            LAYERS["layer of every function"],
            Path(folder),
            LAKEBOUND_RUNTIME=runtime,
            LAKEBOUND_ARCHITECTURE=architecture,
        )
        yield Path(folder)


def _build(layer: str, folder: Path, **more: str) -> None:
    made = subprocess.run(
        ["make", "--silent", "-C", str(ROOT / "src"), f"build-{layer}", f"ARTIFACTS_DIR={folder}"],
        env=os.environ | {"LAKEBOUND_PYTHON": sys.executable, "LAKEBOUND_FILE_FORMAT": "parquet"} | more,
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise RuntimeError(f"{layer} was not built: {made.stderr[-1000:]}")


def _size(folder: Path) -> Size:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.write(path, path.relative_to(folder))
    return Size(sum(path.stat().st_size for path in files), packed.tell())
