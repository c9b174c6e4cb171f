"""The `tables` of the merge job's YAML, as far as the operator's commands need them: which table takes which key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from lakebound.errors import Misconfigured
from lakebound.record.entity_rules import EntityRules, parse_rules

_HINT = "Give the YAML of merge_changes, with `tables`"


def load_rules(path: Path) -> EntityRules:
    """The rules of the file's `tables`. Raises Misconfigured with what to change."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        raise Misconfigured(f"cannot read {path}", hint=_HINT) from None
    except yaml.YAMLError:
        raise Misconfigured(f"{path} is not YAML", hint=_HINT) from None
    tables: Any = document.get("tables") if isinstance(document, dict) else None
    if not isinstance(tables, dict) or not all(isinstance(one, dict) for one in tables.values()) or not tables:
        raise Misconfigured(f"{path} has no `tables`", hint=_HINT)
    try:
        return parse_rules([(str(name), settings.get("where")) for name, settings in tables.items()])
    except Misconfigured as error:
        raise Misconfigured(f"{path}: {error}") from None
