"""No table of any verb cuts what it holds, however narrow the terminal is."""

import ast
import re
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn

from lakebound.cli.output import CountLines, bar_columns
from lakebound.cli.tables import Column, table
from tests.support.dead_letters import a_body
from tests.support.operator_stack import Lakebound, Operated

WORDS = st.text("abcdefgh éü漢-_", max_size=30)
NUMBERS = st.integers(0, 10**15).map(lambda number: f"{number:,}")
TABLES = st.lists(st.booleans(), min_size=1, max_size=7).flatmap(
    lambda kinds: st.tuples(
        st.just([Column(f"head {place}", is_number) for place, is_number in enumerate(kinds)]),
        st.lists(st.tuples(*[NUMBERS if is_number else WORDS for is_number in kinds]), max_size=5),
    )
)


@given(TABLES, st.integers(20, 200))
@example(
    ([Column(f"head {place}", place == 6) for place in range(7)], [("", "", "", "_漢", "_漢", "__________ 漢", "0")]),
    64,
)
@example(([Column(f"head {place}") for place in range(3)], [("", "", "______________ 漢漢")]), 20)
def test_words_stand_whole_at_every_width(made: tuple[list[Column], list[tuple[str, ...]]], width: int) -> None:
    columns, rows = made
    lines = table(columns, rows, width)
    shown = " ".join(lines).split()
    for row in rows:
        for cell in row:
            for word in cell.split():
                assert word in shown
    assert "…" not in "".join(lines)
    # A table fits; in blocks a cell that is wider than the terminal by itself stands on one line, to be copied.
    is_table = any("─" in line for line in lines)
    longest = 0 if is_table else max([cell_len(cell) for row in rows for cell in row], default=0) + 2
    assert all(cell_len(line) <= max(width, longest) for line in lines)


def test_a_wide_terminal_shows_a_table_and_a_narrow_one_a_block_a_row() -> None:
    columns = [Column("way"), Column("items", is_number=True), Column("read units", is_number=True)]
    rows = [["scan", "11,161", "5,580"], ["incremental_export", "11,161", "0"]]
    assert table(columns, rows, 80) == [
        "way                  items  read units",
        "──────────────────  ──────  ──────────",
        "scan                11,161       5,580",
        "incremental_export  11,161           0",
    ]
    assert table(columns, rows, 24) == [
        "way         scan",
        "items       11,161",
        "read units  5,580",
        "",
        "way",
        "  incremental_export",
        "items       11,161",
        "read units  0",
    ]


def test_words_wrap_between_words_before_a_table_becomes_blocks() -> None:
    assert table([Column("n", is_number=True), Column("why")], [["7", "nothing to read there"]], 20) == [
        "n  why",
        "─  ─────────────────",
        "7  nothing to read",
        "   there",
    ]


def test_no_table_is_drawn_by_anything_else() -> None:
    """rich's own tables end a cell that is too wide with an ellipsis."""
    drawn = []
    for path in Path("src/lakebound").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rich"):
                drawn += [path.name for one in node.names if one.name in ("Table", "Columns", "MofNCompleteColumn")]
    assert drawn == []


@given(st.integers(20, 200), st.integers(0, 10**12), st.one_of(st.none(), st.integers(0, 10**12)))
def test_a_progress_bar_cuts_no_number(width: int, done: int, total: int | None) -> None:
    shown = drawn(bar_columns(width), width, done, total)
    words = shown.split()
    assert f"{done:,}" in words
    assert total is None or f"{total:,}" in words
    assert "…" not in shown


def test_richs_own_columns_are_seen_to_cut() -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    assert "…" in drawn(columns, 40, 11_161, 10**12)


def test_a_log_gets_a_line_a_minute_with_the_time_that_is_left() -> None:
    now, lines = [0.0], list[str]()
    count = CountLines({"parts": 100}, lines.append, lambda: now[0])
    for second in range(0, 181, 10):
        now[0] = float(second)
        count("items", 1_000)
        count("parts", 1)
    assert lines == [
        "items 7,000",
        "parts 7 of 100, about 0:13:17 left",
        "items 13,000",
        "parts 13 of 100, about 0:13:23 left",
        "items 19,000",
        "parts 19 of 100, about 0:12:47 left",
    ]
    now[0] = 300.0
    count("parts", 81)
    assert lines[6:] == ["parts 100 of 100"]


def drawn(columns: tuple[ProgressColumn, ...], width: int, done: int, total: int | None) -> str:
    console = Console(file=StringIO(), force_terminal=True, width=width, color_system=None)
    progress = Progress(*columns, console=console)
    progress.add_task("records", total=total, completed=done)
    with console.capture() as shown:
        console.print(progress.get_renderable())
    return shown.get()


def numbers(text: str) -> list[str]:
    return re.findall(r"\d[\d,.:]*\d|\d", text)


MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:lake"
VERBS = {
    "status": ("status",),
    "doctor": ("doctor",),
    "before": ("doctor", "--before", "--table", "flights"),
    "cost": ("cost", "--writes", "123456", "--item-bytes", "98765"),
    "measured cost": ("cost",),
    "estimate": ("backfill", "estimate", "--table", "flights"),
    "runs": ("backfill", "list", "--machine", MACHINE),
    "dead letters": ("dlq", "list", "--from", "buffer"),
    "trace": ("trace", "OP1#JFK"),
}


@pytest.mark.parametrize(
    "widths", [(200, 80, 30), pytest.param((200, 120, 80, 60, 40, 30, 20), marks=pytest.mark.soak)], ids=len
)
@pytest.mark.parametrize("verb", VERBS)
def test_a_narrow_terminal_is_told_every_number_of_a_wide_one(
    lakebound: Lakebound, operated: Operated, monkeypatch: pytest.MonkeyPatch, verb: str, widths: tuple[int, ...]
) -> None:
    stands_still(monkeypatch)
    operated.measure("Invocations", 1_234_567)
    sqs = operated.client("sqs")
    for number in range(12):
        sqs.send_message(QueueUrl=operated.dead_url, MessageBody=a_body(number))
    stepfunctions = operated.client("stepfunctions")
    role = "arn:aws:iam::123456789012:role/lake"
    stepfunctions.create_state_machine(name="lake", definition="{}", roleArn=role)
    for run in ("run-11161", "run-20131231"):
        stepfunctions.start_execution(stateMachineArn=MACHINE, name=run)
    told = {}
    for width in widths:
        monkeypatch.setenv("COLUMNS", str(width))
        lakebound(*VERBS[verb])
        shown = lakebound.printed()
        assert "Traceback" not in shown.err
        assert "…" not in shown.out or verb == "trace", width
        told[width] = sorted(numbers(shown.out))
    assert told[200]
    assert all(found == told[200] for found in told.values())


def stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    now = int(datetime.now(UTC).timestamp() * 1000)

    def now_ms(_: Any) -> int:
        return now

    monkeypatch.setattr("lakebound.adapters.clock.SystemClock.now_ms", now_ms)


def test_the_version_is_the_one_that_was_packed(lakebound: Lakebound) -> None:
    import tomllib

    assert lakebound("--version") == 0
    packed = tomllib.loads(Path("pyproject.toml").read_text())["project"]["version"]
    assert lakebound.out() == f"lakebound {packed}\n"
