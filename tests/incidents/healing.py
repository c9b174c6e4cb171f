"""The operator's way out of a gap, over a Plant: looks record it, the real state machine heals it, it is closed.

Real are the look, the backfill's stages and state machine, and the decision to close. Played are what only Spark sees:
which rows a sweep removes, and that everything in the bucket is merged (a Plant's lake is all of its files).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lakebound.backfill.exports import Exporter
from lakebound.backfill.gap_closing import Closing, RunMergeCheck, decide_closing
from lakebound.backfill.manifest import Manifest
from lakebound.backfill.run_context import Ports, RunContext, RunRules
from lakebound.backfill.segment_worker import Page, PageSource
from lakebound.backfill.state_machine import perform
from lakebound.ports import Clock, Overtaken
from lakebound.record.attributes import Image
from lakebound.record.base_records import SnapshotDecoder
from lakebound.record.envelope import encode_line
from lakebound.record.stream_records import ChangeEvent
from lakebound.source.facts import MappingFacts, TableDescription
from lakebound.source.gaps import GapBook
from lakebound.transport import batch_files, messages
from lakebound.transport.object_keys import RunFolder, partitioner
from lakebound.transport.undelivered import pending_failures
from tests.support.local_ports import MemoryStore, MemoryUpstream, StoredBody
from tests.support.registers import Registers, receive_all
from tests.support.state_machine import start
from tests.support.stream_records import TABLE

if TYPE_CHECKING:
    from tests.incidents.plant import Plant

LOOK_MS = 300_000
HOURS = "dt=%Y-%m-%d/HH=%H"


class Documents:
    """Port Documents over a MemoryStore."""

    def __init__(self, store: MemoryStore, clock: Clock) -> None:
        self._store, self._clock = store, clock

    def load(self, key: str) -> tuple[bytes, str] | None:
        kept = self._store.objects.get(key)
        return None if kept is None else (kept.body, hashlib.md5(kept.body).hexdigest())

    def save(self, key: str, body: bytes, tag: str | None) -> str:
        stored = self.load(key)
        if (stored[1] if stored else None) != tag:
            raise Overtaken(f"{key} was changed by another writer")
        self._store.objects[key] = StoredBody(body, {}, self._clock.now_ms())
        return hashlib.md5(body).hexdigest()


@dataclass
class WholeTable:
    """Port PageSource: the table in one page, read at its request."""

    plant: Plant
    decoder: SnapshotDecoder
    segment: int
    margin_ms: int
    origin: str = "scan"

    def page(self, at: Any, limit: int | None) -> Page:
        asked = self.plant.clock.now_ms()
        items = [] if self.segment else list(self.plant.table.values())
        return Page(asked, asked - self.margin_ms, items, 1.0, None)

    def decode(self, value: Any, label_ms: int, event_id: str) -> ChangeEvent:
        return self.decoder.item(value, label_ms, event_id)


class Healing:
    """Looks, heals and closes, over one Plant."""

    def __init__(self, plant: Plant, prefix: str, margin_ms: int) -> None:
        self._plant = plant
        self._prefix = prefix
        documents = Documents(plant.bucket, plant.clock)
        self.book = GapBook(TABLE, plant.bucket, documents)
        self._looked_ms = 0
        self.rules = RunRules(
            table=TABLE,
            prefix=prefix,
            partition=partitioner(HOURS),
            max_records=0,
            max_file_bytes=1 << 26,
            max_seconds=240,
            margin_ms=margin_ms,
        )
        ports = Ports(
            source=self,
            scan=self._segment,
            mapping=self,
            exporter=self._no_exports,
            store=plant.bucket,
            documents=documents,
            clock=plant.clock,
            metrics=plant.metrics,
            upstream=MemoryUpstream(plant.buffer, plant.dead, plant.clock),
        )
        self._context = RunContext(self.rules, ports)

    def describe(self, *, recovery: bool = False) -> TableDescription:
        arn = self._plant.stream_arn.partition("/stream/")[0]
        items = len(self._plant.table)
        return TableDescription(TABLE, arn, "table-1", ("id",), items, 100 * items, 0, self._plant.stream_arn, None)

    def read_items(self, keys: Sequence[Image]) -> tuple[Any, int]:
        return self._plant.read_items(keys)

    def mapping(self) -> MappingFacts:
        return self._plant.mapping()

    def _segment(
        self, decoder: SnapshotDecoder, number: int, total: int, consistent: bool, margin_ms: int
    ) -> PageSource:
        return WholeTable(self._plant, decoder, number, margin_ms)

    def _no_exports(self, table_arn: str) -> Exporter:
        raise AssertionError("this table has no point-in-time recovery")

    def look(self) -> None:
        """The schedule: every five minutes."""
        now = self._plant.clock.now_ms()
        if now - self._looked_ms >= LOOK_MS:
            self._looked_ms = now
            perform(self._context, {"action": "look"}, lambda: 900.0)

    def heal(self, run: str) -> Manifest:
        """`lakebound backfill start --mode heal`, to its end, while everything else goes on."""

        def function(event: dict[str, Any]) -> dict[str, Any]:
            return perform(self._context, event, lambda: 900.0)

        result = start(function, {"mode": "heal"}, name=run, sleep=self._plant.run).run()
        assert f"lakebound backfill close --run {run}" in result["next"]
        key = RunFolder.of(TABLE, run).manifest()
        assert result["manifest"] == key
        return Manifest.decode(key, self._plant.bucket.get(key, 1 << 26))

    def sweep(self, manifest: Manifest) -> None:
        """The job sweep, played: ABSENT records of the ghosts, with the run's least label."""
        label, now = manifest.min_label_ms, self._plant.clock.now_ms()
        assert label is not None
        lines = []
        for key in self._ghosts(manifest):
            keys: Image = {"id": {"S": key.partition(":")[2]}}
            event = SnapshotDecoder(TABLE, manifest.run, "sweep", ("id",)).absent(keys, label, f"{manifest.run}|{key}")
            lines.append(messages.Line(len(lines), partitioner(HOURS)(now, True), None, encode_line(event, now)))
        for message in messages.Packer(TABLE, 262_144, now).pack(lines):
            members = messages.decode(TABLE, message.body)
            assert isinstance(members, list)
            for file in batch_files.assemble(self._prefix, "sweep", members):
                self._plant.bucket.put_if_absent(file.key, file.body, file.metadata)

    def close(self, manifest: Manifest) -> Closing:
        """`lakebound backfill close`."""
        merged = RunMergeCheck(records=len(self._of_run(manifest)), ghosts=len(self._ghosts(manifest)))
        plant = self._plant
        dead, failures = (
            len(plant.dead.messages),
            len(pending_failures(plant.bucket, TABLE, plant.mapping().mapping_id).objects),
        )
        closing = decide_closing(manifest, self.book.all(), self.rules.wait_ms, merged, dead, failures)
        for gap in closing.gaps:
            self.book.close(gap, manifest.run)
        return closing

    def _of_run(self, manifest: Manifest) -> list[Any]:
        records = self._plant.records()
        return [one for one in records if one["snapshot_run"] == manifest.run and one["origin"] != "sweep"]

    def _ghosts(self, manifest: Manifest) -> list[str]:
        kept = {one["key"] for one in self._of_run(manifest)}
        least = manifest.min_label_ms or 0
        own = f"{least:015d}|{manifest.run}|0"

        def is_ghost(key: str, row: Registers) -> bool:
            untouched = row.stream_time_ms is None or row.stream_time_ms < least
            return row.visible is not None and untouched and row.base_text < own and key not in kept

        return [key for key, row in receive_all(self._plant.records()).items() if is_ghost(key, row)]
