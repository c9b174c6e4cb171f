"""docs/GUARANTEES.md is as the code has it, and names nothing that is not there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.simulation import guarantees


def test_every_guard_and_every_test_that_is_named_is_there() -> None:
    assert guarantees.missing() == []


def test_the_page_is_not_stale() -> None:
    assert guarantees.DOCUMENT.read_text(encoding="utf-8") == guarantees.rendered(), (
        "docs/GUARANTEES.md is stale: run `.venv/bin/python -m tests.simulation guarantees`"
    )


def test_every_promise_has_its_row() -> None:
    assert [promise.name for promise in guarantees.PROMISES] == [f"G{number}" for number in range(1, 18)]


@pytest.mark.parametrize(
    "change",
    [
        {"guards": ("src/lakebound/live/flush.py:no_such_function",)},
        {"guards": ("src/lakebound/no_such_file.py:flush",)},
        {"tests": ("tests/simulation/test_histories.py::test_no_such_test",)},
        {"tests": ()},
    ],
)
def test_a_row_that_names_what_is_missing_is_found(change: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarantees, "PROMISES", (replace(guarantees.PROMISES[0], **change), *guarantees.PROMISES[1:]))
    assert len(guarantees.missing()) == 1


def test_a_fault_without_a_test_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    hop, (row, *others) = next(iter(guarantees.ELSEWHERE.items()))
    monkeypatch.setitem(guarantees.ELSEWHERE, hop, (replace(row, test=""), *others))
    assert len(guarantees.missing()) == 1
