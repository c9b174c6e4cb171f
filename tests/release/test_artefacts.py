"""What a release holds: checksums that `sha256sum` takes, an archive that is the same each time, and one version."""

from __future__ import annotations

import os
import re
import subprocess
import zipfile
from pathlib import Path

import pytest
import yaml

from demo.local_stack import local_parameters
from release import artefacts
from tests.release.conftest import BUCKET, Release
from tests.support.wheel import ROOT


@pytest.mark.parametrize("name", artefacts.ARCHIVES)
def test_an_archive_is_whole_and_the_same_each_time(tmp_path: Path, name: str) -> None:
    first = artefacts.archive(tmp_path, name)
    before = first.read_bytes()
    assert artefacts.archive(tmp_path, name).read_bytes() == before
    with zipfile.ZipFile(first) as read:
        held = {place: read.read(place) for place in read.namelist()}
    folder = artefacts.ARCHIVES[name]
    listed = subprocess.check_output(["git", "ls-files", "."], cwd=folder, text=True).splitlines()
    assert held == {place: (folder / place).read_bytes() for place in listed}
    assert len(held) > 3


def test_the_checksums_are_read_by_their_program(tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_bytes(b"one")
    (tmp_path / "SHA256SUMS").write_text(artefacts.sums([tmp_path / "a.whl"]))
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    assert subprocess.run(check, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    # Red control: another byte.
    (tmp_path / "a.whl").write_bytes(b"two")
    assert subprocess.run(check, cwd=tmp_path, capture_output=True, check=False).returncode == 1


def other_versions(text: str) -> set[str]:
    """The versions other than ours of which a text names a release's file."""
    return set(re.findall(r"lakebound-(?:template-|bundle-template-|terraform-)?(\d+\.\d+\.\d+)", text)) - {
        artefacts.version()
    }


@pytest.mark.parametrize("place", ["docs/PACKAGED-TEMPLATE.md", "cdk/example/app.py", "README.md"])
def test_a_page_that_names_a_file_of_a_release_names_this_version(place: str) -> None:
    assert other_versions((ROOT / place).read_text("utf-8")) == set()


def test_red_control_a_file_of_another_release_is_found() -> None:
    text = "dist/lakebound-template-0.9.0.yaml and lakebound-0.8.1-py3-none-any.whl"
    assert other_versions(text) == {"0.9.0", "0.8.1"}


def test_the_changelog_begins_with_this_version() -> None:
    first = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert first is not None
    assert first[1].rstrip(",") == artefacts.version()


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
    assert len((release.folder / "SHA256SUMS").read_text().splitlines()) == 4
    sums = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    assert subprocess.run(sums, cwd=release.folder, capture_output=True, check=False).returncode == 0


@pytest.mark.soak
@pytest.mark.stack
def test_the_packaged_template_is_valid_to_the_real_sam(release: Release, tmp_path: Path) -> None:
    command = [
        str(ROOT / ".venv-sam" / "bin" / "sam"),
        "validate",
        "--lint",
        "--region",
        "us-east-1",
        "--template-file",
    ]
    here = os.environ | release.stack.env() | {"SAM_CLI_TELEMETRY": "0"}

    def status(template: Path) -> int:
        return subprocess.run([*command, str(template)], env=here, capture_output=True, check=False).returncode

    assert status(release.template) == 0
    # Red control: a reference to nothing.
    wrong = tmp_path / "template.yaml"
    wrong.write_text(release.template.read_text().replace("Ref: TableName", "Ref: TableNme"))
    assert status(wrong) != 0


@pytest.mark.soak
@pytest.mark.stack
def test_the_packaged_template_becomes_a_stack_by_its_address(release: Release) -> None:
    """As CDK and Terraform give it to CloudFormation: it is larger than a request may be."""
    assert release.template.stat().st_size > 51_200
    release.stack.client("s3").upload_file(str(release.template), BUCKET, "template.yaml")
    cloudformation = release.stack.client("cloudformation")
    parameters = local_parameters() | {"TableName": "cars", "PartitionKeyName": "vin"}
    cloudformation.create_stack(
        StackName="lakebound-cars",
        TemplateURL=f"{release.stack.endpoint}/{BUCKET}/template.yaml",
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )
    cloudformation.get_waiter("stack_create_complete").wait(
        StackName="lakebound-cars", WaiterConfig={"Delay": 1, "MaxAttempts": 120}
    )
    (made,) = cloudformation.describe_stacks(StackName="lakebound-cars")["Stacks"]
    told = {one["OutputKey"] for one in made["Outputs"]}
    outputs = yaml.safe_load(release.template.read_text())["Outputs"]
    assert told == {name for name, one in outputs.items() if "Condition" not in one}
