"""What `make check` asks checkov is seen to fail (the template itself is looked at there)."""

from pathlib import Path

import pytest

from tests.support.translated_template import SOURCE
from tests.template.lint import checkov, suppressed


def test_an_open_queue_and_a_suppression_without_a_finding_are_named(tmp_path: Path) -> None:
    open_queue = SOURCE.read_text().replace("      SqsManagedSseEnabled: !If [HasKey, !Ref AWS::NoValue, true]\n", "")
    open_queue = open_queue.replace("      KmsMasterKeyId: !If [HasKey, !Ref KmsKeyArn, !Ref AWS::NoValue]\n", "")
    idle = open_queue.replace("{id: CKV_AWS_18, comment", "{id: CKV_AWS_7, comment")
    # What a default switches off (HeartbeatMinutes 0) is looked at as well.
    idle = idle.replace("{id: CKV_AWS_28, comment", "{id: none, comment")
    template = tmp_path / "template.yaml"
    template.write_text(idle)
    found = checkov(template)
    assert {
        "CKV_AWS_27 of BufferQueue",
        "CKV_AWS_27 of DeadLetterQueue",
        "CKV_AWS_18 of Bucket",
        "CKV_AWS_28 of HeartbeatTable",
    } <= set(found.failed)
    assert found.idle == ("CKV_AWS_7 of Bucket",)


def test_a_suppression_without_a_reason_is_refused(tmp_path: Path) -> None:
    template = tmp_path / "template.yaml"
    template.write_text('  Bucket:\n    Metadata: {checkov: {skip: [{id: CKV_AWS_18, comment: "no"}]}}\n')
    with pytest.raises(ValueError, match="CKV_AWS_18 of Bucket is passed over without a reason"):
        suppressed(template)
