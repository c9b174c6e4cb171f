"""Jobs run by their own `main`, in this process and its session."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run answered and printed: the lines that are JSON, and the last one that is not."""

    status: int
    batches: list[dict[str, Any]]
    last_line: str


def run_main(main: Callable[[Sequence[str]], int], *arguments: object) -> Ran:
    out = io.StringIO()
    with redirect_stdout(out):
        status = main([str(argument) for argument in arguments])
    lines = out.getvalue().splitlines()
    told = [line for line in lines if not line.startswith("{")]
    return Ran(status, [json.loads(line) for line in lines if line.startswith("{")], told[-1] if told else "")
