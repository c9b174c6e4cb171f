"""Two drivers in Java processes of their own on one table in S3: the lease refuses the second one.

The red control is Delta's own log store for S3 without the lease: it tells both drivers success, and commits are gone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from demo.local_stack import ROOT, LocalStack
from lakebound_spark.platform.session import SETTINGS_OF_S3A, settings_in
from tests.support.independent_writer import item, stream, write_records

pytestmark = [pytest.mark.stack, pytest.mark.soak]

ROUNDS = 12
MERGE = ROOT / "spark" / "jobs" / "merge_changes.py"
MAINTAIN = ROOT / "spark" / "jobs" / "maintain.py"


@pytest.fixture(scope="module")
def settings(stack: LocalStack) -> dict[str, str]:
    """Spark's, to reach the stack's bucket `lake`."""
    stack.client("s3").create_bucket(Bucket="lake")
    at = {"endpoint": stack.endpoint, "endpoint.region": "us-east-1", "path.style.access": "true"}
    at |= {"access.key": "test", "secret.key": "test"}
    return settings_in(SETTINGS_OF_S3A) | {f"spark.hadoop.fs.s3a.{name}": value for name, value in at.items()}


def test_red_control_without_the_lease_both_are_told_success_and_commits_vanish(
    stack: LocalStack, settings: dict[str, str], tmp_path: Path
) -> None:
    options = {"AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": stack.endpoint}
    options |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    empty = pa.table({"driver": pa.array([], pa.string()), "number": pa.array([], pa.int32())})
    write_deltalake("s3://lake/raced", empty, storage_options=options)
    driver = [sys.executable, "-m", "tests.support.appending_driver"]
    rest = ["s3a://lake/raced", str(ROUNDS), str(tmp_path), json.dumps(settings)]
    both = [
        subprocess.Popen([*driver, *names, *rest], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for names in (("one", "two"), ("two", "one"))
    ]
    told = [driver.communicate()[0].splitlines() for driver in both]
    assert [driver.returncode for driver in both] == [0, 0]
    assert [len(lines) for lines in told] == [ROUNDS, ROUNDS]
    kept = DeltaTable("s3://lake/raced", storage_options=options).to_pyarrow_table().num_rows
    assert kept < 2 * ROUNDS, "no commit vanished"


def test_the_second_driver_is_refused_while_the_first_one_runs(
    stack: LocalStack, settings: dict[str, str], tmp_path: Path
) -> None:
    write_records(tmp_path / "source", [stream("k", 1, item("k"))])
    (tmp_path / "silver.yaml").write_text("source_table: flights\n")
    submit = [str(ROOT / ".venv" / "bin" / "spark-submit"), *(f"--conf={n}={v}" for n, v in settings.items())]
    table = ["--target", "s3a://lake/silver", "--config", str(tmp_path / "silver.yaml")]
    merge = [*submit, str(MERGE), *table, "--source", str(tmp_path / "source"), "--checkpoint", str(tmp_path / "c")]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT}/src:{ROOT}/spark"}
    with subprocess.Popen(
        [*merge, "--trigger", "processing-time=1s"], stdout=subprocess.PIPE, text=True, env=environment
    ) as first:
        assert first.stdout is not None
        assert '"records": 1' in first.stdout.readline()
        second = subprocess.run(
            [*submit, str(MAINTAIN), *table], capture_output=True, text=True, env=environment, check=False
        )
        first.terminate()
    assert second.returncode == 2, second.stdout
    assert "another driver commits to s3a://lake/silver: merge_changes on" in second.stdout
