"""When a merge of pending changes is due, and what happens while it fails."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from lakebound.errors import Misconfigured
from lakebound_spark.silver.changes_table import Pending, next_append, waiting_appends
from lakebound_spark.silver.due_merge import AT_ONCE, DueMerge, MergeSchedule, parse_interval

MINUTES_10 = MergeSchedule(600, rows=100, bytes=1000)
NOW = 10_000_000


@pytest.mark.parametrize(
    ("waiting", "since_ms", "due"),
    [
        (Pending(), 10**9, False),
        (Pending(("1",), 1, 1), 599_999, False),
        (Pending(("1",), 1, 1), 600_000, True),
        (Pending(("1",), 100, 1), 0, True),
        (Pending(("1",), 99, 999), 0, False),
        (Pending(("1",), 1, 1000), 0, True),
    ],
)
def test_a_merge_is_due_by_time_rows_or_bytes(waiting: Pending, since_ms: int, due: bool) -> None:
    assert MINUTES_10.is_due(waiting, NOW - since_ms, NOW) == due


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("30s", 30), ("10m", 600), ("2h", 7200), ("1d", 86_400)])
def test_an_interval_is_read(text: str, seconds: int) -> None:
    assert parse_interval(text) == seconds
    assert MergeSchedule(seconds).appends == (seconds > 0)
    assert not AT_ONCE.appends


@pytest.mark.parametrize("text", ["", "10", "0m", "-1m", "1w", "10 m", "10ms"])
def test_another_interval_is_refused(text: str) -> None:
    with pytest.raises(Misconfigured, match="use 0 to merge each micro-batch, or an interval such as 30s or 10m"):
        parse_interval(text)


@dataclass(slots=True)
class Merges:
    """A table in which so many rows wait, and merges that fail while ``broken``."""

    rows: int = 1
    now_ms: int = NOW
    broken: bool = True
    merged: int = 0
    asked: int = 0
    merged_ms: int = 0
    warnings: list[str] = field(default_factory=list)
    due: DueMerge = field(init=False)

    def __post_init__(self) -> None:
        def waiting() -> tuple[Pending, int]:
            self.asked += 1
            return (Pending(("1", "2"), self.rows, self.rows), self.merged_ms)

        self.due = DueMerge("flights", MINUTES_10, waiting, self.merge, self.warnings.append, lambda: self.now_ms)

    def merge(self) -> None:
        if self.broken:
            raise MemoryError
        self.merged += 1


def test_a_merge_that_fails_is_told_and_tried_again_a_minute_later() -> None:
    merges = Merges()
    merges.due.look()
    assert merges.warnings == [
        "2 appends of flights could not be merged (MemoryError); nothing is lost, readers of _live see them, and the "
        "merge is tried again in a minute"
    ]
    merges.broken, merges.now_ms = False, NOW + 59_999
    merges.due.look()
    assert (merges.merged, merges.due.is_failing) == (0, True)
    merges.now_ms = NOW + 60_000
    merges.due.look()
    assert (merges.merged, len(merges.warnings), merges.due.is_failing) == (1, 1, False)


def test_small_appends_do_not_ask_each_time_what_waits() -> None:
    merges = Merges(broken=False, merged_ms=NOW)
    for _ in range(25):
        merges.due.appended(1)
    assert merges.asked == 1, "1 row was told, and at most 48 came after it: less than half of 100"
    merges.due.appended(1)
    assert merges.asked == 2
    merges.rows = 100
    merges.due.appended(25)
    assert (merges.asked, merges.merged) == (3, 1), "a merge was due by rows"
    merges.rows = 1
    merges.due.appended(1)
    assert (merges.asked, merges.merged) == (4, 1), "what was told before the merge says nothing any more"
    merges.due.appended(1)
    merges.now_ms += 600_000
    merges.due.appended(1)
    assert (merges.asked, merges.merged) == (5, 2), "a merge was due by time"


def test_a_run_without_an_append_asks_once_what_waits() -> None:
    merges = Merges(broken=False, merged_ms=NOW)
    merges.due.start()
    merges.due.look()
    merges.due.look(last=True)
    assert (merges.asked, merges.merged) == (1, 0)
    merges.now_ms += 600_000
    merges.due.look()
    assert (merges.asked, merges.merged) == (1, 1), "what waited at the start was due by time"
    merges.due.look()
    assert merges.asked == 2, "what was told before the merge says nothing any more"
    merges.rows = 100
    merges.due.appended(1)
    assert (merges.asked, merges.merged) == (3, 3), "an append came"


@pytest.mark.parametrize(("rows", "last"), [(400, False), (1, True)])
def test_it_is_raised_when_too_much_waits_and_at_the_end(rows: int, last: bool) -> None:
    with pytest.raises(MemoryError):
        Merges(rows).due.look(last=last)


def test_an_append_that_passes_the_bound_does_not_wait_a_minute_for_a_merge_that_failed() -> None:
    merges = Merges(rows=100)
    merges.due.look()
    merges.due.appended(149)
    assert (merges.asked, len(merges.warnings)) == (1, 1), "100 rows were told, and at most 298 came after them"
    merges.due.appended(1)
    assert (merges.asked, len(merges.warnings)) == (2, 2), "fewer waited than might have"
    merges.rows = 400
    with pytest.raises(MemoryError):
        merges.due.appended(150)


def test_a_start_past_the_bound_merges_before_it_appends() -> None:
    below, past, mended = Merges(rows=399), Merges(rows=400), Merges(rows=400, broken=False)
    below.due.start()
    assert (below.merged, below.warnings) == (0, []), "the first append does not wait for a merge that is only due"
    with pytest.raises(MemoryError):
        past.due.start()
    mended.due.start()
    assert mended.merged == 1


def test_a_merge_takes_what_the_last_one_has_not_taken() -> None:
    kept: list[str] = []
    for run in ("aaaaaaaaaaaa", "bbbbbbbbbbbb"):
        # Two drivers that append after the same append give two names.
        assert next_append(kept, run) != next_append(kept, "cccccccccccc")
        kept.append(next_append(kept, run))
    assert kept == ["0000000001-aaaaaaaa", "0000000002-bbbbbbbb"]
    assert waiting_appends(kept[::-1], []) == kept
    assert waiting_appends(kept, kept[:1]) == kept[1:], "else nothing that was merged would ever be dropped"
