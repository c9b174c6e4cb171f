"""README's production command, as printed, on S3 of the local stack: the S3A settings alone say where that S3 is.

Beside it, a second driver on the same table is refused by the lease.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import threading
from pathlib import Path

import pytest

from demo.local_stack import LocalStack
from lakebound_spark.platform.lease import held, leases_on_s3
from tests.support.independent_writer import item, stream, write_records

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.stack


def command(config: Path, endpoint: str) -> list[str]:
    (line,) = re.findall(
        r"^\.venv/bin/spark-submit .*merge_changes\.py.*$", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    words = shlex.split(line.replace("BUCKET", "lake").replace("LAKE", "lake").replace("cars.yaml", str(config)))
    settings = {"endpoint": endpoint, "endpoint.region": "us-east-1", "path.style.access": "true"}
    return [words[0], *(f"--conf=spark.hadoop.fs.s3a.{name}={value}" for name, value in settings.items()), *words[1:]]


@pytest.fixture(scope="module")
def words(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """README's command for two records in the stack's bucket."""
    tmp_path = tmp_path_factory.mktemp("cars")
    (tmp_path / "cars.yaml").write_text("source_table: flights\ncolumns:\n  v: decimal(5,2)\n")
    write_records(tmp_path / "files", [stream("k", 1, item("k", v={"N": "1.50"})), stream("j", 2, item("j"))])
    s3 = stack.client("s3")
    s3.create_bucket(Bucket="lake")
    for file in (tmp_path / "files").rglob("*.ndjson.gz"):
        key = f"ddb/cars/{file.relative_to(tmp_path / 'files').as_posix()}"
        s3.put_object(Bucket="lake", Key=key, Body=file.read_bytes())
    return command(tmp_path / "cars.yaml", stack.endpoint)


def run(words: list[str], status: int) -> str:
    environment = os.environ | {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


@pytest.mark.soak
def test_readmes_production_command_merges(words: list[str], stack: LocalStack) -> None:
    assert "merged 2 records" in run(words, 0)
    assert not stack.client("s3").list_objects_v2(Bucket="lake", Prefix="silver/_lakebound/").get("Contents")


@pytest.mark.soak
def test_a_second_driver_is_refused_by_the_lease_and_nothing_is_new_after_it(
    words: list[str], stack: LocalStack
) -> None:
    # Another driver, as this process: it renews its lease, so the job is refused, and says who is there.
    target, s3 = words[words.index("--target") + 1], stack.client("s3")
    (other,) = leases_on_s3({"": [target]}, "maintain on another host, process 7", s3).values()
    with held(other, threading.Event(), lambda table: pytest.fail("the job took the lease of a living driver")):
        told = run(words, 2)
    assert f"another driver commits to {target}: maintain on another host, process 7, since" in told
    run(words, 0)
    assert "nothing new" in run(words, 0)
