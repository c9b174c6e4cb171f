"""Random histories of three keys: a simulated source, its stream, its scans, its gaps, and what gets delivered.

All times are milliseconds. Servers stamp a change up to 1.5 s off and cut it to the second, the scanner's clock
is up to 5 s off, and writes crowd around the scans, so that every rule that orders by time alone goes wrong.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from tests.support.independent_writer import Record, base, canonical, stream, version

START_MS = 1_357_000_000_000
MARGIN_MS = 60_000
WAIT_MS = 180_000
LABELS = ("2013-01-01T00:00:00.000", "2013-01-02T00:00:00.000")


@dataclass(frozen=True, slots=True)
class Change:
    """One committed write: when it truly happened, what the stream says of it, and what the key holds after it."""

    time_ms: int
    stamp_ms: int
    label: str
    sequence: int
    image: Any
    old_image: Any = None

    @property
    def event_name(self) -> str:
        if self.image is None:
            return "REMOVE"
        return "INSERT" if self.old_image is None else "MODIFY"


@dataclass(slots=True)
class History:
    """What three keys went through. ``records`` is everything that is ever delivered, once each; ``written`` holds
    every change of each key, the lost ones too."""

    truth: dict[str, Any] = field(default_factory=dict)
    written: dict[str, list[Change]] = field(default_factory=dict)
    is_lossy: bool = False
    records: list[Record] = field(default_factory=list)


Rule = Callable[[str, list[Change], list[tuple[int, int, str, Any]]], list[Record]]
"""How changes and scan reads (read time, request time by the scanner's clock, run, image) become records."""


def two_registers(margin_ms: int) -> Rule:
    def records(key: str, changes: list[Change], reads: list[tuple[int, int, str, Any]]) -> list[Record]:
        smallest = {run: min(other[1] for other in reads if other[2] == run) for _, _, run, _ in reads}
        keys = {"id": {"S": key}}
        return [
            *(
                stream(
                    keys,
                    c.sequence,
                    c.image,
                    time_ms=c.stamp_ms,
                    version=version(c.sequence, c.label),
                    old_image=c.old_image,
                    event_name=c.event_name,
                )
                for c in changes
            ),
            *(
                base(keys, request_ms - margin_ms, image, run=run)
                if image is not None
                # the sweep: a key that the run did not meet becomes an ABSENT row with the run's smallest label
                else base(keys, smallest[run] - margin_ms, None, run=run, origin="sweep")
                for _, request_ms, run, image in reads
            ),
        ]

    return records


def lexicographic(key: str, changes: list[Change], reads: list[tuple[int, int, str, Any]]) -> list[Record]:
    """The rule (time, scan < stream, sequence), written as versions, so that the same MERGE carries it."""
    keys = {"id": {"S": key}}
    return [
        *(
            stream(keys, c.sequence, c.image, time_ms=c.stamp_ms, version=version(c.sequence, f"{c.stamp_ms:015d}-1"))
            for c in changes
        ),
        *(
            stream(keys, 0, image, time_ms=request_ms, version=version(0, f"{request_ms:015d}-0"))
            for _, request_ms, _, image in reads
        ),
    ]


def history(seed: int, rules: dict[str, Rule]) -> dict[str, History]:
    """One history as each rule would carry it: the same writes, scans and losses under keys with the rule's name."""
    chance = random.Random(seed)
    lossy = chance.random() < 0.35
    gap = (START_MS + 10_000, START_MS + 30_000) if lossy else None
    second_phase = START_MS + 30_000 + WAIT_MS if lossy else START_MS + 20_000
    new_stream = chance.random() < 0.25
    sequence = 10**22 - chance.randrange(1, 12)  # runs from 22 into 23 digits
    scanner_off = chance.randrange(-5_000, 5_001)
    runs = [f"run-{chance.randrange(10**6):06d}" for _ in range(1 if lossy else chance.randrange(0, 3))]
    starts = {run: second_phase + chance.randrange(0, 20_000) for run in runs}
    outcome = {name: History(is_lossy=lossy) for name in rules}
    for number in range(3):
        written: list[Change] = []
        image: Any = None
        moments = [START_MS + chance.randrange(0, 30_000) for _ in range(chance.randrange(1, 5))]
        moments += [second_phase + chance.randrange(0, 25_000) for _ in range(chance.randrange(0, 4))]
        if chance.random() < 0.5:  # several writes within one second
            moments += [moments[0] + step for step in range(chance.randrange(1, 4))]
        for step, moment in enumerate(sorted(moments)):
            before = image
            if image is not None and chance.random() < 0.35:
                image = None
            else:
                image = {"id": {"S": "?"}, "v": {"N": str(step)}, "at": {"S": f"{seed}.{number}.{step}"}}
            sequence += chance.randrange(1, 4)
            off = chance.randrange(-1_500, 1_501)
            re_created = new_stream and moment >= second_phase
            written.append(
                Change(
                    time_ms=moment,
                    stamp_ms=(moment + off) // 1000 * 1000,
                    label=LABELS[re_created],
                    sequence=sequence - 10**21 * 9 if re_created else sequence,
                    image=image,
                    old_image=before,
                )
            )
        reads = []
        for run, start in starts.items():
            request = start + chance.randrange(0, 3_000)
            read = request + chance.randrange(0, 300)
            seen = [change.image for change in written if change.time_ms <= read]
            reads.append((read, request + scanner_off, run, seen[-1] if seen else None))
        delivered = [
            change
            for change in written
            if gap is None or not gap[0] <= change.time_ms <= gap[1] or chance.random() < 0.4
        ]
        for name, rule in rules.items():
            key = f"{name}-{seed}-{number}"
            named = [_with_key(change, key) for change in delivered]
            seen_reads = [(at, by, run, _rename(shown, key)) for at, by, run, shown in reads]
            outcome[name].records += rule(key, named, seen_reads)
            outcome[name].truth[canonical({"id": {"S": key}})] = _rename(image, key)
            outcome[name].written[canonical({"id": {"S": key}})] = [_with_key(change, key) for change in written]
    return outcome


def _rename(image: Any, key: str) -> Any:
    return None if image is None else {**image, "id": {"S": key}}


def _with_key(change: Change, key: str) -> Change:
    return replace(change, image=_rename(change.image, key), old_image=_rename(change.old_image, key))


def deliver(records: list[Record], chance: random.Random, deliveries: int) -> list[list[Record]]:
    """At least once, in any order and grouping: every record in some delivery, a quarter of them in two."""
    groups: list[list[Record]] = [[] for _ in range(deliveries)]
    for record in records:
        for _ in range(2 if chance.random() < 0.25 else 1):
            groups[chance.randrange(deliveries)].append(record)
    for group in groups:
        chance.shuffle(group)
    return groups
