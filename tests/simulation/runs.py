"""Base records for the simulation: scan pages with labels, sweep, incremental export with its re-read.

Written from ORDERING.md, not from the backfill's code: the independent second opinion beside `backfills`, which runs
the real use case in a share of the histories.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from lakebound.adapters.s3 import S3Store
from lakebound.errors import StoreUnavailable
from lakebound.formats import ndjson
from lakebound.record.envelope import encode_line
from lakebound.record.stream_records import ChangeEvent
from lakebound.transport import batch_files
from lakebound.transport.messages import Member
from tests.simulation.source import TABLE

if TYPE_CHECKING:
    from tests.simulation.world import Gap, Invocation, World

MARGIN_MS = 60_000
SCANNER_ERROR_MS = 5_000
W_MS = 180_000
"""How long after the continuity point the first page may start: more than MARGIN and both clocks' errors (25 s)."""

Image = dict[str, Any]


def base_event(
    origin: str, keys: Image, text: str, image: Image | None, label_ms: int, run: str, place: str
) -> ChangeEvent:
    """A base record of the contract."""
    return ChangeEvent(
        event_name="ABSENT" if image is None else "SNAPSHOT",
        event_id=f"{run}|{place}|{label_ms}",
        origin=origin,
        source_table=TABLE,
        key=text,
        keys=keys,
        new_image=image,
        old_image=None,
        ttl_expired=False,
        sequence_number=None,
        version=None,
        snapshot_label_ms=label_ms,
        snapshot_run=run,
        approx_creation_time_ms=None,
        size_bytes=None,
    )


def store_rows(world: World, store: S3Store, origin: str, events: list[ChangeEvent], clock_ms: int) -> bool:
    """Put a page's rows into one batch file; False when the store did not confirm it."""
    if not events:
        return True
    member = Member(
        world.rules.partition(clock_ms, False),
        ndjson.EXTENSION,
        len(events),
        None,
        None,
        clock_ms,
        ndjson.compress(b"".join(encode_line(event, clock_ms) for event in events)),
    )
    try:
        for file in batch_files.assemble(world.ledger.prefix, origin, [member]):
            store.put_if_absent(file.key, file.body, file.metadata)
    except StoreUnavailable:
        return False
    return True


class ScanRun:
    """A parallel scan: segments of keys, strongly consistent pages, each labelled just before its own read."""

    def __init__(self, world: World, name: str, pages: int) -> None:
        self._world = world
        self.name = name
        numbers = range(len(world.table.keys))
        self._pages = [[n for n in numbers if n % pages == page] for page in range(pages)]
        self._done: set[int] = set()
        self.contained: set[str] = set()
        self.first_read_ms = world.now_ms
        self.least_label_ms = world.now_ms
        self.swept = False
        self.landed = False

    def pages_left(self) -> list[int]:
        return [page for page in range(len(self._pages)) if page not in self._done]

    def page(self, invocation: Invocation, number: int) -> bool:
        world = self._world
        clock_ms = world.now_ms + world.scanner_error_ms()
        label = clock_ms - world.margin_ms
        self.least_label_ms = min(self.least_label_ms, label)
        # Between the label and the read the world may go on: a request in flight.
        invocation.enter("scan")
        events = [
            base_event("scan", world.table.keys[n], world.table.texts[n], world.table.items[n], label, self.name, "s")
            for n in self._pages[number]
            if n in world.table.items
        ]
        invocation.leave("scan")
        if not store_rows(world, invocation.store, "scan", events, clock_ms):
            return False
        self.contained.update(event.key for event in events)
        self._done.add(number)
        return True

    def sweep(self, invocation: Invocation) -> bool:
        """ABSENT records for silver's keys that the complete run did not contain; whether they are stored."""
        world = self._world
        assert not self.pages_left()
        self.landed = world.has_landed(self.first_read_ms)
        world.merge_everything()
        if not world.write_absent(invocation.store, self.name, self.contained, self.least_label_ms):
            return False
        self.swept = True
        return True


def heal_incrementally(world: World, invocation: Invocation, gap: Gap, name: str) -> bool:
    """Windows of incremental export over a gap, then the re-read of every key with a delivered record in it."""
    table, margin = world.table, world.margin_ms
    edges = [(gap.from_ms - W_MS) // 1000 * 1000]
    inner = gap.from_ms + W_MS + world.choices.below(4) * 60_000
    end = (gap.to_ms + W_MS) // 1000 * 1000 + 1000
    if inner < end and world.choices.chance(0.5):
        edges.append(inner // 1000 * 1000 + 1000)
    edges.append(end)
    if len(edges) == 3 and edges[1] >= end:
        del edges[1]
    for start, to in itertools.pairwise(edges):
        events = []
        for n, past in table.past.items():
            if not any(start <= version.time_ms < to for version in past):
                continue
            before, after = table.as_of(n, start - 1), table.as_of(n, to - 1)
            if before is None and after is None:
                continue
            events.append(
                base_event("incremental_export", table.keys[n], table.texts[n], after, to - margin, name, f"w{start}")
            )
        if not store_rows(world, invocation.store, "incremental_export", events, world.now_ms):
            return False
    # ORDERING.md once read the keys with a stream record in [G - MARGIN, C + MARGIN] again. Two ghosts got away:
    # INSERT delivered at G - 120 s, DELETE lost (both inside the first window, which begins at G - W: not exported);
    # and INSERT lost, seen by a scan, DELETE lost: no stream record at all. Hence every record, from the first
    # window on.
    touched = {
        record["key"]
        for records in world.s3.records.values()
        for record in records
        if edges[0] - margin <= (record["approx_creation_time_ms"] or record["snapshot_label_ms"]) <= end + margin
    }
    label = world.now_ms + world.scanner_error_ms() - margin
    rows = [
        base_event("reread", table.keys[n], text, table.items.get(n), label, name, "reread")
        for n, text in enumerate(table.texts)
        if text in touched
    ]
    return store_rows(world, invocation.store, "reread", rows, world.now_ms)
