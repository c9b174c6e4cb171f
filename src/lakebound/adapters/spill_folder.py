"""Port Spill of `verify` over a folder: one file a chunk, and a plan that says which run they belong to."""

from __future__ import annotations

import fcntl
import os
import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import orjson

from lakebound.errors import LakeboundError, Misconfigured
from lakebound.operate.first_look import PARTITIONS

_OFFSETS: Final = struct.Struct(f"<{PARTITIONS + 1}Q")
"""At which byte of a chunk's file each partition begins, and at which the last one ends."""
_TWO: Final = struct.Struct("<2Q")
_CHUNK: Final = re.compile(r"(?P<part>.+)\.\d{6}(?P<last>\.last)?\.chunk")
_PLAN: Final = "verify.json"
_DAY_MS: Final = 86_400_000


class SpillFolder:
    """Chunks in a folder that holds nothing else. What a killed run left of a part that is not whole is removed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._counts: dict[str, int] = {}
        self._files: list[Path] = []
        self._whole: set[str] = set()
        with _told(folder):
            chunks = [(path, found) for path in sorted(folder.iterdir()) if (found := _CHUNK.fullmatch(path.name))]
            self._whole = {found["part"] for _, found in chunks if found["last"]}
            for path, found in chunks:
                if found["part"] in self._whole:
                    self._files.append(path)
                else:
                    path.unlink()
            for left in folder.glob("*.writing"):
                left.unlink()

    def whole_parts(self) -> frozenset[str]:
        """See Spill."""
        return frozenset(self._whole)

    def keep(self, part: str, chunk: Mapping[int, bytes | bytearray], *, is_last: bool) -> None:
        """See Spill."""
        number = self._counts[part] = self._counts.get(part, -1) + 1
        path = self._folder / f"{part}.{number:06d}{'.last' if is_last else ''}.chunk"
        offsets, end = [], _OFFSETS.size
        for partition in range(PARTITIONS):
            offsets.append(end)
            end += len(chunk.get(partition, b""))
        with _told(self._folder):
            writing = path.with_suffix(".writing")
            with writing.open("wb") as file:
                file.write(_OFFSETS.pack(*offsets, end))
                file.writelines(chunk[partition] for partition in sorted(chunk))
                file.flush()
                # A machine that loses its power must not keep the name of a chunk and lose its bytes.
                os.fsync(file.fileno())
            writing.rename(path)
        self._files.append(path)
        if is_last:
            self._whole.add(part)

    def read(self, partition: int) -> bytes:
        """See Spill."""
        found = []
        with _told(self._folder):
            for path in self._files:
                with path.open("rb", buffering=0) as file:
                    begin, end = _TWO.unpack(os.pread(file.fileno(), _TWO.size, partition * 8))
                    if end > begin:
                        found.append(os.pread(file.fileno(), end - begin, begin))
        return b"".join(found)

    def empty(self) -> None:
        """Remove the chunks and the plan: what they said is in the report."""
        with _told(self._folder):
            for path in self._files:
                path.unlink()
            (self._folder / _PLAN).unlink(missing_ok=True)
        self._files.clear()


@dataclass(frozen=True, slots=True)
class Begun:
    """When a run began, and in how many parts it reads the source: what goes on with it must read the same parts."""

    began_ms: int
    parts: int


@contextmanager
def open_spill(work: Path | None, plan: Mapping[str, object], begun: Begun) -> Iterator[tuple[SpillFolder, Begun]]:
    """The folder of a run, and how the run began: ``begun`` now, or with ``work`` as a run of this plan left it there.

    ``plan`` is what makes two runs the same. Raises Misconfigured where the folder belongs to another run, is in use,
    or began over a day ago; LakeboundError where it cannot be written.
    """
    if work is None:
        with TemporaryDirectory(prefix="lakebound-verify-") as folder:
            yield SpillFolder(Path(folder)), begun
        return
    with _told(work):
        work.mkdir(parents=True, exist_ok=True)
        ours = (".lock", _PLAN, _PLAN + ".writing")
        names = {one.name for one in work.iterdir()}
        if _PLAN not in names and (foreign := sorted(names.difference(ours))):
            raise Misconfigured(f"{work} is not empty ({foreign[0]})", hint="Give a new folder, or an empty one")
        lock = (work / ".lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Misconfigured(f"Another verify works in {work}", hint="Give it a folder of its own") from None
        begun = _begin(work, plan, begun)
        yield SpillFolder(work), begun


def _begin(work: Path, plan: Mapping[str, object], now: Begun) -> Begun:
    """How the run in the folder began; notes it where there is none."""
    path = work / _PLAN
    with _told(work):
        if not path.exists():
            writing = work / (_PLAN + ".writing")
            writing.write_bytes(orjson.dumps({"plan": plan, "began_ms": now.began_ms, "parts": now.parts}))
            writing.rename(path)
            return now
        kept = orjson.loads(path.read_bytes())
    if kept["plan"] != plan:
        other = ", ".join(sorted(name for name in plan if kept["plan"].get(name) != plan[name]))
        raise Misconfigured(
            f"{work} holds a verify that was asked otherwise ({other})",
            hint="Ask the same again, or give another folder",
        )
    begun = Begun(kept["began_ms"], kept["parts"])
    if now.began_ms - begun.began_ms > _DAY_MS:
        raise Misconfigured(
            f"The verify in {work} began over a day ago: what it read of the source is too old",
            hint="Remove the folder and begin anew",
        )
    return begun


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """A disk's failure as a sentence."""
    try:
        yield
    except OSError as failure:
        raise LakeboundError(
            f"verify cannot keep what it read in {folder}: {failure.strerror}",
            hint="It needs about 75 bytes a key and side; give --work a folder on a larger disk",
        ) from None
