"""The asset bundle is what Databricks takes, its tasks are what the wheel has, and a wrong field fails here."""

from __future__ import annotations

import copy
import json
import re
import zipfile
from configparser import ConfigParser
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from databricks.bundles.jobs import Job
from hypothesis import given
from hypothesis import strategies as st

from lakebound.errors import Misconfigured
from lakebound_spark.platform.tables import companion_table, table_sql
from tests.support.wheel import build_wheel

ROOT = Path(__file__).parents[2]
BUNDLE: dict[str, Any] = yaml.safe_load((ROOT / "spark" / "databricks.yml").read_text())
TARGETS = list(BUNDLE["targets"])
SERVERLESS = ("dev", "prod")
STEPS = ("bronze", "silver", "history", "maintenance", "audit")


def joined(one: Any, other: Any) -> Any:
    """Two mappings as a bundle joins a target's with the one above it: tasks by their key, other values by name.

    How it joins other lists is on no page of Databricks, so here they may stand on one side only.
    """
    if not isinstance(one, dict):
        raise TypeError(f"{one} is given twice")
    found = dict(one)
    for name, value in other.items():
        if name == "tasks" and name in one:
            above = {task["task_key"]: task for task in one[name]}
            more = {task["task_key"]: task for task in value}
            found[name] = [joined(above.get(key, {}), _without_key(more.get(key, {}))) for key in above | more]
        else:
            found[name] = joined(one[name], value) if name in one else value
    return found


def _without_key(task: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in task.items() if name != "task_key"}


def jobs(target: str, bundle: dict[str, Any] = BUNDLE) -> dict[str, Any]:
    """The jobs of a target."""
    found: dict[str, Any] = joined(bundle["resources"], bundle["targets"][target]["resources"])["jobs"]
    return found


def value_of(text: str, variables: dict[str, str], bundle: dict[str, Any] = BUNDLE) -> str:
    """The text with variables in it, each with its default unless it is given."""
    while found := re.search(r"\$\{var\.(\w+)\}", text):
        name = found[1]
        value = variables[name] if name in variables else str(bundle["variables"][name]["default"])
        text = text.replace(found[0], value)
    return text


def load(job: dict[str, Any]) -> Any:
    """The job through the types that Databricks generates from its API. Raises ValueError for a field that is none."""
    return Job.from_dict(job)


def tasks() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{target}.{name}.{task['task_key']}", task)
        for target in ("prod", "classic")
        for name, job in jobs(target).items()
        for task in job["tasks"]
    ]


def test_there_is_a_job_for_each_part() -> None:
    for target in TARGETS:
        assert set(jobs(target)) == {"run", *STEPS, "verify"}
    modes = {name: target["mode"] for name, target in BUNDLE["targets"].items()}
    assert modes == {"dev": "development", "prod": "production", "classic": "production"}


@pytest.mark.parametrize("target", TARGETS)
def test_every_task_has_one_compute_with_the_wheel(target: str) -> None:
    for job in jobs(target).values():
        for task in job["tasks"]:
            if target in SERVERLESS:
                (environment,) = job["environments"]
                assert task["environment_key"] == environment["environment_key"]
                assert environment["spec"]["dependencies"] == ["../dist/*.whl"]
                assert not {"job_clusters", "continuous"} & set(job)
                assert not {"libraries", "job_cluster_key"} & set(task)
            else:
                (cluster,) = job["job_clusters"]
                assert task["job_cluster_key"] == cluster["job_cluster_key"]
                assert task["libraries"] == [{"whl": "../dist/*.whl"}]
                assert "environments" not in job
                assert "environment_key" not in task


@pytest.mark.parametrize("target", TARGETS)
def test_the_job_run_starts_and_no_job_of_a_step_beside_it(target: str) -> None:
    """Two drivers would share a checkpoint."""
    found = jobs(target)
    pauses = {
        name: (job.get("continuous") or job.get("schedule") or {}).get("pause_status") for name, job in found.items()
    }
    assert pauses.pop("run") == "${var.pause}"
    assert pauses.pop("verify") is None, "by hand"
    assert set(pauses.values()) == {"${var.pause_single}"}
    defaults = [BUNDLE["variables"][name]["default"] for name in ("pause", "pause_single")]
    assert defaults == ["UNPAUSED", "PAUSED"]
    (run,) = found["run"]["tasks"]
    ends = "--once" in run["python_wheel_task"]["parameters"]
    assert ends == (target in SERVERLESS), "a schedule needs a run that ends, and a continuous job one that does not"
    assert ends == ("schedule" in found["run"])


def test_the_audit_feeds_its_alarm_where_it_has_credentials_and_the_merge_marks_silver() -> None:
    for target, option in (("prod", "--show=0"), ("classic", "--publish")):
        (audit,) = jobs(target)["audit"]["tasks"]
        chosen = BUNDLE["targets"][target].get("variables", {})
        arguments = [value_of(one, chosen) for one in audit["python_wheel_task"]["parameters"] if "option" in one]
        assert arguments == [option]
        (merge,) = jobs(target)["silver"]["tasks"]
        assert "--aside=${var.aside}" in merge["python_wheel_task"]["parameters"]
    for job in ("audit", "run"):
        (cluster,) = jobs("classic")[job]["job_clusters"]
        assert cluster["new_cluster"]["aws_attributes"] == {"instance_profile_arn": "${var.metrics_profile}"}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", BUNDLE["resources"]["jobs"])
def test_databricks_knows_every_field(target: str, name: str) -> None:
    job = load(jobs(target)[name])
    assert job.max_concurrent_runs == 1, "two runs would share a checkpoint"
    assert len(job.tasks) == len(BUNDLE["resources"]["jobs"][name]["tasks"])


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("prod", ()),
        ("prod", ("tasks", 0)),
        ("prod", ("tasks", 0, "python_wheel_task")),
        ("prod", ("environments", 0)),
        ("prod", ("environments", 0, "spec")),
        ("classic", ("tasks", 0, "libraries", 0)),
        ("classic", ("job_clusters", 0, "new_cluster")),
        ("classic", ("schedule",)),
    ],
)
def test_red_control_a_wrong_field_fails(target: str, path: tuple[str | int, ...]) -> None:
    job = copy.deepcopy(jobs(target)["bronze"])
    node: Any = job
    for step in path:
        node = node[step]
    node["no_such_field"] = 1
    with pytest.raises(ValueError, match="Unexpected field 'no_such_field'"):
        load(job)


def test_red_control_a_list_on_both_sides_is_found() -> None:
    bundle = copy.deepcopy(BUNDLE)
    bundle["resources"]["jobs"]["run"]["tasks"][0]["python_wheel_task"]["parameters"] = ["--once"]
    with pytest.raises(TypeError, match="is given twice"):
        jobs("prod", bundle)


def test_every_variable_is_declared_and_used() -> None:
    used = set(re.findall(r"\$\{var\.(\w+)\}", (ROOT / "spark" / "databricks.yml").read_text()))
    assert used == set(BUNDLE["variables"])
    assert all(variable["description"] for variable in BUNDLE["variables"].values())
    for target in BUNDLE["targets"].values():
        assert set(target.get("variables", {})) <= used


# ── names ──

GIVEN = {"data": "s3://b/ddb/t", "aside": "s3://b/_lakebound/t"}
UNITY_PART = re.compile(r"[^\x00-\x20./\x7f]{1,255}")


def named(argument: str) -> str:
    return argument.partition("=")[2]


@given(st.from_regex(r"[A-Za-z0-9_.-]{3,200}", fullmatch=True))
def test_the_name_of_every_dynamodb_table_becomes_tables_or_is_refused_with_the_reason(source_table: str) -> None:
    variables = {**GIVEN, "source_table": source_table}
    for job in jobs("prod").values():
        for task in job["tasks"]:
            for argument in (value_of(one, variables) for one in task["python_wheel_task"]["parameters"]):
                if argument.startswith(("--target=", "--bronze=")):
                    with pytest.MonkeyPatch.context() as patch:
                        patch.setenv("DATABRICKS_RUNTIME_VERSION", "16.4")
                        if "." in source_table:
                            with pytest.raises(Misconfigured, match="a dot or a space in a name, which Unity Catalog"):
                                table_sql(named(argument))
                            continue
                        for suffix in ("", "_metrics"):
                            parts = table_sql(companion_table(named(argument), suffix)).split(".")
                            assert len(parts) == 3
                            assert all(UNITY_PART.fullmatch(part.strip("`")) for part in parts)
                            assert parts[2].strip("`").startswith(source_table)


# ── the template ──

TEMPLATE = ROOT / "spark" / "bundle_template"
ANSWERS = {
    "project_name": "cars-lake",
    "source_table": "prod.car-telemetry",
    **GIVEN,
    "catalog": "main",
    "schema": "lake",
    "table": "prod_car-telemetry",
    "notify": "who@example.com",
}


def answered(text: str) -> str:
    """Go's template language as far as the template uses it; anything else raises."""

    def one(found: re.Match[str]) -> str:
        inner = found[1]
        if quoted := re.fullmatch(r'"(\{\{[^"]*\}\})"', inner):
            return quoted[1]
        name = re.fullmatch(r"\.(\w+)", inner)
        if name is None:
            raise ValueError(f"unknown expression {inner}")
        return ANSWERS[name[1]]

    return re.sub(r"\{\{(\"\{\{.*?\}\}\"|.*?)\}\}", one, text)


def test_the_template_makes_the_same_jobs_with_the_answers_as_defaults() -> None:
    (source,) = TEMPLATE.rglob("databricks.yml.tmpl")
    made = yaml.safe_load(answered(source.read_text()))
    assert made["bundle"]["name"] == "cars-lake"
    assert {name: made["variables"][name]["default"] for name in ANSWERS if name != "project_name"} == {
        name: value for name, value in ANSWERS.items() if name != "project_name"
    }
    for target in TARGETS:
        own = json.loads(json.dumps(jobs(target)).replace("../dist/", "./dist/"))
        assert jobs(target, made) == own
        for job in jobs(target, made).values():
            load(job)
    assert not re.search(r"\$\{var\.", value_of("${var.table}${var.config}${var.checkpoints}${var.data}", {}, made))


def test_red_control_an_expression_of_another_kind_is_found() -> None:
    with pytest.raises(ValueError, match="unknown expression template"):
        answered('{{template "x"}}')


def test_the_questions_accept_the_answers_and_refuse_what_databricks_would() -> None:
    questions = json.loads((TEMPLATE / "databricks_template_schema.json").read_text())["properties"]
    assert [one["order"] for one in questions.values()] == list(range(len(questions)))
    assert set(questions) == set(ANSWERS)
    used = set(re.findall(r"\{\{\.(\w+)\}\}", "".join(path.read_text() for path in TEMPLATE.rglob("*.tmpl"))))
    assert used | {"project_name"} == set(questions)
    for name, question in questions.items():
        pattern = question.get("pattern")
        assert pattern is None or re.fullmatch(pattern, ANSWERS[name])
    longest = re.compile(questions["table"]["pattern"])
    names = ["t" * length for length in range(200, 256) if longest.fullmatch("t" * length)]
    assert len(names[-1] + "_bronze_bad_lines") == 255, "Unity Catalog's limit"
    for name, wrong in (("table", "prod.cars"), ("project_name", "a b"), ("data", "/files"), ("source_table", "a b")):
        assert not re.fullmatch(questions[name]["pattern"], wrong)


# ── the wheel ──


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
    for package in ("src/lakebound", "spark/lakebound_spark", "cdk/lakebound_cdk"):
        for file in (ROOT / package).rglob("*"):
            if file.suffix in (".py", ".conf", ".properties"):
                assert str(file.relative_to(ROOT / package.split("/")[0])) in names
    assert {name.split("/")[0] for name in names if not name.startswith("lakebound-")} == {
        "lakebound",
        "lakebound_cdk",
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
    variables = {**GIVEN, "source_table": "cars", **BUNDLE["targets"][name.partition(".")[0]].get("variables", {})}
    arguments = [value_of(one, variables) for one in called["parameters"]]
    parser.parse_args(arguments)
    with pytest.raises(SystemExit):
        parser.parse_args([*arguments, "--no-such-argument"])


def test_a_status_leaves_the_wheel_task_as_an_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Databricks takes what the function returns for success, whatever it is."""
    from lakebound_spark.jobs import audit, entry

    monkeypatch.setattr(audit, "main", lambda: 1)
    with pytest.raises(SystemExit) as left:
        entry.audit()
    assert left.value.code == 1
    monkeypatch.setattr(audit, "main", lambda: 0)
    entry.audit()
