"""The pages that list the tables beside silver and bronze name each that upkeep knows, and no other."""

from __future__ import annotations

import re

import pytest

from lakebound_spark.upkeep.maintenance import BRONZE_SUFFIXES, SUFFIXES
from tests.support.wheel import ROOT

LISTS = {
    "REMOVE.md": (r"the tables beside them \((.*?)\)", {*SUFFIXES, *BRONZE_SUFFIXES}),
    "SILVER.md": (r"runs OPTIMIZE and VACUUM on silver and on the tables beside it: (.*?)\. `--dry-run`", {*SUFFIXES}),
}


def differing(page: str, text: str) -> set[str]:
    """What one side has and the other has not."""
    before, expected = LISTS[page]
    (listed,) = re.findall(before, text, re.DOTALL)
    return set(re.findall(r"`(\w+)`", listed)) ^ (expected - {""})


@pytest.mark.parametrize("page", LISTS)
def test_the_page_lists_every_table(page: str) -> None:
    text = (ROOT / "docs" / page).read_text("utf-8")
    assert differing(page, text) == set()
    assert differing(page, text.replace("`_stale_records`", "`_stale`")) == {"_stale", "_stale_records"}
