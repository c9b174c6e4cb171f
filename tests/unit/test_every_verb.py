"""Every verb × every fault of the way to AWS, × Ctrl-C, × junk in every option: a sentence, never a traceback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from botocore import client as botocore_client
from botocore.config import Config
from botocore.exceptions import ClientError, UnauthorizedSSOTokenError
from botocore.loaders import create_loader

from lakebound.adapters import clients
from tests.unit.conftest import Lakebound
from tests.unit.verbs import VERBS, arguments

PATHS = list(VERBS)
LOADER = create_loader()
CODES = {
    "expired login": ("ExpiredTokenException", "login has expired", "aws sso login"),
    "expired login of a query service": ("ExpiredToken", "login has expired", "aws sso login"),
    "unknown credentials": ("InvalidClientTokenId", "does not know these credentials", "get-caller-identity"),
    "access denied": ("AccessDenied", "These credentials may not ", "Ask for the right "),
    "access denied of a JSON service": ("AccessDeniedException", "These credentials may not ", "Ask for the right "),
    "throttled": ("ThrottlingException", " throttles ", "Wait a minute"),
    "slow down": ("SlowDown", " throttles ", "Wait a minute"),
}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment with a stack's name and a region, and nothing that reaches AWS."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("LAKEBOUND_STACK", "lake")
    monkeypatch.setattr(clients, "_CONFIG", Config(retries={"mode": "standard", "total_max_attempts": 1}))
    monkeypatch.chdir(tmp_path)
    clients._session.cache_clear()
    # Reading the models of eight services takes a second, and nothing in the environment changes them.
    clients._session().register_component("data_loader", LOADER)


def log_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


def answer_with(monkeypatch: pytest.MonkeyPatch, failure: BaseException) -> None:
    """Whatever is asked of AWS raises this, below our own client."""
    log_in(monkeypatch)

    def refuse(self: Any, operation: str, arguments: Any) -> Any:
        raise failure

    monkeypatch.setattr(botocore_client.BaseClient, "_make_api_call", refuse)


def one_sentence(capsys: pytest.CaptureFixture[str]) -> str:
    told = capsys.readouterr()
    lines = told.err.strip().splitlines()
    assert len(lines) == 1, told.err
    assert lines[0].startswith("lakebound: ")
    assert lines[0].count(". ") >= 1, "what happened, then what to do next"
    return lines[0]


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
@pytest.mark.parametrize("fault", CODES)
def test_what_aws_refuses_is_its_own_sentence(
    fault: str,
    path: tuple[str, ...],
    lakebound: Lakebound,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, what, hint = CODES[fault]
    answer_with(monkeypatch, ClientError({"Error": {"Code": code, "Message": "secret"}}, "Op"))
    assert lakebound(*arguments(path)) in (1, 2)
    told = one_sentence(capsys)
    assert what in told
    assert hint in told
    assert "secret" not in told


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_without_credentials_a_verb_says_how_to_log_in(
    path: tuple[str, ...], lakebound: Lakebound, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lakebound(*arguments(path)) == 2
    assert "There are no AWS credentials. Log in" in one_sentence(capsys)


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_an_expired_single_sign_on_is_an_expired_login(
    path: tuple[str, ...], lakebound: Lakebound, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer_with(monkeypatch, UnauthorizedSSOTokenError())
    assert lakebound(*arguments(path)) == 2
    assert "The AWS login has expired" in one_sentence(capsys)


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_an_unknown_profile_is_named(
    path: tuple[str, ...], lakebound: Lakebound, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert lakebound(*arguments(path)) == 2
    assert "There is no AWS profile nobody" in one_sentence(capsys)


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_without_a_region_a_verb_says_where_one_is_set(
    path: tuple[str, ...], lakebound: Lakebound, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log_in(monkeypatch)
    monkeypatch.delenv("AWS_REGION")
    assert lakebound(*arguments(path)) == 2
    assert "No AWS region is set. Set AWS_REGION" in one_sentence(capsys)


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_a_closed_endpoint_is_named(
    path: tuple[str, ...], lakebound: Lakebound, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log_in(monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert lakebound(*arguments(path)) == 1
    told = one_sentence(capsys)
    assert "Nothing answers at http://127.0.0.1:1" in told
    assert "Check AWS_ENDPOINT_URL" in told


@pytest.mark.parametrize("source", ["AWS_REGION", "AWS_DEFAULT_REGION", "profile"])
def test_each_way_to_set_a_region_counts(source: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AWS_REGION")
    if source == "profile":
        (tmp_path / "config").write_text("[profile work]\nregion = eu-west-3\n")
        monkeypatch.setenv("AWS_PROFILE", "work")
    else:
        monkeypatch.setenv(source, "eu-west-3")
    assert clients.region() == "eu-west-3"
    assert clients.client("sqs").meta.region_name == "eu-west-3"


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
@pytest.mark.parametrize("behind", [False, True], ids=["at once", "behind an error"])
def test_ctrl_c_ends_every_verb_with_one_line_and_130(
    behind: bool,
    path: tuple[str, ...],
    lakebound: Lakebound,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken = RuntimeError("the link to Spark is gone")
    broken.__context__ = KeyboardInterrupt()
    answer_with(monkeypatch, broken if behind else KeyboardInterrupt())
    assert lakebound(*arguments(path)) == 130
    assert one_sentence(capsys).startswith("lakebound: Stopped by Ctrl-C")


@pytest.mark.parametrize("ignored", [False, True], ids=["in a terminal", "under nohup &"])
def test_a_real_sigint_ends_a_real_process_unless_its_shell_has_it_ignored(
    ignored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell without job control starts what it puts into the background with SIGINT ignored; children inherit it."""
    log_in(monkeypatch)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        handler = signal.SIG_IGN if ignored else signal.SIG_DFL
        with subprocess.Popen(
            [sys.executable, "-c", "from lakebound.cli.app import main; main()", "status"],
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, handler),
        ) as process:
            assert process.stderr is not None
            deaf.settimeout(60)
            connection, _ = deaf.accept()
            process.send_signal(signal.SIGINT)
            if ignored:
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(1)
                process.kill()
                return
            told = process.stderr.read()
            assert process.wait(30) == 130
            connection.close()
    assert told == "lakebound: Stopped by Ctrl-C. Run the same command again to go on\n"


JUNK = ("", " ", "-1", "nan", "1e999", "99999999999999999999", "soon", "0001-01-01", "2026-13-45T99:00Z")


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_junk_in_any_option_is_a_sentence(
    path: tuple[str, ...],
    lakebound: Lakebound,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Paths that are missing, folders, unreadable or no text; numbers, times and names of every shape."""
    answer_with(monkeypatch, ClientError({"Error": {"Code": "ExpiredToken", "Message": ""}}, "Op"))
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115
    binary = tmp_path / "binary"
    binary.write_bytes(b"\x80\x00\xff" * 100)
    junk = (*JUNK, str(tmp_path / "missing" / "file"), str(tmp_path), str(binary), "/proc/none/x")
    for parameter in VERBS[path].params:
        if getattr(parameter, "is_flag", False):
            continue
        for value in junk:
            given = [value] if parameter.param_type_name == "argument" else [f"{parameter.opts[0]}={value}"]
            line = arguments(path, without=parameter.name)
            status = lakebound(*line, *given)
            told = capsys.readouterr()
            assert status in (0, 1, 2), (parameter.name, value)
            assert "Traceback" not in told.err + told.out, (parameter.name, value)
            assert len(told.err) < 1_500, (parameter.name, value, told.err)
            assert told.err or told.out, (parameter.name, value)
