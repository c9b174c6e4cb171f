"""What each verb of the command tells with `--json`, its exit statuses, and the metrics of the functions.

`verb_results.json` keeps them.

    python -m tests.golden.verb_results    write the file anew, after a deliberate change of a field or a status

Everything in it comes from running the verbs on a stack that has lived (tests/roles/operators.py). A field that is a
list of nothing or null there is kept as such.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from docs.operator_rights import OPERATOR
from tests.roles.lives import LIVES
from tests.roles.operators import VERBS, Operated, json_option, operate

GOLDEN: Final = Path(__file__).with_suffix(".json")
KINDS: Final[Mapping[type, str]] = {
    str: "string", int: "number", float: "number", bool: "boolean", type(None): "null", list: "list", dict: "object"
}  # fmt: skip
BY_DATA: Final = frozenset({"damaged", "discarded", "failed", "kept", "parameters", "reasons"})
"""The objects whose members are named by what was found."""


def results(operated: Operated) -> dict[str, Any]:
    """Each verb's fields, over all its command lines; the exit status of each command line; and each metric."""
    return {
        "verbs": {
            verb: {
                "statuses": dict(zip(lines, operated.statuses[verb], strict=True)),
                "fields": fields(map(json.loads, operated.told[verb])) if json_option(verb) else {},
            }
            for verb, lines in VERBS.items()
        },
        "metrics": metrics(operated.printed),
    }


def metrics(printed: str) -> dict[str, dict[str, Any]]:
    """The unit and the dimensions of each metric in the lines of CloudWatch's embedded metric format."""
    lines = [json.loads(line) for line in printed.splitlines() if '"CloudWatchMetrics"' in line]
    blocks = [block for line in lines for block in line["_aws"]["CloudWatchMetrics"]]
    return {
        f"{block['Namespace']} {one['Name']}": {"unit": one["Unit"], "dimensions": sorted(block["Dimensions"][0])}
        for block in blocks
        for one in block["Metrics"]
    }


def fields(documents: Iterable[Any]) -> dict[str, list[str]]:
    """Every field of documents by its path, `[]` for any element of a list, with the JSON types that it had."""
    found: dict[str, set[str]] = {}
    for document in documents:
        for path, kind in _fields(document, ""):
            found.setdefault(path, set()).add(kind)
    return {path: sorted(kinds) for path, kinds in sorted(found.items())}


def _fields(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if path:
        yield path, KINDS[type(value)]
    if isinstance(value, dict):
        for name, member in value.items():
            yield from _fields(member, ".".join(filter(None, (path, "*" if path in BY_DATA else name))))
    elif isinstance(value, list):
        for element in value:
            yield from _fields(element, f"{path}[]")


def lived() -> Operated:
    """Every verb on a stack with a customer's key, as the operator of docs/RIGHTS.md."""
    with TemporaryDirectory() as folder:
        return operate(LIVES["customer-key"], [one.statement() for one in OPERATOR], Path(folder))


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(results(lived()), indent=1, sort_keys=True) + "\n")
