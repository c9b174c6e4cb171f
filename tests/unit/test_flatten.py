"""Plain JSON keeps every digit, and says the same from every format."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from typer.testing import CliRunner

from lakebound.cli.app import app
from lakebound.record.envelope import record_of
from lakebound.record.plain_json import flatten
from tests.support.batch_files import FORMATS, NOW, event, write
from tests.support.stream_records import odd_values

RUN = CliRunner()


def plain(value: dict[str, Any]) -> str:
    return flatten(record_of(event({"x": value}), NOW)).decode().split('"x":', 1)[1].split('},"old_image"')[0]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"S": '1.50 "é"\n'}, '"1.50 \\"é\\"\\n"'),
        ({"N": "81.50"}, "81.50"),
        ({"N": "12345678901234567890123456789012345678"}, "12345678901234567890123456789012345678"),
        ({"N": "-0.00"}, "-0.00"),
        ({"N": "1E-130"}, "1E-130"),
        ({"N": "+1"}, "1"),
        ({"N": ".5"}, "0.5"),
        ({"N": "5."}, "5"),
        ({"N": "007"}, "7"),
        ({"B": "AAE="}, '"AAE="'),
        ({"NULL": True}, "null"),
        ({"BOOL": False}, "false"),
        ({"SS": ["b", "a"]}, '["a","b"]'),
        ({"NS": ["10", "9", "-1.0"]}, "[-1.0,9,10]"),
        ({"BS": ["/w==", "AA=="]}, '["AA==","/w=="]'),
        ({"L": [{"N": "1.0"}, {"L": []}]}, "[1.0,[]]"),
        ({"M": {"b": {"N": "2"}, "a": {"NULL": True}}}, '{"b":2,"a":null}'),
        ({"SS": ["b", ""]}, '["","b"]'),
        ({"N": "NaN"}, '{"N":"NaN"}'),
        ({"FUTURE": [1.5, {"N": "1.0"}]}, '{"FUTURE":[1.5,{"N":"1.0"}]}'),
        ({"L": [{"N": "1.0"}, {"N": 1}, None]}, '[1.0,{"N":1},null]'),
        ({"S": "a", "N": "1"}, '{"S":"a","N":"1"}'),
    ],
)
def test_each_type_has_one_plain_form(value: dict[str, Any], text: str) -> None:
    assert plain(value) == text


@given(odd_values())
def test_any_value_has_a_plain_form(value: Any) -> None:
    json.loads(flatten(record_of(event({"x": value}), NOW)))


def test_a_reader_of_decimals_gets_every_digit() -> None:
    digits = "0.12345678901234567890123456789012345678"
    assert json.loads(plain({"N": digits}), parse_float=Decimal) == Decimal(digits)


def test_every_format_flattens_to_the_same_lines_and_the_command_says_what_it_did(tmp_path: Path) -> None:
    events = [event({"n": {"N": f"{number}.10"}}, number) for number in range(3)]
    written = set()
    for file_format in FORMATS:
        file = write(events, file_format)
        source, target = tmp_path / file_format / "ddb", tmp_path / file_format / "plain"
        path = source / file.key
        path.parent.mkdir(parents=True)
        path.write_bytes(file.body)
        planned = RUN.invoke(app, ["files", "flatten", str(source / "ddb/cars"), str(target), "--dry-run"])
        assert planned.stdout == f"would write 1 file, 3 records, into {target}; 0 were there\n"
        assert not target.exists()
        done = RUN.invoke(app, ["files", "flatten", str(source / "ddb/cars"), str(target)])
        assert (done.exit_code, done.stdout) == (0, f"wrote 1 file, 3 records, into {target}; 0 were there\n")
        (out,) = [one for one in target.rglob("*") if one.is_file()]
        assert out.name.endswith(".json")
        written.add(tuple(sorted(out.read_text().splitlines())))
        again = RUN.invoke(app, ["files", "flatten", str(source / "ddb/cars"), str(target)])
        assert again.stdout == f"wrote 0 files, 0 records, into {target}; 1 was there\n"
    assert len(written) == 1
    assert '"n":2.10' in next(iter(written))[2]


def test_without_a_folder_the_lines_go_to_stdout_and_a_damaged_file_is_left_out(tmp_path: Path) -> None:
    file = write([event({"n": {"N": "1.50"}})], "avro")
    path = tmp_path / file.key
    path.parent.mkdir(parents=True)
    path.write_bytes(file.body)
    good = RUN.invoke(app, ["files", "flatten", str(tmp_path / "ddb/cars")])
    assert good.exit_code == 0
    assert '"n":1.50' in good.stdout
    path.write_bytes(file.body[:-1])
    bad = RUN.invoke(app, ["files", "flatten", str(tmp_path / "ddb/cars")])
    assert (bad.exit_code, bad.stdout) == (1, "")
    assert ": avro" in bad.stderr
