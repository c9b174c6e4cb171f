"""What DataFusion says of a query that it cannot plan, in words for the person who wrote the query."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_PREFIXES: Final = re.compile(r"(Error during planning|Schema error|SQL error|Internal error): ")
_PARSER: Final = re.compile(r'ParserError\("(.*)"\)', re.DOTALL)
_NO_FUNCTION: Final = re.compile(r".*(No function matches .*?)\s*Candidate functions:\s*(.*)", re.DOTALL)
_NO_TABLE: Final = re.compile(r"table 'datafusion\.public\.(.*)' not found", re.DOTALL)
_LINE: Final = re.compile(r"\bLine: (\d+)")


def refusal_words(refusal: str, lines_before: int, tables: Sequence[str]) -> str:
    """The ``refusal`` without what speaks of the engine's inside.

    ``lines_before`` stand before the first line of the person's query, in which lines are counted. It can name the
    ``tables``, two or more.
    """
    words = _PREFIXES.sub("", refusal)
    if found := _PARSER.fullmatch(words):
        words = found[1]
    elif found := _NO_TABLE.fullmatch(words):
        words = f"there is no table {found[1]}; the tables are {', '.join(tables[:-1])} and {tables[-1]}"
    elif found := _NO_FUNCTION.fullmatch(words):
        # DataFusion puts a list of its attempts before it, and asks for a report of a bug.
        words = f"{found[1]} It takes {', '.join(found[2].split())}."
    return _LINE.sub(lambda line: f"Line: {int(line[1]) - lines_before}", words)
