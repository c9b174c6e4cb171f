"""Keeps the local copy of the batch files that Spark reads, while they are being written."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from lakebound.operate.mirror import copy_missing, plan_mirror
from lakebound.ports import ObjectStore, StoredObject
from lakebound.transport.object_keys import DataKey


class Mirror:
    """A thread that does what `lakebound files mirror --follow` does, and knows what it copied."""

    def __init__(
        self, store: ObjectStore, prefix: str, folder: Path, *, copied: Callable[[int], None], every: float = 1.0
    ) -> None:
        self.files: dict[str, StoredObject] = {}
        """Every batch file that is in the folder, by its path there."""
        self.records: Counter[str] = Counter()
        """Records in them by origin, as their names say."""
        self._store = store
        self._prefix = prefix
        self._folder = folder
        self._copied = copied
        self._every = every
        self._stopped = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def start(self) -> None:
        """Begin with the first round."""
        self._thread.start()

    def check(self) -> None:
        """Raises what ended the thread, if anything did."""
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Finish the round under way, and no more."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _follow(self) -> None:
        try:
            while not self._stopped.is_set():
                plan = plan_mirror(self._store, self._prefix, self._folder)
                copy_missing(self._store, plan, self._folder, copied=self._note, threads=2)
                self._stopped.wait(self._every)
        except BaseException as failure:
            self._failure = failure

    def _note(self, stored: StoredObject) -> None:
        key = DataKey.parse(self._prefix, stored.key)
        assert key is not None
        self.files[stored.key[len(self._prefix) + 1 :]] = stored
        self.records[key.origin] += key.count
        self._copied(key.count)
