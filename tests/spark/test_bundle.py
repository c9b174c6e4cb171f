"""The asset bundle is what Databricks takes, its tasks are what the wheel has, and a wrong field fails here."""

from __future__ import annotations

import copy
import re
import zipfile
from configparser import ConfigParser
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from databricks.bundles.jobs import Job

from tests.support.wheel import build_wheel

ROOT = Path(__file__).parents[2]
BUNDLE: dict[str, Any] = yaml.safe_load((ROOT / "spark" / "databricks.yml").read_text())
JOBS: dict[str, Any] = BUNDLE["resources"]["jobs"]


def load(job: dict[str, Any]) -> Any:
    """The job through the types that Databricks generates from its API. Raises ValueError for a field that is none."""
    return Job.from_dict(job)


def tasks() -> list[tuple[str, dict[str, Any]]]:
    return [(f"{name}.{task['task_key']}", task) for name, job in JOBS.items() for task in job["tasks"]]


def test_there_is_a_job_for_each_part() -> None:
    assert set(JOBS) == {"run", "bronze", "silver", "history", "maintenance", "audit", "verify"}
    assert {name: target["mode"] for name, target in BUNDLE["targets"].items()} == {
        "dev": "development",
        "prod": "production",
    }


def test_the_job_run_starts_and_no_job_of_a_step_beside_it() -> None:
    """Two drivers would share a checkpoint."""
    pauses = {
        name: (job.get("continuous") or job.get("schedule") or {}).get("pause_status") for name, job in JOBS.items()
    }
    assert pauses.pop("run") == "${var.pause}"
    assert pauses.pop("verify") is None, "by hand"
    assert set(pauses.values()) == {"${var.pause_single}"}
    defaults = [BUNDLE["variables"][name]["default"] for name in ("pause", "pause_single")]
    assert defaults == ["UNPAUSED", "PAUSED"]


def test_the_audit_feeds_its_alarm_and_the_merge_marks_silver() -> None:
    (audit,) = JOBS["audit"]["tasks"]
    assert "--publish" in audit["python_wheel_task"]["parameters"]
    assert JOBS["audit"]["schedule"]["quartz_cron_expression"]
    for job in ("audit", "run"):
        (cluster,) = JOBS[job]["job_clusters"]
        assert cluster["new_cluster"]["aws_attributes"] == {"instance_profile_arn": "${var.metrics_profile}"}
    (merge,) = JOBS["silver"]["tasks"]
    assert "--aside=${var.aside}" in merge["python_wheel_task"]["parameters"]


@pytest.mark.parametrize("name", JOBS)
def test_databricks_knows_every_field(name: str) -> None:
    job = load(JOBS[name])
    assert job.max_concurrent_runs == 1, "two runs would share a checkpoint"
    assert len(job.tasks) == len(JOBS[name]["tasks"])


@pytest.mark.parametrize(
    "path",
    [
        (),
        ("tasks", 0),
        ("tasks", 0, "python_wheel_task"),
        ("tasks", 0, "libraries", 0),
        ("job_clusters", 0, "new_cluster"),
        ("schedule",),
    ],
)
def test_red_control_a_wrong_field_fails(path: tuple[str | int, ...]) -> None:
    job = copy.deepcopy(JOBS["bronze"])
    node: Any = job
    for step in path:
        node = node[step]
    node["no_such_field"] = 1
    with pytest.raises(ValueError, match="Unexpected field 'no_such_field'"):
        load(job)


def test_every_variable_is_declared_and_used() -> None:
    used = set(re.findall(r"\$\{var\.(\w+)\}", (ROOT / "spark" / "databricks.yml").read_text()))
    assert used == set(BUNDLE["variables"])
    assert all(variable["description"] for variable in BUNDLE["variables"].values())
    for target in BUNDLE["targets"].values():
        assert set(target.get("variables", {})) <= used


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return zipfile.ZipFile(build_wheel(tmp_path_factory.mktemp("wheel")))


def scripts(wheel: zipfile.ZipFile) -> dict[str, str]:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt")]
    parser = ConfigParser()
    parser.read_string(wheel.read(name).decode())
    return dict(parser["console_scripts"])


def test_the_wheel_holds_every_module_and_setting(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    for package in ("src/lakebound", "spark/lakebound_spark"):
        for file in (ROOT / package).rglob("*"):
            if file.suffix in (".py", ".conf"):
                assert str(file.relative_to(ROOT / package.split("/")[0])) in names
    assert {name.split("/")[0] for name in names if not name.startswith("lakebound-")} == {
        "lakebound",
        "lakebound_spark",
    }


def test_every_entry_point_is_there_and_every_job_has_one(wheel: zipfile.ZipFile) -> None:
    jobs = {name: target for name, target in scripts(wheel).items() if "lakebound_spark" in target}
    for target in jobs.values():
        module, _, function = target.partition(":")
        assert callable(getattr(import_module(module), function))
    files = {path.stem for path in (ROOT / "spark" / "jobs").glob("*.py")}
    assert {target.partition(":")[2] for target in jobs.values()} == files


@pytest.mark.parametrize(("name", "task"), tasks(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_task_calls_an_entry_point_with_arguments_that_it_takes(
    name: str, task: dict[str, Any], wheel: zipfile.ZipFile
) -> None:
    called = task["python_wheel_task"]
    assert called["package_name"] == "lakebound"
    job = scripts(wheel)[called["entry_point"]].partition(":")[2]
    parser = import_module(f"lakebound_spark.jobs.{job}")._parser()
    parser.parse_args(called["parameters"])
    with pytest.raises(SystemExit):
        parser.parse_args([*called["parameters"], "--no-such-argument"])


def test_a_status_leaves_the_wheel_task_as_an_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Databricks takes what the function returns for success, whatever it is."""
    from lakebound_spark.jobs import audit, entry

    monkeypatch.setattr(audit, "main", lambda: 1)
    with pytest.raises(SystemExit) as left:
        entry.audit()
    assert left.value.code == 1
    monkeypatch.setattr(audit, "main", lambda: 0)
    entry.audit()
