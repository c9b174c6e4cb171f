"""verify's memory does not grow with the keys: ten times as many take no more, save what 1/1024 of them takes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MB = 1024 * 1024
FEW, MANY = 200_000, 2_000_000
ROOM = 8 * MB
"""A partition of 2 million keys is 0.8 MB; the rest is what the allocator keeps."""

COMPARE = """
import sys
from itertools import islice
from pathlib import Path
from lakebound.adapters.spill_folder import SpillFolder
from lakebound.operate.first_look import HeldSpill
from lakebound.operate.sides import LakeRow, Page
from lakebound.operate.verify import verify
from tests.memory.scenarios import Still, peak_bytes

count, folder = int(sys.argv[1]), sys.argv[2]

class Source:
    key_names = ("id",)

    def pages(self, parts, of):
        for part in parts:
            numbers = iter(range(part, count, of))
            while page := list(islice(numbers, 1_000)):
                yield Page(part, [{{"id": {{"S": f"k{{number:012d}}"}}, "v": {{"N": "1"}}}} for number in page], False)
            yield Page(part, [], True)

class Lake:
    def rows(self, selection):
        for number in range(count):
            yield LakeRow(f"id=S:k{{number:012d}}", f'{{{{"id":{{{{"S":"k{{number:012d}}"}}}},"v":{{{{"N":"1"}}}}}}}}')

before = peak_bytes()
report = verify(Source(), Lake(), Still(), spill={spill}, parts=max(4, count // 50_000))
assert report.is_equal and report.keys == count, report
print(peak_bytes() - before)
"""
ON_DISK = COMPARE.format(spill="SpillFolder(Path(folder))")
HELD = COMPARE.format(spill="HeldSpill()")


def grown(script: str, count: int, folder: Path) -> int:
    """By how many bytes the peak of a process of its own grows while it compares so many keys."""
    folder.mkdir()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    command = [sys.executable, "-c", script, str(count), str(folder)]
    return int(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


@pytest.mark.soak
def test_ten_times_as_many_keys_take_no_more_memory(tmp_path: Path) -> None:
    few, many = grown(ON_DISK, FEW, tmp_path / "few"), grown(ON_DISK, MANY, tmp_path / "many")
    print(f"{FEW:,} keys: {few / MB:.1f} MB, {MANY:,} keys: {many / MB:.1f} MB")
    assert many < few + ROOM, (few, many)


@pytest.mark.soak
def test_who_holds_what_was_read_takes_more_for_more_keys(tmp_path: Path) -> None:
    """The red control."""
    few, many = grown(HELD, FEW // 10, tmp_path / "few"), grown(HELD, FEW, tmp_path / "many")
    print(f"held: {FEW // 10:,} keys: {few / MB:.1f} MB, {FEW:,} keys: {many / MB:.1f} MB")
    assert many > few + ROOM, (few, many)
