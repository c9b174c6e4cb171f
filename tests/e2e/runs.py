"""Runs of the demo, and what they leave."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from demo.flights import writes_of
from demo.run import Life
from lakebound.record.attributes import canonical_key

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Lived:
    """What the small demo's writes leave, worked out from the writes alone."""

    before: int
    streamed: int
    items: int
    tombstones: int

    @staticmethod
    def of(size: str) -> Lived:
        """A key that was deleted before the stream began is known to nobody."""
        life = Life.of(size)
        alive: set[str] = set()
        known: set[str] = set()
        for number, write in enumerate(writes_of(size)):
            if number == life.before:
                known = set(alive)
            key = canonical_key(write.key)
            if number >= life.before:
                known.add(key)
            (alive.discard if write.operation == "delete_item" else alive.add)(key)
        return Lived(life.before, life.streamed, len(alive), len(known - alive))


@dataclass(frozen=True, slots=True)
class DemoRun:
    folder: Path
    status: int
    out: str
    err: str
    endpoint: str

    @property
    def files(self) -> Path:
        return self.folder / "files"

    @property
    def silver(self) -> Path:
        return self.folder / "silver" / "flights"

    def client(self, service: str) -> Any:
        factory: Any = boto3.client
        return factory(
            service,
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def output(self, name: str) -> str:
        stacks = self.client("cloudformation").describe_stacks(StackName="lakebound")["Stacks"]
        return next(each["OutputValue"] for each in stacks[0]["Outputs"] if each["OutputKey"] == name)


def demo(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "demo.run", "--size", "small", "--folder", str(folder), *arguments]


def environment(folder: Path) -> dict[str, str]:
    """The environment of a run. Every process that it starts inherits the folder's name, Java too."""
    return os.environ | {"LAKEBOUND_DEMO_OF_TEST": str(folder)}


def processes_of(folder: Path) -> list[str]:
    """The command lines of processes that work in or for a folder, this one and its parents aside."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) in (os.getpid(), os.getppid()):
            continue
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            where = os.readlink(process / "cwd")
            surroundings = (process / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue  # it ended meanwhile
        if str(folder) in words or where.startswith(str(folder)) or str(folder) in surroundings:
            found.append(words)
    return found


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A run that was interrupted: what it ran by then, and what was still running after it had ended."""

    status: int
    out: str
    running: list[str]
    left: list[str]
