"""Hand-written mutants of the Spark code, each with the test that kills it.

A killer with fixtures is called here without pytest's runner: its fixtures are made anew under the mutant (all but the
session), for what a module's fixture merged before the edit would prove nothing.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest
from pyspark.sql import SparkSession

from lakebound_spark.platform.session import local_session
from lakebound_spark.upkeep.sweep import SweepRefusal
from tests.simulation.mutants import Mutant, applied, cases, edits_of

MERGE, LATEST = "lakebound_spark.silver.merge", "lakebound_spark.reading.latest"
ENTITY_JOB = "lakebound_spark.silver.entity_job"
BLOOM_FILTER = "lakebound_spark.silver.bloom_filter"
HISTORY, HISTORY_TABLE = "lakebound_spark.history.stretches", "lakebound_spark.history.history_table"
SWEEP, HORIZON, FILES = (
    "lakebound_spark.upkeep.sweep",
    "lakebound_spark.silver.purge_horizon",
    "lakebound_spark.reading.files",
)
CHANGES, PENDING, DUE = (
    "lakebound_spark.silver.changes_table",
    "lakebound_spark.silver.pending_merge",
    "lakebound_spark.silver.due_merge",
)
HERE = "tests/spark/"
STORY = HERE + "test_merge.py::test_the_story_ends_as_the_source_does"
REGISTERS = HERE + "test_merge.py::test_each_register_keeps_its_greatest"
REDUCED = HERE + "test_latest.py::test_before_and_after"
BRANCHES = HERE + "test_history.py::test_each_branch_of_the_story"
PENDING_ROWS = HERE + "test_pending_rows.py::test_each_register_has_its_greatest_change_and_the_key_its_latest_time"
LIVE_QUERY = HERE + "test_live_query.py::test_the_greater_change_shows_where_its_register_is_the_visible_one"
LIVE_STORY = HERE + "test_live.py::test_live_equals_the_received_records_at_every_moment"
WAITING = HERE + "test_pending.py::test_what_waits_is_live_until_a_run_without_an_interval_merges_it"
FAULTS = HERE + "test_changes_fault.py::test_a_start_is_refused_whether_it_appends_or_not"
KEPT = HERE + "test_pending_purge.py::test_a_tombstone_stays_while_changes_of_its_key_are_kept"
PURGED = HERE + "test_pending_purge.py::test_a_purge_while_older_changes_are_appended"
ASKED = HERE + "test_live.py::test_a_view_asks_for_null_in_key_columns_once_a_merge_or_a_column"
AUTO = HERE + "test_pending_columns.py::test_columns_that_appear_and_widen_while_changes_wait"
NAMES = HERE + "test_due_merge.py::test_a_merge_takes_what_the_last_one_has_not_taken"
DUE_TIME = HERE + "test_due_merge.py::test_a_merge_is_due_by_time_rows_or_bytes"
DUE_AGAIN = HERE + "test_due_merge.py::test_a_merge_that_fails_is_told_and_tried_again_a_minute_later"
DUE_BOUND = (
    HERE + "test_due_merge.py::test_an_append_that_passes_the_bound_does_not_wait_a_minute_for_a_merge_that_failed"
)
DUE_START = HERE + "test_due_merge.py::test_a_start_past_the_bound_merges_before_it_appends"
DUE_IDLE = HERE + "test_due_merge.py::test_a_run_without_an_append_asks_once_what_waits"
DUE_SMALL = HERE + "test_due_merge.py::test_small_appends_do_not_ask_each_time_what_waits"
DUE_RAISES = HERE + "test_due_merge.py::test_it_is_raised_when_too_much_waits_and_at_the_end"
FILTERED = HERE + "test_bloom_filter.py::test_a_merge_tests_the_rows_of_the_table_by_a_bloom_filter"
TWO_MERGES = (
    HERE + "test_bloom_filter.py::test_the_session_has_its_settings_back_after_the_last_of_two_merges_at_a_time"
)
RULES_CHANGED = HERE + "test_entity_jobs.py::test_rules_that_change_and_change_back_end_at_the_oracles"
GOING_ON = HERE + "test_history_table.py::test_a_key_that_continues_ends_as_if_it_were_computed_again"

PLAIN: Final = (
    Mutant(
        "sweep: the guard takes the least of its bounds",
        SWEEP,
        "allowed = max(MIN_GUARD",
        "allowed = min(MIN_GUARD",
        HERE + "test_sweep.py::test_the_guard_allows_a_thousand_or_one_in_a_hundred_and_what_was_approved",
    ),
    Mutant(
        "sweep: from an incomplete run",
        SWEEP,
        "if not manifest.is_complete:",
        "if False:",
        HERE + "test_sweep.py::test_an_incomplete_run_is_refused",
    ),
    Mutant(
        "horizon: shorter than what may still arrive",
        HORIZON,
        "if days < total:",
        "if days < 0:",
        HERE + "test_config.py::test_a_mistake_is_refused_with_its_name",
    ),
    Mutant(
        "horizon: the floor is in the future",
        HORIZON,
        "now_ms - self.purge_after_days",
        "now_ms + self.purge_after_days",
        HERE + "test_config.py::test_a_shorter_way_makes_a_shorter_horizon_legal",
    ),
    Mutant(
        "files: a file with fewer records than its name says is whole",
        FILES,
        "if read == whole == file.count:",
        "if read == whole:",
        HERE + "test_files.py::test_the_count_in_the_name_decides",
    ),
    *edits_of(
        DUE,
        DUE_TIME,
        ("due merge: with nothing to merge", "if not waiting.appends:", "if False:"),
        ("due merge: rows are no reason", "waiting.rows >= self.rows or waiting", "waiting"),
        ("due merge: bytes are no reason", "self.rows or waiting.bytes >= self.bytes", "self.rows"),
        ("due merge: seconds are milliseconds", "last_ms >= self.seconds * 1000", "last_ms >= self.seconds"),
    ),
    *edits_of(
        DUE,
        DUE_AGAIN,
        ("due merge: tried again at once", "now_ms - self._failed_ms < _PAUSE_MS", "now_ms < 0"),
        ("due merge: no failure is forgotten", "self._failed_ms, self._seen = 0, None", "self._seen = None"),
        ("due merge: a failure is not told", "self.warn(", "len("),
    ),
    *edits_of(
        DUE,
        DUE_RAISES,
        ("due merge: the last failure is swallowed", "if last or self.schedule", "if self.schedule"),
        ("due merge: appends go on for ever", "if last or self.schedule.is_overdue(waiting):", "if last:"),
    ),
    *edits_of(
        DUE,
        DUE_BOUND,
        ("due merge: a minute's pause has no bound", " and not self._may_be_overdue()", ""),
        ("due merge: what came since is not counted", "rows = seen.rows + self._rows_since", "rows = seen.rows"),
    ),
    *edits_of(
        DUE,
        DUE_START,
        (
            "due merge: a start appends past the bound",
            "if self.schedule.is_overdue(self._waiting_now()[0]):",
            "if False:",
        ),
        (
            "due merge: a start merges what is only due",
            "if self.schedule.is_overdue(self._waiting_now()[0]):",
            "if True:",
        ),
    ),
    Mutant(
        "due merge: a run asks though nothing came", DUE, "is None or self._rows_since:", "is None or True:", DUE_IDLE
    ),
    Mutant("due merge: what came is not asked for", DUE, "is None or self._rows_since:", "is None:", DUE_SMALL),
    Mutant(
        "due merge: an interval of another unit is taken",
        DUE,
        "if seconds is None:",
        "if False:",
        HERE + "test_due_merge.py::test_another_interval_is_refused",
    ),
    *edits_of(
        CHANGES,
        NAMES,
        ("changes: all that is kept waits", "sorted(set(kept) - set(merged))", "sorted(set(kept))"),
        ("changes: one name for all appends", "1 + max(map(append_number", "max(map(append_number"),
        ("changes: no append bears its run's name", "-{run[:8]}", "-"),
    ),
    Mutant(
        "due merge: due since now",
        DUE,
        "return min(now_ms, last_ms + round(self.seconds * 1000))",
        "return now_ms",
        HERE + "test_freshness.py::test_a_merge_is_overdue_since_it_was_due",
    ),
)
"""Killed without a session."""

ON_SPARK: Final = (
    *edits_of(
        MERGE,
        STORY,
        ("merge: the scan wins ties", "_time_ms']} >= {label}", "_time_ms']} > {label}"),
        ("merge: no guard on the stream image", 'f"s.version > t._version AND {t.', 'f"{t.'),
        ("merge: no guard on the base image", 'f"s.base > t._base AND NOT (', 'f"NOT ('),
    ),
    *edits_of(
        MERGE,
        FILTERED,
        ("bloom filter: it is of all rows but the first", '"key") >= bounds', '"key") > bounds'),
        ("bloom filter: Spark sees no smaller source", 'rows = rows.where(F.col("key") >= bounds["first"])', "pass"),
    ),
    Mutant(
        "bloom filter: its MERGE has no settings",
        BLOOM_FILTER,
        "            for name, value in settings.items():\n                spark.conf.set(name, value)\n",
        "",
        FILTERED,
    ),
    Mutant(
        "bloom filter: a few files are worth it",
        BLOOM_FILTER,
        "return size * len(read) >= _LARGE * files",
        "return True",
        HERE + "test_bloom_filter.py::test_keys_of_a_few_files_are_merged_without_one",
    ),
    Mutant(
        "bloom filter: a MERGE that fails leaves its settings",
        BLOOM_FILTER,
        "    finally:\n",
        "    except ValueError:\n        pass\n    else:\n",
        HERE + "test_bloom_filter.py::test_the_session_has_its_settings_back_after_a_failure",
    ),
    *edits_of(
        BLOOM_FILTER,
        TWO_MERGES,
        (
            "bloom filter: the first MERGE to end takes the other's settings",
            "        else:\n            _restore(spark, before)",
            "        _restore(spark, before)",
        ),
        (
            "bloom filter: the second MERGE takes the first's settings for the session's",
            "if not merges:\n                before |=",
            "if True:\n                before |=",
        ),
    ),
    Mutant(
        "merge: the last batch's time counts",
        MERGE,
        "greatest({self.time}, s.stream_time_ms)",
        "coalesce(s.stream_time_ms, {self.time})",
        REGISTERS,
    ),
    Mutant(
        "merge: the last base record counts",
        MERGE,
        "greatest({self.base}, s.base)",
        "CASE WHEN s.base = '' THEN {self.base} ELSE s.base END",
        HERE + "test_histories.py::test_silver_holds_both_registers_of_the_reference",
    ),
    Mutant(
        "bad files: one is noted at each replay",
        "lakebound_spark.platform.tables",
        'f"t.{name} <=> s.{name}"',
        '"false"',
        HERE + "test_files.py::test_bad_files_that_come_again_are_noted_once",
    ),
    Mutant(
        "files: base records feed no register",
        FILES,
        '"base": self.count - self.from_stream',
        '"base": 0',
        HERE + "test_files.py::test_the_registers_that_whole_files_feed_are_counted",
    ),
    Mutant(
        "files: their bytes are not compared with the digests in their names",
        "lakebound_spark.reading.digests",
        'not found.get(file.url, "other").startswith(file.digest)',
        "file.url not in found",
        HERE + "test_files.py::test_a_file_of_other_bytes_is_left_out_though_its_count_fits",
    ),
    Mutant(
        "files: a record too many in one makes up for one too few in another",
        "lakebound_spark.reading.one_pass",
        "sums == (named, named, weights)",
        "sums[:2] == (named, named)",
        HERE + "test_files.py::test_records_of_whole_files_are_used_once",
    ),
    *edits_of(
        LATEST,
        REDUCED,
        ("latest: ABSENT beats present", '"1").otherwise("0")', '"0").otherwise("1")'),
        (
            "latest: labels as they are",
            'F.lpad(F.col("snapshot_label_ms").cast("string"), LABEL_DIGITS, "0")',
            'F.col("snapshot_label_ms").cast("string")',
        ),
        (
            "latest: the newest by time, not by version",
            'F.max_by(F.struct("new_image", "ttl_expired"), version)',
            'F.max_by(F.struct("new_image", "ttl_expired"), F.when(is_stream, F.col("approx_creation_time_ms")))',
        ),
    ),
    *edits_of(
        HISTORY,
        BRANCHES,
        (
            "history: a change begins at its own time",
            'F.max("time_ms").over(versions)).otherwise',
            'F.col("time_ms")).otherwise',
        ),
        (
            "history: only a later time explains a base entry",
            ' | (within_run & (F.col("explaining_chain") == F.col("chain")))',
            "",
        ),
        (
            "history: every stretch is exact",
            '(F.col("is_stream") & ~F.coalesce(contradicted, F.lit(False)))',
            'F.col("is_stream")',
        ),
    ),
    *edits_of(
        HISTORY_TABLE,
        GOING_ON,
        ("history table: a key goes on whatever a scan read of it", ' & F.col("near").isNull() & ', " & "),
        (
            "history table: a sweep's label is as near as a scan's",
            'F.when(F.col("is_deleted"), RUN_MS).otherwise(READ_MS)',
            "F.lit(READ_MS)",
        ),
        (
            "history table: a version that was told goes on",
            'F.col("first") > F.col("current._version")',
            'F.col("first") >= F.col("current._version")',
        ),
        ("history table: what a sweep removed goes on", 'F.col("current._item").isNotNull()', "F.lit(True)"),
        ("history table: records of a scan go on", 'continues = F.col("from_stream") & ', "continues = "),
    ),
    Mutant(
        "sweep: before the run is merged",
        SWEEP,
        "    if late:\n",
        "    if False:\n",
        HERE + "test_sweep.py::test_a_run_that_is_not_merged_yet_is_refused",
    ),
    Mutant(
        "horizon: late records are merged",
        HORIZON,
        "record_time_ms() < floor_ms",
        "record_time_ms() < F.lit(0)",
        HERE + "test_deletes.py::test_purge_stale_records_and_the_red_control",
    ),
    *edits_of(
        CHANGES,
        LIVE_STORY,
        ("changes: base records are left out", "row -> row.version <> ''", "row -> row.version > '4'"),
        (
            "changes: the base register has the stream's image",
            'f"{register}_image",',
            'f"coalesce(stream_image, {register}_image)",',
        ),
    ),
    *edits_of(
        CHANGES,
        WAITING,
        ("changes: a merge notes nothing", '",".join(kept)', '""'),
        ("changes: nothing is ever dropped", "    if gone:\n", "    if False:\n"),
        (
            "changes: what was merged just now is dropped",
            "sorted(set(before).difference(kept)) if kept",
            "kept if kept",
        ),
    ),
    *edits_of(
        CHANGES,
        FAULTS,
        ("changes: another table is taken", "if silver[CHANGES_ID] != _id(spark, place):", "if False:"),
        (
            "changes: a restore before a merge is passed over",
            "proven = since if _was_restored(spark, place, since, newest) else newest",
            "proven = newest",
        ),
        ("changes: sound once is sound for ever", "if _SOUND.get(target) == found:", "if target in _SOUND:"),
        ("changes: an older copy of the folder is taken", "return newest < since", "return False"),
        ("changes: a restored table is taken", '(F.col("version") > since)', "F.lit(False)"),
        ("changes: the first append may be missing", "append_number(kept[0]) != 1", "append_number(kept[0]) < 1"),
        (
            "changes: what was merged last may be missing",
            'merged last" if lost else ""',
            'merged last" if False else ""',
        ),
        (
            "changes: without an interval a table that silver does not know is left alone",
            "return exists(spark, place) and properties(spark, place).get(_SILVER_ID) == _id(spark, target)",
            "return False",
        ),
    ),
    *edits_of(
        CHANGES,
        AUTO,
        ("changes: no column is widened", "if name in silver and silver[name] != kind:", "if False:"),
        ("changes: no column is added", "    elif missing:\n", "    elif False:\n"),
    ),
    Mutant(
        "changes: what another driver has given silver is not looked for",
        CHANGES,
        "if columns and not _has_columns(there, columns):",
        "if False:",
        HERE + "test_pending_columns.py::test_a_column_that_another_driver_has_just_given_silver",
    ),
    Mutant(
        "changes: an older driver leaves a new column empty",
        CHANGES,
        "    if not rescue:  #",
        "    if False:  #",
        HERE + "test_pending_columns.py::test_a_driver_without_a_column_that_another_one_has_declared_writes_no_more",
    ),
    Mutant(
        "changes: another driver's merge is dropped",
        CHANGES,
        "set(before).difference(kept)",
        "set(before)",
        HERE + "test_pending_repairs.py::test_two_drivers_without_a_lease_lose_nothing",
    ),
    *edits_of(
        CHANGES,
        PURGED,
        ("changes: an append that is gone is noted", "set(merged).intersection(appends(spark, target))", "set(merged)"),
    ),
    *edits_of(
        PENDING,
        PURGED,
        ("pending merge: it asks for no floor", "    if floor is not None:\n", "    if False:\n"),
        ("pending merge: what it left out stays", "if done.stale is not None:", "if False:"),
        ("pending merge: a start clears nothing", "if floor is not None and (names", "if False and (names"),
    ),
    *edits_of(
        PENDING,
        PENDING_ROWS,
        ("pending merge: a base record counts for the stream", "F.when(~is_stream, F.col", "F.when(is_stream, F.col"),
        ("pending merge: the last time is lost", 'F.max("stream_time_ms")', 'F.min("stream_time_ms")'),
        (
            "pending merge: what TTL deleted is forgotten",
            'F.coalesce("stream_row.ttl_expired", F.lit(False))',
            "F.lit(False)",
        ),
        (
            "pending merge: what no column took is forgotten",
            'F.col(f"{register}_row.rescued")',
            'F.lit(None).cast("string")',
        ),
    ),
    *edits_of(
        "lakebound_spark.silver.micro_batch",
        PURGED,
        (
            "micro-batch: it does not look at the floor again",
            "if brought.append and brought.append in names_to_merge(spark, to.target):",
            "if False:",
        ),
        (
            "micro-batch: it clears what is merged",
            "if brought.append and brought.append in names_to_merge(spark, to.target):",
            "if brought.append:",
        ),
    ),
    Mutant(
        "purge: keys that are kept lose their tombstones",
        "lakebound_spark.upkeep.maintenance",
        "    if not has_changes(spark, target):\n        return keys\n",
        "    return keys\n",
        KEPT,
    ),
    *edits_of(
        "lakebound_spark.silver.live_rows",
        LIVE_QUERY,
        (
            "_live: a change counts though silver's stream register is greater",
            "THEN CASE WHEN p.version > {version} THEN p.stream_row END",
            "THEN p.stream_row",
        ),
        (
            "_live: a change counts though silver's base register is greater",
            "WHEN p.base > {base} THEN p.base_row END",
            "ELSE p.base_row END",
        ),
        ("_live: a base record is never visible", " WHEN p.base > {base} THEN p.base_row END", " END"),
        (
            "_live: a stream record is visible whatever the base register",
            "WHEN {moment} >= substring(greatest({base}, p.base), 1, {LABEL_DIGITS}) ",
            "WHEN p.version > '' ",
        ),
    ),
    *edits_of(
        "lakebound_spark.silver.views",
        ASKED,
        ("_live: its key columns are asked for at each look", "asked[0] != followed", "asked[0] is not None"),
        ("_live: its key columns are asked for once", "asked[0] != followed", "asked[0] is None"),
    ),
    *edits_of(
        ENTITY_JOB,
        RULES_CHANGED,
        ("rules changed: keys that have left stay", "<> {place}, true)", "<> {place}, true) AND false"),
        (
            "rules changed: `_changes` keeps keys that have left",
            "        if has_changes(spark, target):\n            # It",
            "        if False:\n            # It",
        ),
    ),
    Mutant(
        "_live: the view is not made again for another query",
        "lakebound_spark.silver.views",
        "_MADE_WITH: made_with}",
        '_MADE_WITH: "made"}',
        HERE + "test_pending.py::test_a_column_declared_while_changes_wait_is_in_the_view",
    ),
)


class Fixtures:
    """Values for a killer's parameters: the session, folders, and whatever its own module makes of them."""

    def __init__(self, spark: SparkSession | None, folder: Path) -> None:
        self._made: dict[str, Any] = {} if spark is None else {"spark": spark}
        self._folder = folder
        self._numbers = itertools.count()
        self._of_function: set[str] = set()

    @contextmanager
    def one_case(self) -> Iterator[None]:
        """What a test's function asks for is made for one case of it; what its module asks for serves all of them."""
        of_module = {name: value for name, value in self._made.items() if name not in self._of_function}
        with pytest.MonkeyPatch.context() as patch:
            self._made = of_module | {"monkeypatch": patch}
            yield

    def mktemp(self, name: str) -> Path:
        """As pytest's `tmp_path_factory`."""
        made = self._folder / f"{name}-{next(self._numbers)}"
        made.mkdir()
        return made

    def call(self, module: Any, function: Callable[..., Any], given: dict[str, Any]) -> Any:
        """The function with the values it asks for."""
        wanted = [name for name in inspect.signature(function).parameters if name not in given]
        return function(**given, **{name: self._value(module, name) for name in wanted})

    def _value(self, module: Any, name: str) -> Any:
        if name == "tmp_path":
            return self.mktemp("tmp")
        if name == "tmp_path_factory":
            return self
        if name not in self._made:
            fixture = getattr(module, name)
            self._made[name] = self.call(module, fixture._get_wrapped_function(), {})
            if fixture._fixture_function_marker.scope == "function":
                self._of_function.add(name)
        return self._made[name]


def run_killer(node: str, spark: SparkSession | None) -> None:
    """Run every case of a test. Raises what it raises."""
    path, name = node.split("::")
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    function = getattr(module, name)
    with TemporaryDirectory() as folder:
        fixtures = Fixtures(spark, Path(folder))
        for given in cases(function):
            with fixtures.one_case():
                fixtures.call(module, function, given)


def kill(mutant: Mutant, spark: SparkSession | None = None) -> str:
    """The first line of what its test says under the mutant; empty when it lives on.

    Only a failed assertion and the sweep's own refusal count: a session that is gone fails every test, and kills
    nothing.
    """
    importlib.import_module(mutant.killed_by.split("::")[0].removesuffix(".py").replace("/", "."))
    with applied(mutant):
        try:
            run_killer(mutant.killed_by, spark)
        except (AssertionError, pytest.fail.Exception, SweepRefusal) as failure:
            return f"{type(failure).__name__}: {failure}".splitlines()[0]
    return ""


def table() -> str:
    """Every mutant of the Spark code with the test that killed it and what the test said; starts a session."""
    session = local_session("lakebound mutants")
    try:
        said = [(mutant, kill(mutant, session)) for mutant in (*PLAIN, *ON_SPARK)]
    finally:
        session.stop()
    return "\n".join(
        f"{mutant.module.rsplit('.', 1)[-1]:<11} {mutant.name:<60} {mutant.killed_by.split('::')[1]}: "
        f"{words[:100] or 'ALIVE'}"
        for mutant, words in said
    )
