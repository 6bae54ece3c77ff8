"""`dssm submit` and `dssm schedule kubeflow` with kfp's real client against a server on loopback."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner, Result

from pipeline.cli import main
from pipeline.kubeflow import client as client_module
from pipeline.kubeflow import switch as switch_module

pytestmark = pytest.mark.integration

# What `dssm compile` writes, reduced to what is read here and by the server below.
SPEC = """\
pipelineInfo:
  name: tiny
schemaVersion: 2.1.0
root:
  dag: {tasks: {RetrainingPlan: {}, Trainer: {}}}
  inputDefinitions:
    parameters:
      epochs: {parameterType: NUMBER_INTEGER, defaultValue: 3.0}
      data_directory: {parameterType: STRING, defaultValue: s3://bucket/data}
      serving_directory: {parameterType: STRING, defaultValue: /mnt/releases}
      checkpoint_directory: {parameterType: STRING, defaultValue: /mnt/checkpoints}
      share: {parameterType: NUMBER_DOUBLE, defaultValue: 0.5}
---
platforms:
  kubernetes: {deploymentSpec: {executors: {}}}
"""


@dataclass
class Fault:
    """What goes wrong with which calls, counted from 1."""

    first: int
    last: int
    kind: str
    """drop-before: closed unserved; drop-after: served, the answer lost; or an HTTP status."""


@dataclass
class Outage:
    """A number of calls that fail, from the first of a kind on."""

    begins_with: str
    """End of the path of the call that begins it."""
    calls: int
    """How many calls are left to fail."""
    kind: str
    """As in Fault; hang: no answer until the test ends; late: served half a second after the drop."""
    after: int = 0
    """How many calls of the kind pass before."""
    has_begun: bool = False

    def hits(self, path: str) -> bool:
        if not self.has_begun and path.endswith(self.begins_with):
            self.has_begun = self.after == 0
            self.after -= 1
        if not self.has_begun or not self.calls:
            return False
        self.calls -= 1
        return True


@dataclass
class State:
    pipelines: list[dict] = field(default_factory=list)
    versions: list[dict] = field(default_factory=list)
    specs: dict[str, bytes] = field(default_factory=dict)
    experiments: list[dict] = field(default_factory=list)
    runs: list[dict] = field(default_factory=list)
    recurring: list[dict] = field(default_factory=list)
    progress: list[dict] = field(default_factory=list)
    """What successive looks at a run show."""
    calls: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    outage: Outage | None = None
    half_deleted: set[str] = field(default_factory=set)
    """Recurring runs whose Kubernetes resource is gone: they can be listed and deleted, and nothing else."""
    required_header: tuple[str, str] | None = None
    multi_user: bool = False
    page_size: int = 2
    """A server may give smaller pages than asked for."""
    most_enabled: int = 0
    made: int = 0

    def new_id(self, kind: str) -> str:
        self.made += 1
        return f"{kind}-{self.made}"

    def enabled(self) -> list[dict]:
        return [found for found in self.recurring if found["mode"] == "ENABLE"]


class RefusedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Handler(BaseHTTPRequestHandler):
    """The v2beta1 calls that are used, as the real server answers them."""

    protocol_version = "HTTP/1.1"
    # Head and body of an answer would otherwise wait for each other.
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.serve("GET")

    def do_POST(self) -> None:
        self.serve("POST")

    def do_DELETE(self) -> None:
        self.serve("DELETE")

    def serve(self, method: str) -> None:
        state: State = self.server.state  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        state.calls.append(f"{method} {url.path}")
        number = len(state.calls)
        fault = next((fault for fault in state.faults if fault.first <= number <= fault.last), None)
        if state.outage and state.outage.hits(url.path):
            fault = Fault(number, number, state.outage.kind)
        if fault and fault.kind == "drop-before":
            return self.drop()
        if fault and fault.kind == "late":
            threading.Timer(0.5, self.serve_late, (state, method, url.path, query, body)).start()
            return self.drop()
        if fault and fault.kind == "hang":
            self.server.released.wait(20)  # type: ignore[attr-defined]
            return self.drop()
        if fault and fault.kind.isdigit():
            return self.answer(int(fault.kind), {"error": "so it is", "code": 2, "message": "so it is"})
        if fault and fault.kind == "page":
            return self.answer_text(200, "text/html", b"<html>Log in</html>")
        if fault and fault.kind == "redirect":
            return self.answer_text(302, "text/html", b"", Location="https://login.example/dex")
        try:
            if state.required_header:
                name, value = state.required_header
                if self.headers.get(name) != value:
                    raise RefusedError(401, "Request header error: there is no user identity header.")
            content = self.route(state, method, url.path, query, body)
        except RefusedError as refused:
            return self.answer(refused.status, {"message": str(refused), "code": 5, "details": []})
        state.most_enabled = max(state.most_enabled, len(state.enabled()))
        if fault and fault.kind == "drop-after":
            return self.drop()
        return self.answer(200, content)

    def serve_late(self, state: State, *request: Any) -> None:
        with contextlib.suppress(RefusedError):
            self.route(state, *request)
        state.most_enabled = max(state.most_enabled, len(state.enabled()))

    def drop(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def answer(self, status: int, content: dict) -> None:
        self.answer_text(status, "application/json", json.dumps(content).encode())

    def answer_text(self, status: int, kind: str, content: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def route(self, state: State, method: str, path: str, query: dict, body: bytes) -> dict:
        path = path.removeprefix("/apis/v2beta1")
        if path == "/healthz":
            return {"multi_user": state.multi_user}
        if path == "/pipelines/upload_version":
            return self.upload(state, query, body)
        if match := re.fullmatch(r"/pipelines/([^/]+)/versions", path):
            found = [version for version in state.versions if version["pipeline_id"] == match[1]]
            return self.page(state, "pipeline_versions", found, query)
        collections = {
            "/pipelines": ("pipelines", state.pipelines, "pipeline_id"),
            "/experiments": ("experiments", state.experiments, "experiment_id"),
            "/runs": ("runs", state.runs, "run_id"),
            "/recurringruns": ("recurringRuns", state.recurring, "recurring_run_id"),
        }
        if path in collections:
            name, entries, key = collections[path]
            if method == "GET":
                return self.page(state, name, entries, query)
            return self.create(state, entries, key, json.loads(body))
        if match := re.fullmatch(r"/runs/([^/:]+)", path):
            run = self.find(state.runs, "run_id", match[1])
            if len(state.progress) > 1:
                return {**run, **state.progress.pop(0)}
            return {**run, **state.progress[0]}
        if match := re.fullmatch(r"/recurringruns/([^/:]+)(?::(enable|disable))?", path):
            found = self.find(state.recurring, "recurring_run_id", match[1])
            if method == "DELETE":
                state.recurring.remove(found)
            elif match[2] and match[1] in state.half_deleted:
                raise RefusedError(500, "scheduledworkflows.kubeflow.org not found")
            elif match[2]:
                found["mode"] = match[2].upper()
                found["status"] = f"{match[2].upper()}D"
            return {} if method != "GET" else found
        raise RefusedError(404, f"Not Found: {path}")

    def find(self, entries: list[dict], key: str, identifier: str) -> dict:
        for entry in entries:
            if entry[key] == identifier:
                return entry
        raise RefusedError(404, f"ResourceNotFoundError: {identifier} not found")

    def page(self, state: State, name: str, entries: list[dict], query: dict) -> dict:
        for predicate in json.loads(query.get("filter") or "{}").get("predicates", []):
            # The number and the name of the same enumerator.
            assert predicate["operation"] in (1, "EQUALS")
            entries = [e for e in entries if e.get(predicate["key"]) == predicate["stringValue"]]
        start = int(query.get("page_token") or 0)
        end = start + min(state.page_size, int(query.get("page_size") or 20))
        content: dict = {"total_size": len(entries)}
        if entries[start:end]:
            content[name] = entries[start:end]
        if end < len(entries):
            content["next_page_token"] = str(end)
        return content

    def create(self, state: State, entries: list[dict], key: str, content: dict) -> dict:
        unique = key in ("pipeline_id", "experiment_id")
        if unique and any(entry["display_name"] == content["display_name"] for entry in entries):
            raise RefusedError(409, f"The name {content['display_name']} already exists")
        reference = content.get("pipeline_version_reference")
        if key in ("run_id", "recurring_run_id"):
            self.find(state.versions, "pipeline_version_id", reference["pipeline_version_id"])
            assert set(reference) == {"pipeline_id", "pipeline_version_id"}
            known = {"epochs", "data_directory", "serving_directory", "checkpoint_directory", "share"}
            if not set(content["runtime_config"].get("parameters", {})) <= known:
                raise RefusedError(400, "unknown parameter")
        if key == "recurring_run_id":
            content["status"] = "ENABLED" if content["mode"] == "ENABLE" else "DISABLED"
        content[key] = state.new_id(key)
        entries.append(content)
        return content

    def upload(self, state: State, query: dict, body: bytes) -> dict:
        self.find(state.pipelines, "pipeline_id", query["pipelineid"])
        if any(version["display_name"] == query["name"] for version in state.versions):
            return self.conflict()
        version = {
            "pipeline_id": query["pipelineid"],
            "pipeline_version_id": state.new_id("version"),
            "display_name": query["name"],
            "description": query.get("description", ""),
        }
        state.versions.append(version)
        state.specs[version["pipeline_version_id"]] = body
        return version

    def conflict(self) -> dict:
        raise RefusedError(409, "Failed to create a pipeline version")


@dataclass
class Api:
    url: str
    state: State
    server: ThreadingHTTPServer


@contextlib.contextmanager
def serve(state: State, context: ssl.SSLContext | None = None) -> Iterator[Api]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.state = state  # type: ignore[attr-defined]
    server.released = threading.Event()  # type: ignore[attr-defined]
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        scheme = "https" if context else "http"
        yield Api(f"{scheme}://127.0.0.1:{server.server_port}", state, server)
    finally:
        server.released.set()  # type: ignore[attr-defined]
        server.shutdown()
        server.server_close()


@pytest.fixture
def api() -> Iterator[Api]:
    with serve(State()) as running:
        yield running


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the user's own settings nor long pauses."""
    import kfp.client

    monkeypatch.setattr(kfp.client.Client, "_LOCAL_KFP_CONTEXT", "/nonexistent/context.json")
    for name in ("KF_PIPELINES_ENDPOINT", "KF_PIPELINES_UI_ENDPOINT", "KF_PIPELINES_SA_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(client_module, "_RETRY_PAUSES_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(switch_module, "_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(switch_module, "_SETTLING_SECONDS", 0.0)


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    file = tmp_path / "pipeline.yaml"
    file.write_text(SPEC, encoding="utf-8")
    return file


def dssm(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def error_of(result: Result) -> str:
    """The error, which must be one line."""
    assert result.exit_code == 1, result.output
    assert not isinstance(result.exception, Exception) or isinstance(result.exception, SystemExit)
    (line,) = result.stderr.splitlines()
    return line


def submit(api: Api, spec: Path, *more: object) -> Result:
    return dssm("submit", "--host", api.url, "--pipeline-file", spec, "--poll-seconds", "0.1", *more)


def schedule(api: Api, spec: Path, *more: object, cron: str = "0 3 * * *") -> Result:
    return dssm("schedule", "kubeflow", "--host", api.url, "--pipeline-file", spec, "--cron", cron, *more)


RUNNING = {
    "state": "RUNNING",
    "run_details": {
        "task_details": [
            {"task_id": "1", "display_name": "root-driver", "state": "SUCCEEDED"},
            {"task_id": "2", "display_name": "Trainer", "state": "RUNNING"},
            {"task_id": "3", "display_name": "executor", "state": "RUNNING"},
            {"task_id": "4", "display_name": "executor(0)", "state": "FAILED"},
            {"task_id": "5", "display_name": "root", "state": "RUNNING"},
            {"task_id": "6", "display_name": "tiny-x7k2p", "state": "RUNNING"},
        ]
    },
}


def ended(state: str, message: str = "") -> dict:
    trainer = {"task_id": "2", "display_name": "Trainer", "state": state}
    if message:
        trainer["error"] = {"code": 2, "message": message}
    return {"state": state, "run_details": {"task_details": [trainer]}}


# Submitting


def test_submit_uploads_starts_follows_and_prints_links(api: Api, spec: Path) -> None:
    api.state.progress = [{"state": "PENDING"}, RUNNING, RUNNING, ended("SUCCEEDED")]
    result = submit(api, spec, "--parameter", "epochs=7", "--experiment", "nightly")
    assert result.exit_code == 0, result.output
    (run,) = api.state.runs
    assert run["runtime_config"]["parameters"] == {"epochs": 7}
    (version,) = api.state.versions
    assert version["display_name"] == hashlib.sha256(SPEC.encode()).hexdigest()
    assert SPEC.encode() in api.state.specs[version["pipeline_version_id"]]
    assert run["pipeline_version_reference"] == {
        "pipeline_id": version["pipeline_id"],
        "pipeline_version_id": version["pipeline_version_id"],
    }
    assert [e["display_name"] for e in api.state.experiments] == ["nightly"]
    assert f"{api.url}/#/runs/details/{run['run_id']}" in result.output
    states = [line.split()[1:] for line in result.stdout.splitlines() if re.match(r"\d\d:\d\d:\d\d ", line)]
    assert states == [
        ["run", "PENDING"], ["Trainer", "RUNNING"], ["run", "RUNNING"],
        ["Trainer", "SUCCEEDED"], ["run", "SUCCEEDED"],
    ]  # fmt: skip
    assert "Experiment details" not in result.output


def test_a_schedule_of_plain_runs_says_so(api: Api, spec: Path) -> None:
    assert "without --retraining" not in schedule(api, spec).stderr
    spec.write_text(SPEC.replace("RetrainingPlan: {}, ", ""), encoding="utf-8")
    result = schedule(api, spec)
    assert result.exit_code == 0
    assert "was compiled without --retraining, so each run trains whether or not" in result.stderr


def test_the_same_content_is_uploaded_once(api: Api, spec: Path) -> None:
    for _ in range(2):
        assert submit(api, spec, "--no-wait").exit_code == 0
    spec.write_text(SPEC.replace("3.0", "4.0"), encoding="utf-8")
    assert submit(api, spec, "--no-wait").exit_code == 0
    assert len(api.state.versions) == 2
    assert len(api.state.pipelines) == 1
    assert len(api.state.runs) == 3


def test_a_version_beyond_the_first_page_is_found(api: Api, spec: Path) -> None:
    submit(api, spec, "--no-wait")
    newest = api.state.versions[0]
    api.state.versions[:0] = [{**newest, "display_name": newest["display_name"][:-1] + "x"} for _ in range(5)]
    # A server that ignores the filter still gives it on a later page.
    original = Handler.page

    def unfiltered(self: Handler, state: State, name: str, entries: list[dict], query: dict) -> dict:
        return original(self, state, name, entries, {**query, "filter": ""})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Handler, "page", unfiltered)
        assert submit(api, spec, "--no-wait").exit_code == 0
    assert len(api.state.versions) == 6


@pytest.mark.parametrize("state", ["FAILED", "CANCELED", "SKIPPED"])
def test_a_run_that_does_not_succeed_fails_the_command(api: Api, spec: Path, state: str) -> None:
    api.state.progress = [RUNNING, ended(state, "OOMKilled\n  at step 3")]
    result = submit(api, spec)
    assert state in error_of(result)
    if state == "FAILED":
        assert "Trainer: OOMKilled at step 3" in result.stdout


def test_following_survives_an_outage(api: Api, spec: Path) -> None:
    api.state.progress = [RUNNING, ended("SUCCEEDED")]
    submit(api, spec, "--no-wait")
    started = len(api.state.calls)
    # The second run takes the same calls but the upload and the two creations; then it is looked at.
    api.state.faults = [Fault(started + 6, started + 11, "drop-before")]
    assert submit(api, spec).exit_code == 0


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        ("epoch=7", "Did you mean 'epochs'"),
        ("epochs=seven", "expected an integer"),
        ("share=half", "expected a number"),
        ("epochs", "expected name=value"),
    ],
)
def test_a_wrong_parameter_is_refused_before_any_call(
    api: Api, spec: Path, parameter: str, expected: str
) -> None:
    assert expected in error_of(submit(api, spec, "--parameter", parameter))
    assert api.state.calls == []


def test_a_missing_parameter_is_named(api: Api, spec: Path) -> None:
    spec.write_text(SPEC.replace(", defaultValue: s3://bucket/data", ""), encoding="utf-8")
    assert "data_directory" in error_of(submit(api, spec))
    assert api.state.calls == []


def test_what_is_not_a_pipeline_is_refused(api: Api, spec: Path) -> None:
    spec.write_text("[1, 2]", encoding="utf-8")
    assert "expected a compiled pipeline" in error_of(submit(api, spec))
    spec.write_text("a: [", encoding="utf-8")
    assert "not valid YAML" in error_of(submit(api, spec))
    assert "cannot read" in error_of(submit(api, spec.with_name("none.yaml")))
    assert "already" in error_of(submit(api, spec, "--set", "training.epochs=1"))


ROOTS = pytest.mark.parametrize(
    ("in_file", "flag", "expected"),
    [
        ("s3://bucket/file", "gs://bucket/flag", "gs://bucket/flag"),
        (None, "minio://bucket/flag", "minio://bucket/flag"),
        ("s3://bucket/file", None, "s3://bucket/file"),
        (None, None, None),
    ],
)


def with_root(spec: Path, root: str | None) -> Path:
    if root is not None:
        spec.write_text(f"defaultPipelineRoot: {root}\n{SPEC}", encoding="utf-8")
    return spec


def root_flag(root: str | None) -> list[str]:
    return [] if root is None else ["--pipeline-root", root]


@ROOTS
def test_a_run_is_given_the_root(
    api: Api, spec: Path, in_file: str | None, flag: str | None, expected: str | None
) -> None:
    result = submit(api, with_root(spec, in_file), "--no-wait", *root_flag(flag))
    assert result.exit_code == 0, result.output
    assert api.state.runs[0]["runtime_config"].get("pipeline_root") == expected


@ROOTS
def test_a_schedule_is_given_the_root(
    api: Api, spec: Path, in_file: str | None, flag: str | None, expected: str | None
) -> None:
    for root in (flag, expected):
        result = schedule(api, with_root(spec, in_file), *root_flag(root))
        assert result.exit_code == 0, result.output
    assert "nothing to do" in result.stdout
    assert api.state.recurring[0]["runtime_config"].get("pipeline_root") == expected


@pytest.mark.parametrize("command", [submit, schedule])
def test_a_root_in_no_object_store_is_refused_before_any_call(
    api: Api, spec: Path, command: Callable[..., Result]
) -> None:
    assert "--pipeline-root: expected gs://" in error_of(command(api, spec, "--pipeline-root", "/mnt/x"))
    assert "--pipeline-root: expected gs://" in error_of(command(api, spec, "--pipeline-root", "s3://"))
    in_file = error_of(command(api, with_root(spec, "file:///mnt")))
    assert "defaultPipelineRoot" in in_file
    assert "file:///mnt" in in_file
    assert api.state.calls == []


@pytest.mark.parametrize("command", [submit, schedule])
@pytest.mark.parametrize("name", ["data_directory", "serving_directory", "checkpoint_directory"])
def test_a_relative_directory_is_refused_before_any_call(
    api: Api, spec: Path, command: Callable[..., Result], name: str
) -> None:
    given = error_of(command(api, spec, "--parameter", f"{name}=some/folder"))
    assert f"--parameter {name}=" in given
    assert f"kubeflow.{name}" in given
    assert "'some/folder'" in given
    defaults = {
        "data_directory": "s3://bucket/data",
        "serving_directory": "/mnt/releases",
        "checkpoint_directory": "/mnt/checkpoints",
    }
    spec.write_text(SPEC.replace(defaults[name], "folder"), encoding="utf-8")
    assert f"kubeflow.{name}" in error_of(command(api, spec))
    assert api.state.calls == []
    more = ("--no-wait",) if command is submit else ()
    assert command(api, spec, "--parameter", f"{name}=/mnt/folder", *more).exit_code == 0


@pytest.mark.parametrize(
    ("name", "is_optional"),
    [("data_directory", False), ("serving_directory", False), ("checkpoint_directory", True)],
)
def test_checkpoints_alone_may_have_no_directory(api: Api, spec: Path, name: str, is_optional: bool) -> None:
    result = submit(api, spec, "--parameter", f"{name}=", "--no-wait")
    assert (result.exit_code == 0) is is_optional


# Credentials


def test_a_token_is_read_again_when_it_is_renewed(api: Api, spec: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n", encoding="utf-8")
    api.state.required_header = ("Authorization", "Bearer first")
    api.state.progress = [RUNNING, ended("SUCCEEDED")]
    original = Handler.route

    def renewing(self: Handler, state: State, method: str, path: str, query: dict, body: bytes) -> dict:
        content = original(self, state, method, path, query, body)
        if re.search(r"/runs/", path):
            token.write_text("second\n", encoding="utf-8")
            state.required_header = ("Authorization", "Bearer second")
        return content

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Handler, "route", renewing)
        result = submit(api, spec, "--token-file", token)
    assert result.exit_code == 0, result.output


def test_a_cookie_is_sent(api: Api, spec: Path, tmp_path: Path) -> None:
    cookie = tmp_path / "cookie"
    cookie.write_text("authservice_session=abc\n", encoding="utf-8")
    api.state.required_header = ("Cookie", "authservice_session=abc")
    assert submit(api, spec, "--cookie-file", cookie, "--no-wait").exit_code == 0


def test_the_pods_own_token_is_used(
    api: Api, spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "projected"
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(token))
    assert "--in-cluster" in error_of(submit(api, spec, "--in-cluster", "--no-wait"))
    token.write_text("pod", encoding="utf-8")
    api.state.required_header = ("Authorization", "Bearer pod")
    assert submit(api, spec, "--no-wait").exit_code == 0
    assert submit(api, spec, "--in-cluster", "--no-wait").exit_code == 0


def test_credentials_that_cannot_be_read(api: Api, spec: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("\n", encoding="utf-8")
    assert "--token-file" in error_of(submit(api, spec, "--token-file", empty))
    assert "cannot read" in error_of(submit(api, spec, "--token-file", tmp_path / "none"))
    both = error_of(submit(api, spec, "--token-file", empty, "--cookie-file", empty))
    assert "--token-file and --cookie-file" in both
    assert api.state.calls == []


def test_several_users_need_a_namespace(api: Api, spec: Path) -> None:
    api.state.multi_user = True
    assert "--namespace" in error_of(submit(api, spec, "--no-wait"))
    assert submit(api, spec, "--no-wait", "--namespace", "anna").exit_code == 0
    assert api.state.experiments[0]["namespace"] == "anna"
    assert api.state.pipelines[0]["namespace"] == "anna"


# Errors in one line


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("401", "401 Unauthorized. so it is The credentials are missing"),
        ("403", "403 Forbidden. so it is These credentials may not"),
        ("404", "404 Not Found. so it is"),
        ("500", "500 Internal Server Error. so it is"),
        ("page", "not the API's but a page"),
        ("redirect", "https://login.example/dex, which is likely a login"),
        ("drop-before", "the connection broke"),
    ],
)
def test_every_error_is_one_line(api: Api, spec: Path, kind: str, expected: str) -> None:
    api.state.faults = [Fault(1, 99, kind)]
    assert expected in error_of(submit(api, spec))


def test_only_what_may_be_repeated_is_repeated(api: Api, spec: Path) -> None:
    api.state.faults = [Fault(1, 99, "503")]
    submit(api, spec)
    assert api.state.calls == ["GET /apis/v2beta1/healthz"] * 3
    api.state.calls.clear()
    api.state.faults = [Fault(1, 99, "401")]
    submit(api, spec)
    assert len(api.state.calls) == 1
    api.state.calls.clear()
    # Calls 1 and 2 look; call 3 creates.
    api.state.faults = [Fault(3, 99, "503")]
    error_of(submit(api, spec))
    assert api.state.calls[2:] == ["POST /apis/v2beta1/pipelines"]


def test_a_connection_that_is_refused(spec: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    result = dssm("submit", "--host", f"http://127.0.0.1:{port}", "--pipeline-file", spec)
    assert "nothing listens there" in error_of(result)


def test_a_server_that_does_not_answer_in_time(api: Api, spec: Path) -> None:
    api.state.faults = [Fault(1, 99, "hang")]
    assert "no answer in time" in error_of(submit(api, spec, "--timeout-seconds", "1"))


def test_a_host_that_is_not_a_url(spec: Path) -> None:
    for host in ("ftp://somewhere", "http://"):
        assert "--host" in error_of(dssm("submit", "--host", host, "--pipeline-file", spec))


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    file = tmp_path / "certificate.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
            "-keyout", tmp_path / "key.pem", "-out", file,
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return file


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl for a certificate")
def test_tls(spec: Path, certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    with serve(State(), context) as api:
        assert "certificate is not trusted" in error_of(submit(api, spec, "--no-wait"))
        assert submit(api, spec, "--no-wait", "--ca-file", certificate).exit_code == 0
    with serve(State()) as api:
        result = dssm("submit", "--host", api.url.replace("http:", "https:"), "--pipeline-file", spec)
        assert "http:// or https://" in error_of(result)


# Scheduling


def test_schedule_makes_one_enabled_recurring_run(api: Api, spec: Path) -> None:
    result = schedule(api, spec, "--parameter", "epochs=2", "--name", "nightly")
    assert result.exit_code == 0, result.output
    (made,) = api.state.recurring
    # Five fields would be second, minute, hour, day, month to this server: every hour.
    assert made["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * *"
    assert made["mode"] == "ENABLE"
    assert made["no_catchup"] is True
    assert made["max_concurrency"] == 1
    assert made["display_name"] == "nightly"
    assert made["runtime_config"]["parameters"] == {"epochs": 2}
    assert "pipeline_spec" not in made
    assert hashlib.sha256(SPEC.encode()).hexdigest() in made["description"]
    times = re.findall(r"^  \w{3} \d{4}-\d\d-\d\d (\S+) UTC$", result.stdout, re.MULTILINE)
    assert times == ["03:00:00"] * 5
    assert f"{api.url}/#/recurringrun/details/{made['recurring_run_id']}" in result.stdout
    posts = [call for call in api.state.calls if call.startswith("POST /apis/v2beta1/recurringruns")]
    assert posts == [
        "POST /apis/v2beta1/recurringruns",
        f"POST /apis/v2beta1/recurringruns/{made['recurring_run_id']}:enable",
    ]


def test_the_same_schedule_again_changes_nothing(api: Api, spec: Path) -> None:
    schedule(api, spec)
    before = json.dumps(api.state.recurring)
    result = schedule(api, spec)
    assert result.exit_code == 0
    assert "nothing to do" in result.stdout
    assert json.dumps(api.state.recurring) == before


@pytest.mark.parametrize(
    "change",
    [["--parameter", "epochs=9"], ["--max-concurrency", "2"], ["--catchup"], ["--pipeline-root", "s3://b/r"]],
)
def test_a_change_replaces_the_schedule(api: Api, spec: Path, change: list[str]) -> None:
    schedule(api, spec)
    (old,) = api.state.recurring
    assert schedule(api, spec, *change).exit_code == 0
    (new,) = api.state.recurring
    assert new["recurring_run_id"] != old["recurring_run_id"]
    assert new["mode"] == "ENABLE"
    assert api.state.most_enabled == 1


def test_another_pipeline_replaces_the_schedule(api: Api, spec: Path) -> None:
    schedule(api, spec)
    spec.write_text(SPEC.replace("3.0", "4.0"), encoding="utf-8")
    schedule(api, spec)
    (new,) = api.state.recurring
    newest = api.state.versions[-1]["pipeline_version_id"]
    assert new["pipeline_version_reference"]["pipeline_version_id"] == newest


def test_schedules_of_other_names_and_of_others_stay(api: Api, spec: Path) -> None:
    schedule(api, spec, "--name", "hourly", cron="0 * * * *")
    foreign = {**api.state.recurring[0], "recurring_run_id": "f", "display_name": "x", "description": "mine"}
    api.state.recurring += [{**foreign, "recurring_run_id": f"f{n}"} for n in range(5)]
    schedule(api, spec, "--name", "nightly")
    schedule(api, spec, "--name", "nightly", cron="0 4 * * *")
    assert [r["display_name"] for r in api.state.recurring] == ["hourly", *["x"] * 5, "nightly"]
    assert "did not make" in error_of(schedule(api, spec, "--name", "x"))


def test_one_on_a_later_page_is_replaced(api: Api, spec: Path) -> None:
    for number in range(5):
        schedule(api, spec, "--name", f"s{number}")
    schedule(api, spec, "--name", "s4", cron="0 4 * * *")
    assert sorted(r["display_name"] for r in api.state.recurring) == ["s0", "s1", "s2", "s3", "s4"]


@pytest.mark.parametrize(
    ("cron", "named"),
    [
        ("61 3 * * *", "minute"),
        ("0 24 * * *", "hour"),
        ("60 0 3 * * *", "second"),
        ("0 3 32 * *", "day of month"),
        ("0 3 * * 8", "day of week"),
        ("0 3 *", "five fields"),
    ],
)
def test_a_wrong_cron_is_refused_before_any_call(api: Api, spec: Path, cron: str, named: str) -> None:
    assert named in error_of(schedule(api, spec, cron=cron))
    assert api.state.calls == []


def test_time_zones(api: Api, spec: Path) -> None:
    # Tokyo is 9 hours ahead and has no summer time.
    result = schedule(api, spec, "--timezone", "Asia/Tokyo")
    assert result.exit_code == 0
    assert api.state.recurring[0]["trigger"]["cron_schedule"]["cron"] == "0 0 18 * * *"
    assert len(re.findall(r"03:00:00 JST$", result.stdout, re.MULTILINE)) == 5
    calls = len(api.state.calls)
    error = error_of(schedule(api, spec, "--timezone", "Europe/Berlin"))
    assert "--cluster-timezone Europe/Berlin" in error
    # Two hours behind Berlin in summer, one in winter.
    assert re.search(r"at present '0 0 [12] \* \* \*'", error)
    assert "Did you mean" in error_of(schedule(api, spec, "--timezone", "Europe/Berlim"))
    assert len(api.state.calls) == calls
    assert schedule(api, spec, "--cluster-timezone", "Europe/Berlin").exit_code == 0
    assert api.state.recurring[0]["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * *"


def test_status_pause_resume_remove(api: Api, spec: Path) -> None:
    schedule(api, spec, "--name", "nightly")

    def act(verb: str, *more: str) -> Result:
        return dssm("schedule", "kubeflow", verb, "--host", api.url, *more)

    assert "nightly: enabled" in act("status").stdout
    assert act("pause").exit_code == 0
    assert api.state.recurring[0]["mode"] == "DISABLE"
    assert "nightly: paused" in act("status").stdout
    assert act("resume").exit_code == 0
    assert api.state.recurring[0]["mode"] == "ENABLE"
    schedule(api, spec, "--name", "weekly", cron="0 3 * * 0")
    assert "nightly, weekly" in error_of(act("pause"))
    assert "nightly" in dssm("schedule", "kubeflow", "--host", api.url, "status").stdout
    for _ in range(2):
        assert act("remove", "--name", "nightly").exit_code == 0
    assert [r["display_name"] for r in api.state.recurring] == ["weekly"]
    assert "no schedule" in error_of(act("resume", "--name", "nightly"))


def test_a_subcommand_after_a_flag(
    api: Api, spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "projected"
    token.write_text("pod", encoding="utf-8")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(token))
    # A value that reads like a subcommand stays a value.
    assert schedule(api, spec, "--name", "status").exit_code == 0
    result = dssm("schedule", "kubeflow", "--host", api.url, "--in-cluster", "status")
    assert "status: enabled" in result.stdout, result.output


def test_an_old_one_deleted_by_somebody_else_meanwhile(api: Api, spec: Path) -> None:
    schedule(api, spec)
    original = Handler.create

    def racing(self: Handler, state: State, entries: list[dict], key: str, content: dict) -> dict:
        if key == "recurring_run_id":
            entries.clear()
        return original(self, state, entries, key, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Handler, "create", racing)
        assert schedule(api, spec, cron="0 4 * * *").exit_code == 0
    assert len(api.state.enabled()) == 1


def test_a_version_made_by_somebody_else_meanwhile(api: Api, spec: Path) -> None:
    original = Handler.upload

    def racing(self: Handler, state: State, query: dict, body: bytes) -> dict:
        original(self, state, query, body)
        return original(self, state, query, body)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Handler, "upload", racing)
        assert schedule(api, spec).exit_code == 0
    assert len(api.state.versions) == 1


def count_update_calls(spec: Path) -> int:
    """How many calls a change of the schedule takes, the new pipeline's upload among them."""
    with serve(State()) as api:
        schedule(api, spec)
        before = len(api.state.calls)
        change(spec)
        schedule(api, spec, cron="0 4 * * *")
        return len(api.state.calls) - before


def change(spec: Path) -> None:
    spec.write_text(SPEC.replace("3.0", "4.0"), encoding="utf-8")


@pytest.mark.parametrize("kind", ["drop-before", "drop-after", "500"])
def test_an_update_survives_a_failure_of_any_one_call(spec: Path, kind: str) -> None:
    total = count_update_calls(spec)
    assert total >= 10
    for number in range(1, total + 1):
        spec.write_text(SPEC, encoding="utf-8")
        with serve(State()) as api:
            schedule(api, spec)
            change(spec)
            at = len(api.state.calls) + number
            api.state.faults = [Fault(at, at, kind)]
            result = schedule(api, spec, cron="0 4 * * *")
            what = f"call {number}, {api.state.calls[at - 1]}, {result.output}"
            assert result.exit_code in (0, 1), what
            assert len(api.state.enabled()) == 1, what
            assert schedule(api, spec, cron="0 4 * * *").exit_code == 0, what
            assert_changed(api)


@pytest.mark.parametrize("kind", ["drop-before", "drop-after"])
def test_a_call_that_keeps_failing_leaves_exactly_one_enabled(spec: Path, kind: str) -> None:
    """Every call of an update in turn fails with all its repetitions, and the server then goes on."""
    total = count_update_calls(spec)
    for number in range(1, total + 1):
        spec.write_text(SPEC, encoding="utf-8")
        with serve(State()) as api:
            schedule(api, spec)
            change(spec)
            at = len(api.state.calls) + number
            api.state.faults = [Fault(at, at + 2, kind)]
            result = schedule(api, spec, cron="0 4 * * *")
            what = f"call {number}, {api.state.calls[at - 1]}, {result.output}"
            if result.exit_code or kind == "drop-before":
                assert len(error_of(result)) < 700, what
            assert len(api.state.enabled()) == 1, what
            assert schedule(api, spec, cron="0 4 * * *").exit_code == 0, what
            assert_changed(api)


@pytest.mark.parametrize("kind", ["drop-before", "drop-after"])
def test_a_server_that_stays_away_after_an_update_began(
    spec: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never two, and none only where it went between the two calls that no client can make one."""
    monkeypatch.setattr(switch_module, "_PATIENCE_SECONDS", 0)
    total = count_update_calls(spec)
    without: list[str] = []
    for number in range(1, total + 1):
        spec.write_text(SPEC, encoding="utf-8")
        with serve(State()) as api:
            schedule(api, spec)
            change(spec)
            at = len(api.state.calls) + number
            api.state.faults = [Fault(at, 10_000, kind)]
            result = schedule(api, spec, cron="0 4 * * *")
            # The last call deletes what is gone already where only its answer was lost.
            assert result.exit_code == 1 or (number == total and kind == "drop-after")
            assert len(api.state.enabled()) <= 1
            if not api.state.enabled():
                without.append(api.state.calls[at - 1].rpartition(":")[2])
                assert "it is not known whether a schedule is enabled" in error_of(result)
            api.state.faults.clear()
            result = schedule(api, spec, cron="0 4 * * *")
            assert result.exit_code == 0, result.output
            assert_changed(api)
    # Where answers alone are lost, the old one is enabled again, and nobody is told.
    assert without == (["enable"] if kind == "drop-before" else [])


@pytest.mark.parametrize("kind", ["drop-before", "drop-after", "503"])
def test_an_outage_in_the_middle_is_waited_out(spec: Path, kind: str) -> None:
    """From each call of the switch on, the server is away for longer than a call is repeated."""
    told = 0
    # The first call that enables only asks whether the old one can be put back.
    for verb, after in (("disable", 0), ("enable", 1)):
        spec.write_text(SPEC, encoding="utf-8")
        with serve(State()) as api:
            schedule(api, spec)
            change(spec)
            api.state.outage = Outage(verb, 50, kind, after)
            result = schedule(api, spec, cron="0 4 * * *")
            told += "leave this running" in result.output
            # Where answers alone are lost, the new one is taken back meanwhile.
            assert result.exit_code == (1 if kind == "drop-after" else 0), result.output
            assert len(api.state.enabled()) == 1
            assert schedule(api, spec, cron="0 4 * * *").exit_code == 0
            assert_changed(api)
    assert told == 2


@pytest.mark.parametrize(("status", "named"), [("403", "403 Forbidden"), ("401", "401 Unauthorized")])
def test_who_may_not_enable_changes_nothing(api: Api, spec: Path, status: str, named: str) -> None:
    """With the rights to create and to disable alone, the old one would be lost."""
    schedule(api, spec)
    (old,) = api.state.recurring
    api.state.outage = Outage("enable", 10_000, status)
    result = schedule(api, spec, cron="0 4 * * *")
    assert named in error_of(result)
    assert "(the old schedule is left enabled: run the command again)" in error_of(result)
    assert api.state.enabled() == [old]
    assert not any(call.endswith(":disable") for call in api.state.calls)


def test_a_refusal_in_the_middle_is_taken_back_at_once(api: Api, spec: Path) -> None:
    schedule(api, spec)
    (old,) = api.state.recurring
    # The second one enables the new schedule; the first only asks whether that is allowed.
    enables = 0
    original = Handler.route

    def refusing(self: Handler, state: State, method: str, path: str, query: dict, body: bytes) -> dict:
        nonlocal enables
        enables += path.endswith(":enable")
        if path.endswith(":enable") and enables == 2:
            raise RefusedError(400, "not this one")
        return original(self, state, method, path, query, body)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Handler, "route", refusing)
        result = schedule(api, spec, cron="0 4 * * *")
    assert "not this one (the old schedule is left enabled: run the command again)" in error_of(result)
    assert api.state.enabled() == [old]


def test_an_old_one_that_cannot_be_deleted_is_told_beside_the_new_one(api: Api, spec: Path) -> None:
    schedule(api, spec)
    change(spec)
    # Three calls that delete are one with its repetitions.
    (old,) = api.state.recurring
    api.state.outage = Outage(f"/recurringruns/{old['recurring_run_id']}", 3, "500")
    result = schedule(api, spec, cron="0 4 * * *")
    assert "(the one asked for is enabled, and an older one still listed: run the command" in error_of(result)
    (enabled,) = api.state.enabled()
    assert enabled["trigger"]["cron_schedule"]["cron"] == "0 0 4 * * *"
    assert schedule(api, spec, cron="0 4 * * *").exit_code == 0
    assert_changed(api)


@pytest.mark.parametrize(
    ("number", "unanswered", "outcome", "hour"),
    [
        (signal.SIGTERM, 1, "enabled as asked for; what it replaces is still listed", 4),
        (signal.SIGHUP, 1, "enabled as asked for; what it replaces is still listed", 4),
        (signal.SIGINT, 1, "enabled as asked for; what it replaces is still listed", 4),
        # The call with all its repetitions.
        (signal.SIGTERM, 3, "the old schedule is left enabled", 3),
    ],
)
def test_a_process_that_is_ended_in_the_middle_leaves_one_enabled(
    api: Api, spec: Path, tmp_path: Path, number: signal.Signals, unanswered: int, outcome: str, hour: int
) -> None:
    schedule(api, spec)
    process = start_change_and_hang(api, spec, tmp_path, unanswered)
    # A terminal that is closed sends some of them twice.
    for _ in range(2):
        process.send_signal(number)
        time.sleep(0.05)
    api.server.released.set()  # type: ignore[attr-defined]
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1, output
    assert output.count("Stopping as soon as a schedule is known to be enabled") == 1
    assert outcome in output
    (enabled,) = api.state.enabled()
    assert enabled["trigger"]["cron_schedule"]["cron"] == f"0 0 {hour} * * *"
    assert schedule(api, spec, cron="0 4 * * *").exit_code == 0
    assert_changed(api)


def test_a_process_that_is_killed_in_the_middle_is_told_by_status_and_mended(
    api: Api, spec: Path, tmp_path: Path
) -> None:
    schedule(api, spec)
    process = start_change_and_hang(api, spec, tmp_path, 1)
    process.kill()
    process.communicate(timeout=60)
    assert api.state.enabled() == []
    result = dssm("schedule", "kubeflow", "status", "--host", api.url)
    assert result.exit_code == 1
    assert "tiny: a change did not finish: of its 2 versions none is enabled" in result.stderr
    assert "Run `dssm schedule kubeflow create` again" in result.stderr
    # The server is away for a while just when it is mended.
    api.state.outage = Outage("enable", 20, "503")
    assert schedule(api, spec, cron="0 4 * * *").exit_code == 0
    assert_changed(api)
    assert dssm("schedule", "kubeflow", "status", "--host", api.url).exit_code == 0


@pytest.mark.parametrize(("verb", "after"), [("disable", 0), ("enable", 1)])
def test_a_request_that_was_given_up_is_served_later(
    api: Api, spec: Path, verb: str, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switch_module, "_SETTLING_SECONDS", 1.0)
    schedule(api, spec)
    (old,) = api.state.recurring
    api.state.outage = Outage(verb, 3, "late", after)
    result = schedule(api, spec, cron="0 4 * * *")
    assert "(the old schedule is left enabled: run the command again)" in error_of(result)
    time.sleep(1.0)
    assert api.state.recurring == [old]
    assert old["mode"] == "ENABLE"
    assert api.state.most_enabled == 1


@pytest.mark.parametrize("is_enabled", [False, True])
def test_an_old_one_that_is_half_deleted_is_deleted(api: Api, spec: Path, is_enabled: bool) -> None:
    """The server deletes the Kubernetes resource first, and may fail before it deletes its own row."""
    schedule(api, spec)
    half = {
        **api.state.recurring[0],
        "recurring_run_id": "half",
        "mode": "ENABLE" if is_enabled else "DISABLE",
    }
    if is_enabled:
        api.state.recurring.clear()
    api.state.recurring.append(half)
    api.state.half_deleted.add("half")
    result = schedule(api, spec, cron="0 4 * * *")
    assert result.exit_code == 0, result.output
    assert_changed(api)


def test_a_change_back_to_one_that_is_half_deleted(api: Api, spec: Path) -> None:
    schedule(api, spec)
    half = {**api.state.recurring[0], "recurring_run_id": "half", "mode": "DISABLE"}
    schedule(api, spec, cron="0 4 * * *")
    api.state.recurring.append(half)
    api.state.half_deleted.add("half")
    assert schedule(api, spec).exit_code == 0
    (left,) = api.state.recurring
    assert left["recurring_run_id"] != "half"
    assert left["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * *"
    assert left["mode"] == "ENABLE"


@pytest.mark.parametrize(("verb", "after", "calls"), [("disable", 0, 1), ("enable", 1, 4)])
@pytest.mark.parametrize("status", ["404", "401"])
def test_a_proxy_that_answers_for_its_server_in_the_middle(
    api: Api, spec: Path, verb: str, after: int, calls: int, status: str
) -> None:
    schedule(api, spec)
    api.state.outage = Outage(verb, calls, status, after)
    schedule(api, spec, cron="0 4 * * *")
    assert len(api.state.enabled()) == 1
    assert schedule(api, spec, cron="0 4 * * *").exit_code == 0
    assert_changed(api)


@pytest.mark.parametrize(("rival_id", "is_kept"), [("a-rival", True), ("z-rival", False)])
def test_somebody_else_sets_the_same_schedule_meanwhile(
    api: Api, spec: Path, rival_id: str, is_kept: bool
) -> None:
    """Whoever looks last leaves the same one of the two."""
    schedule(api, spec)
    rival = {**api.state.recurring[0], "recurring_run_id": rival_id}
    original = Handler.route

    def racing(self: Handler, state: State, method: str, path: str, query: dict, body: bytes) -> dict:
        if path.endswith(":disable"):
            state.recurring.append(rival)
        return original(self, state, method, path, query, body)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Handler, "route", racing)
        result = schedule(api, spec, cron="0 4 * * *")
    (left,) = api.state.recurring
    assert left["mode"] == "ENABLE"
    assert (left["recurring_run_id"] == rival_id) == is_kept
    if is_kept:
        assert "Somebody else set the schedule tiny at the same time, and theirs is kept" in error_of(result)
    else:
        assert result.exit_code == 0


def test_status_tells_of_two_that_are_enabled(api: Api, spec: Path) -> None:
    schedule(api, spec)
    api.state.recurring.append({**api.state.recurring[0], "recurring_run_id": "second"})
    result = dssm("schedule", "kubeflow", "status", "--host", api.url)
    assert result.exit_code == 1
    assert "tiny: a change did not finish: of its 2 versions 2 are enabled" in result.stderr
    assert schedule(api, spec).exit_code == 0
    assert len(api.state.recurring) == 1


def start_change_and_hang(api: Api, spec: Path, home: Path, unanswered: int) -> subprocess.Popen[str]:
    """Start a change of the schedule in a process, and wait until the old one is disabled."""
    # The first one only asks whether the old one can be put back.
    api.state.outage = Outage("enable", unanswered, "hang", after=1)
    arguments = ("schedule", "kubeflow", "--host", api.url, "--pipeline-file", spec, "--cron", "0 4 * * *")
    process = subprocess.Popen(
        [Path(sys.executable).with_name("dssm"), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "HOME": str(home)},
        # A shell's background job is born with some of them ignored.
        preexec_fn=take_signals,
    )
    deadline = time.monotonic() + 60
    while not api.state.outage.has_begun:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert api.state.enabled() == []
    return process


def take_signals() -> None:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def assert_changed(api: Api) -> None:
    assert api.state.most_enabled == 1
    (left,) = api.state.recurring
    assert left["mode"] == "ENABLE"
    assert left["trigger"]["cron_schedule"]["cron"] == "0 0 4 * * *"
