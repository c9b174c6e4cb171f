"""The ports that a measured use case needs beside the one that is measured: a clock set by hand, a bucket in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lakebound.ports import StoredObject


class ManualClock:
    """Port Clock over a number, which only sleeping moves on."""

    def __init__(self, now_ms: int = 1_795_000_000_000) -> None:
        self.ms = now_ms

    def now_ms(self) -> int:
        return self.ms

    def sleep(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)


class MemoryDocuments:
    """Port Documents over a dictionary, for one writer."""

    def __init__(self) -> None:
        self._documents: dict[str, tuple[bytes, str]] = {}

    def load(self, key: str) -> tuple[bytes, str] | None:
        return self._documents.get(key)

    def save(self, key: str, body: bytes, tag: str | None) -> str:
        saved = str(int(tag or 0) + 1)
        self._documents[key] = (body, saved)
        return saved


class MemoryStore:
    """Port ObjectStore over a dictionary."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}

    def put_if_absent(self, key: str, body: bytes, metadata: Mapping[str, str]) -> bool:
        del metadata
        return self._objects.setdefault(key, body) is body

    def get(self, key: str, max_bytes: int) -> bytes:
        del max_bytes
        return self._objects[key]

    def list(self, prefix: str) -> Iterator[StoredObject]:
        return (StoredObject(key, len(body), 0) for key, body in self._objects.items() if key.startswith(prefix))
