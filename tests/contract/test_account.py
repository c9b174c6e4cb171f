"""What LambdaAccount makes of the answers of Lambda and CloudWatch, in the forms of their service models."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from lakebound.adapters.account import LambdaAccount
from lakebound.errors import LakeboundError
from lakebound.source.facts import Account, Concurrency
from tests.support.local_ports import ManualClock, MemoryAccount

NOW_MS = 1_795_000_200_000


def account(aws_lambda: Any, values: list[float]) -> tuple[LambdaAccount, list[dict[str, Any]]]:
    asked: list[dict[str, Any]] = []

    def get_metric_data(**arguments: Any) -> dict[str, Any]:
        asked.append(arguments)
        moments = [datetime.fromtimestamp(NOW_MS / 1000 - 300 * n, UTC) for n in range(len(values))]
        return {"MetricDataResults": [{"Id": "used", "Timestamps": moments, "Values": values}]}

    return LambdaAccount(aws_lambda, SimpleNamespace(get_metric_data=get_metric_data), ManualClock(NOW_MS)), asked


def stubbed(limit: int | None) -> Any:
    client = boto3.client("lambda", "us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    stubber = Stubber(client)
    if limit is None:
        stubber.add_client_error("get_account_settings", "AccessDeniedException", http_status_code=403)
    else:
        limits = {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": limit}
        stubber.add_response("get_account_settings", {"AccountLimit": limits}, {})
    stubber.activate()
    return client


@pytest.mark.parametrize(("values", "used"), [([], 0), ([3.0], 3), ([3.0, 41.0, 7.0], 41)])
def test_the_most_that_ran_in_the_last_hour_counts(values: list[float], used: int) -> None:
    seen, asked = account(stubbed(900), values)
    assert seen.concurrency() == Concurrency(900, used)
    (query,) = asked[0]["MetricDataQueries"]
    assert query["MetricStat"]["Metric"]["MetricName"] == "UnreservedConcurrentExecutions"
    assert query["MetricStat"]["Stat"] == "Maximum"
    assert 3_600 <= (asked[0]["EndTime"] - asked[0]["StartTime"]).total_seconds() < 3_900


def test_the_account_that_may_not_be_asked_tells_nothing() -> None:
    seen, _ = account(stubbed(None), [1.0])
    assert seen.concurrency() is None


def test_an_account_that_does_not_answer_is_an_error_that_is_tried_again() -> None:
    def refuse() -> Any:
        raise ClientError({"Error": {"Code": "ServiceException", "Message": "no"}}, "GetAccountSettings")

    broken = SimpleNamespace(get_account_settings=refuse, meta=SimpleNamespace(endpoint_url="https://lambda"))
    seen, _ = account(broken, [])
    with pytest.raises(LakeboundError, match="ServiceException"):
        seen.concurrency()


def test_the_twin_tells_the_same() -> None:
    twins: list[Account] = [account(stubbed(10), [4.0])[0], MemoryAccount(10, 4)]
    assert [twin.concurrency() for twin in twins] == [Concurrency(10, 4)] * 2
    assert MemoryAccount(None).concurrency() is None
