"""`lakebound spark-conf`: the Spark settings of a platform, from the file that the jobs and the tests use."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final

import typer

from lakebound.cli.output import AsJson, echo, echo_json, echo_table
from lakebound.cli.tables import Column
from lakebound.errors import Misconfigured

_SUFFIX: Final = ".conf"
_JAVA_OPTIONS: Final = "spark.driver.extraJavaOptions"
_OVERLAYS: Final = {"spark35"}
"""Files that change another one's lines; no platform of their own."""


def command(
    platform: Annotated[str, typer.Option(help="The platform; without it, a table of them all.")] = "",
    jars: Annotated[
        Path | None,
        typer.Option(
            help="Name the jars in this folder in place of packages, and log errors only: spark-submit is quiet then."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the Spark settings of a platform, for `spark-submit --properties-file`.

    Nothing is read but the installed package: no Spark starts, and no account is asked.
    """
    platforms = settings_files()
    if jars is not None and not any(jars.glob("*.jar")):
        raise Misconfigured(f"There is no folder {jars} with jars", hint="Let Ivy fetch them first (docs/SPARK.md)")
    if jars is not None and not platform:
        raise Misconfigured("--jars changes the settings of a platform", hint="Give --platform too")
    if not platform:
        if as_json:
            echo_json({name: settings_of(text) for name, text in platforms.items()})
        else:
            rows = [(name, text.partition("\n")[0].lstrip("# ")) for name, text in platforms.items()]
            echo_table([Column("platform"), Column("for")], rows)
        return
    if platform not in platforms:
        raise Misconfigured(f"there is no platform {platform!r}", hint=f"One of {', '.join(platforms)}")
    text = with_jars(platforms[platform], jars.absolute()) if jars else platforms[platform]
    if as_json:
        echo_json(settings_of(text))
    else:
        echo(text.rstrip())


def settings_files() -> dict[str, str]:
    """The text of each platform's file by the platform's name, in the order of the names."""
    found = (file for file in files("lakebound_spark").iterdir() if file.name.endswith(_SUFFIX))
    texts = {file.name.removesuffix(_SUFFIX): file.read_text("utf-8") for file in found}
    return {name: texts[name] for name in sorted(texts.keys() - _OVERLAYS)}


def with_jars(text: str, folder: Path) -> str:
    """The settings with the jars of a folder in place of packages.

    spark-submit tells of packages in a hundred lines, whatever is set: its `MavenUtils` asks Ivy to be quiet only in
    Spark's own tests. The log before a session is there follows a file of ours.
    """
    log = f"-Dlog4j2.configurationFile={files('lakebound_spark') / 'quiet-log4j2.properties'}"
    lines = [line for line in text.splitlines() if not line.startswith(("spark.jars.packages", "spark.jars.excludes"))]
    options = [place for place, line in enumerate(lines) if line.startswith(_JAVA_OPTIONS)]
    if options:
        lines[options[0]] += f" {log}"
    else:
        lines.append(f"{_JAVA_OPTIONS} {log}")
    return "\n".join([*lines, f"spark.jars {folder}/*.jar"]) + "\n"


def settings_of(text: str) -> dict[str, str]:
    """The settings of a file's text by their names, without its comments."""
    lines = (line.split(None, 1) for line in text.splitlines() if line and not line.startswith("#"))
    return {name: value.strip() for name, value in lines}
