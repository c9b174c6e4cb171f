"""`lakes` says once what tables have in common; one that is wrong is left out with its reason, and stops no other."""

from typing import Any

import pytest

from lakebound.errors import Misconfigured
from lakebound_spark.lake.fleet_config import Fleet, parse_fleet

LAKE: dict[str, Any] = {
    "source": "s3a://b/ddb/{table}",
    "checkpoints": "s3a://l/c/{table}",
    "target": "lake.{table}",
    "config": {"source_table": "{table}", "columns": {"id": "string"}},
    "bronze": False,
    "silver": {"every": "5m", "publish": True},
    "tables": ["cars", {"table": "vans", "silver": {"every": "30s"}, "bronze": True, "source": "s3a://other/ddb/vans"}],
}
FLIGHTS = {"source": "/s", "checkpoints": "/c", "target": "/lake/flights", "config": {"source_table": "flights"}}


def of(*lakes: Any, **more: Any) -> Fleet:
    return parse_fleet({"lakes": list(lakes), **more})


def test_what_tables_have_in_common_is_written_once() -> None:
    fleet = of(LAKE)
    cars, vans = fleet.tables
    assert (fleet.left_out, fleet.has_lakes) == ((), True)
    assert [table.target for table in fleet.tables] == ["lake.cars", "lake.vans"]
    assert [table.silver.source for table in fleet.tables] == ["s3a://b/ddb/cars", "s3a://other/ddb/vans"]
    assert [table.silver.config.source_table for table in fleet.tables] == ["cars", "vans"]
    assert cars.silver.checkpoint == "s3a://l/c/cars/silver"
    assert [str(table.timings["silver"]) for table in fleet.tables] == ["every 5m", "every 30s"]
    assert [table.freshness is not None for table in fleet.tables] == [True, True], "of a step one by one"
    assert (cars.bronze, vans.bronze is not None) == (None, True)


def test_lakes_and_tables_stand_beside_each_other_and_several_sources_too() -> None:
    other = {**LAKE, "source": "s3a://two/ddb/{table}", "tables": ["boats"]}
    fleet = of(LAKE, other, tables=[FLIGHTS])
    assert [table.target for table in fleet.tables] == ["/lake/flights", "lake.cars", "lake.vans", "lake.boats"]
    assert [table.silver.source for table in fleet.tables][-1] == "s3a://two/ddb/boats"


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"table": "x", "sliver": {}}, r"^lake 1, x \(lake\.x\): unknown setting sliver"),
        ({"table": "x", "config": "/no/such.yaml"}, r"^lake 1, x \(lake\.x\), config: cannot read the configuration"),
        ({"table": "x", "source": ""}, "source is missing"),
        ({"table": "x", "silver": {"every": "soon"}}, "every soon is no interval"),
        ({"table": "x", "target": "lake.cars"}, "its target lake.cars is the target of lake 1, cars"),
        ("cars", "its checkpoints folder s3a://l/c/cars is the checkpoints folder of lake 1, cars"),
    ],
)
def test_a_table_that_is_wrong_is_left_out_and_stops_no_other(entry: Any, says: str) -> None:
    fleet = of({**LAKE, "tables": [*LAKE["tables"], entry, "boats"]})
    assert [table.target for table in fleet.tables] == ["lake.cars", "lake.vans", "lake.boats"]
    (left,) = fleet.left_out
    with pytest.raises(Misconfigured, match=says):
        raise Misconfigured(left.why)


def test_a_table_that_is_left_out_takes_no_place_from_a_right_one() -> None:
    fleet = of({**LAKE, "tables": [{"table": "cars", "target": "lake.a", "silver": {"every": "soon"}}, "cars"]})
    assert [table.target for table in fleet.tables] == ["lake.cars"]


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"lakes": []}, "^lakes is empty"),
        ({"lakes": {}}, "^lakes is empty"),
        ({"lakes": ["cars"]}, "^lake 1: needs settings"),
        ({"lakes": [{**LAKE, "tables": []}]}, "^lake 1: tables is empty"),
        ({"lakes": [{**LAKE, "tables": [3]}]}, "^lake 1: table 1 is neither a name nor settings"),
        ({"lakes": [{**LAKE, "tabels": []}]}, "^lake 1: unknown setting tabels"),
        ({"lakes": [{**LAKE, "tables": [{"table": "x", "sliver": 1}]}]}, "^no table can run: lake 1, x"),
        ({"lakes": [LAKE], "tables": []}, "^tables is missing"),
        ({"lakes": [LAKE], "tables": [{**FLIGHTS, "sliver": 1}]}, "^entry 1 .*: unknown setting sliver"),
    ],
)
def test_what_concerns_more_than_one_table_refuses_the_file(document: Any, says: str) -> None:
    with pytest.raises(Misconfigured, match=says):
        parse_fleet(document)


def test_red_control_the_same_table_in_tables_stops_all() -> None:
    broken = {**FLIGHTS, "target": "/lake/b", "checkpoints": "/d", "silver": {"every": "soon"}}
    with pytest.raises(Misconfigured, match="every soon"):
        parse_fleet({"tables": [FLIGHTS, broken]})
