"""The lines of `bench.entities`: commits are left out of the ratio with an aim, and a missed aim says so."""

from bench.entities import Spent, lines, processor_seconds


def test_the_aim_is_about_what_both_sides_spend_beside_their_commits() -> None:
    one = Spent([6.0, 7.0], [10.0, 12.0], [2.0, 3.0], [4.0, 6.0])
    ten = Spent([14.0, 15.0], [29.0, 31.0], [8.0, 9.0], [20.0, 22.0])
    whole, merges, beside = lines("merged", one, ten).splitlines()
    assert whole == "| merged, in all | 6.5 | 14.5 | 11.0 | 30.0 | **2.73** |  |"
    assert merges == "| the MERGEs | 2.5 | 8.5 | 5.0 | 21.0 | **4.20** |  |"
    assert beside == "| merged, beside the MERGEs | 4.0 | 6.0 | 6.0 | 9.0 | **1.50** | ≤ 1.5 |"


def test_a_missed_aim_says_so() -> None:
    one, ten = (Spent([1.5], [seconds], [0.5], [1.0]) for seconds in (3.0, 4.2))
    *_, beside = lines("appended", one, ten).splitlines()
    assert beside == "| appended, beside the appends | 1.0 | 1.0 | 2.0 | 3.2 | **1.60** | ≤ 1.5 missed |"


def test_processor_seconds_grow_with_work() -> None:
    before = processor_seconds()
    while processor_seconds() == before:
        sum(range(100_000))
