"""`make deploy`: refuses what would deploy something else than was asked for, builds, deploys, then keeps the settings.

Runs in .venv-sam, beside SAM CLI, and is told what to do by DEPLOY_STACK, DEPLOY_PARAMETERS, DEPLOY_RUNTIME,
DEPLOY_ARCHITECTURE and DEPLOY_YES, which the Makefile sets from its variables.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from samcli.lib.config.samconfig import SamConfig
from samcli.yamlhelper import yaml_parse

from deployment.parameters import Refused, given, kept, overrides, refuse_unknown

SAMCONFIG = "samconfig.toml"


@dataclass(frozen=True, slots=True)
class Asked:
    """What `make deploy` was called with."""

    stack: str
    parameters: dict[str, str]
    runtime: str
    architecture: str
    yes: bool

    @staticmethod
    def read(environment: Mapping[str, str]) -> Asked:
        """Raises Refused for PARAMETERS that cannot be read."""
        return Asked(
            environment.get("DEPLOY_STACK", "").strip(),
            given(environment.get("DEPLOY_PARAMETERS", "")),
            environment.get("DEPLOY_RUNTIME", "").strip(),
            environment.get("DEPLOY_ARCHITECTURE", "").strip(),
            environment.get("DEPLOY_YES", "").strip() not in ("", "0"),
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """Which stack, with which parameters, and how SAM is called. No stack: SAM asks for all of it."""

    stack: str
    parameters: dict[str, str]
    arguments: list[str]


def plan(asked: Asked, settings: Mapping[str, Any], defaults: Mapping[str, Any], terminal: bool) -> Plan:
    """`settings` is what samconfig.toml keeps for deploying, `defaults` the template's parameters. Raises Refused."""
    stack = asked.stack or str(settings.get("stack_name", ""))
    # What was kept for another stack is that stack's: its table, its bucket, its privacy.
    before = kept(settings.get("parameter_overrides", "")) if stack == settings.get("stack_name", stack) else {}
    refuse_unknown(before, defaults, SAMCONFIG)
    refuse_unknown(asked.parameters, defaults, "PARAMETERS")
    parameters = before | asked.parameters
    # The layer is built for them, so they are always said.
    for name, wanted in (("Runtime", asked.runtime), ("Architecture", asked.architecture)):
        parameters[name] = wanted or parameters.get(name) or str(defaults[name]["Default"])
    said = overrides(parameters)
    if not stack:
        if asked.yes or not terminal:
            raise Refused(
                "No stack is named, and there is nobody to ask. Write samconfig.toml with lakebound init, or say it"
                " all: make deploy YES=1 STACK=lakebound-cars PARAMETERS='TableName=cars PartitionKeyName=vin'"
            )
        return Plan("", parameters, ["--guided", "--parameter-overrides", *said])
    confirms = bool(settings.get("confirm_changeset", False))
    if confirms and not asked.yes and not terminal:
        raise Refused(
            "There is no terminal to confirm the change set on. Say make deploy YES=1 to deploy without being asked"
        )
    arguments = ["--stack-name", stack, "--parameter-overrides", *said]
    return Plan(stack, parameters, [*arguments, "--no-confirm-changeset"] if asked.yes else arguments)


def settings_of(path: Path) -> dict[str, Any]:
    """What samconfig.toml keeps for `sam deploy`; nothing where there is no such file. Raises Refused."""
    try:
        found: dict[str, Any] = tomllib.loads(path.read_text())["default"]["deploy"]["parameters"]
    except (FileNotFoundError, KeyError):
        return {}
    except tomllib.TOMLDecodeError as broken:
        raise Refused(f"{path.name} is no TOML: {broken}") from None
    return found


def keep(path: Path, plan: Plan) -> None:
    """Add the stack and its parameters to samconfig.toml, comments and all else untouched, whole or not at all."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".samconfig-") as folder:
        draft = Path(folder) / path.name
        if path.exists():
            shutil.copy(path, draft)
        config = SamConfig(folder, path.name)
        config.put(["deploy"], "parameters", "stack_name", plan.stack)
        config.put(["deploy"], "parameters", "parameter_overrides", " ".join(overrides(plan.parameters)))
        if region := boto3.session.Session().region_name:
            config.put(["global"], "parameters", "region", region)
        config.flush()
        draft.replace(path)


def main(root: Path) -> int:
    """Exit status of the whole: 2 where nothing was begun, else SAM's own."""
    path = root / SAMCONFIG
    try:
        asked = Asked.read(os.environ)
        defaults = yaml_parse((root / "template.yaml").read_text())["Parameters"]
        settings = settings_of(path)
        todo = plan(asked, settings, defaults, sys.stdin.isatty())
    except Refused as refused:
        print(f"make deploy: {refused}. Nothing was built, deployed or written.", file=sys.stderr)
        return 2
    # Variables that make was given reach the makefile of the layer through these, and are no business of it.
    environment = {name: text for name, text in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    environment |= {
        "LAKEBOUND_RUNTIME": todo.parameters["Runtime"],
        "LAKEBOUND_ARCHITECTURE": todo.parameters["Architecture"],
        "LAKEBOUND_FILE_FORMAT": todo.parameters.get("FileFormat") or str(defaults["FileFormat"]["Default"]),
        "LAKEBOUND_PYTHON": str(root / ".venv" / "bin" / "python"),
    }
    sam = str(root / ".venv-sam" / "bin" / "sam")
    before = path.read_bytes() if path.exists() else None
    status = subprocess.run([sam, "build"], cwd=root, env=environment, check=False).returncode
    if status == 0:
        status = subprocess.run([sam, "deploy", *todo.arguments], cwd=root, env=environment, check=False).returncode
    if status != 0:
        # Asked by SAM a person may have let it keep the answers, before it knew what they lead to.
        if before is not None and path.read_bytes() != before:
            path.write_bytes(before)
        print(f"make deploy: SAM ended with status {status}; {SAMCONFIG} is as it was.", file=sys.stderr)
        if todo.stack and settings.get("stack_name") != todo.stack:
            # CloudFormation takes no second try for a stack whose creation it rolled back.
            told = f"{sam} delete --stack-name {shlex.quote(todo.stack)}"
            print(
                f"Was this its first deployment, and is it ROLLBACK_COMPLETE now? Then, before again: {told}",
                file=sys.stderr,
            )
    elif todo.stack:
        keep(path, todo)
    return status


if __name__ == "__main__":
    sys.exit(main(Path.cwd()))
