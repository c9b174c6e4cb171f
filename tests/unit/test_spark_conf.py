"""The settings of each platform: one file each, the same packages in all of them, printed as they stand."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lakebound.cli.app import app
from lakebound.cli.spark_conf import settings_files, settings_of

FILES = settings_files()
PACKAGE = re.compile(r"([\w.-]+:[\w.-]+):([\w.-]+)")


def versions(texts: dict[str, str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for text in texts.values():
        for package, version in PACKAGE.findall(settings_of(text).get("spark.jars.packages", "")):
            found.setdefault(package, set()).add(version)
    return found


@pytest.mark.parametrize("platform", FILES)
def test_a_platforms_block_is_its_file_and_begins_with_what_it_is_for(platform: str) -> None:
    done = CliRunner().invoke(app, ["spark-conf", "--platform", platform])
    assert (done.exit_code, done.stdout) == (0, FILES[platform])
    assert re.match(r"# \w.+", FILES[platform])


def test_json_holds_every_setting_of_every_platform() -> None:
    told = json.loads(CliRunner().invoke(app, ["spark-conf", "--json"]).stdout)
    assert told == {name: settings_of(text) for name, text in FILES.items()}
    assert told["s3a"]["spark.jars.excludes"] == "software.amazon.awssdk:bundle"


def test_each_package_has_one_version_in_all_files() -> None:
    assert {len(found) for found in versions(FILES).values()} == {1}


def test_red_control_a_file_that_was_left_behind_is_seen() -> None:
    old = FILES | {"s3a": FILES["s3a"].replace(":4.2.0", ":4.1.0")}
    assert {len(found) for found in versions(old).values()} == {1, 2}


@pytest.mark.parametrize("platform", FILES)
def test_with_jars_of_a_folder_a_block_asks_for_no_package_and_logs_errors_only(
    platform: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """spark-submit may start in another folder than this command, so the jars' own is told in full."""
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / "delta.jar").touch()
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["spark-conf", "--platform", platform, "--jars", "jars/"])
    settings, before = settings_of(done.stdout), settings_of(FILES[platform])
    assert settings.pop("spark.jars") == f"{tmp_path}/jars/*.jar"
    options = settings.pop("spark.driver.extraJavaOptions")
    assert options.startswith(before.pop("spark.driver.extraJavaOptions", ""))
    log = Path(options.rpartition("-Dlog4j2.configurationFile=")[2])
    assert "rootLogger.level = error" in log.read_text()
    assert settings == {name: value for name, value in before.items() if not name.startswith("spark.jars")}


def test_jars_of_no_use_are_refused(tmp_path: Path) -> None:
    def refused(*arguments: str) -> str:
        return str(CliRunner().invoke(app, ["spark-conf", "--jars", str(tmp_path), *arguments]).exception)

    assert refused("--platform", "local").startswith(f"There is no folder {tmp_path} with jars. ")
    (tmp_path / "delta.jar").touch()
    assert refused().startswith("--jars changes the settings of a platform. ")
    assert refused("--platform", "local") == "None"
