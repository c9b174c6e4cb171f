"""The layer as `sam build` makes it: everything the handlers import, for the platform that was asked for."""

import importlib.util
import json
import marshal
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore
import pytest
from botocore.loaders import Loader
from botocore.regions import EndpointResolver

from demo.local_stack import host_architecture, host_runtime
from tests.support.translated_template import ROOT, translated

pytestmark = pytest.mark.stack

BOTOCORE = Path(botocore.__file__).parent
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
    every_module_is_compiled(layer)
    data = layer / "botocore" / "data"
    services = services_of_the_functions()
    assert {folder.name for folder in data.iterdir() if folder.is_dir()} == services
    few, every = (json.loads((place / "endpoints.json").read_text()) for place in (data, BOTOCORE / "data"))
    assert endpoints(few, services) == endpoints(every, services)
    assert len(endpoints(few, services)) > 200


def endpoints(told: dict[str, Any], services: set[str]) -> dict[tuple[str, str], Any]:
    """What botocore makes of its file, by region and service."""
    resolver, model = EndpointResolver(told), Loader().load_service_model
    prefixes = {model(service, "service-2")["metadata"]["endpointPrefix"] for service in services}
    regions = [region for part in told["partitions"] for region in part["regions"]]
    found = {(region, prefix): resolver.construct_endpoint(prefix, region) for region in regions for prefix in prefixes}
    assert all(found.values())
    return found


def every_module_is_compiled(layer: Path) -> None:
    """By bytecode that Python takes unread (PEP 552), whose tracebacks name the place where Lambda has the layer."""
    sources = [path for path in layer.rglob("*.py") if path.stem.isidentifier()]
    for source in sources:
        compiled = Path(importlib.util.cache_from_source(str(source))).read_bytes()
        assert compiled[:4] == importlib.util.MAGIC_NUMBER
        assert compiled[4:8] == b"\x01\0\0\0", source
        assert marshal.loads(compiled[16:]).co_filename == f"/opt/python/{source.relative_to(layer)}"
    assert len(sources) > 500


def services_of_the_functions() -> set[str]:
    """What their roles let them call. No function calls the key's service or the logs' itself."""
    resources = translated()["Resources"]
    roles = {
        one["Properties"]["Role"]["Fn::GetAtt"][0]
        for one in resources.values()
        if one["Type"] == "AWS::Lambda::Function"
    }
    assert len(roles) > 4
    actions = {action for role in roles for action in actions_of(resources[role]["Properties"]["Policies"])}
    return {action.partition(":")[0] for action in actions} - {"kms", "logs"}


def actions_of(part: Any) -> Iterator[str]:
    """Every action of the statements in a part of the template."""
    if isinstance(part, dict):
        said = part.get("Action", [])
        yield from [said] if isinstance(said, str) else said
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from actions_of(inner)


def test_without_the_runtimes_python_the_layer_has_no_bytecode_and_says_so(tmp_path: Path) -> None:
    """Bytecode of another version would only be dead weight."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python9.9").write_text("#!/bin/sh\nexit 127\n")  # as pyenv's shims are
    (tmp_path / "bin" / "python9.9").chmod(0o755)
    command = ["make", "-C", str(ROOT / "src"), "compile", f"ARTIFACTS_DIR={tmp_path}", "LAKEBOUND_RUNTIME=python9.9"]
    (tmp_path / "python").mkdir()
    (tmp_path / "python" / "module.py").write_text("")
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "LAKEBOUND_PYTHON": sys.executable}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert "There is no python9.9 here, so the layer has no bytecode" in done.stderr
    assert [path.name for path in (tmp_path / "python").rglob("*")] == ["module.py"]


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
