"""The line of `bench.entities`: MERGEs are left out of the ratio, and a missed aim says so."""

from bench.entities import Spent, line, processor_seconds


def test_the_ratio_is_of_what_both_sides_spend_beside_their_merges() -> None:
    one = Spent([6.0, 7.0], [10.0, 12.0], [2.0, 3.0], [4.0, 6.0])
    ten = Spent([14.0, 15.0], [29.0, 31.0], [8.0, 9.0], [20.0, 22.0])
    row, merges = line("merged", one, ten).splitlines()
    assert row == "| merged (beside the MERGEs) | 4.0 | 6.0 | 6.0 | 9.0 | **1.50** | ≤ 1.5 |"
    assert merges == "| the MERGEs | 2.5 | 8.5 | 5.0 | 21.0 | 4.20 | – |"


def test_a_missed_aim_says_so() -> None:
    one, ten = (Spent([1.0], [seconds], [0.0], [0.0]) for seconds in (2.0, 3.2))
    assert line("appended", one, ten) == "| appended | 1.0 | 1.0 | 2.0 | 3.2 | **1.60** | ≤ 1.5 missed |"


def test_processor_seconds_grow_with_work() -> None:
    before = processor_seconds()
    while processor_seconds() == before:
        sum(range(100_000))
