"""What a release holds: checksums that `sha256sum` takes, an archive that is the same each time, and one version."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest
import yaml

from release import artefacts
from tests.release.conftest import BUCKET, Release
from tests.support.wheel import ROOT


def test_the_bundle_template_is_whole_and_the_same_each_time(tmp_path: Path) -> None:
    first = artefacts.bundle_template(tmp_path)
    before = first.read_bytes()
    assert artefacts.bundle_template(tmp_path).read_bytes() == before
    with zipfile.ZipFile(first) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    folder = ROOT / "spark" / "bundle_template"
    assert held == {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_checksums_are_read_by_their_program(tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_bytes(b"one")
    (tmp_path / "SHA256SUMS").write_text(artefacts.sums([tmp_path / "a.whl"]))
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    assert subprocess.run(check, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    # Red control: another byte.
    (tmp_path / "a.whl").write_bytes(b"two")
    assert subprocess.run(check, cwd=tmp_path, capture_output=True, check=False).returncode == 1


@pytest.mark.soak
@pytest.mark.stack
def test_a_release_is_packaged_with_the_real_sam(release: Release) -> None:
    resources = yaml.safe_load(release.template.read_text())["Resources"]
    places = [one["Properties"].get("CodeUri") or one["Properties"].get("ContentUri") for one in resources.values()]
    uploaded = [place for place in places if isinstance(place, str)]
    assert len(uploaded) >= 4
    for place in uploaded:
        assert place.startswith(f"s3://{BUCKET}/")
        release.stack.client("s3").head_object(Bucket=BUCKET, Key=place.removeprefix(f"s3://{BUCKET}/"))
    assert len((release.folder / "SHA256SUMS").read_text().splitlines()) == 3
