"""The local stack: MiniStack on a loopback port of this machine, and template.yaml deployed to it by the real SAM CLI.

What it does not do as AWS does (one thread polls all mappings in turn; no batching window, no bisect, at most ten
messages a delivery; no rights are checked) is met with parameters of the same template, never with another template.
A label of each record's own, where DynamoDB's streams have one, is mended in `demo.served_ministack`, as is that its
CloudFormation makes no composite alarms; it works out the rule of none.
"""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final, Self

import boto3
import yaml

ROOT: Final = Path(__file__).resolve().parent.parent
BUILDS: Final = ROOT / ".build" / "sam"
LOGS: Final = ROOT / ".build" / "local-stack"
SAM: Final = ROOT / ".venv-sam" / "bin" / "sam"

REGION: Final = "us-east-1"
ACCOUNT: Final = "000000000000"
STACK_NAME: Final = "lakebound"

_ARTIFACTS: Final = "lakebound-artifacts"
_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 5.0
_BUILDS_KEPT: Final = 3
_LOGS_KEPT: Final = 10
_PR_SET_PDEATHSIG: Final = 1


WINDOWS: Final = "none at the stream, 1 s at the queue"
"""Batching windows that `local_parameters` asks for, in words."""


class LocalStackError(Exception):
    """The local stack could not start, or the template could not be deployed; the text ends with where to look."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """What a deployment left: the stack's outputs, and how long its two steps took. `built`: not a build used again."""

    outputs: Mapping[str, str]
    built: bool
    build_seconds: float
    deploy_seconds: float


def host_runtime() -> str:
    """The Lambda runtime that is this Python; MiniStack runs functions with the interpreter that it runs itself on."""
    return f"python{sys.version_info.major}.{sys.version_info.minor}"


def host_architecture() -> str:
    """This machine's processor in Lambda's words."""
    return "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"


def local_parameters() -> dict[str, str]:
    """The template's parameters on a local stack: this machine's platform, and no waiting in the poller.

    One thread of MiniStack polls the stream, then the queue, then the stream again, and waits for each function. A
    flusher that topped its file up for MaxSeconds would keep the stream from being read for so long: it takes what the
    queue holds and returns.
    """
    return {
        "Runtime": host_runtime(),
        "Architecture": host_architecture(),
        "StreamWindowSeconds": "0",
        "QueueBatchSize": "10",
        "QueueWindowSeconds": "1",
        "MaxSeconds": "0",
    }


class LocalStack:
    """One MiniStack process with its own folder. Use it as a context manager, or call `start` and `stop`.

    Its data are in the folder (a temporary one if none is given, removed by `stop`); its logs are in LOGS and stay.
    `outlive` leaves the process running when this one ends without `stop`; otherwise it ends with this one, however
    this one ends.
    """

    def __init__(self, folder: Path | None = None, *, port: int | None = None, outlive: bool = False) -> None:
        self._own_folder = folder is None
        self.folder = folder if folder is not None else Path(tempfile.mkdtemp(prefix="lakebound-stack-"))
        self.port = port if port is not None else _free_port()
        self._logs = LOGS / f"{time.time_ns() // 1_000_000}-{self.port}"
        self._outlive = outlive
        self._process: subprocess.Popen[bytes] | None = None
        self._previous_sigterm: Callable[[int, FrameType | None], Any] | int | None = None

    # ── what callers ask ──

    @property
    def endpoint(self) -> str:
        """The address that stands for every AWS service."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process id, which is also its process group. Raises LocalStackError when it does not run."""
        if self._process is None:
            raise LocalStackError("The local stack is not running. Start it first")
        return self._process.pid

    @property
    def log(self) -> Path:
        """What MiniStack and the functions in it print."""
        return self._logs / "ministack.log"

    def env(self) -> dict[str, str]:
        """The variables that point an AWS client, the AWS CLI or SAM at this stack and at no account."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, service: str, **options: Any) -> Any:
        """A boto3 client of one service of this stack, whatever this process's environment says."""
        factory: Any = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION).client
        return factory(service, endpoint_url=self.endpoint, **options)

    # ── its life ──

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._outlive or error is not None:
            self.stop()

    def start(self) -> None:
        """Start MiniStack and wait until it answers. Raises LocalStackError."""
        if not _is_free(self.port):
            self.stop()
            # Another stack there would answer the health check in this one's place.
            raise LocalStackError(f"Port {self.port} of 127.0.0.1 is in use. Give another one, or none")
        data = self.folder / "data"
        temporary = self.folder / "tmp"
        for path in (data, temporary, self._logs):
            path.mkdir(parents=True, exist_ok=True)
        _keep_newest(LOGS.iterdir(), _LOGS_KEPT)
        environment = _without_aws(os.environ) | {
            "GATEWAY_PORT": str(self.port),
            "MINISTACK_HOST": "127.0.0.1",
            "MINISTACK_REGION": REGION,
            "STATE_DIR": str(data / "state"),
            "S3_DATA_DIR": str(data / "s3"),
            "TMPDIR": str(temporary),
            "LAMBDA_EXECUTOR": "local",
            # Nothing else of MiniStack listens: two stacks may run at once, and only the one port is open.
            "SFTP_ENABLED": "0",
            "IOT_MTLS_ENABLED": "0",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "PYTHONUNBUFFERED": "1",
        }
        command = [sys.executable, "-m", "demo.served_ministack", "--bind", f"127.0.0.1:{self.port}"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=None if self._outlive else _end_with_parent,
            )
        if not self._outlive:
            atexit.register(self.stop)
            self._stop_on_sigterm()
        try:
            self._wait_until_healthy()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End MiniStack and every function process it started, and remove the folder if this object made it."""
        process, self._process = self._process, None
        if process is not None:
            _end_group(process)
        if self._previous_sigterm is not None:
            signal.signal(signal.SIGTERM, self._previous_sigterm)
            self._previous_sigterm = None
        atexit.unregister(self.stop)
        if self._own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _wait_until_healthy(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise LocalStackError(
                    f"MiniStack ended at start with status {self._process.returncode}\n{_tail(self.log)}"
                )
            try:
                with urllib.request.urlopen(f"{self.endpoint}/_ministack/health", timeout=2) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise LocalStackError(
            f"MiniStack did not answer on {self.endpoint} within {_START_SECONDS:.0f} s\n{_tail(self.log)}"
        )

    def _stop_on_sigterm(self) -> None:
        """SIGTERM ends a Python process without running what it registered for its end; make it an ordinary exit."""
        try:
            current = signal.getsignal(signal.SIGTERM)
            if current is signal.SIG_DFL:
                signal.signal(signal.SIGTERM, _exit_on_signal)
                self._previous_sigterm = current
        except ValueError:
            # Only the main thread may set handlers; the process still ends with its parent.
            return

    # ── deploying ──

    def deploy(self, parameters: Mapping[str, str], *, stack_name: str = STACK_NAME, root: Path = ROOT) -> Deployment:
        """Run the real `sam build` and `sam deploy` of template.yaml. Raises LocalStackError.

        `parameters` are the template's, over `local_parameters()`; at least TableName, and PartitionKeyName or
        TableStreamArn. The functions' own folders are packed anew each time.
        """
        merged = local_parameters() | dict(parameters)
        started = time.monotonic()
        build, built = self.build(merged["Runtime"], merged["Architecture"], root=root)
        build_seconds = time.monotonic() - started
        # SAM leaves a parameter that the template does not have out without a word.
        known = yaml.safe_load((build / "template.yaml").read_text())["Parameters"]
        if unknown := sorted(set(merged) - set(known)):
            raise LocalStackError(f"The template has no parameter {', '.join(unknown)}")
        started = time.monotonic()
        self._deploy(build, merged, stack_name)
        outputs = self._outputs(stack_name)
        return Deployment(outputs, built, build_seconds, time.monotonic() - started)

    def build(self, runtime: str, architecture: str, *, root: Path = ROOT) -> tuple[Path, bool]:
        """Run the real `sam build`; where the build is, and whether it was made now. Raises LocalStackError.

        A build is used again while nothing that goes into the layer or the template has changed.
        """
        builds = root / BUILDS.relative_to(ROOT)
        build = builds / _digest(root, runtime, architecture)
        if (build / "template.yaml").exists():
            # Its age decides which builds are thrown away.
            os.utime(build)
            return build, False
        builds.mkdir(parents=True, exist_ok=True)
        # The built template names the functions' folders relative to itself: the draft has to be the build's neighbour.
        draft = Path(tempfile.mkdtemp(prefix="draft-", dir=builds))
        try:
            self._sam(
                ["build", "--template-file", str(root / "template.yaml"), "--build-dir", str(draft)],
                cwd=root,
                extra={
                    "LAKEBOUND_RUNTIME": runtime,
                    "LAKEBOUND_ARCHITECTURE": architecture,
                    "LAKEBOUND_PYTHON": sys.executable,
                },
            )
            try:
                draft.rename(build)
            except OSError:
                # Another process built the same meanwhile; its result is as good.
                if not (build / "template.yaml").exists():
                    raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        _keep_newest((path for path in builds.iterdir() if (path / "template.yaml").exists()), _BUILDS_KEPT)
        return build, True

    def _deploy(self, build: Path, parameters: Mapping[str, str], stack_name: str) -> None:
        s3 = self.client("s3")
        if _ARTIFACTS not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
            s3.create_bucket(Bucket=_ARTIFACTS)
        self._sam(
            [
                "deploy",
                "--template-file",
                str(build / "template.yaml"),
                "--stack-name",
                stack_name,
                "--region",
                REGION,
                "--s3-bucket",
                _ARTIFACTS,
                "--capabilities",
                "CAPABILITY_IAM",
                "--no-confirm-changeset",
                "--no-fail-on-empty-changeset",
                "--no-progressbar",
                "--parameter-overrides",
                *(f"ParameterKey={name},ParameterValue={_quoted(value)}" for name, value in parameters.items()),
            ],
            cwd=build,
        )

    def _outputs(self, stack_name: str) -> dict[str, str]:
        stacks = self.client("cloudformation").describe_stacks(StackName=stack_name)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in stacks[0].get("Outputs", ())}

    def _sam(self, arguments: Sequence[str], *, cwd: Path, extra: Mapping[str, str] | None = None) -> None:
        """Run SAM CLI against this stack, with no configuration of the user's. Raises LocalStackError."""
        if not SAM.exists():
            raise LocalStackError(f"{SAM.relative_to(ROOT)} is not there. Run `make setup`")
        settings = self.folder / "samconfig.toml"
        settings.write_text("version = 0.1\n")
        log = self._logs / f"sam-{arguments[0]}.log"
        environment = (
            _without_aws(os.environ)
            | self.env()
            | {
                "SAM_CLI_TELEMETRY": "0",
                "__SAM_CLI_APP_DIR": str(self.folder / "sam"),
                "AWS_CONFIG_FILE": os.devnull,
                "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            }
            | dict(extra or {})
        )
        command = [str(SAM), *arguments, "--config-file", str(settings)]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
            try:
                status = process.wait()
            except BaseException:
                _end_group(process)
                raise
        if status != 0:
            raise LocalStackError(f"sam {arguments[0]} failed with status {status}\n{_tail(log)}")


def _digest(root: Path, runtime: str, architecture: str) -> str:
    """Names a build by everything that goes into it: the layer's folder, the template, the platform."""
    digest = hashlib.sha256(json.dumps([runtime, architecture]).encode())
    files = [root / "template.yaml", *(path for path in (root / "src").rglob("*") if path.is_file())]
    for path in sorted(files):
        name = path.relative_to(root)
        if "__pycache__" in name.parts or any(part.endswith(".egg-info") for part in name.parts):
            continue
        content = path.read_bytes()
        digest.update(f"{name.as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def _keep_newest(folders: Iterable[Path], count: int) -> None:
    for old in sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)[count:]:
        shutil.rmtree(old, ignore_errors=True)


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _without_aws(environment: Mapping[str, str]) -> dict[str, str]:
    """Without anything that could lead to a real account: credentials, a profile, endpoints, configuration files."""
    return {name: value for name, value in environment.items() if not name.startswith("AWS_")}


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers bind: connections of an earlier stack that still linger do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _tail(log: Path, lines: int = 25) -> str:
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n".join(text.splitlines()[-lines:]) + f"\n(whole log: {log})"


def _exit_on_signal(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _end_with_parent() -> None:
    """In the child: have Linux end it when its parent dies, even by kill -9, which no handler here would see."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        # The leader is gone; what it started may not be.
    process.wait(_STOP_SECONDS)
