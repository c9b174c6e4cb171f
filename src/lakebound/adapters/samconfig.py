"""samconfig.toml: `lakebound init` writes it; `lakebound deploy` and every other verb read it."""

from __future__ import annotations

import re
import shlex
import shutil
import tomllib
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Final

import orjson
import tomlkit

from lakebound.adapters.clients import region
from lakebound.errors import Misconfigured
from lakebound.operate.sam_parameters import overrides, refused

_MAX_NAME: Final = 128
"""Characters of a stack's name, as CloudFormation takes them."""
_ANEW: Final = "Mend it, or move it away: lakebound init writes another"


def configured_stack(path: Path) -> str:
    """The name of the stack that the file deploys; "" where it deploys none. Raises Misconfigured for no TOML."""
    return str(settings_of(path).get("stack_name", ""))


def configured_table(path: Path) -> tuple[str, str]:
    """(TableName, TableStreamArn) that `lakebound deploy` would use; "" for what the file does not give."""
    said = _read(path).get("parameter_overrides", [])
    try:
        texts = shlex.split(said) if isinstance(said, str) else [str(one) for one in said]
    except (TypeError, ValueError):
        return "", ""
    given = {name: value.strip('"') for name, _, value in (text.partition("=") for text in texts)}
    return given.get("TableName", ""), given.get("TableStreamArn", "")


def account_of(path: Path) -> tuple[str, str]:
    """(profile, region) that the file keeps for `sam deploy`, which go before the environment's; "" for none."""
    try:
        found = tomllib.loads(path.read_text())["default"]
        said = {**found.get("global", {}).get("parameters", {}), **found.get("deploy", {}).get("parameters", {})}
    except (OSError, KeyError, ValueError, TypeError, AttributeError):
        return "", ""
    return str(said.get("profile", "")), str(said.get("region", ""))


def settings_of(path: Path) -> dict[str, Any]:
    """What the file keeps for `sam deploy`; nothing where there is no such file.

    Raises Misconfigured for no TOML, and for one in which that is no table.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))["default"]["deploy"]["parameters"]
        return dict(found)
    except (FileNotFoundError, KeyError):
        return {}
    except UnicodeDecodeError:
        raise refused(f"{path.name} is no TOML: it is not UTF-8 text", _ANEW) from None
    except tomllib.TOMLDecodeError as broken:
        raise refused(f"{path.name} is no TOML: {broken}", _ANEW) from None
    except (TypeError, ValueError):
        raise refused(f"[default.deploy.parameters] of {path.name} is no table", _ANEW) from None


def keep(path: Path, stack: str, parameters: Mapping[str, str]) -> None:
    """Add a stack and its parameters to the file, comments and all else untouched, whole or not at all."""
    document = tomlkit.parse(path.read_text() if path.exists() else "version = 0.1\n")
    deploy = _table(document, "deploy")
    deploy["stack_name"] = stack
    deploy["parameter_overrides"] = " ".join(overrides(parameters))
    if found := region():
        _table(document, "global")["region"] = found
    with NamedTemporaryFile("w", dir=path.parent, prefix=".samconfig-", delete=False) as draft:
        draft.write(tomlkit.dumps(document))
    if path.exists():
        shutil.copymode(path, draft.name)
    Path(draft.name).replace(path)


def _table(document: tomlkit.TOMLDocument, name: str) -> Any:
    """`[default.NAME.parameters]`, made where it is not there."""
    at: Any = document
    for part in ("default", name, "parameters"):
        if part not in at:
            at[part] = tomlkit.table(is_super_table=part != "parameters")
        at = at[part]
    return at


def _read(path: Path) -> dict[str, Any]:
    """The same for verbs that can do without: nothing, too, where the file cannot be read."""
    try:
        return dict(settings_of(path))
    except (OSError, TypeError, ValueError, Misconfigured):
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
    said = " ".join(overrides(parameters))
    lines = [
        "# What `lakebound deploy` uses; written by `lakebound init`.",
        "version = 0.1",
        "",
        "[default.deploy.parameters]",
        f"stack_name = {_quoted(stack)}",
        f"parameter_overrides = {_quoted(said)}",
        'capabilities = "CAPABILITY_IAM"',
        "confirm_changeset = true",
        "fail_on_empty_changeset = false",
        "no_progressbar = true",
        "resolve_s3 = true",
    ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    # A JSON string is a TOML basic string.
    return orjson.dumps(text).decode()
