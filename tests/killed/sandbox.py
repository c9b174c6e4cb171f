"""A function's sandbox: a process that loads the real handler once and forks for each invocation; a fork can be killed.

`python -m tests.killed.sandbox FUNCTION [EDIT]` reads one JSON document a line, `{"event", "seconds", "kill"}`, runs
the handler in a child process over real botocore, and answers with a line: `{"answer" | "error", "effects",
"receipts", "killed"}`. `kill` is `[number, "before" | "after"]`: the child sends itself SIGKILL just before or just
after that call that changes something, counted from 1. The disk of a child is full: it can write no file. EDIT is the
name of one of `CARELESS`: the harness's red control.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys
import time
from contextlib import ExitStack
from typing import Any, Final
from urllib.parse import urlsplit

from tests.simulation.mutants import Mutant, applied

CHANGES: Final = frozenset(
    {"SendMessageBatch", "PutObject", "DeleteMessageBatch", "ChangeMessageVisibilityBatch", "DeleteObject"}
)
"""The calls that change something; each is one numbered side effect."""

CARELESS: Final = {
    mutant.name: mutant
    for mutant in (
        Mutant(
            "delete before put",
            "lakebound.live.flush",
            "        for group in [together, *([one] for one in alone)]:\n",
            "        self._delete([receipt for one in opened for receipt in one.receipts])\n"
            "        for group in [together, *([one] for one in alone)]:\n",
            "",
        ),
        Mutant(
            "checkpoint before file",
            "lakebound.backfill.segment_worker",
            "        written = list(state.files)\n",
            "        reading.tag = self.documents.save(key, state.encode(), reading.tag)\n"
            "        written = list(state.files)\n",
            "",
        ),
    )
}


class _Hooks:
    """Botocore's own events around each request: counts what changes something, tells of it, and kills on time."""

    def __init__(self) -> None:
        self.out = -1
        self.number = 0
        self.kill: tuple[int, str] | None = None

    def tell(self, **said: Any) -> None:
        os.write(self.out, json.dumps(said).encode() + b"\n")

    def before(self, event_name: str, request: Any = None, **_: Any) -> None:
        operation = event_name.rpartition(".")[2]
        if operation in CHANGES:
            self.number += 1
            self.tell(effect=f"{operation} {_what(request.url)}".strip())
            self._die("before")

    def after(self, event_name: str, parsed_response: Any = None, **_: Any) -> None:
        operation = event_name.rpartition(".")[2]
        if operation == "ReceiveMessage":
            self.tell(receipts=[one["ReceiptHandle"] for one in (parsed_response or {}).get("Messages", ())])
        if operation in CHANGES:
            self._die("after")

    def _die(self, moment: str) -> None:
        if self.kill == (self.number, moment):
            os.kill(os.getpid(), signal.SIGKILL)


def _what(url: str) -> str:
    """The kind of object that a request is about: `claims`, `segments`, `manifests` …; `file` for a batch file."""
    parts = urlsplit(url).path.strip("/").split("/")
    if "_lakebound" not in parts:
        return "file" if len(parts) > 2 else ""
    kind = parts[parts.index("_lakebound") + 2]
    return parts[-2] if kind == "backfills" and parts[-2] == "segments" else kind


class _Context:
    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self.function_name = "killed"
        self.memory_limit_in_mb = 256
        self.invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:killed"
        self.aws_request_id = "0"

    def get_remaining_time_in_millis(self) -> int:
        return max(0, round((self._end - time.monotonic()) * 1000))


def _invoke(app: Any, asked: dict[str, Any], hooks: _Hooks) -> dict[str, Any]:
    reading, hooks.out = os.pipe()
    hooks.number, hooks.kill = 0, tuple(asked["kill"]) if asked["kill"] else None
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        # A full disk: no file may grow by a byte.
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        try:
            hooks.tell(answer=app.handler(asked["event"], _Context(asked["seconds"])))
        except Exception as error:
            hooks.tell(error=[type(error).__name__, str(error)])
        os._exit(0)
    os.close(hooks.out)
    with open(reading, "rb") as pipe:
        lines = [json.loads(line) for line in pipe.read().splitlines()]
    _, status = os.waitpid(child, 0)
    result: dict[str, Any] = {"effects": [], "receipts": [], "killed": os.WIFSIGNALED(status)}
    for line in lines:
        if "effect" in line:
            result["effects"].append(line["effect"])
        elif "receipts" in line:
            result["receipts"] += line["receipts"]
        else:
            result |= line
    return result


def main() -> None:
    """Serve invocations until standard input ends."""
    # A fork must copy no other thread's locks: botocore opens none before its first request, which is in the child.
    function, *edit = sys.argv[1:]
    hooks = _Hooks()
    session = importlib.import_module("lakebound.adapters.clients")._session()
    session.register("before-send", hooks.before)
    session.register("response-received", hooks.after)
    app = importlib.import_module(f"functions.{function}.app")
    with ExitStack() as stack:
        for name in edit:
            stack.enter_context(applied(CARELESS[name]))
        for line in sys.stdin:
            print(json.dumps(_invoke(app, json.loads(line), hooks)), flush=True)


if __name__ == "__main__":
    main()
