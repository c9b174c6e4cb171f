"""Counts: a number with the noun that it counts, and the verb that goes with them."""

from __future__ import annotations

from typing import Final

_ES: Final = ("s", "x", "ch", "sh")


def count_text(number: float, noun: str, of_one: str = "", of_many: str = "") -> str:
    """`1 key`, `11,161 keys`, `0.5 hours`, `2 entries`, `1 message waits`, `3 messages wait`.

    ``noun`` is in the singular; words before it stay as they are (`dead message`). Where a verb follows, ``of_one`` is
    its form after one and ``of_many`` its form after any other number. A number that is not whole has six digits.
    """
    # The remainder of what a person typed as inf or nan is no number, and so not 0.
    figure = f"{number:,}" if isinstance(number, int) else f"{number:,.0f}" if number % 1 == 0 else f"{number:,.6g}"
    if number == 1:
        return f"{figure} {noun} {of_one}".rstrip()
    return f"{figure} {_plural(noun)} {of_many}".rstrip()


def _plural(noun: str) -> str:
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(_ES) else f"{noun}s"
