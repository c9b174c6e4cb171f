"""Makes the writes of the flights: several writers side by side, each key's writes in their order."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from queue import Empty, Full, Queue
from typing import Any, Final

from demo.flights import Write
from lakebound.record.attributes import canonical_key

LANES: Final = 4
WRITES_PER_REQUEST: Final = 25
"""TransactWriteItems takes 100; 25 keep one transaction well below its 4 MB and the progress bar moving."""

_Request = list[Write]


class FlightWriter:
    """Writes to one table until all is written, or until one request fails or `stop` is called.

    ``a_second`` bounds the rate of the writes; None for as fast as the table takes them.

    `sent_ms` has, for each canonical key, the wall-clock times in ms at which its writes were sent, in order: the
    n-th record of a key in the stream is the n-th of them.
    """

    def __init__(self, table: str, client: Any, *, written: Callable[[int], None], a_second: int | None = None) -> None:
        self._table = table
        self._a_second = a_second
        self._client = client
        self._written = written
        self._queues: list[Queue[_Request | None]] = [Queue(maxsize=20) for _ in range(LANES)]
        self._stopped = threading.Event()
        self._failure: BaseException | None = None
        self.sent_ms: defaultdict[str, list[int]] = defaultdict(list)

    def write_all(self, writes: Iterable[Write]) -> None:
        """Make every write. Raises what the first failing request raised."""
        threads = [threading.Thread(target=self._drain, args=(queue,), daemon=True) for queue in self._queues]
        for thread in threads:
            thread.start()
        try:
            self._deal(writes)
        except BaseException:
            self._stopped.set()
            raise
        finally:
            for thread in threads:
                thread.join()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Make no further write."""
        self._stopped.set()

    def _deal(self, writes: Iterable[Write]) -> None:
        """Give each lane its writes in order, in requests that hold a key once."""
        pending: list[_Request] = [[] for _ in self._queues]
        keys: list[set[str]] = [set() for _ in self._queues]

        started, sent = time.monotonic(), 0

        def send(lane: int) -> None:
            nonlocal sent
            if pending[lane]:
                self._put(lane, pending[lane])
                sent += len(pending[lane])
                if self._a_second is not None:
                    self._stopped.wait(sent / self._a_second - (time.monotonic() - started))
            pending[lane], keys[lane] = [], set()

        for write in writes:
            if self._stopped.is_set():
                return
            lane = write.lane(LANES)
            key = canonical_key(write.key)
            if key in keys[lane] or len(pending[lane]) == WRITES_PER_REQUEST:
                send(lane)
            pending[lane].append(write)
            keys[lane].add(key)
        for lane in range(LANES):
            send(lane)
            self._put(lane, None)

    def _put(self, lane: int, request: _Request | None) -> None:
        while not self._stopped.is_set():
            try:
                self._queues[lane].put(request, timeout=0.5)
            except Full:
                continue
            return

    def _drain(self, queue: Queue[_Request | None]) -> None:
        while not self._stopped.is_set():
            try:
                request = queue.get(timeout=0.5)
            except Empty:
                continue
            if request is None:
                return
            try:
                self._send(request)
            except BaseException as failure:
                self._failure = self._failure or failure
                self._stopped.set()

    def _send(self, request: _Request) -> None:
        """One transaction: all of it or nothing, and safe to repeat, so botocore's retries write nothing twice."""
        sent_ms = time.time_ns() // 1_000_000
        self._client.transact_write_items(
            TransactItems=[
                {write.operation.split("_")[0].capitalize(): {"TableName": self._table, **write.request}}
                for write in request
            ]
        )
        for write in request:
            self.sent_ms[canonical_key(write.key)].append(sent_ms)
        self._written(len(request))
