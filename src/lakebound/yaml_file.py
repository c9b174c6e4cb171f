"""A YAML file that a person wrote, read strictly: a key written twice is an error, never the last one that wins."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar

import yaml

from lakebound.errors import Misconfigured

T = TypeVar("T")


class _StrictLoader(yaml.SafeLoader):
    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue  # `<<: *columns`: what it brings is less than what is written beside it
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                break  # the parent refuses it as YAML
            if key in seen:
                raise Misconfigured(f"{key!r} is written twice; keep one of them")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            # An unquoted 2026-11-31 looks like a date, and PyYAML leaves it to Python to say that there is none.
            raise Misconfigured(
                f"the value near line {node.start_mark.line + 1} looks like a date or a number and is none; put "
                "quotes around a text"
            ) from None


def load_yaml(path: str, parse: Callable[[Any], T], example: str) -> T:
    """What ``parse`` makes of the document at ``path``; ``example`` says what a good one looks like.

    Raises Misconfigured, which names the file.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise Misconfigured(f"cannot read the configuration {path}: {reason}; check its path") from None
    try:
        return parse(yaml.load(text, Loader=_StrictLoader))
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" near line {where.line + 1}" if where is not None else ""
        raise Misconfigured(f"{path} is not YAML{line}; compare it with {example}") from None
    except RecursionError:
        raise Misconfigured(f"{path} is nested too deep; compare it with {example}") from None
    except Misconfigured as error:
        raise Misconfigured(f"{path}: {error}") from None
