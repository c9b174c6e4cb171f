"""How large a share of a table's keys the stack's nightly verify can compare in its invocation."""

from __future__ import annotations

from math import ceil
from typing import Final

KEYS_A_NIGHT: Final = 1_000_000
"""Half a millisecond each in nine minutes. `bench/nightly.py` measured 0.20 to 0.26 ms of processor time a key;
Lambda's processor and AWS's answers are allowed as much again, and were not measured."""


def keys_a_night(items: int, of: int) -> int:
    """About how many keys a night compares: the source's share and the lake's, which are not the same keys."""
    return ceil(2 * items / of)


def fitting_share(items: int) -> int:
    """Into how many shares a table of so many items should be divided at least: 30 is VerifyShare 1/30."""
    return max(2, ceil(2 * items / KEYS_A_NIGHT))
