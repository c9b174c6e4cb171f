"""samconfig.toml: `lakebound init` writes it; `make deploy` and every other verb read it."""

from __future__ import annotations

import re
import shlex
import tomllib
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import orjson

from lakebound.errors import Misconfigured

_MAX_NAME: Final = 128
"""Characters of a stack's name, as CloudFormation takes them."""


def configured_stack(path: Path) -> str:
    """The name of the stack that the file deploys; "" where it deploys none."""
    return str(_read(path).get("stack_name", ""))


def configured_table(path: Path) -> tuple[str, str]:
    """(TableName, TableStreamArn) that `make deploy` would use; "" for what the file does not give."""
    overrides = _read(path).get("parameter_overrides", [])
    try:
        texts = shlex.split(overrides) if isinstance(overrides, str) else [str(one) for one in overrides]
    except (TypeError, ValueError):
        return "", ""
    given = {name: value.strip('"') for name, _, value in (text.partition("=") for text in texts)}
    return given.get("TableName", ""), given.get("TableStreamArn", "")


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(tomllib.loads(path.read_text())["default"]["deploy"]["parameters"])
    except (OSError, KeyError, TypeError, ValueError):
        return {}


def stack_name(table: str) -> str:
    """`lakebound-<table>`. A name that is too long for CloudFormation is cut, and ends with a digest of the whole."""
    name = "lakebound-" + re.sub(r"[^A-Za-z0-9-]", "-", table)
    if len(name) <= _MAX_NAME:
        return name
    digest = sha256(table.encode()).hexdigest()[:8]
    return f"{name[: _MAX_NAME - 9]}-{digest}"


def samconfig(stack: str, parameters: dict[str, str]) -> str:
    """The file's text, as `sam deploy` reads it. Raises Misconfigured for a value that SAM would change."""
    overrides = " ".join(_override(name, value) for name, value in parameters.items())
    lines = [
        "# What `make deploy` uses; written by `lakebound init`.",
        "version = 0.1",
        "",
        "[default.deploy.parameters]",
        f"stack_name = {_quoted(stack)}",
        f"parameter_overrides = {_quoted(overrides)}",
        'capabilities = "CAPABILITY_IAM"',
        "confirm_changeset = true",
        "fail_on_empty_changeset = false",
        "no_progressbar = true",
        "resolve_s3 = true",
    ]
    return "\n".join(lines) + "\n"


def _override(name: str, value: str) -> str:
    # SAM takes a backslash before a quote or a space away, and leaves it before anything else.
    if "\\" in value:
        raise Misconfigured(
            f"{name} has a backslash", hint=f"Leave it out here, and give it: make deploy PARAMETERS='{name}={value}'"
        )
    escaped = value.replace('"', '\\"')
    return f'{name}="{escaped}"'


def _quoted(text: str) -> str:
    # A JSON string is a TOML basic string.
    return orjson.dumps(text).decode()
