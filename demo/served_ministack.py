"""MiniStack as the local stack serves it: with the one label of its stream in every stream record.

MiniStack 1.4 gives each record's ARN a label made of that record's own time (its newer releases do not). Versions begin
with the label, so on such a stream the records' times would decide between two changes of an item, and not their
sequence numbers: nothing that runs there could show the order that DynamoDB promises. `local_stack` starts the module
as a program of its own, which also puts the mend into the process that hypercorn spawns, since that imports the module
again for `app`.
"""

from __future__ import annotations

import sys
from typing import Any

from hypercorn.__main__ import main
from ministack.app import app as app
from ministack.services import dynamodb
from ministack.services.cloudformation import provisioners


def label_records() -> None:
    """Let every stream record name the stream that its table names."""
    build = dynamodb._build_change_record

    def labelled(table: dict[str, Any], *arguments: Any) -> dict[str, Any]:
        record: dict[str, Any] = build(table, *arguments)
        stream: str | None = table.get("LatestStreamArn")
        return record if stream is None else record | {"eventSourceARN": stream}

    dynamodb._build_change_record = labelled


def label_tables() -> None:
    """Give a table that CloudFormation makes one label in its ARN and beside it, spelt as DynamoDB spells it.

    MiniStack asks the clock once for each of the two and leaves a `Z` at their end.
    """
    handler = provisioners._RESOURCE_HANDLERS["AWS::DynamoDB::Table"]
    create = handler["create"]

    def labelled(*arguments: Any) -> tuple[str, dict[str, Any]]:
        name, attributes = create(*arguments)
        table = dynamodb._tables[name]
        if table.get("LatestStreamArn"):
            table["LatestStreamArn"] = attributes["StreamArn"] = table["LatestStreamArn"].removesuffix("Z")
            table["LatestStreamLabel"] = table["LatestStreamArn"].rpartition("/")[2]
        return name, attributes

    handler["create"] = labelled


label_records()
label_tables()

if __name__ == "__main__":
    sys.exit(main(["demo.served_ministack:app", *sys.argv[1:]]))
