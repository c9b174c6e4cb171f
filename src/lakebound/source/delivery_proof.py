"""Until when everything was delivered, and where changes may be missing: what a stream check proves.

A gap is [G, C]: G must not be too late, C not too early (ORDERING.md, healing a gap). Both rest on one moment, before
which every change was delivered, or is in a gap that is known. It moves on only with proof:

- Some slices in a row, all settled, in the mapping's present state, on the table's stream, without a delivery that
  failed. A delivery of a shard in them succeeded, and its last record was at most `age_ms` old: what was written to
  that shard before the stretch less that age was delivered. A shard without a delivery had nothing to deliver.
- A slice without a value proves nothing by itself: a disabled mapping has none either. It counts as quiet only in the
  last hour before a check that sees the mapping enabled and without a problem.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from lakebound.errors import LakeboundError
from lakebound.source.facts import SLICE_MS, MappingFacts, Slice
from lakebound.source.gaps import RETENTION_MS, Gap

SETTLED_MS: Final = 20 * 60_000
"""A metric stands at its invocation's start and comes after its end (15 minutes at most), some minutes late."""

STRETCH: Final = 5
"""Slices in a row: longer than one try of a delivery (15 minutes at most) and Lambda's wait before the next one. A try
that began before them and fails is counted where it began; in them it would show as silence."""

QUIET_MS: Final = 3_600_000
SLACK_MS: Final = 60_000
"""Creation times are cut to the second, and clocks differ."""


@dataclass(frozen=True, slots=True)
class StreamCheck:
    """The result of a stream check: which stream, until when everything was delivered or is in a known gap, and which
    failure objects wait (key: when Lambda wrote it). `delivered_ms` is None as long as nothing was ever proved."""

    stream_arn: str
    delivered_ms: int | None
    failures: Mapping[str, int]
    looked_ms: int

    def encode(self) -> bytes:
        """As one JSON document."""
        return orjson.dumps({name: getattr(self, name) for name in self.__slots__})

    @staticmethod
    def decode(key: str, body: bytes) -> StreamCheck:
        """Raises LakeboundError for a document that is none."""
        try:
            fields: dict[str, Any] = orjson.loads(body)
            failures = {str(name): int(at) for name, at in fields["failures"].items()}
            delivered = fields["delivered_ms"]
            return StreamCheck(
                str(fields["stream_arn"]),
                None if delivered is None else int(delivered),
                failures,
                int(fields["looked_ms"]),
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            raise LakeboundError(
                f"{key} is not the result of a stream check",
                hint="Move it away and heal: what was missed until now is not known",
            ) from None


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What a check finds: the table's stream (None: it has none) and its label, the mapping, the metrics' slices (None:
    they could not be read)."""

    stream_arn: str | None
    label_ms: int
    mapping: MappingFacts
    slices: Sequence[Slice] | None
    now_ms: int

    @property
    def delivers_since_ms(self) -> int | None:
        """Since when the mapping reads this stream without a change of its state; None: it does not."""
        mapping = self.mapping
        well = mapping.state == "Enabled" and not mapping.result.startswith("PROBLEM")
        if not well or self.stream_arn is None or mapping.stream_arn != self.stream_arn:
            return None
        return max(mapping.modified_ms, self.label_ms)

    @property
    def is_off(self) -> bool:
        """Whether the mapping was switched off."""
        return self.mapping.state in ("Disabled", "Disabling")


@dataclass(frozen=True, slots=True)
class Proof:
    """At `at_ms` (a stretch's end), everything from before `delivered_ms` had been delivered, or was gone."""

    delivered_ms: int
    at_ms: int


def proofs(facts: StreamFacts) -> list[Proof]:
    """Every proof that the slices give, the earliest first."""
    since = facts.delivers_since_ms
    if since is None or facts.slices is None:
        return []
    measured = {one.start_ms: one for one in facts.slices}
    quiet_from = facts.now_ms - QUIET_MS
    first = -(-max(since, min([*measured, quiet_from])) // SLICE_MS) * SLICE_MS
    last = (facts.now_ms - SETTLED_MS) // SLICE_MS * SLICE_MS
    found = []
    for start in range(first, last - STRETCH * SLICE_MS + 1, SLICE_MS):
        stretch = [measured.get(start + number * SLICE_MS) for number in range(STRETCH)]
        silent = [one is None or one.age_ms is None for one in stretch]
        if any(quiet and start + number * SLICE_MS < quiet_from for number, quiet in enumerate(silent)):
            continue
        if any(one is not None and one.failed for one in stretch):
            continue
        age = max((one.age_ms for one in stretch if one is not None and one.age_ms is not None), default=0)
        found.append(Proof(start - age - SLACK_MS, start + STRETCH * SLICE_MS))
    return found


def find_gaps(
    previous: StreamCheck | None, facts: StreamFacts, open_ended: Sequence[Gap]
) -> tuple[int | None, str, list[Gap]]:
    """(until when everything was delivered or is in a gap, the stream that this is about, gaps found or ended).

    The moment is None as long as nothing was ever proved. `open_ended` are the recorded gaps of the stream without an
    end. A gap that is found again has the same start and cause.
    """
    stream = facts.stream_arn or (previous.stream_arn if previous else "")
    if previous is None or previous.delivered_ms is None:
        return _first_check(facts, stream)
    delivered = previous.delivered_ms
    if stream != previous.stream_arn or facts.stream_arn is None:
        # Records of the old stream that nobody took before it ended, and all writes until the new one began.
        gaps = [] if open_ended else [_open_gap(facts, delivered, "stream_recreated")]
        return delivered, stream, gaps
    gaps = list(open_ended)
    for proof in proofs(facts):
        if proof.delivered_ms <= delivered:
            continue
        missed = proof.at_ms - delivered > RETENTION_MS
        # Behind by nearly as much as the stream keeps, it loses records and goes on: that is not whole yet.
        most = RETENTION_MS // 2 if gaps or missed else RETENTION_MS
        if proof.at_ms - proof.delivered_ms > most:
            continue
        if missed and not gaps:
            gaps.append(_open_gap(facts, delivered, "mapping_behind"))
        delivered = proof.delivered_ms
    if delivered > previous.delivered_ms:
        end = max(delivered, facts.label_ms, facts.mapping.modified_ms)
        return delivered, stream, [Gap(gap.from_ms, end, gap.cause, gap.shards, gap.detected_at_ms) for gap in gaps]
    if not gaps and facts.now_ms - delivered > RETENTION_MS:
        return (
            delivered,
            stream,
            [_open_gap(facts, delivered, "mapping_disabled" if facts.is_off else "mapping_behind")],
        )
    return delivered, stream, []


def _first_check(facts: StreamFacts, stream: str) -> tuple[int | None, str, list[Gap]]:
    """The first check: before it nothing is known that could have been missed, except where a mapping has been off for
    longer than the stream keeps records."""
    proved = proofs(facts)
    if proved:
        return proved[-1].delivered_ms, stream, []
    off_since = facts.mapping.modified_ms
    if facts.is_off and stream and facts.now_ms - off_since > RETENTION_MS:
        # What it had not delivered when it was switched off was at most as old as the stream keeps records.
        begin = max(facts.label_ms, off_since - RETENTION_MS)
        return begin, stream, [_open_gap(facts, begin, "mapping_disabled")]
    return None, stream, []


def _open_gap(facts: StreamFacts, from_ms: int, cause: str) -> Gap:
    return Gap(from_ms, None, cause, detected_at_ms=facts.now_ms)


def lost_failures(slices: Sequence[Slice], now_ms: int) -> list[Gap]:
    """The gaps of deliveries that Lambda gave up on and could not write to the bucket."""
    return [
        Gap(one.start_ms - RETENTION_MS, one.start_ms + SLICE_MS, "failures_lost", detected_at_ms=now_ms)
        for one in slices
        if one.lost
    ]


def expired_failures(gone: Mapping[str, int], now_ms: int) -> list[Gap]:
    """The gap of failure objects that are gone and were never redriven; `gone` says when Lambda wrote each.

    Their records were no older than the stream keeps them. One gap for all: what is between them is read once more.
    """
    if not gone:
        return []
    first, last = min(gone.values()), max(gone.values())
    return [Gap(first - RETENTION_MS - SLACK_MS, last + SLACK_MS, "failures_expired", detected_at_ms=now_ms)]
