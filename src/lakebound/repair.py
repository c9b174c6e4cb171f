"""Repair of single keys: what the source holds of them now becomes base records, as in the re-read of a healed gap.

A row that somebody edited keeps its registers, so no replay changes it; a read with a later label does. A key that is
written again within MARGIN before the read stays with its stream record, as ORDERING.md wants it: repair it later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from lakebound import quarantine
from lakebound.batches import assemble
from lakebound.encoders.choice import encoder_of
from lakebound.errors import Misconfigured, Poison
from lakebound.events import SnapshotDecoder
from lakebound.layout import RunFolder
from lakebound.messages import Member
from lakebound.ports import Clock, ObjectStore
from lakebound.redaction import Redaction
from lakebound.reread import KEYS_PER_READ, KeyReader, read_all
from lakebound.verify import key_attributes

LINES_PER_MEMBER: Final = 4_000


@dataclass(frozen=True, slots=True)
class RepairRules:
    """What the stack's settings decide: where the records go, and how."""

    table: str
    prefix: str
    partition: Callable[[int, bool], str]
    margin_ms: int
    file_format: str = "ndjson.gz"
    redaction: Redaction | None = None


@dataclass(slots=True)
class Repaired:
    """What a repair wrote: `items` that the source has, `absent` keys that it has not, the files' keys."""

    run: str
    items: int = 0
    absent: int = 0
    quarantined: int = 0
    files: list[str] = field(default_factory=list)


def repair(
    keys: Sequence[str],
    run: str,
    rules: RepairRules,
    key_names: Sequence[str],
    reader: KeyReader,
    store: ObjectStore,
    clock: Clock,
    progress: Callable[[int], None] = lambda count: None,
) -> Repaired:
    """Read these canonical keys consistently and write a base record of each; the merge job does the rest.

    Raises Misconfigured where keys land hashed (nobody can read them again), and what the ports raise; nothing was
    written then but whole files, which are harmless.
    """
    RunFolder.of(rules.table, run)
    if rules.redaction is not None and rules.redaction.hashes_any(key_names):
        raise Misconfigured(
            "the lake holds the hash of the keys only, so they cannot be read again",
            hint='Start a backfill with {"mode": "scan"} instead, and a sweep after it',
        )
    decoder = SnapshotDecoder(rules.table, run, "reread", key_names)
    encoder = encoder_of(rules.file_format)
    result, lines = Repaired(run), dict[str, list[bytes]]()

    def write() -> None:
        now = clock.now_ms()
        members = [
            Member(partition, encoder.extension, len(some), None, None, now, encoder.compress(some))
            for partition, some in lines.items()
        ]
        for file in assemble(rules.prefix, "reread", members, rules.file_format):
            store.put_if_absent(file.key, file.body, file.metadata)
            result.files.append(file.key)
        lines.clear()

    for start in range(0, len(keys), KEYS_PER_READ):
        some = {key: key_attributes(key) for key in keys[start : start + KEYS_PER_READ]}
        read, _, asked = read_all(reader, clock, rules.table, key_names, some)
        now = clock.now_ms()
        for position, (attributes, item) in enumerate(read, start=start):
            label, event_id = asked - rules.margin_ms, f"{run}|0|{asked}|{position}"
            try:
                if item is None:
                    event = decoder.absent(attributes, label, event_id)
                else:
                    event = decoder.item(item, label, event_id)
                if rules.redaction is not None:
                    event = rules.redaction.event(event)
                line = encoder.encode(event, now)
            except Poison as poison:
                shown: object = item if rules.redaction is None else rules.redaction.base_value(item)
                kept = quarantine.from_backfill(rules.table, run, 0, shown, poison, now)
                store.put_if_absent(kept.key, kept.body, {"reason": kept.reason})
                result.quarantined += 1
                continue
            result.items += item is not None
            result.absent += item is None
            lines.setdefault(rules.partition(now, item is None), []).append(line)
        if sum(map(len, lines.values())) >= LINES_PER_MEMBER:
            write()
        progress(len(read))
    write()
    return result
