"""The layer as `sam build` makes it: everything the handlers import, for the platform that was asked for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from demo.local_stack import host_architecture, host_runtime
from tests.support.translated_template import ROOT

pytestmark = pytest.mark.stack

SETTINGS = {
    "TABLE_NAME": "flights",
    "S3_BUCKET": "lake-files",
    "QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/buffer",
    "AWS_DEFAULT_REGION": "us-east-1",
    "POWERTOOLS_SERVICE_NAME": "test",
    "POWERTOOLS_METRICS_NAMESPACE": "Lakebound",
}


def build(artifacts: Path, runtime: str, architecture: str, layer: str = "LakeboundLayer", **more: str) -> Path:
    """Run the layer's makefile target as SAM does, on a copy-free source; returns what becomes /opt/python."""
    command = ["make", "-C", str(ROOT / "src"), f"build-{layer}", f"ARTIFACTS_DIR={artifacts}"]
    environment = os.environ | {
        "LAKEBOUND_RUNTIME": runtime,
        "LAKEBOUND_ARCHITECTURE": architecture,
        "LAKEBOUND_PYTHON": sys.executable,
        **more,
    }
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return artifacts / "python"


def test_the_layer_alone_carries_what_the_handlers_import(tmp_path: Path) -> None:
    """MiniStack's functions could also import from this environment, which would hide what the layer lacks."""
    layer = build(tmp_path, host_runtime(), host_architecture())
    for name in ("stream_ingest", "flusher"):
        code = (
            f"import sys; sys.path[:0] = [{str(ROOT / 'functions' / name)!r}, {str(layer)!r}]; import app; app.handler"
        )
        # -S and -I: no site-packages, no variables, no current folder; only the layer and the standard library.
        result = subprocess.run(
            [sys.executable, "-I", "-S", "-c", code], env=SETTINGS, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr


@pytest.mark.soak
def test_the_default_platform_is_built_from_any_python(tmp_path: Path) -> None:
    compiled = [path.name for path in build(tmp_path, "python3.13", "arm64").rglob("*.so")]
    assert any("cpython-313-aarch64" in name for name in compiled)
    assert not [name for name in compiled if "x86_64" in name or "cpython-311" in name]


def test_the_layer_fits_lambda(tmp_path: Path) -> None:
    size = sum(path.stat().st_size for path in build(tmp_path, "python3.13", "arm64").rglob("*") if path.is_file())
    # A function's code and layers may take 250 MB unzipped; half of it leaves room for a second layer.
    assert size < 125_000_000


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.soak
def test_with_the_reader_of_delta_the_layers_fit_lambda_and_carry_what_the_verify_imports(tmp_path: Path) -> None:
    """A function's code and layers may take 250 MB unzipped; for arm64 there were 187 MB."""
    for architecture in ("arm64", "x86_64"):
        ours = build(tmp_path / architecture / "ours", "python3.13", architecture)
        delta = build(
            tmp_path / architecture / "delta", "python3.13", architecture, "DeltaLayer", LAKEBOUND_VERIFY="on"
        )
        assert size_of(ours) + size_of(delta) < 250_000_000
    here = (host_runtime(), host_architecture())
    ours = build(tmp_path / "ours", *here)
    delta = build(tmp_path / "delta", *here, "DeltaLayer", LAKEBOUND_VERIFY="on")
    paths = [str(ROOT / "functions" / "verify"), str(ours), str(delta)]
    code = f"import sys; sys.path[:0] = {paths!r}; import app; from lakebound.adapters import silver_table; app.handler"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        env=SETTINGS | {"VERIFY_TARGET": "s3://lake/silver/flights"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_without_the_nightly_verify_its_layer_is_empty(tmp_path: Path) -> None:
    built = build(tmp_path, "python3.13", "arm64", "DeltaLayer", LAKEBOUND_VERIFY="off")
    assert [path.name for path in built.iterdir()] == ["README"]
