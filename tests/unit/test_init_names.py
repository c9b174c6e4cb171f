"""What `init` writes of its own: a stack's name for every table's, and values that SAM reads as they are."""

import re

import pytest

from lakebound.adapters.samconfig import samconfig, stack_name
from lakebound.errors import Misconfigured
from tests.support.deploy_rule import kept_in


def test_sam_reads_what_init_writes_exactly() -> None:
    parameters = {
        "TableName": "cars",
        "PartitionKeyName": 'the "first" name',
        "SortKeyName": "größe = 'm'",
        "DropAttributes": "a\\.b",
    }
    assert kept_in(samconfig("a", parameters)) == parameters


def test_a_backslash_that_sam_might_change_is_refused() -> None:
    with pytest.raises(Misconfigured, match="The value of PartitionKeyName cannot be given to SAM as it is"):
        samconfig("a", {"PartitionKeyName": "a\\ b"})


def test_every_table_name_gives_a_stack_name_of_its_own() -> None:
    tables = ["abc", "a.b_c", "t" * 118, "t" * 119, "t" * 255, "t" * 254 + "u", "." * 255, "9" * 200]
    names = [stack_name(table) for table in tables]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,127}", name) for name in names)
    assert stack_name("cars") == "lakebound-cars"
