"""May a gap be closed? Once all that its run wrote is merged, and nothing dead can bring back what it removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lakebound.backfill.manifest import Manifest
from lakebound.source.gaps import Gap


class RunInSilver(Protocol):
    """How far a run is merged, as Spark finds it (lakebound_spark.upkeep.run_merge_check)."""

    @property
    def missing(self) -> tuple[str, ...]:
        """Files that are not where Spark reads."""

    @property
    def damaged(self) -> tuple[str, ...]:
        """Files that differ from their names."""

    @property
    def left_out(self) -> tuple[str, ...]:
        """Files that the merge job recorded as bad."""

    @property
    def records(self) -> int:
        """Records in the whole files."""

    @property
    def unmerged(self) -> int:
        """Keys whose record is not merged."""

    @property
    def ghosts(self) -> int | None:
        """Rows that the source no longer has; None where they were not counted."""


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


def decide(
    manifest: Manifest, gaps: Sequence[Gap], wait_ms: int, merged: RunInSilver, dead: int, failures: int
) -> Closing:
    """Which of the recorded gaps this run closes. `wait_ms` is W; `dead` and `failures` are what waits to be redriven.

    A gap that the manifest names and that another run has healed meanwhile is left as it is.
    """
    wanted = set(manifest.heals)
    mine = tuple(gap for gap in gaps if (gap.from_ms, gap.cause) in wanted and gap.healed_by is None)
    refusals = [
        *_of_gaps(manifest, mine, wait_ms),
        *_of_files(manifest, merged),
        *_of_what_waits(manifest, dead, failures),
    ]
    return Closing(() if refusals else mine, tuple(refusals))


def _of_gaps(manifest: Manifest, gaps: Sequence[Gap], wait_ms: int) -> list[Refusal]:
    heal = "lakebound backfill start --mode heal"
    if not manifest.heals:
        return [Refusal(f"run {manifest.run} was no heal: it names no gap", heal)]
    # A run is planned once the stream has covered it for W; an end that came later is not what it read up to.
    late = [gap for gap in gaps if gap.to_ms is None or gap.to_ms + wait_ms > manifest.started_ms]
    return [Refusal(f"{len(late)} of its gaps ended after the run had begun", heal)] if late else []


def _of_files(manifest: Manifest, merged: RunInSilver) -> list[Refusal]:
    merge, refusals = "spark/jobs/merge_changes.py", list[Refusal]()
    if manifest.quarantined:
        what = f"{manifest.quarantined} records of the run are in quarantine, so the lake lacks them"
        refusals.append(Refusal(what, "lakebound dlq list --from quarantine"))
    if merged.missing:
        what = f"{len(merged.missing)} of {len(manifest.files)} files are not there, the first is {merged.missing[0]}"
        refusals.append(Refusal(what, f"lakebound files mirror, then {merge}"))
    if merged.damaged:
        what = f"{len(merged.damaged)} files are not as they were written, the first is {merged.damaged[0]}"
        refusals.append(Refusal(what, "lakebound files check"))
    elif merged.left_out and merged.unmerged:
        what = f"the merge left out {len(merged.left_out)} files, the first is {merged.left_out[0]}"
        refusals.append(Refusal(what, "lakebound replay FILE"))
    if not merged.missing and not merged.damaged and merged.records != manifest.records:
        what = f"the manifest has {manifest.records} records, its files {merged.records}"
        refusals.append(Refusal(what, f"lakebound files mirror, then {merge}"))
    if merged.unmerged:
        refusals.append(Refusal(f"{merged.unmerged} keys of the run are not merged", merge))
    if manifest.is_complete and not refusals and merged.ghosts is None:
        refusals.append(Refusal("ghosts were not counted", "the same command again"))
    if merged.ghosts:
        what = f"{merged.ghosts} rows are still there that the table no longer has"
        refusals.append(Refusal(what, f"spark/jobs/sweep.py --run {manifest.run}, then {merge}"))
    return refusals


def _of_what_waits(manifest: Manifest, dead: int, failures: int) -> list[Refusal]:
    """Redriven after the gap is closed, it could bring back what the run removed, and nothing would tell.

    After a run that read the whole table, merging it and counting ghosts again tells; else only another heal does.
    """
    then = "spark/jobs/merge_changes.py" if manifest.is_complete else "lakebound backfill start --mode heal"
    refusals = []
    if dead:
        what = f"{dead} messages wait in the dead-letter queue"
        refusals.append(Refusal(what, f"lakebound dlq redrive --from buffer, then {then}"))
    if failures:
        what = f"{failures} failure objects of the stream wait"
        refusals.append(Refusal(what, f"lakebound dlq redrive --from stream, then {then}"))
    return refusals
