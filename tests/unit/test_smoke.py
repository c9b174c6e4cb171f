"""`smoke` tries what no emulator shows: each step can fail and then says what to do next, and each is undone."""

import signal
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest

from lakebound.adapters.smoke import STEPS, StreamDeliveries, alarm_actions, encryption_keys, smoke_steps
from lakebound.adapters.stack import Stack
from lakebound.cli import deployed
from lakebound.cli.smoke import ShieldedExitStack
from lakebound.errors import LakeboundError
from lakebound.operate import smoke
from lakebound.operate.doctor import smoke_keys
from lakebound.operate.smoke import FAILED, OK, SKIPPED, Skipped, Step, perform
from lakebound.record.attributes import Image
from tests.support.dead_letters import failure
from tests.support.local_ports import ManualClock
from tests.support.operator_stack import MAPPING, STACK, Lakebound, Operated
from tests.support.stream_records import stream_record

KEYS = smoke_keys([("id", "S")], "0123456789abcdef")


@dataclass
class World:
    """A stream whose deliveries can be made to fail; what is written goes to files, or to failure objects."""

    clock: ManualClock = field(default_factory=ManualClock)
    calls: list[str] = field(default_factory=list)
    refuses: bool = False
    lost: bool = False
    written: int = 0
    failed: int = 0
    interrupt: bool = False

    # SmokeTable
    def put(self, item: Image) -> None:
        self._change("put")

    def delete(self, keys: Image) -> None:
        self._change("delete")

    def _change(self, verb: str) -> None:
        self.calls.append(verb)
        if not self.refuses:
            self.written += 1
        elif not self.lost:
            self.failed += 1

    # CountRecords
    def count(self, key: str) -> int:
        return self.written

    # Deliveries
    def refuse(self) -> None:
        self.calls.append("refuse")
        self.refuses = True

    def accept(self) -> None:
        self.calls.append("accept")
        self.refuses = False

    def given_up(self, key: str) -> int:
        if self.interrupt:
            raise KeyboardInterrupt
        return self.failed

    def redrive(self) -> int:
        self.calls.append("redrive")
        redriven, self.failed = self.failed, 0
        self.written += redriven
        return redriven


def delivery(world: World) -> str:
    with ExitStack() as undo:
        return smoke.failed_delivery(world, KEYS, world, world.count, world.clock, 60, undo)


def test_a_delivery_that_fails_is_given_up_on_redriven_and_lands() -> None:
    world = World()
    assert "3 failure objects redriven" in delivery(world)
    # Refused before the first write and accepted after the last: all three records go the long way.
    assert world.calls[:6] == ["refuse", "put", "put", "delete", "accept", "redrive"]
    assert not world.refuses


def test_a_failure_destination_that_holds_nothing_is_a_failure_and_the_function_works_again() -> None:
    world = World(lost=True)
    with pytest.raises(LakeboundError, match="after 60 s no failure object held the three records"):
        delivery(world)
    assert not world.refuses
    assert world.calls[-2:] == ["accept", "redrive"], "the function works before the rest is redriven"


def test_an_interruption_leaves_no_function_that_fails_and_no_item() -> None:
    world = World(interrupt=True)
    with pytest.raises(KeyboardInterrupt):
        delivery(world)
    assert not world.refuses
    assert "delete" in world.calls
    assert world.written == 3, "what was given up on is redriven"


@dataclass
class Machine:
    """Executions that go on by themselves; `broken` says how a redriven one ends."""

    states: list[str] = field(default_factory=lambda: ["RUNNING"])
    calls: list[str] = field(default_factory=list)
    ends: str = "SUCCEEDED"
    begins: bool = True

    def begin(self, name: str) -> None:
        self.calls.append("begin")

    def exporting(self, name: str) -> bool:
        return self.begins

    def stop(self, name: str) -> None:
        self.calls.append("stop")
        self.states = ["ABORTED"]

    def redrive(self, name: str) -> None:
        self.calls.append("redrive")
        self.states = ["RUNNING", "RUNNING", self.ends]

    def status(self, name: str) -> str:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def records(self, name: str) -> int:
        return 12


def export(machine: Machine) -> str:
    with ExitStack() as undo:
        return smoke.stopped_export(machine, "smoke-1", ManualClock(), 60, undo)


def test_an_export_is_stopped_once_it_has_begun_redriven_and_ends() -> None:
    machine = Machine()
    assert "12 records" in export(machine)
    assert machine.calls == ["begin", "stop", "redrive"]


@pytest.mark.parametrize(
    ("machine", "says"),
    [
        (Machine(ends="FAILED"), "redriven, run smoke-1 ended as FAILED"),
        (Machine(ends="RUNNING"), "run smoke-1 had not ended"),
        (Machine(begins=False), "had not begun its export"),
    ],
)
def test_an_export_that_does_not_end_is_a_failure_and_does_not_run_on(machine: Machine, says: str) -> None:
    with pytest.raises(LakeboundError, match=says):
        export(machine)
    assert machine.states != ["RUNNING"]


def test_every_alarm_is_looked_for_by_its_own_name() -> None:
    assert smoke.alarms(["lake-A", "lake-B"], {"lake-A": True, "lake-B": True, "lake-prod-A": False})
    for wanted, found, says in (
        (["lake-A", "lake-B"], {"lake-A": True}, "gone of 2 alarms: lake-B"),
        (["lake-A"], {"lake-A": False}, "of 1 alarm these notify nobody: lake-A"),
        ([], {}, "has no alarms"),
    ):
        with pytest.raises(LakeboundError, match=says):
            smoke.alarms(wanted, found)


def test_the_customer_key_is_where_it_has_to_be() -> None:
    assert smoke.customer_key("K", {"buffer queue": "K", "newest file": "K"})
    with pytest.raises(Skipped):
        smoke.customer_key("", {})
    with pytest.raises(LakeboundError, match="not encrypted with the stack's key: newest file"):
        smoke.customer_key("K", {"buffer queue": "K", "newest file": None})


def test_a_step_that_fails_says_what_is_next_and_stops_no_other() -> None:
    def fails(undo: ExitStack) -> str:
        raise LakeboundError("it did not")

    def cannot_be_undone(undo: ExitStack) -> str:
        undo.callback(lambda: fails(undo))
        return "done"

    def skips(undo: ExitStack) -> str:
        raise Skipped("none here")

    acts = (fails, cannot_be_undone, skips, lambda undo: "seen")
    steps = [Step(str(number), "", act, f"do {number}") for number, act in enumerate(acts)]
    outcomes = list(perform(steps, ManualClock()))
    assert [(one.state, one.next) for one in outcomes] == [(FAILED, "do 0"), (FAILED, "do 1"), (SKIPPED, ""), (OK, "")]


def test_a_second_ctrl_c_does_not_stop_the_undoing() -> None:
    # A shell without job control starts what it puts into the background with SIGINT ignored, the tests too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        undone_in_spite_of_a_second_ctrl_c()
    finally:
        signal.signal(signal.SIGINT, before)


def undone_in_spite_of_a_second_ctrl_c() -> None:
    undone = []

    def undo() -> None:
        signal.raise_signal(signal.SIGINT)
        undone.append(True)

    def interrupted() -> None:
        with ShieldedExitStack() as stack:
            stack.callback(undo)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert undone
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def found(operated: Operated) -> Stack:
    return deployed.find_stack(STACK)


class Lambda:
    """A function and a mapping that can be changed."""

    def __init__(self, operated: Operated) -> None:
        self.variables: dict[str, str] = {"TABLE_NAME": "flights", "MESSAGE_BYTES": "262144"}
        self.retries = 100
        self.history: list[tuple[str, Any]] = []
        self.refuses: set[str] = set()
        mapping, function = (
            operated.answers[name] for name in ("get_event_source_mapping", "get_function_configuration")
        )
        operated.answers |= {
            "get_event_source_mapping": lambda UUID: mapping(UUID) | {"MaximumRetryAttempts": self.retries},  # noqa: N803
            "get_function_configuration": lambda FunctionName: (  # noqa: N803
                function(FunctionName) | {"Environment": {"Variables": dict(self.variables)}}
            ),
            "update_function_configuration": self.update_function,
            "update_event_source_mapping": self.update_mapping,
        }

    def update_function(self, FunctionName: str, Environment: Any) -> dict[str, Any]:  # noqa: N803
        self._check("function")
        self.variables = Environment["Variables"]
        self.history.append(("function", dict(self.variables)))
        return {}

    def update_mapping(self, UUID: str, MaximumRetryAttempts: int) -> dict[str, Any]:  # noqa: N803
        self._check("mapping")
        assert UUID == MAPPING
        self.retries = MaximumRetryAttempts
        self.history.append(("mapping", MaximumRetryAttempts))
        return {}

    def _check(self, what: str) -> None:
        from botocore.exceptions import ClientError

        if what in self.refuses:
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": ""}}, "Update")


def deliveries(operated: Operated) -> tuple[Lambda, StreamDeliveries]:
    aws_lambda = Lambda(operated)
    aws_lambda.variables |= {"S3_BUCKET": operated.outputs["BucketName"], "QUEUE_URL": operated.buffer_url}
    stack = found(operated)
    return aws_lambda, StreamDeliveries(
        stack, operated.scripted, ManualClock(), lambda: deployed.ingest_pipeline(stack)
    )


def test_what_makes_deliveries_fail_is_put_back_exactly(operated: Operated) -> None:
    aws_lambda, made = deliveries(operated)
    before = dict(aws_lambda.variables)
    made.refuse()
    assert aws_lambda.retries == 0
    assert aws_lambda.variables.keys() == before.keys()
    assert aws_lambda.variables != before
    made.accept()
    assert (aws_lambda.variables, aws_lambda.retries) == (before, 100)
    made.accept()
    assert len(aws_lambda.history) == 4, "what is put back is not put back again"


def test_a_function_that_cannot_be_put_back_is_told_with_what_ends_it(operated: Operated) -> None:
    aws_lambda, made = deliveries(operated)
    made.refuse()
    aws_lambda.refuses = {"function"}
    with pytest.raises(LakeboundError, match=r"is still set to fail: .*lakebound smoke --mend"):
        made.accept()
    assert aws_lambda.retries == 100, "the mapping was put back all the same"


def test_what_a_killed_smoke_test_left_is_put_back_by_the_parameters(lakebound: Lakebound, operated: Operated) -> None:
    """CloudFormation would find nothing to change: the template says what it said before."""
    aws_lambda, made = deliveries(operated)
    described = operated.answers["describe_stacks"]

    def with_parameters(StackName: str) -> dict[str, Any]:  # noqa: N803
        told = described(StackName)
        given = {"MessageBytes": "262144", "StreamMaxRetries": "100"}
        told["Stacks"][0]["Parameters"] = [{"ParameterKey": k, "ParameterValue": v} for k, v in given.items()]
        return told

    operated.answers["describe_stacks"] = with_parameters
    before = dict(aws_lambda.variables)
    made.refuse()
    assert lakebound.document("smoke", "--mend")["mended"] is True
    assert (aws_lambda.variables, aws_lambda.retries) == (before, 100)
    aws_lambda.retries = 0
    assert lakebound("smoke", "--mend") == 0
    assert aws_lambda.retries == 100, "killed between the two"
    changes = len(aws_lambda.history)
    assert "nothing to put back" in lakebound.out("smoke", "--mend")
    assert len(aws_lambda.history) == changes


def test_the_function_fails_as_it_starts_with_what_is_set() -> None:
    """The red control of the breaking: the setting is refused before a record is read."""
    from lakebound.adapters.smoke import _BROKEN
    from lakebound.settings import IngestSettings

    well = {"TABLE_NAME": "flights", "S3_BUCKET": "lake", "QUEUE_URL": "https://q"}
    assert IngestSettings.read(well)
    with pytest.raises(LakeboundError, match="MESSAGE_BYTES"):
        IngestSettings.read(well | _BROKEN)


def test_failure_objects_of_the_test_item_are_counted_and_all_that_came_are_redriven(operated: Operated) -> None:
    _, made = deliveries(operated)
    s3 = boto3.client("s3")
    bucket = operated.outputs["BucketName"]
    made.refuse()
    ours = [stream_record(number, keys=KEYS) for number in range(3)]
    for number, records in enumerate(([ours[0], stream_record(9)], ours[1:])):
        s3.put_object(Bucket=bucket, Key=f"aws/lambda/{MAPPING}/s/2026/11/26/{number}", Body=failure(records))
    s3.put_object(Bucket=bucket, Key=f"aws/lambda/{MAPPING}/s/2026/11/26/junk", Body=b"{}")
    assert made.given_up("id=S:lakebound-smoke-0123456789abcdef") == 3
    assert made.given_up("id=S:another") == 0
    made.accept()
    assert made.redrive() == 2
    assert made.redrive() == 0


def test_alarms_and_keys_are_read_by_name_and_place(operated: Operated) -> None:
    operated.answers["list_stack_resources"] = lambda **given: {
        "StackResourceSummaries": [
            {"ResourceType": "AWS::CloudWatch::Alarm", "PhysicalResourceId": "lake-Gone"},
            {"ResourceType": "AWS::CloudWatch::Alarm", "PhysicalResourceId": "lake-There"},
            {"ResourceType": "AWS::SQS::Queue", "PhysicalResourceId": "lake-buffer"},
        ]
    }
    for name in ("lake-There", "lake-prod-There"):
        boto3.client("cloudwatch").put_metric_alarm(
            AlarmName=name, Namespace="x", MetricName="y", Statistic="Sum", Period=300, EvaluationPeriods=1,
            Threshold=1, ComparisonOperator="GreaterThanThreshold",
        )  # fmt: skip
    assert alarm_actions(operated.scripted, found(operated)) == (["lake-Gone", "lake-There"], {"lake-There": False})
    operated.outputs |= {
        f"{name}LogGroup": f"/lakebound/lake/{name}" for name in ("StreamIngest", "Flusher", "Backfill")
    }
    boto3.client("logs").create_log_group(logGroupName="/lakebound/lake/Flusher", kmsKeyId="K")
    places = encryption_keys(operated.scripted, found(operated), None)
    assert places["log of flusher"] == "K"
    assert places["log of backfill"] is None
    assert places["buffer queue"] is None


def test_a_dry_run_tells_every_step_and_changes_nothing(lakebound: Lakebound, operated: Operated) -> None:
    aws_lambda, _ = deliveries(operated)
    told = lakebound.out("smoke", "--dry-run")
    assert all(f"{number}. {name}:" in told for number, name in enumerate(STEPS, 1))
    assert aws_lambda.history == []
    assert boto3.client("dynamodb").scan(TableName="flights")["Items"] == []


def test_another_tables_stack_is_refused(lakebound: Lakebound, operated: Operated) -> None:
    assert "is of table flights, not of cars" in lakebound.err("smoke", "--table", "cars")
    assert "The steps are: item, failure destination" in lakebound.err("smoke", "--only", "items")


def test_each_step_that_fails_is_in_the_table_with_what_is_next(lakebound: Lakebound, operated: Operated) -> None:
    operated.answers["list_stack_resources"] = lambda **given: {"StackResourceSummaries": []}
    status = lakebound(
        "smoke", "--limit", "1", "--only", "item", "--only", "alarms", "--only", "customer key", "--json"
    )
    assert status == 1
    told = {one["name"]: one for one in lakebound.document()["steps"]}
    assert (told["item"]["state"], told["alarms"]["state"]) == ("failed", "failed")
    assert "lakebound status" in told["item"]["next"]
    assert "AlarmTopicArn" in told["alarms"]["next"]
    assert told["customer key"] | {"seconds": 0} == {
        "name": "customer key",
        "state": "skipped",
        "seconds": 0,
        "told": "the stack has no customer key",
        "next": "",
    }
    assert boto3.client("dynamodb").scan(TableName="flights")["Items"] == []


def test_every_step_has_its_words_and_its_next_step(operated: Operated) -> None:
    steps = smoke_steps(found(operated), operated.scripted, lambda: pytest.fail("made"), ManualClock(), 1, 1)
    assert [one.name for one in steps] == list(STEPS)
    assert all(one.does and one.next for one in steps)
