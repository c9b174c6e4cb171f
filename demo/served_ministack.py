"""MiniStack as the local stack serves it: with the one label of its stream in every stream record, and with composite
alarms of a template.

MiniStack 1.4 gives each record's ARN a label made of that record's own time (its newer releases do not). Versions begin
with the label, so on such a stream the records' times would decide between two changes of an item, and not their
sequence numbers: nothing that runs there could show the order that DynamoDB promises. `local_stack` starts the module
as a program of its own, which also puts the mend into the process that hypercorn spawns, since that imports the module
again for `app`.

Its CloudWatch keeps composite alarms, but its CloudFormation makes none, so the template with Watch lean could not be
deployed. What it then keeps is the alarm as it was written: nothing works its rule out, and its state never changes.
"""

from __future__ import annotations

import re
import sys
from typing import Any, Final

from hypercorn.__main__ import main
from ministack.app import app as app
from ministack.services import cloudwatch, dynamodb
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


COMPOSITE: Final = "AWS::CloudWatch::CompositeAlarm"
_KEPT: Final = ("AlarmRule", "AlarmDescription", "AlarmActions", "OKActions", "InsufficientDataActions")


def make_composite_alarms() -> None:
    """Let CloudFormation make composite alarms and take them away, through CloudWatch's own calls.

    As CloudWatch does, it refuses a rule that names an alarm that is not there.
    """

    def create(logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict[str, Any]]:
        named = re.findall(r'ALARM\("([^"]*)"\)', properties["AlarmRule"])
        if missing := [name for name in named if name not in cloudwatch._alarms]:
            raise ValueError(f"AlarmRule of {logical_id} names alarms that do not exist: {', '.join(missing)}")
        name = properties.get("AlarmName") or provisioners._physical_name(stack, logical_id, max_len=255)
        asked = {"AlarmName": name} | {one: properties[one] for one in _KEPT if one in properties}
        cloudwatch._put_composite_alarm({}, asked, is_cbor=False, is_json=True)
        return name, {"Arn": cloudwatch._composite_alarms[name]["AlarmArn"]}

    def delete(name: str, properties: dict[str, Any]) -> None:
        cloudwatch._delete_alarms({}, {"AlarmNames": [name]}, is_cbor=False, is_json=True)

    provisioners._RESOURCE_HANDLERS[COMPOSITE] = {"create": create, "delete": delete}


label_records()
label_tables()
make_composite_alarms()

if __name__ == "__main__":
    sys.exit(main(["demo.served_ministack:app", *sys.argv[1:]]))
