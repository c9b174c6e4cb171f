"""The benchmark still runs: both sides carry the same records on the real runtime. No time is asserted."""

import json

import pytest

from bench import corpora, report, stages
from bench.loopback import ROOT, running


@pytest.mark.parametrize(
    ("handler", "folder"), [("app.handler", "functions/stream_ingest"), ("stream_ingest.handler", "bench/baseline")]
)
def test_both_handlers_carry_a_delivery_under_awslambdaric(handler: str, folder: str) -> None:
    with running(handler, ROOT / folder) as function:
        _, answer = function.invoke(json.dumps(corpora.delivery("flat", 25)).encode())
        assert json.loads(answer) == {"batchItemFailures": []}
        assert function.sent.entries == (1 if handler.startswith("app") else 25)
        assert function.cold_seconds > 0


def test_the_same_seed_gives_the_same_records() -> None:
    for corpus in corpora.CORPORA:
        assert corpora.delivery(corpus, 3) == corpora.delivery(corpus, 3)


def test_ratios_are_of_rounds_and_the_table_says_what_was_missed() -> None:
    stage = stages.Measured("flusher to avro", "flat", 40, "records/s", 100, [4.0, 9.0, 8.0], [1.0, 3.0, 1.0])
    assert stage.ratios() == (3.0, 4.0, 8.0)
    assert "3.0 – **4.0** – 8.0 | ≥ 40× missed" in report.markdown(report.Results(measured=[stage]))
