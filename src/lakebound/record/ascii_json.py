"""Any JSON value as printable ASCII: safe in a message, a document and a log, lone surrogates and depth included."""

from __future__ import annotations

import json
from operator import itemgetter
from typing import Any


def ascii_text(text: str | None) -> str | None:
    """A text in which everything outside printable ASCII is escaped: safe in any document and any log."""
    return None if text is None else text.encode("unicode_escape").decode("ascii")


def ascii_json(value: Any, *, sort_names: bool = False) -> bytes:
    """Any JSON value as ASCII JSON, however deep it is nested."""
    try:
        text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), default=str, sort_keys=sort_names)
    except RecursionError:
        text = _deep_json(value, sort_names)
    return text.encode("ascii")


def _deep_json(value: Any, sort_names: bool) -> str:
    """`json.dumps` with a list for a stack: a forged record of 200,000 brackets must reach quarantine whole."""
    out: list[str] = []
    todo: list[tuple[bool, Any]] = [(False, value)]
    while todo:
        is_text, item = todo.pop()
        if is_text:
            out.append(item)
        elif type(item) is list:
            todo.append((True, "]"))
            for position in range(len(item) - 1, -1, -1):
                todo.append((False, item[position]))
                if position:
                    todo.append((True, ","))
            todo.append((True, "["))
        elif type(item) is dict:
            todo.append((True, "}"))
            entries = sorted(item.items(), key=itemgetter(0)) if sort_names else list(item.items())
            for position in range(len(entries) - 1, -1, -1):
                name, inner = entries[position]
                todo.append((False, inner))
                todo.append((True, ("," if position else "") + json.dumps(str(name)) + ":"))
            todo.append((True, "{"))
        else:
            out.append(json.dumps(item, ensure_ascii=True, default=str))
    return "".join(out)
