"""Two loopback servers: the Runtime API that Lambda shows to a function, and an SQS endpoint that accepts everything.

Written on bare sockets: they answer in tens of microseconds, so that what is timed is the function.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import queue
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from email.utils import formatdate
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final
from zlib import crc32

ROOT: Final = Path(__file__).resolve().parent.parent
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *([0-9]+)")
_ENTRY_ID = re.compile(rb'"Id": ?"([0-9]+)"')

Answer = Callable[[bytes, bytes], bytes]
"""From a request's head and body to the whole response."""


def serve(answer: Answer) -> tuple[socket.socket, int]:
    """Listen on a free loopback port, one thread a connection, until the socket is closed."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=_converse, args=(connection, answer), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener, listener.getsockname()[1]


def _converse(connection: socket.socket, answer: Answer) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    buffer = bytearray()
    with connection:
        try:
            while True:
                while (end := buffer.find(b"\r\n\r\n")) < 0:
                    if not (chunk := connection.recv(1 << 18)):
                        return
                    buffer += chunk
                head = bytes(buffer[:end])
                length = _LENGTH.search(head)
                need = end + 4 + (int(length[1]) if length else 0)
                if b"100-continue" in head:
                    connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                while len(buffer) < need:
                    if not (chunk := connection.recv(1 << 18)):
                        return
                    buffer += chunk
                body = bytes(buffer[end + 4 : need])
                del buffer[:need]
                connection.sendall(answer(head, body))
        except OSError:
            return


def response(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@dataclass(slots=True)
class Sent:
    """What the SQS endpoint was given: requests as SQS bills them (each 64 KiB of a batch is one), entries, bytes."""

    calls: int = 0
    billed: int = 0
    entries: int = 0
    body_bytes: int = 0

    def copy(self) -> Sent:
        """As it stands now."""
        return replace(self)

    def since(self, before: Sent) -> Sent:
        """What came after `before`."""
        return Sent(
            self.calls - before.calls,
            self.billed - before.billed,
            self.entries - before.entries,
            self.body_bytes - before.body_bytes,
        )


class Function:
    """A function in a process of its own under the real awslambdaric: `invoke` hands it an event and waits."""

    def __init__(self) -> None:
        self.sent = Sent()
        self.cold_seconds = 0.0
        self.pid = 0
        self._events: queue.Queue[bytes] = queue.Queue()
        self._results: queue.Queue[tuple[float, bytes]] = queue.Queue()
        self._ready = threading.Event()
        self._handed = 0.0

    def invoke(self, event: bytes) -> tuple[float, bytes]:
        """Seconds from the event being handed over to its result, and the result."""
        self._ready.wait(60)
        self._ready.clear()
        self._events.put(event)
        done, result = self._results.get(timeout=120)
        return done - self._handed, result

    def settled(self) -> None:
        """Wait until the function asks for its next event: then it has let go of the last one."""
        self._ready.wait(60)

    def cpu_seconds(self) -> float:
        """CPU time of the function's main thread since its start. Other programs' load does not move it much."""
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[0]) / 1e9

    def _runtime(self, head: bytes, body: bytes) -> bytes:
        if head.startswith(b"GET"):
            self._ready.set()
            event = self._events.get()
            deadline = int((time.time() + 60) * 1000)
            invocation = response(
                event,
                b"Content-Type: application/json",
                b"Lambda-Runtime-Aws-Request-Id: 8476a536-e9f4-11e8-9739-2dfe598c3fcd",
                b"Lambda-Runtime-Deadline-Ms: %d" % deadline,
                b"Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:123456789012:function:bench",
            )
            self._handed = time.perf_counter()
            return invocation
        self._results.put((time.perf_counter(), body))
        if b"/error" in head.split(b"\r\n", 1)[0]:
            self._ready.set()
        return response(b"", status=b"202 Accepted")

    def _sqs(self, head: bytes, body: bytes) -> bytes:
        ids = _ENTRY_ID.findall(body)
        self.sent.calls += 1
        self.sent.entries += len(ids)
        self.sent.body_bytes += len(body)
        self.sent.billed += -(-len(body) // 65_536)
        entries = b",".join(b'{"Id":"%s","MessageId":"m","MD5OfMessageBody":"0"}' % one for one in ids)
        return response(b'{"Successful":[%s],"Failed":[]}' % entries, b"Content-Type: application/x-amz-json-1.0")


@contextmanager
def responding(*bodies: bytes, seconds: float = 0.0) -> Iterator[int]:
    """A server that answers requests with these JSON bodies in turn, dated and with DynamoDB's checksum; its port.

    Each answer takes it so many `seconds`. It is a process of its own, so that it takes nothing of the interpreter of
    what is timed.
    """
    ours, theirs = _SPAWN.Pipe()
    server = _SPAWN.Process(target=_respond, args=(theirs, bodies, seconds), daemon=True)
    server.start()
    try:
        yield int(ours.recv())
    finally:
        server.terminate()
        server.join()


_SPAWN: Final = multiprocessing.get_context("spawn")


def _respond(to: Connection, bodies: tuple[bytes, ...], seconds: float) -> None:
    turns = itertools.cycle((body, b"x-amz-crc32: %d" % crc32(body)) for body in bodies)

    def answer(head: bytes, request: bytes) -> bytes:
        body, checksum = next(turns)
        time.sleep(seconds)
        date = b"Date: " + formatdate(usegmt=True).encode()
        return response(body, b"Content-Type: application/x-amz-json-1.0", checksum, date)

    listener, port = serve(answer)
    to.send(port)
    with listener:
        threading.Event().wait()


@contextmanager
def running(handler: str, folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[Function]:
    """Start `handler` (module.function) with `folder` as its code; ended when the block ends."""
    function = Function()
    runtime, runtime_port = serve(function._runtime)
    sqs, sqs_port = serve(function._sqs)
    values = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ} | {
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{runtime_port}",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{sqs_port}",
        "QUEUE_URL": f"http://127.0.0.1:{sqs_port}/000000000000/buffer",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_LAMBDA_FUNCTION_NAME": "bench",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "TABLE_NAME": "cars",
        "S3_BUCKET": "bench-bucket",
        "POWERTOOLS_METRICS_NAMESPACE": "Lakebound",
        "POWERTOOLS_SERVICE_NAME": "bench",
        "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
        **(environment or {}),
    }
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "awslambdaric", handler],
            cwd=folder,
            env=values,
            stdout=output,
            stderr=output,
        )
        try:
            if not function._ready.wait(60) or process.poll() is not None or not function._results.empty():
                output.seek(0)
                raise RuntimeError(f"{handler} did not start: {output.read()[-2000:].decode(errors='replace')}")
            function.pid = process.pid
            function.cold_seconds = time.perf_counter() - started
            yield function
        finally:
            process.kill()
            process.wait()
            runtime.close()
            sqs.close()
