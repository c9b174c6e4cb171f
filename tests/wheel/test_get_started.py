"""docs/GET-STARTED.md from an empty folder, line by line: the installed wheel, the real SAM CLI, the local stack.

Two lines get what a local stack needs beside what is printed: the deployment its parameters, Spark the address of S3.
Spark and the reader of Delta are this environment's, since no test installs their 400 MB.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from demo.local_stack import LocalStack, local_parameters
from tests.support.wheel import ROOT

pytestmark = [pytest.mark.stack, pytest.mark.soak]

PAGE = (ROOT / "docs" / "GET-STARTED.md").read_text("utf-8")
LINES = [
    line for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE) for line in block.splitlines()
]
(SCRIPT,) = re.findall(r'^```python title="merge_changes.py"\n(.*?)^```', PAGE, re.DOTALL | re.MULTILINE)
OF_THE_EXTRAS = ("spark-submit", "lakebound verify")


def as_here(line: str, stack: LocalStack) -> str:
    """The line with what only a local stack needs."""
    line = line.replace("LAKE", "lake")
    if line == "lakebound deploy":
        said = (f"-p {shlex.quote(f'{name}={value}')}" for name, value in local_parameters().items())
        return f"{line} --yes {' '.join(said)}"
    if line.startswith("spark-submit "):
        s3 = {"endpoint": stack.endpoint, "endpoint.region": "us-east-1", "path.style.access": "true"}
        settings = " ".join(f"--conf spark.hadoop.fs.s3a.{name}={value}" for name, value in s3.items())
        return line.replace("spark-submit ", f"spark-submit {settings} ")
    return line


def test_the_page_leads_from_an_empty_folder_to_a_proven_table(
    programs: Path, tmp_path: Path, stack: LocalStack
) -> None:
    table = stack.client("dynamodb")
    table.create_table(
        TableName="cars",
        KeySchema=[{"AttributeName": "vin", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "vin", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    table.put_item(TableName="cars", Item={"vin": {"S": "WLB1"}, "soc": {"N": "81.50"}})
    stack.client("s3").create_bucket(Bucket="lake")
    folder, path = tmp_path / "empty", tmp_path / "bin"
    folder.mkdir()
    path.mkdir()
    (path / "sam").symlink_to(ROOT / ".venv-sam" / "bin" / "sam")
    (path / "python3").symlink_to(sys.executable)
    (folder / "merge_changes.py").write_text(SCRIPT)
    clean = {name: text for name, text in os.environ.items() if not name.startswith(("PYTHON", "AWS_", "LAKEBOUND_"))}
    clean |= {"AWS_CONFIG_FILE": os.devnull, "SAM_CLI_TELEMETRY": "0"} | stack.env()
    bucket, said = "", ""
    ran = [line for line in LINES if not line.startswith("pipx ")]
    for line in ran:
        first = f"{ROOT}/.venv/bin" if line.startswith(OF_THE_EXTRAS) else str(programs)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", as_here(line, stack).replace("BUCKET", bucket or "BUCKET")],
            cwd=folder,
            env=clean | {"PATH": f"{first}:{path}:/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, f"{line}\n{said[-4000:]}"
        if line == "lakebound deploy":
            (made,) = stack.client("cloudformation").describe_stacks(StackName="lakebound-cars")["Stacks"]
            bucket = next(one["OutputValue"] for one in made["Outputs"] if one["OutputKey"] == "BucketName")
            assert bucket in said
    assert [line.split()[:2] for line in ran[-2:]] == [["spark-submit", "--properties-file"], ["lakebound", "verify"]]
    assert "1 key: 0 missing, 0 ghost, 0 stale, 0 different" in said
