"""The `tables` of the merge job's YAML, as far as the operator's commands need them: which table takes which key."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from lakebound.errors import Misconfigured
from lakebound.record.entity_rules import EntityRules, parse_rules
from lakebound.yaml_file import load_yaml

_EXAMPLE: Final = "the example in docs/ENTITIES.md"


def load_rules(path: Path) -> EntityRules:
    """The rules of the file's `tables`. Raises Misconfigured with what to change."""
    return load_yaml(str(path), _rules_of, _EXAMPLE)


def _rules_of(document: Any) -> EntityRules:
    tables: Any = document.get("tables") if isinstance(document, dict) else None
    if not isinstance(tables, dict) or not all(isinstance(one, dict) for one in tables.values()) or not tables:
        raise Misconfigured("it has no `tables`; give the YAML of merge_changes that has them")
    return parse_rules([(str(name), settings.get("where")) for name, settings in tables.items()])
