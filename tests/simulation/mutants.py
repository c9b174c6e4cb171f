"""Hand-written mutants of handlers, backfill, codec and merge, each with the test that kills it.

A mutant is one edit of one source file. It is applied to the code that is loaded: the edited source is compiled, and
every function whose code differs hands its new code to the function in use, wherever that is imported. Afterwards all
is put back.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

from tests.simulation.handlers import environment
from tests.simulation.tables import rows

TESTS = {
    "HISTORIES": "tests/simulation/test_histories.py::test_the_first_histories_keep_every_promise",
    "POISON": "tests/simulation/test_histories.py::test_histories_thick_with_poison_keep_every_promise",
    "HURRY": "tests/simulation/test_histories.py::test_histories_short_of_time_keep_every_promise",
    "HANDLERS": "tests/simulation/test_histories.py::test_histories_through_the_handlers_keep_every_promise",
    "BACKFILLS": "tests/simulation/test_histories.py::test_histories_thick_with_backfills_keep_every_promise",
    "OUTAGE": "tests/simulation/test_scenes.py::test_an_hour_of_s3_outage_leaves_the_dlq_empty",
    "SCOPE": "tests/simulation/test_small_scope.py::test_the_smallest_scenarios_end_right",
}
"""The tests that several groups below name."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One edit, and the test (a node id) that must fail under it."""

    name: str
    module: str
    old: str
    new: str
    killed_by: str


def edits_of(module: str, killed_by: str, *edits: tuple[str, str, str]) -> Iterator[Mutant]:
    """Mutants of one module that one test kills: of each its name, the old text and the new text."""
    for name, old, new in edits:
        yield Mutant(name, module, old, new, killed_by)


def _mutants(text: str) -> Iterator[Mutant]:
    """`@ module | test` begins a group of rows `name | old text | new text`, in which `\\n` is the end of a line."""
    for cells in rows(text):
        if cells[0].startswith("@ "):
            module, test = cells[0].removeprefix("@ "), TESTS.get(cells[1], cells[1])
        else:
            name, old, new = (cell.replace("\\n", "\n") for cell in cells)
            yield Mutant(name, module, old, new, test)


MUTANTS = tuple(
    _mutants(r"""
@ lakebound.live.ingest | HISTORIES
ignore Failed | pending = [message for place, message in enumerate(pending) if place in positions] | pending = []
take a queue error for success | continue\n        accepted | pending = []\n            break\n        accepted
drop poison | store.put_if_absent(item.key, item.body, {"reason": item.reason}) | pass
send a claim check without its document | store.put_if_absent(key, document, {}) | pass
send a claim check whose document failed | result.unsent_why = "claim"\n        return False |
    result.unsent_why = "claim"\n        return True
let one poison record fail the delivery |
    except Poison as poison:\n            poisoned.append((position, poison))\n            continue |
    except Poison as poison:\n            raise
@ lakebound.live.ingest | POISON
answer the highest failed number | first = min(( | first = max((
acknowledge past poison that was not kept | result.unsent_why = "quarantine"\n            return position |
    result.unsent_why = "quarantine"\n            continue
forget the quarantine's stop | in (stop, failed) if | in (failed,) if
@ lakebound.live.ingest | HURRY
forget what was not sent for lack of time | unsent = batch\n | unsent = []\n
@ lakebound.live.flush | HISTORIES
swallow a put error | is_whole = False\n                break | there.append((file, False))
call every message durable | one.durable = all((member.partition, member.format) in written for member in one.members) |
    one.durable = True
call a message durable with one of its files | one.durable = all((member | one.durable = any((member
delete all messages in hand | for one in opened if one.durable and not one.mapping_deletes for | for one in opened for
answer only with messages that were decoded | if m.message_id not in durable)) |
    if m.message_id in self._messages and m.message_id not in durable))
@ lakebound.live.flush | OUTAGE
hide nothing during an outage | 30 * 2 ** min(one.receives, 10) | 0
@ lakebound.transport.batch_files | HISTORIES
name files by second and count | sha256(body).hexdigest()[:32] | "0" * 32
count members, not records | sum(member.count for member in members) | len(members)
take members for equal by their header | [member.digest()] | [member.data[:8]]
@ lakebound.transport.batch_files | tests/simulation/test_codec.py::test_the_same_members_give_the_same_file
keep members in order of arrival | for digest in sorted(group) | for digest in group
@ lakebound.transport.messages | tests/simulation/test_codec.py::test_a_member_with_a_flipped_bit_is_refused
skip the check of a member's bytes | value.get("crc32") != member.crc32() | False
@ lakebound.transport.messages | HISTORIES
lose the lines of a member that had to be split | runs += [run[middle:], run[:middle]] | runs += [run[:middle]]
@ lakebound.record.stream_records | HISTORIES
leave sequence numbers as they are | sequence_number.zfill(40) | sequence_number
keep seconds for milliseconds | value * 1000 if type(value) is int else | value if type(value) is int else
drop the old image | new_image,\n            old_image,\n | new_image,\n            None,\n
take every service delete for a TTL delete | event_name == "REMOVE" and _is_ttl(record.get("userIdentity")) |
    event_name == "REMOVE"
@ lakebound.record.stream_records | tests/unit/test_inputs.py::test_no_old_image_costs_its_change
let an old image of another key cost the change | old_image, refused = None, poison.code | raise
@ lakebound.record.envelope | tests/unit/test_inputs.py::test_no_old_image_costs_its_change
let an old image that cannot travel cost the change | if event.old_image is None:\n            raise | raise
@ lakebound.record.envelope | tests/unit/test_inputs.py::test_no_poison_value_is_carried
write NaN as null | [*record.values()].count(None) | len(line)
never look at the length of names | if len(data) > MAX_NAME_LENGTH: | if not data:
@ lakebound.record.envelope | HISTORIES
mark no REMOVE as deleted | in ("REMOVE", "ABSENT") | in ("ABSENT",)
put the item's keys for its image | "new_image": event.new_image | "new_image": event.new_image and event.keys
@ lakebound.record.attributes | HISTORIES
leave `|` in a key's value unescaped | text = text.replace("\\", "\\\\").replace("|", "\\|") | pass
@ lakebound.record.attributes | tests/simulation/test_codec.py::test_equal_numbers_are_one_key
let numbers as keys be texts |
    elif tag == "N":\n        text = _number_of(inner)\n    elif tag == "B":\n        text = b64 |
    elif tag == "N":\n        text = _string_of(inner)\n    elif tag == "B":\n        text = b64
@ lakebound.transport.quarantine | HISTORIES
keep part of a poison record | source, ascii_json(record), now_ms) | source, ascii_json(record["dynamodb"]), now_ms)
@ functions.stream_ingest.app | HANDLERS
stream_ingest answers that all went well | return {"batchItemFailures": failures} | return {"batchItemFailures": []}
@ functions.flusher.app | HANDLERS
the flusher answers that all went well | for message_id in result.failed]} | for message_id in result.failed[:0]]}
the flusher answers with receipts | message_id=record["messageId"] | message_id=record["receiptHandle"]
@ lakebound.backfill.segment_worker | BACKFILLS
save the checkpoint before the file | for file in files.take_files() |
    reading.tag = self.documents.save(key, state.encode(), reading.tag)\n        for file in files.take_files()
take an empty page for the end | done=page.next is None | done=page.next is None or not page.values
@ lakebound.backfill.segment_worker |
    tests/functional/test_pages_ahead.py::test_a_page_that_was_asked_for_is_taken_though_the_time_is_up
drop a page that was asked for | if reading.asked is None:\n | if True:\n
@ lakebound.backfill.segment_worker |
    tests/functional/test_pages_ahead.py::test_every_unit_is_counted_and_every_page_awaited_whatever_fails
leave a page on its way | return ask() if ask is not None else None | return None
count no page that nobody takes | if page is not None:\n | if False:\n
count no page that is read again | reading.units += page.units\n            # | pass\n            #
@ lakebound.backfill.segment_worker |
    tests/functional/test_pages_ahead.py::test_no_page_is_asked_for_ahead_of_the_rate
ask for a page ahead of the rate | may_ask = not self._wait_seconds(limiter) and | may_ask =
@ lakebound.backfill.segment_worker |
    tests/functional/test_pages_ahead.py::test_a_label_is_the_time_of_the_request_however_late_the_page_is_taken
take the page ahead for the one that is added | self._add_page(state, page.read(), files, now) |
    self._add_page(state, (reading.asked() if reading.asked else page).read(), files, now)
@ lakebound.backfill.segment_worker |
    tests/functional/test_backfill_scan.py::test_two_invocations_of_one_segment_agree_with_whoever_saved_first
save over another writer's checkpoint | self.documents.save(key, state.encode(), reading.tag) |
    self.documents.save(key, state.encode(), (self.documents.load(key) or (b"", None))[1])
@ lakebound.backfill.segment_worker |
    tests/functional/test_backfill_scan.py::test_the_label_is_the_time_before_the_page_less_the_margin
let a manifest's least label be its last | min(least, page.label_ms) | page.label_ms
@ lakebound.adapters.backfill_table | tests/unit/test_backfill_pages.py::test_a_pages_time_is_taken_before_its_request
take a page's time after its request |
    before = self._clock.now_ms()\n        answer = self._call(operation, **arguments) |
    answer = self._call(operation, **arguments)\n        before = self._clock.now_ms()
@ lakebound.backfill.export_states | BACKFILLS
label an export after its moment | return export.export_time_ms - plan.margin_ms |
    return export.export_time_ms + plan.margin_ms
@ lakebound.backfill.export_states |
    tests/functional/test_backfill_histories.py::test_a_key_that_only_a_scan_inside_the_gap_told_of_is_read_again
read no key again after the windows | [stored.key for stored in batch_files(context, TimeRange(*plan.reread))] | []
@ lakebound.backfill.start_states | tests/functional/test_backfill_scan.py::test_a_run_waits_until_the_stream_covers_it
read before the stream covers the first page | covered_from_ms(context, described) + wait_ms |
    covered_from_ms(context, described)
@ lakebound.backfill.key_reread |
    tests/unit/test_repair.py::test_what_the_table_leaves_unread_is_asked_for_again_and_refused_in_the_end
take a throttled key for an absent one | if wanted:\n        raise | if False:\n        raise
@ lakebound.backfill.finish_state |
    tests/functional/test_backfill_scan.py::test_a_run_with_a_segment_that_is_not_done_has_no_manifest
end a run before its segments are done | checkpoint is None or not checkpoint.done | checkpoint is None
@ lakebound.backfill.finish_state | tests/functional/test_heal.py::test_a_tiny_table_is_read_whole_and_swept
forget what a run heals | heals=plan.heals | heals=()
@ tests.support.registers | SCOPE
merge: the scan wins ties | time >= base[0] | time > base[0]
merge: the last batch's time counts | time = max(row.time, batch.time) | time = batch.time
merge: no guard on the stream image | image = batch.stream_image if newer else row.image | image = batch.stream_image
merge: the last base record counts | batch.base > row.base | bool(batch.base)
merge: base records hide whatever they meet | stream_visible = not base or time >= base[0] |
    stream_visible = not newer_base
reduce: the newest by time, not by version |
    if change.version > version:\n                version, stream_image = change.version, change.image\n    return |
    if change.time >= time:\n                version, stream_image = change.version, change.image\n    return
""")
)


def _functions(holder: Any, module: str, path: str = "") -> Iterator[tuple[str, FunctionType]]:
    for name, value in vars(holder).items():
        value = value.fget if isinstance(value, property) else value
        value = value.__func__ if isinstance(value, staticmethod | classmethod) else value
        value = inspect.unwrap(value) if isinstance(value, FunctionType) else value
        if isinstance(value, FunctionType) and value.__module__ == module:
            yield f"{path}{name}", value
        elif inspect.isclass(value) and value.__module__ == module:
            yield from _functions(value, module, f"{path}{name}.")


@contextmanager
def applied(mutant: Mutant) -> Iterator[None]:
    """The mutant in place of the code. Raises ValueError when the edit no longer fits the source."""
    with environment():
        module = importlib.import_module(mutant.module.replace("/", "."))
    source = Path(str(module.__file__)).read_text(encoding="utf-8")
    if source.count(mutant.old) != 1:
        raise ValueError(f"the mutant {mutant.name!r} does not fit {mutant.module}: {source.count(mutant.old)} places")
    fresh = ModuleType(module.__name__)
    fresh.__file__ = module.__file__
    importlib.import_module("sys").modules["__mutant__"] = fresh
    with environment():
        exec(compile(source.replace(mutant.old, mutant.new), str(module.__file__), "exec"), fresh.__dict__)
    edited = dict(_functions(fresh, module.__name__))
    undo: list[tuple[FunctionType, CodeType]] = []
    for path, function in _functions(module, module.__name__):
        code = edited[path].__code__
        if not _same(code, function.__code__):
            undo.append((function, function.__code__))
            function.__code__ = code
    if not undo:
        raise ValueError(f"the mutant {mutant.name!r} changes no function")
    try:
        yield
    finally:
        for function, code in undo:
            function.__code__ = code


def _same(one: CodeType, other: CodeType) -> bool:
    def content(code: CodeType) -> list[object]:
        inner = [content(const) if isinstance(const, CodeType) else const for const in code.co_consts]
        return [code.co_code, code.co_names, code.co_freevars, inner]

    return content(one) == content(other)


def the_test(node: str) -> Callable[[], None]:
    """Every case of the test behind a node id (one without fixtures)."""
    path, name = node.split("::")
    function = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), name)

    def every_case() -> None:
        for given in cases(function):
            function(**given)

    return every_case


def cases(function: Any) -> Iterator[dict[str, Any]]:
    """The arguments of each case of a test: every choice of its `parametrize` marks, or nothing where it has none."""
    marks = [mark for mark in getattr(function, "pytestmark", []) if mark.name == "parametrize"]
    choices = []
    for mark in marks:
        names = mark.args[0]
        names = [name.strip() for name in names.split(",")] if isinstance(names, str) else names
        choices.append([dict(zip(names, one if len(names) > 1 else [one], strict=True)) for one in mark.args[1]])
    for chosen in itertools.product(*choices):
        yield {name: value for given in chosen for name, value in given.items()}


def kill(mutant: Mutant) -> str:
    """Run the mutant's test under it: the first line of its failure, or empty when the mutant lives on."""
    test = the_test(mutant.killed_by)
    with applied(mutant):
        try:
            test()
        except (Exception, pytest.fail.Exception) as failure:
            return f"{type(failure).__name__}: {failure}".splitlines()[0]
    return ""


def table() -> str:
    """Every mutant with the test that killed it and what the test said."""
    lines = []
    for mutant in MUTANTS:
        said = kill(mutant)
        lines.append(
            f"{mutant.module.rsplit('.', 1)[-1]:<11} {mutant.name:<48} {mutant.killed_by.split('::')[1]}: "
            f"{said or 'ALIVE'}"
        )
    return "\n".join(lines)
