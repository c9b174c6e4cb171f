"""Two tables in one CDK stack: one that exists, and one that CDK makes beside it.

LAKEBOUND_TEMPLATE=dist/lakebound-template-1.0.0.yaml cdk deploy --app "python cdk/example/app.py"
"""

from __future__ import annotations

import os

from aws_cdk import App, CfnOutput, Stack
from aws_cdk.aws_dynamodb import Attribute, AttributeType, BillingMode, StreamViewType, Table

from lakebound_cdk import Lakebound

TEMPLATE = os.environ["LAKEBOUND_TEMPLATE"]
STREAM = "arn:aws:dynamodb:eu-west-1:123456789012:table/cars/stream/2026-11-01T08:00:00.000"

app = App()
stack = Stack(app, "Lake")

cars = Lakebound(
    stack,
    "Cars",
    template=TEMPLATE,
    parameters={"TableName": "cars", "TableStreamArn": STREAM, "SilverLagMinutes": 30},
)

table = Table(
    stack,
    "TripsTable",
    partition_key=Attribute(name="id", type=AttributeType.STRING),
    billing_mode=BillingMode.PAY_PER_REQUEST,
    stream=StreamViewType.NEW_AND_OLD_IMAGES,
)
trips = Lakebound(
    stack,
    "Trips",
    template=TEMPLATE,
    parameters={"TableName": table.table_name, "TableStreamArn": table.table_stream_arn or ""},
)

CfnOutput(stack, "CarsStack", value=cars.stack_name)
CfnOutput(stack, "TripsSource", value=trips.output("MergeSource"))

app.synth()
