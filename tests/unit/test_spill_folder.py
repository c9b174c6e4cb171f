"""What a verify keeps in its folder: whole parts only, of one run, and a kill costs no more than the open parts."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from lakebound.adapters.spill_folder import Begun, SpillFolder, open_spill
from lakebound.errors import LakeboundError, Misconfigured
from lakebound.operate.first_look import PARTITIONS, HeldSpill
from lakebound.operate.sides import LakeRow, Page
from lakebound.operate.verify import Patience, Report, verify
from lakebound.record.attributes import Image

ROOT = Path(__file__).resolve().parents[2]
PARTS, ITEMS = 8, 400
PLAN = {"table": "cars", "compared": "every key"}
NOW = Begun(1_795_000_000_000, PARTS)


class Source:
    """`id` k0, k1, …; says each part that it reads, and stops for good before the part `stop_at`."""

    key_names = ("id",)

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.parts_read: list[int] = []

    def pages(self, parts: Sequence[int], of: int) -> Iterator[Page]:
        for part in parts:
            numbers = range(part, ITEMS, of)
            if part == self.stop_at:
                # Half of the part has come when the process is killed.
                yield Page(part, [item(number) for number in numbers[: len(numbers) // 2]], False)
                print("stands still", flush=True)
                sys.stdin.read()
            self.parts_read.append(part)
            yield Page(part, [item(number) for number in numbers], True)

    def read(self, keys: Sequence[Image]) -> Iterator[Image]:
        numbers = [int(key["id"]["S"][1:]) for key in keys]
        yield from (item(number) for number in numbers if number < ITEMS)


class Lake:
    """The same items, but that k3 differs, k5 is missing, and there is a k400."""

    def rows(self, *asked: object) -> Iterator[LakeRow]:
        for number in range(ITEMS + 1):
            if number != 5:
                held = item(number) | ({"v": {"N": "9"}} if number == 3 else {})
                yield LakeRow(f"id=S:k{number}", json.dumps(held))

    def read(self, keys: Sequence[str]) -> Iterator[LakeRow]:
        return (row for row in self.rows() if row.key in keys)


class Still:
    def now_ms(self) -> int:
        return NOW.began_ms

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing is to be waited for")


def item(number: int) -> Image:
    return {"id": {"S": f"k{number}"}, "v": {"N": "1"}}


def run(source: Source, spill: SpillFolder | HeldSpill) -> Report:
    return verify(source, Lake(), Still(), spill=spill, parts=PARTS, patience=Patience(lag=0, limit=0))


EXPECTED = Report(keys=401, missing=("id=S:k5",), ghost=("id=S:k400",), different=("id=S:k3",), read_again=3, rows=400)


def test_a_folder_and_memory_give_one_report(tmp_path: Path) -> None:
    assert run(Source(), SpillFolder(tmp_path)) == run(Source(), HeldSpill()) == EXPECTED


def test_small_chunks_give_the_same_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lakebound.operate.first_look.CHUNK_BYTES", 100)
    assert run(Source(), SpillFolder(tmp_path)) == EXPECTED
    assert len(list(tmp_path.glob("*.chunk"))) > 100


def test_after_kill_9_the_next_run_reads_what_is_left_and_says_the_same(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; from tests.unit.test_spill_folder import *\n"
        f"with open_spill(Path({str(tmp_path)!r}), PLAN, NOW) as (spill, begun): run(Source(stop_at=5), spill)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    killed = subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert killed.stdout is not None
    assert killed.stdout.readline() == "stands still\n"
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait(10) == -signal.SIGKILL
    killed.stdout.close()
    assert killed.stdin is not None
    killed.stdin.close()
    source = Source()
    later = Begun(NOW.began_ms + 3_600_000, parts=99)
    with open_spill(tmp_path, PLAN, later) as (spill, begun):
        assert begun == NOW
        assert run(source, spill) == EXPECTED
        assert source.parts_read == [5, 6, 7]
        spill.empty()
    again = Source()
    with open_spill(tmp_path, PLAN, later) as (spill, begun):
        assert (run(again, spill), again.parts_read, begun) == (EXPECTED, list(range(PARTS)), later)


def test_what_a_kill_left_of_a_part_is_removed(tmp_path: Path) -> None:
    first = SpillFolder(tmp_path)
    first.keep("source-1", {7: b"abc"}, is_last=True)
    first.keep("source-2", {7: b"half"}, is_last=False)
    (tmp_path / "source-3.000000.writing").write_bytes(b"torn")
    second = SpillFolder(tmp_path)
    assert (second.whole_parts(), second.read(7)) == (frozenset(["source-1"]), b"abc")
    assert [path.name for path in tmp_path.iterdir()] == ["source-1.000000.last.chunk"]


@pytest.mark.parametrize("partition", [0, 1, PARTITIONS - 1])
def test_each_partition_comes_back(tmp_path: Path, partition: int) -> None:
    spill = SpillFolder(tmp_path)
    spill.keep("a", {partition: b"one", (partition + 1) % PARTITIONS: b"other"}, is_last=False)
    spill.keep("a", {partition: b"two"}, is_last=True)
    assert spill.read(partition) == b"onetwo"


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    with open_spill(tmp_path, PLAN, NOW):
        pass
    with (
        pytest.raises(Misconfigured, match=r"asked otherwise \(compared\)"),
        open_spill(tmp_path, PLAN | {"compared": "share 1 of 30"}, NOW),
    ):
        pass


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    with (
        open_spill(tmp_path, PLAN, NOW),
        pytest.raises(Misconfigured, match="Another verify works in"),
        open_spill(tmp_path, PLAN, NOW),
    ):
        pass


def test_a_folder_of_yesterday_is_refused(tmp_path: Path) -> None:
    with open_spill(tmp_path, PLAN, NOW):
        pass
    with (
        pytest.raises(Misconfigured, match="began over a day ago"),
        open_spill(tmp_path, PLAN, Begun(NOW.began_ms + 86_400_001, PARTS)),
    ):
        pass


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(Misconfigured, match=r"is not empty \(holiday.jpg\)"), open_spill(tmp_path, PLAN, NOW):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_a_disk_that_takes_nothing_is_a_sentence(tmp_path: Path) -> None:
    spill = SpillFolder(tmp_path)
    tmp_path.rmdir()
    with pytest.raises(LakeboundError, match="verify cannot keep what it read in"):
        spill.keep("a", {}, is_last=True)


def test_without_a_folder_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with open_spill(None, PLAN, NOW) as (spill, _):
        assert run(Source(), spill) == EXPECTED
        assert list(tmp_path.iterdir()) != []
    assert list(tmp_path.iterdir()) == []
