"""samconfig.toml: `lakebound init` writes it; `lakebound deploy` and every other verb read it."""

from __future__ import annotations

import re
import shlex
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Final

import orjson
import tomlkit

from lakebound.adapters.clients import region
from lakebound.errors import Misconfigured
from lakebound.operate.sam_parameters import overrides

_MAX_NAME: Final = 128
"""Characters of a stack's name, as CloudFormation takes them."""
_ANEW: Final = "Mend it, or move it away: lakebound init writes another"


@dataclass(frozen=True, slots=True)
class Kept:
    """What the file keeps for `sam deploy`."""

    deploy: Mapping[str, Any] = field(default_factory=dict)
    """`[default.deploy.parameters]`."""
    shared: Mapping[str, Any] = field(default_factory=dict)
    """`[default.global.parameters]`, which the other goes before."""

    @property
    def account(self) -> tuple[str, str]:
        """(profile, region), which go before the environment's; "" for none."""
        said = {**self.shared, **self.deploy}
        return str(said.get("profile", "")), str(said.get("region", ""))


def read(path: Path) -> Kept:
    """What the file keeps; nothing where there is no such file.

    Raises Misconfigured for no TOML, and for one in which the parameters are no table.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Kept()
    except UnicodeDecodeError:
        raise Misconfigured(f"{path.name} is no TOML: it is not UTF-8 text", hint=_ANEW) from None
    except tomllib.TOMLDecodeError as broken:
        raise Misconfigured(f"{path.name} is no TOML: {broken}", hint=_ANEW) from None
    return Kept(_parameters(path, document, "deploy"), _parameters(path, document, "global"))


def _parameters(path: Path, document: Mapping[str, Any], command: str) -> dict[str, Any]:
    at: Any = document
    for name in ("default", command, "parameters"):
        at = at.get(name, {})
        if not isinstance(at, dict):
            raise Misconfigured(f"[default.{command}.parameters] of {path.name} is no table", hint=_ANEW)
    return dict(at)


def configured_stack(path: Path) -> str:
    """The name of the stack that the file deploys; "" where it deploys none. Raises Misconfigured, as `read` does."""
    return str(read(path).deploy.get("stack_name", ""))


def configured_table(path: Path) -> tuple[str, str]:
    """(TableName, TableStreamArn) that `lakebound deploy` would use; "" for what the file does not give.

    For a verb that can do without: nothing, too, where the file cannot be read.
    """
    try:
        said = read(path).deploy.get("parameter_overrides", [])
        texts = shlex.split(said) if isinstance(said, str) else [str(one) for one in said]
    except (OSError, TypeError, ValueError, Misconfigured):
        return "", ""
    given = {name: value.strip('"') for name, _, value in (text.partition("=") for text in texts)}
    return given.get("TableName", ""), given.get("TableStreamArn", "")


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
