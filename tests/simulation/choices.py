"""Every decision of a history, drawn from one seed and recorded by step, so that it can be replayed and cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random


class Choices:
    """A source of decisions. Without `script` they come from the seed; with it, from the script.

    A script is one list of numbers for each step. Where a step asks for more than its list holds it gets 0, and 0 is
    always the dullest decision (no fault, the first of several): a history cut short in the middle still runs.
    """

    def __init__(self, seed: int, script: Sequence[Sequence[int]] | None = None) -> None:
        self._random = Random(seed)
        self._script = script
        self._at = 0
        self.steps: list[list[int]] = []

    def begin_step(self) -> None:
        """What is drawn from here on belongs to the next step."""
        self.steps.append([])
        self._at = 0

    def _next(self, bound: int) -> int:
        assert self._script is not None
        step = self._script[len(self.steps) - 1] if len(self.steps) <= len(self._script) else ()
        value = step[self._at] if self._at < len(step) else 0
        self._at += 1
        return min(value, bound - 1)

    def below(self, bound: int) -> int:
        """A whole number from 0 to bound - 1."""
        value = int(self._random.random() * bound) if self._script is None else self._next(bound)
        self.steps[-1].append(value)
        return value

    def chance(self, probability: float) -> bool:
        """True with that probability; never where it is 0."""
        if probability <= 0.0:
            return False
        value = int(self._random.random() < probability) if self._script is None else self._next(2)
        self.steps[-1].append(value)
        return value == 1

    def weighted(self, weights: Sequence[int]) -> int:
        """A position of `weights`, each as likely as its weight says."""
        at = self.below(sum(weights))
        for position, weight in enumerate(weights):
            at -= weight
            if at < 0:
                return position
        raise AssertionError("weights do not add up")


def shrink(script: Sequence[Sequence[int]], fails: Callable[[list[list[int]]], bool], attempts: int) -> list[list[int]]:
    """A shorter script that still fails: steps are taken out, then decisions are made dull. Step 0 stays.

    `attempts` bounds how many scripts are tried.
    """
    best = [list(step) for step in script]
    left = attempts

    def still(candidate: list[list[int]]) -> bool:
        nonlocal left
        left -= 1
        return left >= 0 and fails(candidate)

    size = max(1, len(best) // 2)
    while size and left > 0:
        start = 1
        while start < len(best):
            candidate = best[:start] + best[start + size :]
            if still(candidate):
                best = candidate
            else:
                start += size
        size //= 2
    for number in range(len(best)):
        for position in range(len(best[number])):
            if best[number][position] and left > 0:
                candidate = [list(step) for step in best]
                candidate[number][position] = 0
                if still(candidate):
                    best = candidate
    return best
