"""Whether many images are legal, found out in a few passes over all their values at once.

A delivery of 1,000 records has 56,000 values. Asking each by itself (`attributes.check_image`) takes longer than the
runtime takes to parse them, so here every step is one call over a whole list.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, compress, cycle
from operator import getitem
from typing import Any, Final

from lakebound.attributes import CHECKS, MAX_DEPTH, MAX_DIGITS, canonical_number
from lakebound.errors import Poison

_TYPES: Final[dict[str, type]] = {"S": str, "BOOL": bool, "M": dict, "L": list}
_DIGITS: Final = b"0123456789"
_ZEROS: Final = bytes.maketrans(_DIGITS, b"0" * 10)
_TOO_MANY: Final = b"0" * (MAX_DIGITS + 1)
_NO_DIGIT_FIRST: Final = (b"\n\n", b"\n.", b"-\n", b"-.")


def surely_legal(images: list[Any]) -> bool:
    """Whether every image is legal.

    True stands for a `check_image` of each, but for the length of names: no name is longer than its encoded line.
    False decides nothing: the images may still be legal, `check_image` tells.
    """
    try:
        return _all_legal(images)
    except (IndexError, KeyError, Poison, TypeError, ValueError):
        return False


def _all_legal(images: list[Any]) -> bool:
    numbers: list[Any] = []
    # What is no dict fails here and wherever it is asked for a tag: TypeError.
    level = [(list(chain.from_iterable(map(dict.values, images))), len(images[0]) if images else 0)]
    for _ in range(MAX_DEPTH):
        maps: list[Any] = []
        members: list[Any] = []
        width = 1
        for values, guess in level:
            for tag, inners in _by_tag(values, _periods(len(values), len(images), guess)):
                kind = _TYPES.get(tag)
                if tag == "N":
                    numbers += inners
                elif kind is None:
                    for inner in inners:
                        CHECKS[tag](inner, 0)
                elif set(map(type, inners)) != {kind}:
                    return False
                elif kind is dict:
                    width = len(inners[0])
                    maps += chain.from_iterable(map(dict.values, inners))
                elif kind is list:
                    members += chain.from_iterable(inners)
        level = [(values, guess) for values, guess in ((maps, width), (members, 1)) if values]
        if not level:
            return _all_numbers(numbers)
    return False


def _periods(values: int, images: int, guess: int) -> list[int]:
    """After how many values the tags may come again: those of one image, or of one map or member."""
    whole = [] if not images or values % images else [values // images]
    return [period for period in (*whole, guess) if 0 < period <= values]


def _by_tag(values: list[Any], periods: list[int]) -> Iterator[tuple[str, list[Any]]]:
    """Each tag with what stands behind it. Raises where a value has not exactly one tag."""
    # Each value is asked for a tag below, so this total leaves none with a second one.
    if sum(map(len, values)) != len(values):
        raise ValueError
    for period in periods:
        # The items of a table look alike: where the first one's tags fit all others, nobody need be asked for its own.
        tags = [tag for value in values[:period] for tag in value]
        if len(tags) != period:
            continue
        try:
            inners = list(map(getitem, values, cycle(tags)))
        except KeyError:
            continue
        for tag in set(tags):
            if tag in ("M", "L"):
                # In the order of the images, so that what they hold comes again as regularly.
                yield tag, list(compress(inners, cycle([each == tag for each in tags])))
            else:
                places = [place for place, each in enumerate(tags) if each == tag]
                yield tag, list(chain.from_iterable([inners[place::period] for place in places]))
        return
    groups: dict[str, list[Any]] = {tag: [] for tag in CHECKS}
    put = {tag: group.append for tag, group in groups.items()}
    tags = list(chain.from_iterable(values))
    for keep, inner in zip(map(put.__getitem__, tags), map(getitem, values, tags), strict=True):
        keep(inner)
    yield from ((tag, group) for tag, group in groups.items() if group)


def _all_numbers(numbers: list[Any]) -> bool:
    if not _all_plain(numbers):
        for number in set(numbers):
            canonical_number(number)
    return True


def _all_plain(numbers: list[Any]) -> bool:
    """Whether each is digits, at most 38, with at most a minus in front and one point behind the first digit."""
    text = "\n".join(["", *numbers, ""]).encode("ascii")
    bare = text.translate(None, _DIGITS)
    return (
        text.count(b"\n") == len(numbers) + 1
        and not bare.translate(None, b"\n.-")
        and b".." not in bare
        and bare.count(b"-") == text.count(b"\n-")
        and not any(wrong in text for wrong in _NO_DIGIT_FIRST)
        and _TOO_MANY not in text.translate(_ZEROS, b".-")
    )
