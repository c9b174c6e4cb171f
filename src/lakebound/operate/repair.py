"""Repair of single keys: what the source holds of them now becomes base records, as in the re-read of a healed gap.

A row that somebody edited keeps its registers, so no replay changes it; a read with a later label does. A key that is
written again within MARGIN before the read stays with its stream record, as ORDERING.md wants it: repair it later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from lakebound.backfill.key_reread import KEYS_PER_READ, KeyReader, base_record, read_keys
from lakebound.backfill.run_context import RunRules
from lakebound.backfill.segment_worker import RefusedValue, encode_value
from lakebound.errors import Misconfigured
from lakebound.formats.registry import encoder_of
from lakebound.ports import Clock, ObjectStore
from lakebound.record.attributes import parse_key
from lakebound.record.base_records import SnapshotDecoder
from lakebound.transport import quarantine
from lakebound.transport.batch_files import LINES_PER_MEMBER, FileBuilder
from lakebound.transport.object_keys import RunFolder


@dataclass(slots=True)
class RepairResult:
    """What a repair wrote: `items` that the source has, `absent` keys that it has not, the files' keys."""

    run: str
    items: int = 0
    absent: int = 0
    quarantined: int = 0
    files: list[str] = field(default_factory=list)


def repair(
    keys: Sequence[str],
    run: str,
    rules: RunRules,
    key_names: Sequence[str],
    reader: KeyReader,
    store: ObjectStore,
    clock: Clock,
    progress: Callable[[int], None] = lambda count: None,
) -> RepairResult:
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
    decode = partial(base_record, SnapshotDecoder(rules.table, run, "reread", key_names))
    encoder = encoder_of(rules.file_format)
    result, files = RepairResult(run), FileBuilder(rules.prefix, "reread", rules.file_format)

    def write() -> None:
        for file in files.take_files():
            store.put_if_absent(file.key, file.body, file.metadata)
            result.files.append(file.key)

    for start in range(0, len(keys), KEYS_PER_READ):
        some = {key: parse_key(key) for key in keys[start : start + KEYS_PER_READ]}
        read, _, asked = read_keys(reader, clock, rules.table, key_names, some)
        now = clock.now_ms()
        for position, one in enumerate(read, start=start):
            event_id = f"{run}|0|{asked}|{position}"
            line = encode_value(one, decode, asked - rules.margin_ms, event_id, encoder, rules.redaction, now)
            if isinstance(line, RefusedValue):
                entry = quarantine.from_backfill(rules.table, run, 0, line.value, line.poison, now)
                store.put_if_absent(entry.key, entry.body, {"reason": entry.reason})
                result.quarantined += 1
                continue
            result.items += not line.is_delete
            result.absent += line.is_delete
            files.add(rules.partition(now, line.is_delete), line.data, line.count, now)
        if files.records >= LINES_PER_MEMBER:
            write()
        progress(len(read))
    write()
    return result
