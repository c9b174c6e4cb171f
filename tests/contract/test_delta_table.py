"""Delta read without Java, as far as it needs no table of Spark's: what S3 and Unity Catalog are asked and answer."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import botocore.session
import pytest

from lakebound.adapters import clients, delta_table
from lakebound.adapters.delta_table import DeltaVersion
from lakebound.cli import silver_table
from lakebound.cli.silver_table import Engine, open_silver
from lakebound.errors import LakeboundError, Misconfigured

Reply = tuple[int, str]
EMPTY = "<ListBucketResult><Name>lake</Name><IsTruncated>false</IsTruncated></ListBucketResult>"


def s3_error(status: int, code: str) -> Reply:
    return status, f"<Error><Code>{code}</Code><Message>secret-value</Message></Error>"


@dataclass
class Server:
    """An HTTP server of this machine that answers by method and path, and keeps what it was asked."""

    reply: Callable[[str, str], Reply] = lambda method, path: (404, "")
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    bodies: dict[str, str] = field(default_factory=dict)
    port: int = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def server() -> Iterator[Server]:
    serving = Server()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            serving.bodies[self.path] = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            serving.asked.append((self.command, self.path, {name.lower(): text for name, text in self.headers.items()}))
            status, text = serving.reply(self.command, self.path)
            body = b"" if self.command == "HEAD" else text.encode()
            self.send_response(status)
            for name, value in serving.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json" if text.startswith("{") else "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_HEAD = do_POST = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        serving.port = http.server_port
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield serving
        http.shutdown()
        thread.join()


@pytest.fixture
def aws(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A profile with a session's credentials, in files, and the server as the endpoint of S3."""
    (tmp_path / "credentials").write_text(
        "[lake]\naws_access_key_id = AKEY\naws_secret_access_key = SECRET\naws_session_token = TOKEN\n"
    )
    (tmp_path / "config").write_text(f"[profile lake]\nregion = eu-west-1\nendpoint_url = {server.address}\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_PROFILE", "lake")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    start_session(monkeypatch)


def start_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session of botocore that reads the environment as it is now."""
    session = botocore.session.get_session()
    monkeypatch.setattr(clients, "_session", lambda: session)


@pytest.mark.parametrize("scheme", ["s3", "s3a"])
def test_a_profile_gives_credentials_token_region_and_endpoint(server: Server, aws: None, scheme: str) -> None:
    server.reply = lambda method, path: (200, EMPTY) if "list-type" in path or method == "HEAD" else (404, "")
    with pytest.raises(
        Misconfigured, match=f"There is no Delta table at {scheme}://lake/silver; run merge_changes first"
    ):
        DeltaVersion(f"{scheme}://lake/silver")
    (_, first, _), *asked = server.asked
    assert first.rstrip("/") == "/lake"
    assert asked
    for _, path, headers in asked:
        assert path.startswith(("/lake/silver/_delta_log/", "/lake?list-type=2&prefix=silver%2F_delta_log%2F"))
        assert headers["x-amz-security-token"] == "TOKEN"
        assert "Credential=AKEY/" in headers["authorization"]
        assert "/eu-west-1/s3/" in headers["authorization"]


def test_a_bucket_of_another_region_is_asked_there(server: Server, aws: None) -> None:
    server.headers = {"x-amz-bucket-region": "ap-southeast-2"}
    server.reply = lambda method, path: (403, "") if method == "HEAD" else (200, EMPTY) if "list" in path else (404, "")
    with pytest.raises(Misconfigured, match="There is no Delta table"):
        DeltaVersion("s3://lake/silver")
    assert all(
        "/ap-southeast-2/s3/" in headers["authorization"] for method, _, headers in server.asked if method == "GET"
    )


@pytest.mark.parametrize(
    ("reply", "kind", "says"),
    [
        (s3_error(403, "AccessDenied"), Misconfigured, r"These credentials may not read \(table s3a://lake/silver\)"),
        ((403, ""), Misconfigured, r"These credentials may not read \(table s3a://lake/silver\)"),
        (s3_error(400, "ExpiredToken"), Misconfigured, "The AWS login has expired. Run `aws sso login`"),
        (s3_error(403, "InvalidAccessKeyId"), Misconfigured, "AWS does not know these credentials"),
        (s3_error(404, "NoSuchBucket"), Misconfigured, "There is no table s3a://lake/silver at lake"),
        ((301, ""), LakeboundError, r"deltalake could not read s3a://lake/silver \(OSError\)"),
    ],
)
def test_what_s3_refuses(server: Server, aws: None, reply: Reply, kind: type[LakeboundError], says: str) -> None:
    server.reply = lambda method, path: (200, "") if method == "HEAD" else reply
    with pytest.raises(kind, match=says) as refused:
        DeltaVersion("s3a://lake/silver")
    assert "secret-value" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_missing_bucket_and_a_closed_endpoint(server: Server, aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Misconfigured, match=f"There is no bucket lake at {server.address}. Check its name"):
        DeltaVersion("s3a://lake/silver")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(Misconfigured, match=r"Nothing answers at http://127.0.0.1:9 \(EndpointConnectionError\)"):
        DeltaVersion("s3a://lake/silver")


def test_no_credentials_are_a_sentence(server: Server, aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    server.reply = lambda method, path: (200, "")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.delenv("AWS_PROFILE")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.address)
    start_session(monkeypatch)
    with pytest.raises(Misconfigured, match="There are no complete AWS credentials"):
        DeltaVersion("s3a://lake/silver")


@pytest.fixture
def unity(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server as a workspace with Unity Catalog."""
    monkeypatch.setenv("DATABRICKS_HOST", server.address)
    monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-token")


TABLES = "/api/2.1/unity-catalog/tables/main.lake.cars-eu"
KEYS = "/api/2.1/unity-catalog/temporary-table-credentials"


def test_unity_catalog_says_where_a_table_lies_and_gives_keys_to_it(server: Server, aws: None, unity: None) -> None:
    keys = {"access_key_id": "VENDED", "secret_access_key": "s", "session_token": "VENDED-TOKEN"}
    answers = {
        TABLES: json.dumps({"table_id": "7", "storage_location": "s3://lake/__unitystorage/7"}),
        KEYS: json.dumps({"aws_temp_credentials": keys, "expiration_time": 1}),
    }
    server.reply = lambda method, path: (200, answers.get(path, EMPTY)) if "_last" not in path else (404, "")
    for target in ("main.lake.`cars-eu`", "uc://main.lake.cars-eu"):
        server.asked.clear()
        with pytest.raises(Misconfigured, match=r"There is no Delta table at uc://main\.lake\.cars-eu"):
            open_silver(target)
        catalog, s3 = server.asked[:2], server.asked[2:]
        assert [(method, path) for method, path, _ in catalog] == [("GET", TABLES), ("POST", KEYS)]
        assert {headers["authorization"] for _, _, headers in catalog} == {"Bearer dapi-token"}
        assert server.bodies[KEYS] == '{"table_id": "7", "operation": "READ"}', "no keys to write are asked for"
        assert s3
        assert all("Credential=VENDED/" in headers["authorization"] for _, _, headers in s3)
        assert {headers["x-amz-security-token"] for _, _, headers in s3} == {"VENDED-TOKEN"}


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ((404, "{}"), r"There is no table main\.lake\.cars-eu in Unity Catalog at "),
        ((403, "{}"), r"does not let main\.lake\.cars-eu be read from outside\. Ask for SELECT on the table"),
        ((401, "{}"), r"does not know the token\. Set DATABRICKS_TOKEN"),
        ((200, "<html>"), "Unity Catalog does not answer at "),
        (
            (200, '{"storage_location": "abfss://lake/x"}'),
            r"is no table in S3, and only Databricks reads it\. Read it with --engine spark",
        ),
    ],
)
def test_what_unity_catalog_refuses_is_a_sentence(server: Server, unity: None, reply: Reply, says: str) -> None:
    server.reply = lambda method, path: reply
    with pytest.raises(Misconfigured, match=says):
        open_silver("main.lake.cars-eu")


def test_a_workspace_that_fails_is_no_usage_error(server: Server, unity: None) -> None:
    server.reply = lambda method, path: (503, "")
    with pytest.raises(LakeboundError, match=r"failed \(503\)") as failed:
        open_silver("main.lake.cars-eu")
    assert not isinstance(failed.value, Misconfigured)


def test_without_a_workspace_the_variables_are_named(unity: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABRICKS_HOST", "127.0.0.1:9")
    with pytest.raises(Misconfigured, match=r"Unity Catalog does not answer at 127\.0\.0\.1:9"):
        open_silver("main.lake.cars")
    for name in ("DATABRICKS_HOST", "DATABRICKS_TOKEN"):
        monkeypatch.setenv(name, "")
        with pytest.raises(Misconfigured, match=r"no workspace or no token\. Set DATABRICKS_HOST and DATABRICKS_TOKEN"):
            open_silver("main.lake.cars")


@pytest.mark.parametrize("name", ["flights", "lake.flights", "a.b.c.d"])
def test_deltalake_refuses_a_name_that_only_sparks_catalog_knows(name: str) -> None:
    with pytest.raises(Misconfigured, match=f"{name} is a name that only Spark's own catalog knows.*--engine spark"):
        open_silver(name, Engine.DELTALAKE)


@pytest.mark.parametrize("is_there", [True, False])
def test_an_error_names_the_option_engine_only_of_a_verb_that_has_it(
    monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    """`status --target`, `report --target` and `query` read by deltalake alone."""
    if not is_there:
        monkeypatch.setattr(silver_table, "find_spec", lambda name: None)
    for read in (silver_table.table_facts, silver_table.open_live):
        with pytest.raises(Misconfigured) as told:
            read("flights")
        assert "--engine" not in str(told.value)
    with pytest.raises(Misconfigured, match="--engine spark"):
        open_silver("flights", Engine.DELTALAKE)


def test_what_deltalake_cannot_read_gets_advice_that_its_verb_can_follow(server: Server, unity: None) -> None:
    server.reply = lambda method, path: (200, '{"storage_location": "abfss://lake/x"}')
    for read, advice in (
        (silver_table.table_facts, r"Leave out --target"),
        (silver_table.open_live, r"Read it in Spark"),
        (open_silver, r"Read it with --engine spark"),
    ):
        with pytest.raises(Misconfigured, match=rf"is no table in S3, and only Databricks reads it\. {advice}$"):
            read("main.lake.cars")
        with pytest.raises(Misconfigured, match=rf"for its name holds a %\. {advice}, or rename the folder$"):
            read("./100%")


def test_a_folder_with_a_percent_sign_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"for its name holds a %\. Read it with --engine spark"):
        DeltaVersion(str(tmp_path / "100%"))


def test_a_log_that_is_no_json_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "_delta_log").mkdir()
    (tmp_path / "_delta_log" / "00000000000000000000.json").write_text(json.dumps({"x": "secret-value"}) + "{")
    with pytest.raises(LakeboundError, match="deltalake could not read") as refused:
        DeltaVersion(str(tmp_path))
    assert "secret-value" not in str(refused.value)


def test_a_table_that_a_person_may_not_read_is_no_matter_of_the_engine() -> None:
    """deltalake's words as they were seen without rights on a folder, which a superuser always has."""
    seen = "Kernel error -> Generic LocalFileSystem error: Unable to open file /lake/_delta_log/_last_checkpoint: "
    told = delta_table._known_error("/lake", "read it in Spark", f"{seen}Permission denied (os error 13)")
    assert str(told) == "/lake may not be read. Check your rights there, and on each of its files"
    assert isinstance(told, Misconfigured)
    assert delta_table._known_error("/lake", "read it in Spark", seen) is None
