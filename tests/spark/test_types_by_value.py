"""What a column makes of generated values, against a reading of them in plain Python that shares no code with it."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal, localcontext
from typing import Any

import pytest
from pyspark.sql import SparkSession

from lakebound.record.moments import moment_form
from tests.spark.typed_values import plain, typed_all

UNFIT = object()
FIRST, LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(text: str, zone: str | None, *, truncates: bool) -> Any:
    """A moment read letter by letter, as ISO 8601 writes it."""
    day, time = text[:10], text[10:]
    if re.fullmatch(r"\d{8}[Tt ].*", text):
        day, time = f"{text[:4]}-{text[4:6]}-{text[6:8]}", text[8:]
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", day) or time[:1] not in ("T", "t", " ") or not text.isascii():
        return UNFIT
    clock, sign, offset = time[1:], "+", ""
    if clock[-1:] in ("Z", "z"):
        clock, offset = clock[:-1], "0000"
    elif (at := max(clock.rfind("+"), clock.rfind("-"))) >= 0:
        clock, sign, offset = clock[:at], clock[at], clock[at + 1 :]
        if not re.fullmatch(r"\d{2}(:?\d{2})?", offset):
            return UNFIT
    elif zone is not None:
        sign, offset = ("+", "0000") if zone == "Z" else (zone[0], zone[1:])
    offset = offset.replace(":", "").ljust(4, "0") if offset else ""
    if not offset or int(offset[2:]) > 59 or int(offset) > 1800:
        return UNFIT
    whole, mark, fraction = re.fullmatch(r"([^.,]*)([.,]?)(.*)", clock, re.DOTALL).groups()  # type: ignore[union-attr]
    parts = whole.split(":") if ":" in whole else [whole[i : i + 2] for i in range(0, len(whole), 2)]
    if not 1 <= len(parts) <= 3 or not all(re.fullmatch(r"\d{2}", part) for part in parts):
        return UNFIT
    if mark and (len(parts) < 3 or not re.fullmatch(r"\d+", fraction)):
        return UNFIT
    if fraction[6:].strip("0") and not truncates:
        return UNFIT
    hour, minute, second = (int(part) for part in (*parts, "0", "0")[:3])
    away = timedelta(hours=int(offset[:2]), minutes=int(offset[2:])) * (-1 if sign == "-" else 1)
    try:
        local = datetime(int(day[:4]), int(day[5:7]), int(day[8:]), hour, minute, second, tzinfo=timezone(away))
        return local.astimezone(UTC) + timedelta(microseconds=int(fraction[:6].ljust(6, "0")))
    except (ValueError, OverflowError):
        return UNFIT


def since_1970(token: str, unit: str, *, truncates: bool) -> Any:
    with localcontext(prec=200):
        micros = Decimal(token).scaleb({"s": 6, "ms": 3, "us": 0}[unit])
        floor = int(micros.to_integral_value("ROUND_FLOOR")) if abs(micros) < Decimal("1E30") else None
    if floor is None or (floor != micros and not truncates):
        return UNFIT
    try:
        return EPOCH + timedelta(microseconds=floor)
    except OverflowError:
        return UNFIT


def truth(value: dict[str, Any], true: list[str], false: list[str]) -> Any:
    ((tag, inner),) = value.items()
    if tag == "BOOL":
        return inner

    def listed(words: list[str]) -> bool:
        if tag == "S":
            return inner in words
        return any(Decimal(word) == Decimal(inner) for word in words if re.fullmatch(r"-?[\d.]+(E-?\d+)?", word))

    return True if listed(true) else False if listed(false) else UNFIT


def iso_texts(rng: random.Random, count: int) -> list[str]:
    """Texts in every form, most of them moments, and some with something wrong."""

    def one() -> str:
        def some(usual: list[Any], odd: list[Any]) -> Any:
            return rng.choice(odd if rng.random() < 0.06 else usual)

        year = some([1969, 1970, 2000, 2024, 2025], [0, 2, 9999])
        month, day = some([1, 2, 6, 12], [0, 13]), some([1, 28, 15], [0, 29, 30, 31, 32])
        clock = [some(["00", "04", "23"], ["24"]), *(some(["00", "24", "59"], ["60"]) for _ in range(2))]
        clock = clock[: rng.choice([1, 2, 3, 3, 3])]
        dash, colon = some([("-", ":"), ("", "")], [("-", ""), ("", ":")])
        fraction = ""
        if len(clock) == 3 and rng.random() < 0.6:
            digits = "".join(rng.choices("0123456789", k=rng.randrange(1, 7)))
            fraction = rng.choice(".,") + digits + rng.choice(["", "", "000", "0" * 30, "001", "9" * 12])
        offset = rng.choice(["Z", "z", "+00", "+0000", "+00:00", "-03:30", "-0330", "+14:00", "+18:00", ""])
        offset = some([offset], ["+18:01", "+1:00", "+05:60", " Z", "-00:00", "+19"])
        text = f"{year:04}{dash}{month:02}{dash}{day:02}{rng.choice('TTt ')}{colon.join(clock)}{fraction}{offset}"
        if rng.random() < 0.1:
            at = rng.randrange(len(text))
            text = text[:at] + rng.choice(["", "\n", "٣", "-", ":", "x", "0", "."]) + text[at + rng.randrange(2) :]
        return text

    return [one() for _ in range(count)]


def number_tokens(rng: random.Random, count: int) -> list[str]:
    """Numbers about the years that dates have, with up to 38 digits, in plain and scientific notation."""

    def one() -> str:
        digits = "".join(rng.choices("0123456789", k=rng.choice([0, 3, 6, 7, 9, 20, 28])))
        digits = rng.choice([digits, digits, "9" * 28, "0" * 10, "0" * 20 + "1"])
        whole = str(rng.choice([0, 1, rng.randrange(10**10), rng.randrange(10**13), rng.randrange(10**18)]))
        token = rng.choice(["", "", "-"]) + whole + (f".{digits}" if digits else "")
        return f"{token}E{rng.randrange(-30, 20)}" if rng.random() < 0.3 else token

    return [one() for _ in range(count)]


def boolean_values(rng: random.Random, count: int) -> list[dict[str, Any]]:
    texts = ["1", "0", "true", "True", "Y", "N", "y", "", "1.0", " 1", "1.50", "'", "\\", "nein"]
    numbers = ["1", "0", "1.0", "-0", "1E0", "10E-1", "1.5", "1.50", "1.500001", "2", "1E-130", "9.9E125"]
    makers: list[Callable[[], dict[str, Any]]] = [
        lambda: {"S": rng.choice(texts)},
        lambda: {"N": rng.choice(numbers)},
        lambda: {"BOOL": rng.random() < 0.5},
    ]
    return [rng.choice(makers)() for _ in range(count)]


TRUE, FALSE = ["1", "true", "Y", "'", "nein"], ["0", "N", "\\", "1.5"]


def cases(rng: random.Random, count: int) -> list[tuple[Any, list[tuple[dict[str, Any], Any]]]]:
    """(declaration, values with what becomes of each) for every way to read."""
    found: list[tuple[Any, list[tuple[dict[str, Any], Any]]]] = []
    for zone in (None, "Z", "+05:30", "-03:30"):
        for truncates in (False, True):
            how = {"type": "timestamp"} | ({"zone": zone} if zone else {})
            how |= {"fraction": "truncate"} if truncates else {}
            texts = iso_texts(rng, count)
            found.append((how, [({"S": text}, moment(text, zone, truncates=truncates)) for text in texts]))
    for unit in ("s", "ms", "us"):
        for truncates in (False, True):
            how = {"type": "timestamp", "unit": unit} | ({"fraction": "truncate"} if truncates else {})
            tokens = number_tokens(rng, count)
            found.append((how, [({"N": token}, since_1970(token, unit, truncates=truncates)) for token in tokens]))
    values = boolean_values(rng, count)
    found.append(
        ({"type": "boolean", "true": TRUE, "false": FALSE}, [(value, truth(value, TRUE, FALSE)) for value in values])
    )
    return found


def wrong(
    spark: SparkSession, found: list[tuple[Any, list[tuple[dict[str, Any], Any]]]]
) -> list[tuple[Any, dict[str, Any], Any, Any]]:
    """Values that silver reads in another way than was expected, alone and inside an array, a map and a struct."""
    columns: dict[str, Any] = {}
    for number, (how, _) in enumerate(found):
        columns[f"a{number}"] = how
        if number % 4 == 0:  # an expression for each costs seconds
            columns[f"l{number}"] = {**how, "type": f"array<{how['type']}>"}
            columns[f"m{number}"] = {**how, "type": f"map<string,struct<x:{how['type']},n:int>>"}
    lines = list(zip(*(values for _, values in found), strict=True))
    images = []
    for line in lines:
        image: dict[str, Any] = {}
        for number, (value, _) in enumerate(line):
            image |= {f"a{number}": value, f"l{number}": {"L": [value, {"NULL": True}]}}
            image[f"m{number}"] = {"M": {"k": {"M": {"x": value, "n": {"N": "1"}}}}}
        images.append(("{}", json.dumps(image), None))
    rows = sorted(typed_all(spark, columns, images), key=lambda row: int(row["key"]))
    misread = []
    for line, row in zip(lines, rows, strict=True):
        unfit = 0
        typed = dict(zip(columns, row["stream_columns"], strict=True))
        for number, (value, expected) in enumerate(line):
            got = [plain(typed[f"a{number}"])]
            right = [None if expected is UNFIT else expected]
            if f"l{number}" in typed:
                listed, mapped = typed[f"l{number}"], typed[f"m{number}"]
                got.append(None if listed is None else [plain(one) for one in listed])
                got.append(None if mapped is None else (plain(mapped["k"]["x"]), mapped["k"]["n"]))
                right += [None, None] if expected is UNFIT else [[expected, None], (expected, 1)]
            unfit += len(right) if expected is UNFIT else 0
            if got != right:
                misread.append((found[number][0], value, got, right))
        if row["inexact"] != unfit:
            misread.append(("inexact", dict(enumerate(line)), row["inexact"], unfit))
    return misread


@pytest.mark.parametrize("seed", [17])
def test_generated_values_are_read_as_plain_python_reads_them(spark: SparkSession, seed: int) -> None:
    assert wrong(spark, cases(random.Random(seed), 150)) == []


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(5))
def test_many_generated_values_are_read_as_plain_python_reads_them(spark: SparkSession, seed: int) -> None:
    assert wrong(spark, cases(random.Random(f"soak {seed}"), 3_000)) == []


def test_the_comparison_sees_a_wrong_reading(spark: SparkSession) -> None:
    """Red control: an expectation of another zone, another cut and another list."""
    off = [
        ({"type": "timestamp", "zone": "Z"}, [({"S": "2025-07-10T04:24"}, EPOCH)]),
        ({"type": "timestamp"}, [({"S": "2025-07-10T04:24:32.1234567Z"}, EPOCH)]),
        ({"type": "boolean", "true": ["Y"]}, [({"S": "Y"}, UNFIT)]),
    ]
    assert [how for how, *_ in wrong(spark, off) if how != "inexact"] == [how for how, _ in off]


def test_the_generator_makes_moments_and_their_neighbours() -> None:
    for _, values in cases(random.Random(17), 150):
        unfit = sum(expected is UNFIT for _, expected in values)
        assert 10 < unfit < len(values) - 10


def test_what_infer_takes_for_a_moment_is_one_to_the_merge_job() -> None:
    """Both sides of `moment_form`'s answer, over the same texts."""
    for text in iso_texts(random.Random(3), 5_000):
        seen = moment_form(text)
        if seen is None:
            assert moment(text, "Z", truncates=True) is UNFIT, text
        else:
            assert moment(text, "Z", truncates=True) is not UNFIT, text
            assert (moment(text, None, truncates=True) is not UNFIT) == seen.has_offset, text
            assert (moment(text, "Z", truncates=False) is UNFIT) == seen.is_finer, text


def test_dates_stay_within_the_years_that_readers_can_show(spark: SparkSession) -> None:
    found = [
        ("date", [({"S": "0001-01-01"}, date(1, 1, 1)), ({"S": "0000-12-31"}, UNFIT)]),
        ({"type": "date", "format": "yyyyMMdd"}, [({"S": "99991231"}, date(9999, 12, 31)), ({"S": "00001231"}, UNFIT)]),
    ]
    assert wrong(spark, [(how if isinstance(how, dict) else {"type": how}, values) for how, values in found]) == []
