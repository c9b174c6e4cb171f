"""docs/GUARANTEES.md: written from what is here, and refused when a guard or a test it names is not there.

A promise without a test, or with one still missing, says so in the document: `open` names what it waits for.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.simulation import failing_rules, faults, hop_model, mutants, small_scope

ROOT: Final = Path(__file__).resolve().parents[2]
DOCUMENT: Final = ROOT / "docs" / "GUARANTEES.md"

SIM: Final = "tests/simulation/"
HISTORIES: Final = SIM + "test_histories.py::test_thousands_of_histories_keep_every_promise"
POISON: Final = SIM + "test_histories.py::test_histories_thick_with_poison_keep_every_promise"
HURRY: Final = SIM + "test_histories.py::test_histories_short_of_time_keep_every_promise"
HANDLERS: Final = SIM + "test_histories.py::test_histories_through_the_handlers_keep_every_promise"
FIRES: Final = SIM + "test_histories.py::test_a_registered_fault_fires_and_breaks_nothing"
HOPS: Final = SIM + "test_hop_model.py::test_no_reachable_state_loses_a_record"
CARELESS: Final = SIM + "test_hop_model.py::test_a_careless_step_is_caught"
SCOPE: Final = SIM + "test_small_scope.py::test_a_slice_of_all_scenarios_ends_right"
RULES: Final = SIM + "test_small_scope.py::test_a_rule_that_fails_is_found"
MUTANTS: Final = SIM + "test_mutants.py::test_the_mutant_is_killed"
SPARK: Final = "tests/spark/test_histories.py::"
S3: Final = "tests/contract/test_s3_faults.py::"
SQS: Final = "tests/contract/test_sqs_faults.py::"
E2E: Final = "tests/e2e/test_demo.py::"
TEMPLATE: Final = "tests/template/test_template.py::"

CORE: Final = "src/lakebound/"


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise: what is claimed, `file:symbol` that keeps it, node ids of tests that fail when it is broken."""

    name: str
    claim: str
    guards: tuple[str, ...]
    tests: tuple[str, ...]
    open: str = ""


PROMISES: Final = (
    Promise(
        "G1",
        "A delivered record is in SQS, or in quarantine, before the stream's checkpoint passes it.",
        (
            CORE + "ingest.py:_send_all",
            CORE + "ingest.py:_quarantine",
            CORE + "adapters/sqs.py:SqsQueue.send",
            "template.yaml:OnFailure",
        ),
        (HISTORIES, HANDLERS, POISON, HURRY, SQS + "test_what_the_answer_does_not_name_as_sent_was_not_sent"),
    ),
    Promise(
        "G2",
        "A record is in a complete S3 object before its message is deleted.",
        (CORE + "flush.py:_Hand._write", CORE + "flush.py:_Hand.close"),
        (HISTORIES, HOPS, E2E + "test_a_flusher_killed_between_put_and_delete_changes_nothing"),
    ),
    Promise(
        "G3",
        "Conservation: at every moment each delivered record is in a durable place.",
        (CORE + "ingest.py:ingest", CORE + "flush.py:flush"),
        (HISTORIES, HOPS, CARELESS),
    ),
    Promise(
        "G4",
        "No object is ever replaced by other content.",
        (CORE + "batches.py:_file", CORE + "adapters/s3.py:S3Store.put_if_absent"),
        (
            HISTORIES,
            SIM + "test_codec.py::test_the_same_members_give_the_same_file",
            S3 + "test_a_put_asks_never_to_replace_and_carries_a_checksum",
            "tests/contract/test_object_store.py::test_an_object_is_never_replaced",
        ),
    ),
    Promise(
        "G5",
        "A listed object is whole and has exactly the records its name says.",
        (CORE + "batches.py:assemble", "spark/lakebound_spark/files.py:judge"),
        (
            HISTORIES,
            SIM + "test_codec.py::test_a_member_with_a_flipped_bit_is_refused",
            "tests/spark/test_files.py::test_only_whole_files_reach_silver",
            "tests/spark/test_files.py::test_the_count_in_the_name_decides",
        ),
    ),
    Promise(
        "G6",
        "A poison record blocks nobody and is kept with its bytes and its reason.",
        (CORE + "events.py:StreamDecoder.decode", CORE + "quarantine.py:from_delivery", CORE + "ingest.py:_quarantine"),
        (POISON, HISTORIES),
    ),
    Promise(
        "G7",
        "decode(encode(item)) = item for every legal item; a record in a file is as DynamoDB said it.",
        (CORE + "attributes.py:check_image", CORE + "envelope.py:encode_line", CORE + "envelope.py:decode_line"),
        (
            HISTORIES,
            "tests/unit/test_attributes.py::test_a_legal_item_is_accepted_and_is_itself",
            "tests/unit/test_attributes.py::test_keys_are_equal_exactly_when_their_canonical_texts_are",
            "tests/spark/test_merge.py::test_the_item_is_kept_to_the_byte",
        ),
    ),
    Promise(
        "G8",
        "When deliveries quiesce, silver equals the source under duplication, reordering, crash, replay and backfill "
        "during writes.",
        ("spark/lakebound_spark/latest.py:latest_per_key", "spark/lakebound_spark/merge.py:merge_rows"),
        (SCOPE, RULES, HISTORIES, SPARK + "test_silver_equals_the_source"),
    ),
    Promise(
        "G9",
        "A key's registers never go back to an older version.",
        ("spark/lakebound_spark/merge.py:_guarded_merge",),
        (HISTORIES, SPARK + "test_no_key_ever_went_back"),
    ),
    Promise(
        "G10",
        "A micro-batch replayed after a crash changes nothing.",
        ("spark/lakebound_spark/merge.py:_guarded_merge",),
        (
            HISTORIES,
            SPARK + "test_delivering_everything_again_in_another_grouping_changes_nothing",
            E2E + "test_merging_every_file_again_under_a_new_checkpoint_adds_nothing_to_the_change_feed",
        ),
    ),
    Promise(
        "G11",
        "A gap is loud: status GAP, alarm, silver marked stale until a repair run completes.",
        (
            "template.yaml:IteratorAge",
            "template.yaml:LookSchedule",
            "template.yaml:StatusGap",
            CORE + "continuity.py:find_gaps",
            CORE + "look.py:LookStages.look",
            CORE + "closing.py:decide",
            "spark/lakebound_spark/stale.py:mark",
            "spark/lakebound_spark/stale.py:keep_gap_of_stale",
        ),
        (
            HISTORIES,
            "tests/functional/test_look.py::test_a_mapping_that_is_off_for_30_hours_is_one_gap_that_ends_once_the_"
            "stream_is_whole",
            "tests/unit/test_continuity.py::test_looks_that_take_silence_for_delivery_miss_a_mapping_that_was_off_for_"
            "30_hours",
            "tests/unit/test_closing.py::test_whatever_is_missing_refuses_with_the_command_that_comes_before",
            "tests/spark/test_stale_mark.py::test_an_open_gap_marks_the_table_and_its_view_until_it_is_healed",
            "tests/spark/test_stale_mark.py::test_records_that_came_too_late_raise_a_gap",
            "tests/spark/test_closing.py::test_a_heal_by_windows_is_closed_once_it_is_merged",
            "tests/incidents/test_incidents.py::test_the_incident_is_repaired_by_its_page",
        ),
    ),
    Promise(
        "G12",
        "Memory stays within the configured size; any legal item passes or is quarantined.",
        (CORE + "messages.py:MAX_CLAIM_BYTES", CORE + "attributes.py:MAX_DEPTH"),
        (HISTORIES,),
        "claim checks are lived in the histories; the measurement under a memory limit waits for issue 5",
    ),
    Promise(
        "G13",
        "Every delete reaches silver; deletes inside a gap by the sweep or the incremental export.",
        (
            "spark/lakebound_spark/merge.py:_Registers",
            CORE + "opening.py:OpeningStages._held_up",
            "spark/lakebound_spark/merged.py:look_at_run",
        ),
        (
            SCOPE,
            RULES,
            HISTORIES,
            "tests/functional/test_backfill_histories.py::test_a_gap_is_healed_by_windows_and_the_reread",
            "tests/functional/test_heal.py::test_a_record_that_is_dead_is_redriven_and_written_before_the_heal_reads",
            "tests/spark/test_closing.py::test_a_heal_by_scan_is_closed_once_its_sweep_is_merged_too",
        ),
    ),
    Promise(
        "G14",
        "No attribute value leaves encrypted stores: not in logs, metrics, exception text, message attributes or "
        "execution history.",
        (
            CORE + "errors.py:Poison",
            CORE + "telemetry.py:report_ingest",
            CORE + "telemetry.py:report_backfill",
            "spark/lakebound_spark/versions.py:condition_of",
        ),
        (
            "tests/functional/test_handlers.py::test_no_value_of_an_item_is_ever_told",
            "tests/functional/test_canaries.py::test_nothing_beside_the_bodies_of_messages_and_objects_holds_a_value",
            "tests/functional/test_canaries.py::test_an_execution_that_fails_and_is_redriven_keeps_no_value_in_its_"
            "history",
            "tests/functional/test_backfill_privacy.py::test_without_redaction_values_are_in_objects_only",
            "tests/spark/test_job_tells_no_value.py::test_lines_and_errors_name_no_value",
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A fault that is not injected by the simulation: the test that meets it, or what it waits for."""

    hop: str
    what: str
    outcome: str
    test: str = ""
    open: str = ""


_DELTA: Final = "S3 → Delta"

ELSEWHERE: Final = (
    Elsewhere(
        faults.SOURCE,
        "KEYS_ONLY or OLD_IMAGE view",
        "every record quarantined",
        SIM + "test_scenes.py::test_a_stream_without_images_goes_to_quarantine",
    ),
    Elsewhere(
        faults.INGEST,
        "writer's clock an hour behind",
        "no good record is quarantined",
        SIM + "test_scenes.py::test_a_writers_clock_an_hour_behind_keeps_good_records",
    ),
    Elsewhere(
        faults.INGEST,
        "malformed answer",
        "nothing counts as sent",
        SQS + "test_an_answer_of_something_else_than_sqs_means_nothing_was_done",
    ),
    Elsewhere(
        faults.INGEST, "old and new envelope versions mixed", "the other version is refused and kept", open="issue 5"
    ),
    Elsewhere(
        faults.FLUSH,
        "an hour of S3 outage",
        "the DLQ stays empty",
        SIM + "test_scenes.py::test_an_hour_of_s3_outage_leaves_the_dlq_empty",
    ),
    Elsewhere(
        faults.FLUSH,
        "an hour of S3 outage over claim checks",
        "the DLQ stays empty",
        SIM + "test_scenes.py::test_an_hour_of_s3_outage_over_claim_checks_leaves_the_dlq_empty",
    ),
    Elsewhere(
        faults.FLUSH,
        "a conflict (409) that lasts",
        "no success, tried again",
        S3 + "test_a_conflict_that_lasts_is_no_success",
    ),
    Elsewhere(
        faults.FLUSH,
        "kill -9 of the real process between put and delete",
        "nothing changes in silver",
        E2E + "test_a_flusher_killed_between_put_and_delete_changes_nothing",
    ),
    Elsewhere(faults.FLUSH, "disk or memory full", "no loss", open="issue 5"),
    Elsewhere(
        _DELTA,
        "new checkpoint over merged files",
        "no row changes",
        E2E + "test_merging_every_file_again_under_a_new_checkpoint_adds_nothing_to_the_change_feed",
    ),
    Elsewhere(
        _DELTA,
        "file truncated, edited, with a bad line",
        "left out whole, named with its reason",
        "tests/spark/test_files.py::test_every_bad_file_is_named_once_with_its_reason",
    ),
    Elsewhere(
        _DELTA,
        "file that vanished",
        "noted, the rest is merged",
        "tests/spark/test_files.py::test_a_file_that_vanished_is_noted_and_the_rest_is_merged",
    ),
    Elsewhere(
        _DELTA, "records in two files", "no row changes", E2E + "test_records_in_two_files_change_nothing_in_silver"
    ),
    Elsewhere(
        _DELTA,
        "names differing by case, 5,000 attributes",
        "columns stay apart",
        "tests/spark/test_rows.py::test_names_that_differ_only_by_case_stay_apart",
    ),
    Elsewhere(
        _DELTA,
        "crash between Delta commit and Spark commit",
        "no row changes",
        "tests/spark/test_job.py::test_the_same_files_again_change_nothing",
    ),
    Elsewhere(
        _DELTA,
        "OPTIMIZE in the middle of a MERGE",
        "the MERGE is refused and tried again",
        "tests/spark/test_upkeep.py::test_an_optimize_in_the_middle_of_a_merge",
    ),
    Elsewhere(
        _DELTA,
        "attribute type changes, names no column can bear",
        "rescued and counted, the stream goes on",
        "tests/spark/test_auto.py::test_what_has_no_column_is_rescued_and_counted",
    ),
    Elsewhere(
        _DELTA,
        "a record older than the purged tombstones",
        "kept as stale, GAP is told; without the floor it would resurrect a row",
        "tests/spark/test_deletes.py::test_purge_stale_records_and_the_red_control",
    ),
    Elsewhere(
        _DELTA,
        "driver killed",
        "no row is lost or counted twice",
        open="kill -9 of issue 8",
    ),
    Elsewhere(
        faults.BACKFILL,
        "throttling, empty page with a start key, resume with another segment count, 25,000 events, manifest "
        "naming a missing file",
        "resumed or refused",
        open="issue 4",
    ),
    Elsewhere(
        faults.OPERATOR,
        "rebuild silver from raw",
        "equal to the live table",
        E2E + "test_silver_rebuilt_from_the_files_equals_the_live_one",
    ),
    Elsewhere(
        faults.OPERATOR,
        "deploy and rollback under load",
        "no loss",
        "tests/incidents/test_incidents.py::test_the_incident_is_repaired_by_its_page",
    ),
    Elsewhere(
        faults.OPERATOR,
        "Delta restored to an older version",
        "equal again once every file is merged again",
        "tests/spark/test_repairs.py::test_a_table_restored_to_an_older_version_is_equal_again_after_every_file_is_"
        "merged_again",
    ),
)


def missing() -> list[str]:
    """What the document would claim and is not there."""
    wrong = []
    for promise in PROMISES:
        wrong += [f"{promise.name}: no guard {guard}" for guard in promise.guards if not _has_guard(guard)]
        wrong += [f"{promise.name}: no test {node}" for node in promise.tests if not has_test(node)]
        if not promise.tests and not promise.open:
            wrong.append(f"{promise.name}: no test")
    for row in ELSEWHERE:
        if not row.open and not has_test(row.test):
            wrong.append(f"fault {row.what!r}: no test {row.test or 'named'}")
    if not has_test(FIRES):
        wrong.append(f"no test {FIRES}")
    return wrong


def _has_guard(guard: str) -> bool:
    name, symbol = guard.split(":")
    path = ROOT / name
    if not path.is_file():
        return False
    text = path.read_text(encoding="utf-8")
    return symbol in _symbols(text) if path.suffix == ".py" else symbol in text


def has_test(node: str) -> bool:
    """Whether a node id names a test function that is there."""
    name, _, function = node.partition("::")
    path = ROOT / name
    return bool(function) and path.is_file() and function in _symbols(path.read_text(encoding="utf-8"))


def _symbols(text: str) -> set[str]:
    names: set[str] = set()

    def walk(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names.add(prefix + node.name)
            elif isinstance(node, ast.ClassDef):
                names.add(prefix + node.name)
                walk(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names.update(prefix + target.id for target in targets if isinstance(target, ast.Name))

    walk(ast.parse(text).body, "")
    return names


def _code(names: tuple[str, ...]) -> str:
    return "<br>".join(f"`{name}`" for name in names)


def rendered() -> str:
    """The whole document."""
    lines = [
        "# Guarantees",
        "",
        "*Written by `python -m tests.simulation guarantees`; a test fails when this page, a guard or a test "
        "it names is "
        "not as the code has it. Edit tests/simulation/guarantees.py.*",
        "",
        "*Delivered*: the stream handed the record to the mapping. *Durable place*: an un-acknowledged "
        "stream position, SQS "
        "(visible, in flight or dead letter), an S3 object, or a failure object that carries the payload.",
        "",
        "## Promises",
        "",
        "| id | claim | guard | test |",
        "|---|---|---|---|",
    ]
    for promise in PROMISES:
        tests = _code(promise.tests)
        if promise.open:
            tests += ("<br>" if tests else "") + f"**open**: {promise.open}"
        lines.append(f"| {promise.name} | {promise.claim} | {_code(promise.guards)} | {tests} |")
    lines += [
        "",
        "Not promised: transactions over several items; files that hold each record once (records are at least once in "
        "files, exactly once in effect); order inside bronze.",
        "",
        "## How they are proved",
        "",
        f"- **Histories** (`{HISTORIES}`): one seed is one history of the real `ingest` and `flush` over the "
        f"real SQS and "
        "S3 adapters, above a simulated stream, queue, bucket and clock. Conservation and no-overwrite are "
        "checked at each "
        "step; at rest, silver by the reference model equals the source and the old-image chain is whole or "
        "a gap was said. "
        "`python -m tests.simulation history --seed N` replays one and prints a failing one cut down.",
        f"- **Small scope** (`{SCOPE}`): every history of up to three writes and two scans, lossless, healed "
        f"in full and "
        f"healed by windows, in every order, batching and with one duplicate. "
        f"{len(failing_rules.RED_CONTROLS)} rules that "
        "fail are found, each with its shortest history (below).",
        f"- **Hop model** (`{HOPS}`): breadth first over ingest, queue and flush; {len(hop_model.MUTANTS)} "
        f"careless steps "
        "are caught.",
        f"- **Mutants** (`{MUTANTS}`): {len(mutants.MUTANTS)} edits of handlers, codec and merge, each killed "
        f"by the test it "
        "names (`python -m tests.simulation mutants` prints the table).",
        "",
        "## Faults",
        "",
        f"Those with a place of injection are in the simulation's registry; `{FIRES}` fails when one of them "
        f"never fires.",
        "",
        "| hop | fault | where injected, or the test that meets it | outcome |",
        "|---|---|---|---|",
    ]
    hops = list(dict.fromkeys([fault.hop for fault in faults.FAULTS] + [row.hop for row in ELSEWHERE]))
    for hop in hops:
        for fault in faults.FAULTS:
            if fault.hop == hop:
                lines.append(f"| {hop} | {fault.what} | simulation `{fault.name}`: {fault.where} | {fault.outcome} |")
        for row in ELSEWHERE:
            if row.hop == hop:
                where = f"`{row.test}`" if row.test else f"**open**: {row.open}"
                lines.append(f"| {hop} | {row.what} | {where} | {row.outcome} |")
    lines += [
        "",
        "## Rules that fail",
        "",
        f"Found by `{RULES}`. Times are small numbers; the sound margin there is {small_scope.MARGIN}, the sound wait "
        f"{small_scope.WAIT}.",
        "",
        "| rule or bound | known from | shortest history that ends wrong |",
        "|---|---|---|",
    ]
    for control in failing_rules.RED_CONTROLS:
        lines.append(f"| {control.name} | {control.source} | {control.search().wrong} |")
    return "\n".join(lines) + "\n"


def write() -> None:
    """Write the document."""
    DOCUMENT.write_text(rendered(), encoding="utf-8")
