"""The command of the installed wheel, beside nothing but what the wheel asks for, far from the clone."""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from demo.local_stack import LocalStack
from lakebound.cli.extras import EXTRAS
from lakebound.cli.verbs import VERBS
from tests.support.wheel import ROOT
from tests.support.wheel_closure import closure, requirements

pytestmark = pytest.mark.stack

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def run(programs: Path, folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: text for name, text in os.environ.items() if not name.startswith(("PYTHON", "AWS_", "LAKEBOUND_"))}
    return subprocess.run(
        [str(programs / "lakebound"), *arguments],
        cwd=folder,
        env=clean | {"AWS_CONFIG_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_is_the_installed_one(programs: Path, tmp_path: Path) -> None:
    where = subprocess.check_output(
        [programs / "python", "-I", "-c", "import lakebound, sys; print(lakebound.__file__)"], cwd=tmp_path, text=True
    )
    assert Path(where.strip()).is_relative_to(programs.parent)


def test_it_tells_its_version(programs: Path, tmp_path: Path) -> None:
    done = run(programs, tmp_path, "--version")
    assert (done.returncode, done.stdout) == (0, f"lakebound {PROJECT['version']}\n")


def test_every_verb_loads_without_an_extra(programs: Path, tmp_path: Path) -> None:
    code = "from lakebound.cli.verbs import VERBS, load; print(*[load(name).name for name in VERBS])"
    told = subprocess.check_output([programs / "python", "-I", "-c", code], cwd=tmp_path, text=True)
    assert told.split() == list(VERBS)


def test_its_help_is_whole(programs: Path, tmp_path: Path) -> None:
    done = run(programs, tmp_path, "init", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "lakebound init --table cars --partition-key vin" in " ".join(done.stdout.split())


def test_it_prints_the_spark_settings_that_travel_in_it(programs: Path, tmp_path: Path) -> None:
    done = run(programs, tmp_path, "spark-conf", "--platform", "s3a")
    assert done.stdout.strip() == (ROOT / "spark" / "lakebound_spark" / "s3a.conf").read_text().strip()


def test_init_looks_at_a_table_and_writes_the_settings(programs: Path, tmp_path: Path, stack: LocalStack) -> None:
    made = stack.client("dynamodb").create_table(
        TableName="trucks",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    done = run(programs, tmp_path, "init", "--table", "trucks", **stack.env())
    assert done.returncode == 0, done.stderr
    written = tomllib.loads((tmp_path / "samconfig.toml").read_text())["default"]["deploy"]["parameters"]
    assert written["stack_name"] == "lakebound-trucks"
    assert made["TableDescription"]["LatestStreamArn"] in written["parameter_overrides"]


def test_spark_is_asked_for_by_its_extra(programs: Path, tmp_path: Path, stack: LocalStack) -> None:
    asked = ("verify", "--table", "trucks", "--target", "lake.trucks", "--engine", "spark")
    done = run(programs, tmp_path, *asked, **stack.env())
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    assert "pip install 'lakebound[spark]'" in done.stderr


def test_the_reader_of_delta_is_asked_for_by_its_extra(programs: Path, tmp_path: Path) -> None:
    done = run(programs, tmp_path, "query", "--target", "/nowhere/silver", "SELECT 1")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    assert "pip install 'lakebound[deltalake]'" in done.stderr


def test_a_parquet_file_without_its_extra_says_how_to_add_it(programs: Path, tmp_path: Path) -> None:
    name = f"stream-20261124T030534123Z-2-{'a' * 32}.parquet"
    folder = tmp_path / "mirror" / "dt=2026-11-24" / "HH=03"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(b"PAR1")
    done = run(programs, tmp_path, "files", "flatten", str(tmp_path / "mirror"))
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    assert "pip install 'lakebound[parquet]'" in done.stderr


def test_the_extras_are_those_of_the_package(wheel: Path) -> None:
    assert set(EXTRAS.values()) == PROJECT["optional-dependencies"].keys()
    for extra in PROJECT["optional-dependencies"]:
        assert requirements(wheel, (extra,)) != requirements(wheel)


def test_the_layer_carries_no_library_that_the_package_does_not_ask_for() -> None:
    lines = (ROOT / "requirements" / "layer.in").read_text().splitlines()
    layer = {line for line in lines if line and not line.startswith("#")}
    assert layer <= {Requirement(line).name for line in PROJECT["dependencies"]}


def test_red_control_a_library_that_the_wheel_does_not_ask_for_is_not_there(programs: Path, wheel: Path) -> None:
    """deltalake, Spark and boto3 stand in this environment, and not in that one."""
    assert not {"deltalake", "pyspark", "boto3"} & closure(requirements(wheel))
    for package in ("deltalake", "pyspark", "boto3"):
        done = subprocess.run([programs / "python", "-I", "-c", f"import {package}"], capture_output=True, check=False)
        assert b"ModuleNotFoundError" in done.stderr


def test_the_reader_of_delta_is_whole_with_its_extra(wheel: Path) -> None:
    assert {"deltalake", "arro3-core"} <= closure(requirements(wheel, ("deltalake",)))


def test_json_stays_json(programs: Path, tmp_path: Path) -> None:
    assert "local" in json.loads(run(programs, tmp_path, "spark-conf", "--json").stdout)
