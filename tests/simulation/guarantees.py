"""docs/GUARANTEES.md: written from what is here, and refused when a guard or a test it names is not there.

A promise or a fault without a test fails the check: there is no row that only waits for one.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

from tests.simulation import failing_rules, faults, hop_model, live_model, mutants, soak
from tests.simulation.tables import rows
from tests.spark import mutants as spark_mutants

ROOT: Final = Path(__file__).resolve().parents[2]
DOCUMENT: Final = ROOT / "docs" / "GUARANTEES.md"

TESTS: Final = dict(
    line.split()
    for line in """\
HISTORIES tests/simulation/test_histories.py::test_thousands_of_histories_keep_every_promise
POISON tests/simulation/test_histories.py::test_histories_thick_with_poison_keep_every_promise
HURRY tests/simulation/test_histories.py::test_histories_short_of_time_keep_every_promise
HANDLERS tests/simulation/test_histories.py::test_histories_through_the_handlers_keep_every_promise
FIRES tests/simulation/test_histories.py::test_a_registered_fault_fires_and_breaks_nothing
HOPS tests/simulation/test_hop_model.py::test_no_reachable_state_loses_a_record
CARELESS tests/simulation/test_hop_model.py::test_a_careless_step_is_caught
SCOPE tests/simulation/test_small_scope.py::test_a_slice_of_all_scenarios_ends_right
LIVE_MODEL tests/simulation/test_live_model.py::test_a_reader_sees_the_table_of_some_moment_in_every_order_of_steps
RULES tests/simulation/test_small_scope.py::test_a_rule_that_fails_is_found
MUTANTS tests/simulation/test_mutants.py::test_the_mutant_is_killed
KILLED tests/killed/test_killed_handlers.py::test_a_kill_around_every_side_effect_loses_nothing
KILLED_SAMPLE tests/killed/test_killed_handlers.py::test_a_kill_around_each_kind_of_side_effect_loses_nothing
KILLED_JOB tests/spark/test_killed_job.py::test_a_job_killed_at_any_side_effect_ends_right
KILLED_COMMIT tests/spark/test_killed_job.py::test_a_job_killed_around_deltas_commit_ends_right
INCIDENT tests/incidents/test_incidents.py::test_the_incident_is_repaired_by_its_page
SPARK_MUTANTS tests/spark/test_spark_mutants.py::test_a_mutant_on_spark_is_killed
MEMORY tests/memory/test_memory.py::test_memory_stays_within_its_share
""".splitlines()
)
"""The tests that several rows below name, by the names they have there."""


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise: what is claimed, `file:symbol` that keeps it, node ids of tests that fail when it is broken."""

    name: str
    claim: str
    guards: tuple[str, ...]
    tests: tuple[str, ...]


def _promises(text: str) -> Iterator[Promise]:
    """A promise begins with its number and its claim; guards and tests stand indented below."""
    for promise in re.split(r"\n(?=G[0-9])", text.strip()):
        claim = " ".join(line for line in promise.splitlines() if not line.startswith(" "))
        named = [name for line in promise.splitlines() if line.startswith(" ") for name in line.split()]
        tests = tuple(TESTS.get(name, name) for name in named if name in TESTS or "::" in name)
        guards = tuple(name for name in named if name not in TESTS and "::" not in name)
        yield Promise(*claim.split(" ", 1), guards, tests)


PROMISES: Final = tuple(
    _promises("""
G1 A delivered record is in SQS, or in quarantine, before the stream's checkpoint passes it.
    src/lakebound/live/ingest.py:_send_all src/lakebound/live/ingest.py:_quarantine
    src/lakebound/adapters/sqs.py:SqsQueue.send template.yaml:OnFailure
    HISTORIES HANDLERS POISON HURRY
    tests/contract/test_sqs_faults.py::test_what_the_answer_does_not_name_as_sent_was_not_sent
G2 A record is in a complete S3 object before its message is deleted.
    src/lakebound/live/flush.py:_Invocation._write src/lakebound/live/flush.py:_Invocation.close
    HISTORIES HOPS KILLED_SAMPLE KILLED
G3 Conservation: at every moment each delivered record is in a durable place.
    src/lakebound/live/ingest.py:ingest src/lakebound/live/flush.py:flush
    HISTORIES HOPS CARELESS
G4 No batch file, claim check, manifest or quarantined record is ever replaced by other content.
    src/lakebound/transport/batch_files.py:_file src/lakebound/adapters/s3.py:S3Store.put_if_absent
    HISTORIES tests/simulation/test_codec.py::test_the_same_members_give_the_same_file
    tests/contract/test_s3_faults.py::test_a_put_asks_never_to_replace_and_carries_a_checksum
    tests/contract/test_object_store.py::test_an_object_is_never_replaced
G5 A listed object is whole and has exactly the records its name says.
    src/lakebound/transport/batch_files.py:assemble spark/lakebound_spark/reading/files.py:compare_with_name
    HISTORIES tests/simulation/test_codec.py::test_a_member_with_a_flipped_bit_is_refused
    tests/spark/test_files.py::test_only_whole_files_reach_silver
    tests/spark/test_files.py::test_the_count_in_the_name_decides
G6 A poison record blocks nobody and is kept with its bytes and its reason.
    src/lakebound/record/stream_records.py:StreamDecoder.decode src/lakebound/transport/quarantine.py:from_delivery
    src/lakebound/live/ingest.py:_quarantine
    POISON HISTORIES
G7 decode(encode(item)) = item for every item that can travel, whatever its values are: a file holds what DynamoDB sent.
Only what cannot travel or cannot be placed is quarantined (FORMAT.md).
    src/lakebound/record/envelope.py:encode_event src/lakebound/record/envelope.py:encode_line
    src/lakebound/record/envelope.py:decode_line
    HISTORIES tests/unit/test_inputs.py::test_a_value_of_no_type_comes_back_exactly
    tests/functional/test_every_input.py::test_generated_items_are_carried_exactly_or_kept
    tests/unit/test_attributes.py::test_keys_are_equal_exactly_when_their_canonical_texts_are
    tests/spark/test_merge.py::test_the_item_is_kept_to_the_byte
G8 Once deliveries come to rest, silver equals the source, whatever was duplicated, reordered, interrupted, replayed or
backfilled during writes.
    spark/lakebound_spark/reading/latest.py:latest_per_key spark/lakebound_spark/silver/merge.py:merge_rows
    SCOPE RULES HISTORIES tests/spark/test_histories.py::test_silver_equals_the_source
G9 A key's registers never go back to an older version.
    spark/lakebound_spark/silver/merge.py:_guarded_clauses
    HISTORIES tests/spark/test_histories.py::test_no_key_ever_went_back
G10 A micro-batch replayed after a crash changes nothing.
    spark/lakebound_spark/silver/merge.py:_guarded_clauses
    HISTORIES tests/spark/test_histories.py::test_delivering_everything_again_in_another_grouping_changes_nothing
    tests/e2e/test_demo.py::test_merging_every_file_again_under_a_new_checkpoint_adds_nothing_to_the_change_feed
    KILLED_JOB KILLED_COMMIT
G11 A gap is announced: by the status GAP, by an alarm, and by silver's stale mark, until a repair run completes.
    template.yaml:IteratorAge template.yaml:LookSchedule template.yaml:StatusGap
    src/lakebound/source/delivery_proof.py:find_gaps src/lakebound/backfill/stream_check.py:check_stream
    src/lakebound/backfill/gap_closing.py:decide_closing spark/lakebound_spark/silver/stale_mark.py:mark_stale
    spark/lakebound_spark/silver/stale_mark.py:record_stale_gap
    HISTORIES
    tests/functional/test_stream_check.py::test_a_mapping_off_for_30_hours_is_one_gap_that_ends_once_the_stream_is_whole
    tests/unit/test_delivery_proof.py::test_taking_silence_for_delivery_misses_a_mapping_off_for_30_hours
    tests/unit/test_gap_closing.py::test_whatever_is_missing_refuses_with_the_command_that_comes_before
    tests/spark/test_stale_mark.py::test_an_open_gap_marks_the_table_and_its_view_until_it_is_healed
    tests/spark/test_stale_mark.py::test_records_that_came_too_late_raise_a_gap
    tests/spark/test_closing.py::test_a_heal_by_windows_is_closed_once_it_is_merged INCIDENT
G12 Memory stays within the configured size; any item passes or is quarantined.
    src/lakebound/transport/messages.py:MAX_CLAIM_BYTES src/lakebound/record/attributes.py:MAX_LEVELS
    MEMORY tests/memory/test_memory.py::test_the_limit_bites HISTORIES
G13 Every delete reaches silver; deletes inside a gap do so by the sweep or by the incremental export.
    spark/lakebound_spark/silver/merge.py:_Registers src/lakebound/backfill/start_states.py:undelivered_before_heal
    spark/lakebound_spark/upkeep/run_merge_check.py:check_run_merge
    SCOPE RULES HISTORIES tests/functional/test_backfill_histories.py::test_a_gap_is_healed_by_windows_and_the_reread
    tests/functional/test_heal.py::test_a_dead_record_is_redriven_and_written_before_the_heal_reads
    tests/spark/test_closing.py::test_a_heal_by_scan_is_closed_once_its_sweep_is_merged_too
G14 No attribute value leaves encrypted stores: not in logs, metrics, exception text, message attributes or execution
history.
    src/lakebound/errors.py:Poison src/lakebound/adapters/telemetry.py:report_ingest
    src/lakebound/adapters/telemetry.py:report_backfill spark/lakebound_spark/platform/spark_compat.py:condition_of
    tests/functional/test_handlers.py::test_no_value_of_an_item_is_ever_told
    tests/functional/test_canaries.py::test_only_bodies_of_messages_and_objects_hold_a_value
    tests/functional/test_canaries.py::test_an_execution_that_fails_and_is_redriven_keeps_no_value_in_its_history
    tests/functional/test_backfill_privacy.py::test_without_redaction_values_are_in_objects_only
    tests/spark/test_job_output_privacy.py::test_lines_and_errors_name_no_value
G15 A run reads the very table whose stream is followed, by account, region and name; any other is refused before a
record is written.
    src/lakebound/record/table_identity.py:decide src/lakebound/record/table_identity.py:Source.check_told
    src/lakebound/backfill/start_states.py:_describe_followed_table src/lakebound/adapters/raw_answers.py:table_part
    tests/unit/test_tables.py::test_the_decision_is_own_another_accounts_or_a_refusal
    tests/functional/test_another_account.py::test_the_first_state_refuses_a_table_that_is_not_the_streams
    tests/functional/test_another_account.py::test_an_answer_about_another_table_is_an_error_and_not_an_absence
    tests/unit/test_sharing.py::test_what_cuts_an_arn_down_to_the_name_is_not_believed
G16 `_live` equals the records received: while micro-batches append, a read of its two tables, at two moments, shows
every key as it was at some moment between them. No start goes on without changes that were appended and not merged.
    spark/lakebound_spark/silver/live_rows.py:live_query
    spark/lakebound_spark/silver/changes_table.py:close_merge
    spark/lakebound_spark/silver/changes_table.py:changes_fault
    spark/lakebound_spark/silver/changes_table.py:clear_appends
    spark/lakebound_spark/silver/preparation.py:prepare_silver
    spark/lakebound_spark/upkeep/maintenance.py:_purgeable_keys src/lakebound/adapters/live_sql.py:live_sql
    tests/simulation/test_live_model.py::test_a_reader_sees_the_table_of_some_moment_in_every_order_of_steps
    tests/simulation/test_live_model.py::test_red_control_a_careless_rule_is_found
    tests/spark/test_live.py::test_live_equals_the_received_records_at_every_moment
    tests/spark/test_live.py::test_a_read_of_two_moments_equals_one_between
    tests/spark/test_live.py::test_red_control_a_careless_merge_is_found
    tests/spark/test_pending.py::test_a_start_without_what_was_pending_is_refused_and_a_new_checkpoint_brings_it
    tests/spark/test_pending.py::test_a_column_declared_while_changes_wait_is_in_the_view
    tests/spark/test_changes_fault.py::test_a_start_is_refused_whether_it_appends_or_not
    tests/spark/test_pending_columns.py::test_columns_that_appear_and_widen_while_changes_wait
    tests/spark/test_pending_purge.py::test_a_purge_while_older_changes_are_appended
    tests/spark/test_pending_purge.py::test_a_tombstone_stays_while_changes_of_its_key_are_kept
    tests/spark/test_pending_repairs.py::test_two_drivers_without_a_lease_lose_nothing
    tests/spark/test_killed_appends.py::test_a_job_killed_after_a_commit_ends_right
    tests/spark/test_killed_appends.py::test_a_job_killed_at_any_side_effect_ends_right
    tests/spark/test_two_engines.py::test_what_waits_for_a_merge_counts_as_merged
G17 With several tables from one source table each key is in the table that its rule names and in no other, and together
they hold what one table would, also after a crash between two of them. Keys move only on the operator's word.
    src/lakebound/record/entity_rules.py:EntityRules.check_keys
    spark/lakebound_spark/silver/entity_batch.py:bring_entities spark/lakebound_spark/silver/entity_job.py:_move_keys
    tests/spark/test_entity_sql.py::test_the_sql_of_rules_says_what_plain_python_says
    tests/spark/test_entities.py::test_two_tables_hold_what_the_source_holds_though_the_job_breaks_off_between_them
    tests/spark/test_entities.py::test_every_key_is_in_its_table_as_in_the_source_whatever_breaks_off
    tests/spark/test_killed_entities.py::test_a_job_killed_between_the_merges_of_two_tables_ends_right
    tests/spark/test_killed_entities.py::test_a_job_killed_between_the_appends_of_two_tables_ends_right
    tests/spark/test_killed_entities.py::test_a_careless_job_is_caught
    tests/spark/test_entities.py::test_red_control_a_rule_on_another_attribute_loses_deletes_and_is_found
    tests/spark/test_entities.py::test_rules_that_change_are_told_and_keys_move_only_on_the_operators_word
""")
)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A fault that the simulation does not inject, its outcome, and the test that meets it."""

    what: str
    outcome: str
    test: str


def _rows(text: str) -> tuple[Elsewhere, ...]:
    return tuple(Elsewhere(what, outcome, TESTS.get(test, test)) for what, outcome, test in rows(text))


ELSEWHERE: Final = {
    faults.SOURCE: _rows("""
creation time missing, in milliseconds, or over an hour ahead | quarantined with its reason |
    tests/unit/test_inputs.py::test_a_poison_record_has_its_code
6 MB delivery | carried within the configured memory | MEMORY
KEYS_ONLY or OLD_IMAGE view | every record quarantined |
    tests/simulation/test_scenes.py::test_a_stream_without_images_goes_to_quarantine
"""),
    faults.INGEST: _rows("""
writer's clock an hour behind | no good record is quarantined |
    tests/simulation/test_scenes.py::test_a_writers_clock_an_hour_behind_keeps_good_records
malformed answer | nothing counts as sent |
    tests/contract/test_sqs_faults.py::test_an_answer_of_something_else_than_sqs_means_nothing_was_done
old and new envelope versions mixed | the other version is refused and kept, its neighbours go on |
    tests/functional/test_flush.py::test_what_it_cannot_have_written_is_refused_and_kept_and_others_go_on
timeout in the middle of a delivery | each attempt carries some of it |
    tests/functional/test_ingest.py::test_a_slow_queue_makes_progress_delivery_by_delivery
entry too long or with illegal characters | refused by entry; none is sent like that |
    tests/contract/test_queue.py::test_control_characters_are_refused_by_entry
batch over the total limit though each entry fits | batches keep within what SQS takes |
    tests/functional/test_ingest.py::test_batches_keep_within_what_sqs_takes
record over the message limit | the claim is written first, or nothing is sent |
    tests/functional/test_ingest.py::test_a_claim_that_cannot_be_written_is_not_sent
queue deleted | the delivery comes again, and not for ever |
    tests/functional/test_ingest.py::test_a_queue_that_is_gone_returns_the_first_record_and_not_for_ever
KMS denied | nothing is lost once the key is back | INCIDENT
retries exhausted | failure objects carry the records, and are redriven | INCIDENT
kill -9 of the real process around every side effect | no loss | KILLED
"""),
    faults.SQS: _rows("""
reordering across hours | no loss; silver equals the source | HISTORIES
maxReceiveCount through an outage | the DLQ stays empty; without hiding it would fill |
    tests/functional/test_flush.py::test_without_hiding_the_same_hour_would_fill_the_dead_letter_queue
redrive days later | lands, and a heal waits for it |
    tests/functional/test_heal.py::test_a_dead_record_is_redriven_and_written_before_the_heal_reads
"""),
    faults.FLUSH: _rows("""
an hour of S3 outage | the DLQ stays empty |
    tests/simulation/test_scenes.py::test_an_hour_of_s3_outage_leaves_the_dlq_empty
an hour of S3 outage over claim checks | the DLQ stays empty |
    tests/simulation/test_scenes.py::test_an_hour_of_s3_outage_over_claim_checks_leaves_the_dlq_empty
claims deleted, or forbidden to the role, that S3 answers with 403 | their neighbours are written; they come again |
    tests/functional/test_flush.py::test_claims_that_are_missing_or_forbidden_hold_up_no_neighbour
a conflict (409) that lasts | no success, tried again |
    tests/contract/test_s3_faults.py::test_a_conflict_that_lasts_is_no_success
kill -9 of the real process around every side effect | no loss | KILLED
disk full: the process can write no file | no loss; none is written | KILLED_SAMPLE
memory full | stays within its share; beyond it the process is killed | MEMORY
slow or timed-out put | what there is no time for comes again |
    tests/functional/test_flush.py::test_a_slow_bucket_leaves_what_there_is_no_time_for
two flushers in one second with equal counts | two files |
    tests/functional/test_flush.py::test_two_flushers_in_one_second_with_equal_counts_write_two_files
hour boundary inside a message | deleted once both files exist |
    tests/functional/test_flush.py::test_a_message_over_two_hours_is_done_when_both_files_are
deadline too near | nothing is written, everything is named |
    tests/functional/test_flush.py::test_too_near_its_deadline_it_writes_nothing_and_names_everything
"""),
    "S3 → Delta": _rows("""
new checkpoint over merged files | no row changes |
    tests/e2e/test_demo.py::test_merging_every_file_again_under_a_new_checkpoint_adds_nothing_to_the_change_feed
file truncated, edited, with a bad line | left out whole, named with its reason |
    tests/spark/test_files.py::test_every_bad_file_is_named_once_with_its_reason
file cut, edited, renamed or copied over another, its count right | left out whole, named with its reason |
    tests/spark/test_files.py::test_a_file_of_other_bytes_is_left_out_though_its_count_fits
file that vanished | noted, the rest is merged |
    tests/spark/test_files.py::test_a_file_that_vanished_is_noted_and_the_rest_is_merged
records in two files | no row changes | tests/e2e/test_demo.py::test_records_in_two_files_change_nothing_in_silver
names differing by case | columns stay apart | tests/spark/test_rows.py::test_names_that_differ_only_by_case_stay_apart
crash between Delta commit and Spark commit | no row changes |
    tests/spark/test_job.py::test_the_same_files_again_change_nothing
kill -9 before Delta's commit, and after it before Spark's | no row changes | KILLED_COMMIT
driver killed with its Java at any side effect | no row is lost or counted twice | KILLED_JOB
driver of several tables killed between two steps | streams go on, no daily step is repeated |
    tests/spark/test_run.py::test_a_driver_killed_between_two_steps_goes_on_where_it_was
a table that fails beside others in one driver | the others are done, the exit status tells it |
    tests/spark/test_run.py::test_a_broken_table_stops_no_other_and_the_status_tells_it
a table that never catches up beside a quiet one | the quiet one waits for one turn of each step of the other |
    tests/unit/test_schedule.py::test_a_busy_table_does_not_starve_a_quiet_one_nor_one_of_its_own_steps
ten tables that never catch up beside forty quiet ones | a quiet one waits for five minutes at most |
    tests/unit/test_schedule.py::test_ten_busy_tables_do_not_hold_up_forty_quiet_ones
a table of a fleet with a wrong entry or config | it is left out with the reason, the others run |
    tests/unit/test_fleet_config.py::test_a_table_that_is_wrong_is_left_out_and_stops_no_other
a table of a fleet whose lease another driver holds | it is left out with the reason, the others run |
    tests/unit/test_lease.py::test_of_several_groups_the_refused_one_is_left_out_and_the_others_are_held_and_given_back
a driver of many tables killed, its leases left behind | the next one waits for a minute in all |
    tests/unit/test_lease.py::test_the_leases_of_a_killed_driver_are_watched_at_the_same_time
drivers that share a heartbeat for their leases stand still, die, wake up, and requests fail | no two hold one lease |
    tests/unit/test_lease_model.py::test_no_two_drivers_hold_a_lease_and_those_of_dead_drivers_are_free_after_a_minute
a lease of 0.1.0, which its driver renews itself | it is respected while that driver renews it |
    tests/unit/test_lease.py::test_a_lease_of_an_older_version_is_respected_while_that_renews_it
a second driver on a table in S3 from open Spark | it is refused, and told who holds the lease |
    tests/spark/test_run.py::test_while_a_driver_runs_a_second_one_and_a_single_job_are_refused
killed while it made the table | the next run makes it |
    tests/spark/test_interrupted_creation.py::test_a_table_whose_making_was_killed_is_made
crash between bronze and silver | files that come again add nothing |
    tests/spark/test_bronze.py::test_files_that_come_again_add_nothing_and_a_restored_one_goes_in_whole
VACUUM, and a person's DDL on silver | the person's column stays, the merge goes on |
    tests/spark/test_manual_changes.py::test_a_vacuum_and_a_persons_ddl_between_two_micro_batches_change_nothing
file listed twice or copied, ten versions of a key, only deletes, every grouping | silver equals the source |
    tests/spark/test_histories.py::test_delivering_everything_again_in_another_grouping_changes_nothing
several versions of a key in a batch | one row, the greatest of both registers |
    tests/spark/test_latest.py::test_before_and_after
empty batch | nothing happens | tests/spark/test_job.py::test_a_missing_source_is_refused_and_an_empty_one_is_fine
5,000 attributes | all are there | tests/spark/test_rows.py::test_five_thousand_attributes_and_a_deep_item
concurrent commit (OPTIMIZE) in the middle of a MERGE, its outcome unknown to the other |
    the MERGE is refused and tried again |
    tests/spark/test_upkeep.py::test_an_optimize_in_the_middle_of_a_merge
attribute type changes, names no column can bear | rescued and counted, the stream goes on |
    tests/spark/test_auto_columns.py::test_what_has_no_column_is_rescued_and_counted
a record older than the purged tombstones |
    set aside as stale, and a gap is recorded; without the bound it would bring a row back |
    tests/spark/test_deletes.py::test_purge_stale_records_and_the_red_control
kill -9 of a job that appends and merges, around each kind of commit | `_live` and silver equal the source |
    tests/spark/test_killed_appends.py::test_a_job_killed_after_a_commit_ends_right
kill -9 of a job for several tables between the MERGEs of two of them | each table equals the source |
    tests/spark/test_killed_entities.py::test_a_job_killed_between_the_merges_of_two_tables_ends_right
kill -9 of a job for several tables between the appends of two of them | each `_live` and table equals the source |
    tests/spark/test_killed_entities.py::test_a_job_killed_between_the_appends_of_two_tables_ends_right
a purge while older changes are appended, or while the append is merged or killed | nothing deleted comes back |
    tests/spark/test_pending_purge.py::test_a_purge_while_older_changes_are_appended
columns appear and widen while changes wait | `_live` shows what a merge at once would show |
    tests/spark/test_pending_columns.py::test_columns_that_appear_and_widen_while_changes_wait
a sweep while the run, or changes since it, wait | refused until the run is merged; nothing newer is taken back |
    tests/spark/test_pending_repairs.py::test_a_sweep_takes_back_nothing_that_waits
a second driver appends and merges where no lease keeps it out | nothing is lost, neither is refused afterwards |
    tests/spark/test_pending_repairs.py::test_two_drivers_without_a_lease_lose_nothing
"""),
    faults.BACKFILL: _rows("""
timeout before scan, after scan, after put, after checkpoint | goes on from the checkpoint |
    tests/functional/test_backfill_scan.py::test_a_kill_at_any_write_loses_nothing
kill -9 of the real process around every side effect | no loss | KILLED
a segment run twice at once | whoever saved first goes on |
    tests/functional/test_backfill_scan.py::test_two_invocations_of_one_segment_agree_with_whoever_saved_first
a table that throttles all the time | read slower, to the end |
    tests/functional/test_backfill_limits.py::test_a_table_that_throttles_is_read_slower_and_to_the_end
resume with another segment count | refused |
    tests/functional/test_backfill_scan.py::test_another_segment_count_is_refused_on_resume
item put, updated, deleted, re-inserted before, during, after its page | silver equals the source |
    tests/functional/test_backfill_histories.py::test_a_backfill_of_a_filled_table_beside_writes
scanner's clock far off | nothing is read |
    tests/functional/test_backfill_scan.py::test_a_clock_that_is_far_off_reads_nothing
eventually consistent read | no sweep from such a run | tests/spark/test_sweep.py::test_an_incomplete_run_is_refused
redrive within 14 days | goes on from the checkpoint |
    tests/functional/test_backfill_scan.py::test_a_redrive_after_a_timeout_in_mid_segment_goes_on_from_the_checkpoint
no redrive within 14 days | a new run takes its place |
    tests/functional/test_backfill_given_up.py::test_a_run_left_alone_for_fifteen_days_is_followed_by_a_new_one
256 KiB of state, 25,000 events | 10,000 segments fit |
    tests/functional/test_backfill_limits.py::test_ten_thousand_segments_fit_a_state_and_a_history
manifest naming a missing file | refused, with the next step |
    tests/functional/test_backfill_scan.py::test_a_file_that_disappeared_fails_the_manifest
backfill while the status is GAP | the gap is healed |
    tests/functional/test_backfill_histories.py::test_a_gap_is_healed_by_a_scan_and_a_sweep
"""),
    faults.OPERATOR: _rows("""
rebuild silver from raw | equal to the live table |
    tests/e2e/test_demo.py::test_rebuilt_silver_equals_live_one
deploy and rollback under load | no loss | INCIDENT
Delta restored to an older version | equal again once every file is merged again |
    tests/spark/test_repairs.py::test_a_table_restored_to_an_older_version_is_equal_again_after_every_file_is_merged_again
"""),
}


def missing() -> list[str]:
    """What the document would claim and is not there."""
    wrong = []
    for promise in PROMISES:
        wrong += [f"{promise.name}: no guard {guard}" for guard in promise.guards if not _has_guard(guard)]
        wrong += [f"{promise.name}: no test {node}" for node in promise.tests if not has_test(node)]
        if not promise.tests:
            wrong.append(f"{promise.name}: no test")
    for row in chain(*ELSEWHERE.values()):
        if not has_test(row.test):
            wrong.append(f"fault {row.what!r}: no test {row.test or 'named'}")
    if not has_test(TESTS["FIRES"]):
        wrong.append(f"no test {TESTS['FIRES']}")
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
    lines = [
        "# Guarantees",
        "",
        "For reviewers who ask what Lakebound promises and how they could tell if it lied. After it you can name the "
        "code that keeps each promise, the test that fails without it, and the faults that were tried.",
        "",
        "*`python -m tests.simulation guarantees` writes this page from tests/simulation/guarantees.py. A test fails "
        "when the page is stale, or when it names a guard or a test that does not exist.*",
        "",
        "A record is *delivered* once the stream has handed it to the mapping. A *durable place* is one of these: a "
        "stream position that is not acknowledged, SQS (a message that is visible, in flight or a dead letter), an S3 "
        "object, or a failure object that carries the payload.",
        "",
        "## Promises",
        "",
        "| id | claim | guard | test |",
        "|---|---|---|---|",
    ]
    for promise in PROMISES:
        lines.append(f"| {promise.name} | {promise.claim} | {_code(promise.guards)} | {_code(promise.tests)} |")
    lines += [
        "",
        "Three things are not promised: transactions over several items; files that hold each record once (a record is "
        "in at least one file, and takes effect exactly once); order inside bronze.",
        "",
        "## How they are proved",
        "",
        f"- **Histories** (`{TESTS['HISTORIES']}`). "
        "A seed determines one history. It runs the real `ingest` and `flush`, in "
        "three cases of four also the real backfill under its state machine, and the real SQS and S3 adapters; stream, "
        "queue, bucket and clock are simulated. Each step checks that no record is lost and no object overwritten. At "
        "the end silver, as the reference model computes it, equals the source, and the chain of old images is whole "
        "or a gap was recorded. `python -m tests.simulation history --seed N` replays one history, and shortens it if "
        "it fails.",
        f"- **Small scope** (`{TESTS['SCOPE']}`). "
        "Every history of up to three writes and two scans (without loss, healed in "
        "full, healed by windows) is delivered in every order and grouping, and with one duplicate. "
        f"{len(failing_rules.RED_CONTROLS)} rules that fail are found (`{TESTS['RULES']}`); "
        "[ORDERING](ORDERING.md#rules-that-fail) lists each with its shortest history.",
        f"- **Hop model** (`{TESTS['HOPS']}`). "
        "A breadth-first search visits every state of ingest, queue and flush. It catches "
        f"{len(hop_model.MUTANTS)} careless steps.",
        f"- **Model of `_live`** (`{TESTS['LIVE_MODEL']}`). "
        "A breadth-first search visits every order of appends, merges, a "
        "purge, kills, a new checkpoint and a reader's two looks, with both registers. It catches "
        f"{len(live_model.RED_CONTROLS)} careless rules.",
        f"- **Mutants** (`{TESTS['MUTANTS']}`). The tests named beside them kill {len(mutants.MUTANTS)} wrong edits of "
        f"handlers, backfill, codec and merge, and {len(spark_mutants.PLAIN) + len(spark_mutants.ON_SPARK)} of the "
        f"Spark code (`{TESTS['SPARK_MUTANTS']}`). `python -m tests.simulation mutants` prints the table.",
        f"- **kill -9** (`{TESTS['KILLED']}`, `{TESTS['KILLED_JOB']}`). "
        "The handlers run as processes over HTTP and are killed just "
        "before and just after each numbered side effect of a history. The merge job and its Java are killed at every "
        "path that they create. The same harness catches a careless handler and a careless job.",
        f"- **Soak** (`make soak HOURS=8`). Long histories run through the handlers and the real backfill with "
        f"{soak.RATE:.0%} of every fault. The report says whether both sides are equal, and how fast memory grows.",
        "",
        "## Faults",
        "",
        f"The simulation injects those marked *simulation* at the place named; `{TESTS['FIRES']}` "
        "fails when one of them never "
        "fires.",
        "",
        "| hop | fault | where injected, or the test that meets it | outcome |",
        "|---|---|---|---|",
    ]
    for hop in dict.fromkeys([*(fault.hop for fault in faults.FAULTS), *ELSEWHERE]):
        for fault in faults.FAULTS:
            if fault.hop == hop:
                lines.append(f"| {hop} | {fault.what} | simulation `{fault.name}`: {fault.where} | {fault.outcome} |")
        for row in ELSEWHERE.get(hop, ()):
            lines.append(f"| {hop} | {row.what} | `{row.test}` | {row.outcome} |")
    return "\n".join(lines) + "\n"


def write() -> None:
    DOCUMENT.write_text(rendered(), encoding="utf-8")
