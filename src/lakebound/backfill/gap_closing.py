"""Whether a gap may be closed: all that its run wrote is merged, and no dead record can bring back what it removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lakebound.backfill.manifest import Manifest
from lakebound.counts import count_text
from lakebound.source.gaps import Gap


@dataclass(frozen=True, slots=True)
class RunMergeCheck:
    """How far a run is merged, as Spark finds it (lakebound_spark.upkeep.run_merge_check): files and counts, no key.

    `missing` files are not where Spark reads, `damaged` ones differ from their names, the merge job recorded
    `left_out` ones as bad. `records` are those in the whole files, `unmerged` the keys whose record is not merged.
    `ghosts` are rows that the source no longer has; None where they were not counted: the run did not read the whole
    table, or its files are not all there, whole and merged.
    """

    missing: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    records: int = 0
    unmerged: int = 0
    ghosts: int | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a gap stays open, and the command that comes before."""

    what: str
    command: str


@dataclass(frozen=True, slots=True)
class Closing:
    """What closing would do: the gaps, or why not."""

    gaps: tuple[Gap, ...]
    refusals: tuple[Refusal, ...]

    @property
    def is_refused(self) -> bool:
        return bool(self.refusals)


def decide_closing(
    manifest: Manifest, gaps: Sequence[Gap], wait_ms: int, merged: RunMergeCheck, dead: int, failures: int
) -> Closing:
    """Which of the recorded gaps this run closes, or why none.

    `wait_ms` is W of ORDERING.md; `dead` messages and `failures` (objects of the stream) wait to be redriven. A gap
    that the manifest names and that another run has healed meanwhile is left as it is.
    """
    wanted = set(manifest.heals)
    mine = tuple(gap for gap in gaps if (gap.from_ms, gap.cause) in wanted and gap.healed_by is None)
    refusals = [
        *_refuse_gaps(manifest, mine, wait_ms),
        *_refuse_files(manifest, merged),
        *_refuse_dead_records(manifest, dead, failures),
    ]
    return Closing(() if refusals else mine, tuple(refusals))


def _refuse_gaps(manifest: Manifest, gaps: Sequence[Gap], wait_ms: int) -> list[Refusal]:
    heal = "lakebound backfill start --mode heal"
    if not manifest.heals:
        return [Refusal(f"run {manifest.run} was no heal: it names no gap", heal)]
    # A run is planned once the stream has covered it for W; an end that came later is not what it read up to.
    late = [gap for gap in gaps if gap.to_ms is None or gap.to_ms + wait_ms > manifest.started_ms]
    return [Refusal(f"{len(late)} of its gaps ended after the run had begun", heal)] if late else []


def _refuse_files(manifest: Manifest, merged: RunMergeCheck) -> list[Refusal]:
    merge, refusals = "lakebound-merge-changes", list[Refusal]()
    if manifest.quarantined:
        what = f"the run has {count_text(manifest.quarantined, 'record')} in quarantine, so the lake lacks them"
        refusals.append(Refusal(what, "lakebound dlq list --from quarantine"))
    if merged.missing:
        what = (
            f"{len(merged.missing):,} of {count_text(len(manifest.files), 'file')} did not land, the "
            f"first is {merged.missing[0]}"
        )
        refusals.append(Refusal(what, f"lakebound files mirror, then {merge}"))
    if merged.damaged:
        what = (
            f"{count_text(len(merged.damaged), 'file', 'is', 'are')} not as written, the first is {merged.damaged[0]}"
        )
        refusals.append(Refusal(what, "lakebound files check"))
    elif merged.left_out and merged.unmerged:
        what = f"the merge left out {count_text(len(merged.left_out), 'file')}, the first is {merged.left_out[0]}"
        refusals.append(Refusal(what, "lakebound replay FILE"))
    if not merged.missing and not merged.damaged and merged.records != manifest.records:
        what = f"the manifest has {count_text(manifest.records, 'record')}, its files {merged.records}"
        refusals.append(Refusal(what, f"lakebound files mirror, then {merge}"))
    if merged.unmerged:
        refusals.append(Refusal(f"the run has {count_text(merged.unmerged, 'key')} not merged", merge))
    if manifest.is_complete and not refusals and merged.ghosts is None:
        refusals.append(Refusal("ghosts were not counted", "the same command again"))
    if merged.ghosts:
        what = f"{count_text(merged.ghosts, 'row', 'is', 'are')} still there that the table no longer has"
        refusals.append(Refusal(what, f"{manifest.sweep_command}, then {merge}"))
    return refusals


def _refuse_dead_records(manifest: Manifest, dead: int, failures: int) -> list[Refusal]:
    """What a redrive after the closing could bring back, although the run removed it, and nothing would show that.

    After a run that read the whole table, merging it and counting ghosts again shows it; else only another heal does.
    """
    then = "lakebound-merge-changes" if manifest.is_complete else "lakebound backfill start --mode heal"
    refusals = []
    if dead:
        what = f"{count_text(dead, 'message', 'waits', 'wait')} in the dead-letter queue"
        refusals.append(Refusal(what, f"lakebound dlq redrive --from buffer, then {then}"))
    if failures:
        what = f"{count_text(failures, 'failure object', 'waits', 'wait')} of the stream"
        refusals.append(Refusal(what, f"lakebound dlq redrive --from stream, then {then}"))
    return refusals
