"""What a stack is deployed from: the template, the functions, the state machine and the sources of the layer.

A clone has them in its root, where SAM builds them as they stand. A wheel carries them in `lakebound/stack_files`
(pyproject.toml puts them there, so no second copy is kept) but for the layer's package, which is the installed one.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

import yaml

import lakebound
from lakebound.errors import Misconfigured

TEMPLATE: Final = "template.yaml"

_PACKAGE: Final = Path(lakebound.__file__).resolve().parent
_CARRIED: Final = "stack_files"
_NO_SOURCE: Final = shutil.ignore_patterns(_CARRIED, "__pycache__", "*.pyc")


def clone() -> Path | None:
    """The root of the clone that this package is run from; None for an installed wheel."""
    root = _PACKAGE.parents[1]
    return root if not (_PACKAGE / _CARRIED).exists() and (root / TEMPLATE).exists() else None


def template_parameters() -> dict[str, Any]:
    """The template's parameters, each with its Type and what else it says. Raises Misconfigured as `lay_out` does."""
    root = clone() or _carried()
    return parameters_of(root / TEMPLATE)


def parameters_of(template: Path) -> dict[str, Any]:
    """The parameters of one template."""
    found: dict[str, Any] = yaml.load(template.read_text("utf-8"), _Loose)["Parameters"]
    return found


def lay_out(folder: Path) -> None:
    """Put what SAM builds into ``folder``, in place of what another version left there; its `.aws-sam` stays.

    Raises Misconfigured where the package carries none of it.
    """
    carried = _carried()
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if old.name != ".aws-sam":
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    shutil.copytree(carried, folder, ignore=_NO_SOURCE, dirs_exist_ok=True)
    shutil.copytree(_PACKAGE, folder / "src" / "lakebound", ignore=_NO_SOURCE)


def _carried() -> Path:
    carried = _PACKAGE / _CARRIED
    if not carried.exists():
        raise Misconfigured(
            f"{_PACKAGE} carries no template, so it is neither an installed wheel nor a clone",
            hint="Install the wheel: pipx install lakebound",
        )
    return carried


class _Loose(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # of two classes, by the machine
    """Reads a template past CloudFormation's tags (`!Ref`), whose values nobody here asks for.

    libyaml reads the template in a tenth of the second that PyYAML's own parser takes; its wheels carry it.
    """


_Loose.add_multi_constructor("!", lambda loader, suffix, node: None)
