"""Every verb meets every way in which AWS cannot be asked: one sentence that fits the cause, and the next step."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.loaders import create_loader

from lakebound.adapters import clients
from lakebound.cli import entry
from lakebound.cli.app import run, was_interrupted
from lakebound.errors import LakeboundError
from tests.support.command_verbs import ASKS_AWS
from tests.support.command_verbs import VERBS as COMMANDS
from tests.support.command_verbs import arguments as arguments_of
from tests.support.operator_stack import Lakebound

VERBS = sorted(ASKS_AWS)
LOADER = create_loader()

REFUSALS = {
    "ExpiredToken": "The AWS login has expired. Run `aws sso login`",
    "UnrecognizedClientException": "AWS does not know these credentials",
    "AccessDenied": "may not",
    "ThrottlingException": "AWS throttles these calls",
}


class Service(ThreadingHTTPServer):
    """Answers every request of every protocol with one error, or not at all."""

    code = ""
    silent = threading.Event()
    asked = threading.Event()


class Refusing(BaseHTTPRequestHandler):
    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server = self.server
        assert isinstance(server, Service)
        server.asked.set()
        if not server.code:
            server.silent.wait(60)
            return
        if "X-Amz-Target" in self.headers:
            kind, body = "application/x-amz-json-1.0", f'{{"__type":"{server.code}","message":"no"}}'
        elif self.path.startswith(("/20", "/functions")):
            kind, body = "application/json", f'{{"Code":"{server.code}","message":"no"}}'
        else:
            kind = "text/xml"
            error = f"<Error><Type>Sender</Type><Code>{server.code}</Code><Message>no</Message></Error>"
            bare = self.command == "GET"
            body = error if bare else f"<ErrorResponse>{error}<RequestId>1</RequestId></ErrorResponse>"
        self.send_response(400)
        self.send_header("x-amzn-ErrorType", server.code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    do_GET = do_POST = do_HEAD = do_PUT = answer  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        del format, args


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service(("127.0.0.1", 0), Refusing)
    made.silent, made.asked = threading.Event(), threading.Event()
    # Asked every 10 ms whether to stop: the half second of the default would be spent at the end of each test.
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    made.silent.set()
    made.shutdown()
    made.server_close()


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """An environment without anything of AWS in it, in an empty folder; failed calls are not repeated for long."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setattr(clients, "_CONFIG", Config(retries={"total_max_attempts": 1}, connect_timeout=2))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "files").mkdir()
    monkeypatch.setenv("LAKEBOUND_STACK", "lake")
    clients._session.cache_clear()
    # Reading the models of eight services takes a second, and nothing in the environment changes them.
    clients._session().register_component("data_loader", LOADER)
    yield monkeypatch
    clients._session.cache_clear()


def told(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], statuses: tuple[int, ...] = (1, 2)
) -> str:
    monkeypatch.setattr(sys, "argv", ["lakebound", *verb.split(), *ASKS_AWS[verb]])
    assert run() in statuses
    captured = capsys.readouterr()
    assert captured.err.startswith("lakebound: "), captured
    assert len(captured.err.splitlines()) == 1, captured.err
    assert "Traceback" not in captured.err + captured.out
    return captured.err


SIGNED = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
HERE = {"AWS_REGION": "eu-west-1"}
CLOSED = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}


def set_variables(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def served(person: pytest.MonkeyPatch, service: Service) -> pytest.MonkeyPatch:
    """A person with credentials and a region, whose AWS is the service."""
    set_variables(person, SIGNED | HERE | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{service.server_port}"})
    return person


CAUSES: dict[str, tuple[dict[str, str], tuple[str, ...], str]] = {
    "no credentials": (HERE | CLOSED, ("There are no complete AWS credentials",), "Nothing answers"),
    "an unknown profile": (HERE | {"AWS_PROFILE": "nobody"}, ("There is no AWS profile nobody",), "AWS_REGION"),
    "no region": (SIGNED, ("No AWS region is set. Set AWS_REGION or AWS_DEFAULT_REGION",), "Nothing answers"),
    "a closed endpoint": (SIGNED | HERE | CLOSED, ("Nothing answers at", "AWS_ENDPOINT_URL"), "repeated by itself"),
}


@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize("verb", VERBS)
def test_what_keeps_a_verb_from_aws_is_told(
    verb: str, cause: str, person: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    variables, said, unsaid = CAUSES[cause]
    set_variables(person, variables)
    # A closed endpoint may be an outage, the others are the person's own to set right.
    error = told(verb, person, capsys, (1, 2) if cause == "a closed endpoint" else (2,))
    assert [part for part in said if part not in error] == []
    assert unsaid not in error


@pytest.mark.parametrize("name", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_either_variable_names_the_region(name: str, person: pytest.MonkeyPatch) -> None:
    set_variables(person, SIGNED | {name: "eu-west-1"})
    assert clients.client("dynamodb").meta.region_name == "eu-west-1"


def test_the_newer_variable_counts_where_both_are_set(person: pytest.MonkeyPatch) -> None:
    set_variables(person, SIGNED | HERE | {"AWS_DEFAULT_REGION": "us-east-1"})
    assert clients.client("dynamodb").meta.region_name == "eu-west-1"


@pytest.mark.parametrize("code", sorted(REFUSALS))
@pytest.mark.parametrize("verb", VERBS)
def test_a_refusal(
    verb: str, code: str, served: pytest.MonkeyPatch, service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    service.code = code
    error = told(verb, served, capsys)
    if code == "AccessDenied" and "s3://" in error:
        assert "AccessDenied" in error
        assert "rights" in error
    else:
        assert REFUSALS[code] in error


@pytest.mark.parametrize(
    # Each case takes a process of its own: every third verb daily, the others in the soak.
    "verb",
    [verb if number % 3 == 0 else pytest.param(verb, marks=pytest.mark.soak) for number, verb in enumerate(VERBS)],
)
def test_ctrl_c_ends_in_one_line(verb: str, served: pytest.MonkeyPatch, service: Service) -> None:
    assert interrupted([*verb.split(), *ASKS_AWS[verb]], service) == (
        130,
        "lakebound: interrupted; what was done stays done, and the same command goes on\n",
    )


def test_a_background_command_ignores_ctrl_c_as_its_shell_asked(served: pytest.MonkeyPatch, service: Service) -> None:
    ignoring = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    process = started(["status", "--stack", "s"], ignoring)
    assert service.asked.wait(60)
    process.send_signal(signal.SIGINT)
    service.code = "ExpiredToken"
    service.silent.set()
    _, error = process.communicate(timeout=60)
    assert process.returncode != entry.INTERRUPTED
    assert "interrupted" not in error


def started(
    arguments: list[str], before: str = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
) -> subprocess.Popen[str]:
    # What a shell's `&` or nohup has set for the tests themselves must not reach the command under test.
    code = f"{before}from lakebound.cli.entry import main; import sys; sys.argv = {['lakebound', *arguments]!r}; main()"
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def interrupted(arguments: list[str], service: Service) -> tuple[int, str]:
    process = started(arguments)
    try:
        assert service.asked.wait(60)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, error


@pytest.mark.parametrize(
    "arguments",
    [
        ["report", "--stack", "s", "--out", "no/such/folder/report.html"],
        ["verify", "--target", "t", "--table", "cars", "--out", "no/such/folder/verify.json"],
        ["files", "check", "no-such-folder"],
        ["files", "flatten", "no-such-folder"],
        ["config", "infer", "--files", "no-such-folder"],
        ["backfill", "watch", "--run", "no such name", "--stack", "s"],
        ["replay", "--from", "yesterday", "--stack", "s"],
    ],
    ids=" ".join,
)
def test_a_persons_mistake_is_a_sentence(
    arguments: list[str], served: pytest.MonkeyPatch, service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    service.code = "ExpiredToken"
    served.setattr(sys, "argv", ["lakebound", *arguments])
    assert run() != 0
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out
    assert captured.err


def test_what_breaks_because_of_ctrl_c_counts_as_ctrl_c() -> None:
    def broken() -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise LakeboundError("the link to Spark broke") from None

    with pytest.raises(LakeboundError) as found:
        broken()
    assert was_interrupted(found.value)
    assert not was_interrupted(LakeboundError("there is no table"))


JUNK = ("", " ", "-1", "nan", "1e999", "99999999999999999999", "soon", "0001-01-01", "2026-13-45T99:00Z")
SAMPLE = ("", "1e999", "soon", "/proc/none/x")


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["a sample", "all"])
@pytest.mark.parametrize("path", list(COMMANDS), ids=" ".join)
def test_junk_in_any_option_is_a_sentence(
    every: bool, path: tuple[str, ...], lakebound: Lakebound, person: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Paths that are missing, folders, unreadable or no text; numbers, times and names of every shape."""
    set_variables(person, SIGNED | HERE)

    def refuse(self: object, operation: str, arguments: object) -> object:
        raise ClientError({"Error": {"Code": "ExpiredToken", "Message": ""}}, "Op")

    person.setattr(BaseClient, "_make_api_call", refuse)
    person.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115
    binary = tmp_path / "binary"
    binary.write_bytes(b"\x80\x00\xff" * 100)
    paths = (str(tmp_path / "missing" / "file"), str(tmp_path), str(binary), "/proc/none/x")
    for parameter in COMMANDS[path].params:
        if getattr(parameter, "is_flag", False):
            continue
        for value in (*JUNK, *paths) if every else SAMPLE:
            given = [value] if parameter.param_type_name == "argument" else [f"{parameter.opts[0]}={value}"]
            status = lakebound(*arguments_of(path, without=parameter.name), *given)
            told = lakebound.printed()
            assert status in (0, 1, 2), (parameter.name, value)
            assert "Traceback" not in told.err + told.out, (parameter.name, value)
            assert len(told.err) < 1_500, (parameter.name, value, told.err)
            assert told.err or told.out, (parameter.name, value)
