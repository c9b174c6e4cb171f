"""MARGIN and W of docs/ORDERING.md.

A base record is labelled MARGIN before its page was asked for. W keeps a run's reads away from the moments that it must
not touch, the stream's start and a gap's edges: it covers MARGIN and the errors of both clocks.
"""

from __future__ import annotations


def wait_ms(margin_ms: int) -> int:
    """W for this MARGIN."""
    return 3 * margin_ms
