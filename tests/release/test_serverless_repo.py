"""The template is an application of the Serverless Application Repository: its metadata keep the repository's rules,
and `sam publish` sends them whole. The repository itself has not been asked: no emulator has one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from lakebound.adapters.stack_files import _Loose
from release import artefacts
from tests.release.conftest import Release
from tests.support.wheel import ROOT

SAM = str(ROOT / ".venv-sam" / "bin" / "sam")
RULES = {
    "Name": r"[a-zA-Z0-9-]{1,140}",
    "Description": r".{1,256}",
    "Author": r"(?=.{1,127}$)[a-z0-9](([a-z0-9]|-(?!-))*[a-z0-9])?",
    "SpdxLicenseId": re.escape("Apache-2.0"),
    "SemanticVersion": r"\d+\.\d+\.\d+",
}
LABEL = r"[a-zA-Z0-9+\-_:/@]{1,127}"
"""As the repository's API reference has them (CreateApplication)."""


def metadata(template: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(template.read_text("utf-8"), _Loose)["Metadata"][artefacts.APPLICATION]
    return found


def broken(said: dict[str, Any]) -> list[str]:
    """The names whose values the repository would refuse."""
    wrong = [name for name, rule in RULES.items() if not re.fullmatch(rule, str(said.get(name, "")))]
    labels = said.get("Labels", [])
    good = 1 <= len(labels) <= 10 and all(re.fullmatch(LABEL, label) for label in labels)
    return wrong if good else [*wrong, "Labels"]


def test_the_metadata_keep_the_rules() -> None:
    assert broken(metadata(ROOT / "template.yaml")) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("Author", "Lake Bound"), ("Name", "lake bound"), ("Labels", ["a b"]), ("Labels", []), ("Description", "x" * 257)],
)
def test_red_control_a_value_that_would_be_refused_is_found(name: str, value: Any) -> None:
    assert broken(metadata(ROOT / "template.yaml") | {name: value}) == [name]


def test_the_version_is_the_packages() -> None:
    assert metadata(ROOT / "template.yaml")["SemanticVersion"] == artefacts.version()


def test_a_release_adds_the_readme_and_the_licence(tmp_path: Path) -> None:
    built = tmp_path / "template.yaml"
    built.write_text(yaml.safe_dump({"Metadata": {artefacts.APPLICATION: {"Name": "lakebound"}}}))
    artefacts.add_application_files(built)
    said = metadata(built)
    assert said["Name"] == "lakebound"
    assert Path(said["LicenseUrl"]).read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert Path(said["ReadmeUrl"]).read_text().startswith("# Lakebound\n")


@contextmanager
def repository() -> Iterator[tuple[str, list[tuple[str, dict[str, Any]]]]]:
    """An address that takes what `sam publish` sends and answers as the repository does to a new application."""
    asked: list[tuple[str, dict[str, Any]]] = []

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            answer = b'{"applicationId": "arn:aws:serverlessrepo:us-east-1:000000000000:applications/lakebound"}'
            self.send_response(201)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *arguments: Any) -> None:
            """The test's output stays its own."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Taker)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.soak
@pytest.mark.stack
def test_sam_publish_sends_all_of_it(release: Release) -> None:
    with repository() as (address, asked):
        here = release.stack.env() | {"AWS_ENDPOINT_URL": address, "SAM_CLI_TELEMETRY": "0"}
        command = [SAM, "publish", "--template", str(release.template), "--region", "us-east-1"]
        done = subprocess.run(
            command, cwd=release.folder, env=os.environ | here, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr
    ((path, sent),) = asked
    assert path == "/applications"
    said = metadata(ROOT / "template.yaml")
    assert {name: sent[name] for name in ("name", "author", "semanticVersion", "spdxLicenseId", "labels")} == {
        "name": said["Name"],
        "author": said["Author"],
        "semanticVersion": artefacts.version(),
        "spdxLicenseId": said["SpdxLicenseId"],
        "labels": said["Labels"],
    }
    for name, file in (("readmeUrl", "release/APPLICATION.md"), ("licenseUrl", "LICENSE")):
        bucket, _, key = sent[name].removeprefix("s3://").partition("/")
        body = release.stack.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        assert body == (ROOT / file).read_bytes()
    assert "ContentUri" in sent["templateBody"]
