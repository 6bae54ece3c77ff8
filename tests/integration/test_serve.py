"""`dssm serve` as a process, on real sockets, with small releases."""

import concurrent.futures
import contextlib
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

pytestmark = pytest.mark.integration

READY_SECONDS = 400


class Server:
    """A running server."""

    def __init__(self, prepared, config: Path, log: Path, *options: str) -> None:
        self.log = log
        arguments = ["serve", "--config", config, "--port", "0", "--poll-seconds", "0.1", *options]
        self.process = prepared.start(prepared.dssm, arguments, stdout=log, stderr=log)
        pattern = r"on http://127\.0\.0\.1:(\d+)"
        said = self.wait_for(lambda: log.exists() and re.search(pattern, log.read_text()))
        self.port = int(said[1])

    def wait_for(self, condition, seconds=READY_SECONDS):
        """Wait until a condition gives something."""
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.02)
        return found

    def wait_for_release(self, version):
        """Wait until a release answers."""

        def answers():
            status, content = self.get("/readyz")
            return status == 200 and content["release"] == version

        self.wait_for(answers)

    def get(self, path):
        """Ask on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def figure(self, name):
        """Read a figure of /metrics."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", "/metrics")
        [value] = re.findall(rf"^{name} (\S+)$", connection.getresponse().read().decode(), re.MULTILINE)
        connection.close()
        return float(value)

    def stop(self, seconds=60):
        """Ask it to stop, and give its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


@pytest.fixture
def start_server(prepared, toy_serving, tmp_path):
    servers = []

    def start(*options):
        servers.append(Server(prepared, toy_serving.config, tmp_path / "serve.log", *options))
        return servers[-1]

    yield start
    for server in servers:
        server.process.kill()


class Load:
    """Clients that ask over and over on connections that they keep, and check each answer."""

    def __init__(self, port, toy_serving, clients=4):
        self.answered: dict[int, int] = {}
        self.wrong: list[object] = []
        self._stopped, self._lock = threading.Event(), threading.Lock()
        self._expected = {version: toy_serving.best(version, "12") for version in range(1, 7)}
        self._pool = concurrent.futures.ThreadPoolExecutor(clients)
        self._clients = [self._pool.submit(self._ask, port, client) for client in range(clients)]

    def _ask(self, port, client):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while not self._stopped.is_set():
            connection.request("GET", "/recommend?user=2")
            answer = connection.getresponse()
            content = json.loads(answer.read())
            items = [item["item_id"] for item in content.get("items", [])]
            with self._lock:
                version = content.get("release")
                if answer.status != 200 or items != self._expected[(version - 1) % 6 + 1]:
                    self.wrong.append((answer.status, content))
                self.answered[version] = self.answered.get(version, 0) + 1
        connection.close()

    def has_answer_of(self, version):
        """Whether a release answered, or raise what went wrong with a connection."""
        for client in self._clients:
            if client.done():
                client.result()
        return version in self.answered

    def stop(self):
        """Stop, and raise what went wrong with a connection."""
        self._stopped.set()
        for client in self._clients:
            client.result(60)
        self._pool.shutdown()


def test_no_request_fails_while_releases_come_and_go(
    toy_serving, start_server, make_toy_serving, tmp_path_factory
):
    # Models are made before anybody asks: afterwards they are copied, as a push copies them.
    elsewhere = make_toy_serving(tmp_path_factory.mktemp("elsewhere"))
    for version in range(1, 7):
        elsewhere.publish(version)
    toy_serving.publish(1)
    server = start_server()
    server.wait_for_release(1)
    load = Load(server.port, toy_serving)
    server.wait_for(lambda: load.has_answer_of(1))
    for version in range(2, 5):
        toy_serving.publish(version)
        server.wait_for(lambda version=version: load.has_answer_of(version))
    toy_serving.roll_back(2, over=4)
    server.wait_for_release(2)
    # A mixed release stops nothing, and says so.
    toy_serving.publish(5, mixed=True)
    server.wait_for(lambda: server.figure("dssm_failed_reloads_total") >= 1)
    assert server.get("/release")[1]["refused"]["version"] == 5
    assert server.get("/readyz")[1]["release"] == 2
    toy_serving.publish(6)
    # Not /readyz: what clients had asked before it may all be answered by release 2.
    server.wait_for(lambda: load.has_answer_of(6))
    load.stop()
    assert load.wrong == []
    assert set(load.answered) == {1, 2, 3, 4, 6}
    server.wait_for(lambda: server.figure("dssm_reloads_total") == 6)
    assert server.stop() == 0
    log = server.log.read_text()
    assert "Release 6 answers in place of 2" in log
    assert log.count("Release 5 is refused") == 1
    assert "Traceback" not in log


def test_a_request_in_flight_is_answered_after_sigterm(toy_serving, start_server):
    toy_serving.publish(1)
    server = start_server()
    server.wait_for_release(1)
    body = json.dumps({"history": ["12"], "features": {"age": 3}}).encode()
    head = f"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as waiting:
        waiting.sendall(head + body[:5])
        # Until the server has read so much of it.
        server.wait_for(lambda: server.figure("dssm_requests_in_progress") >= 2)
        server.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", server.port), timeout=1).close()
            except OSError:
                break
            time.sleep(0.02)
        else:
            pytest.fail("The server goes on taking connections.")
        waiting.sendall(body[5:])
        received = b""
        while part := waiting.recv(65536):
            received += part
    assert received.startswith(b"HTTP/1.1 200")
    answer = json.loads(received.split(b"\r\n\r\n", 1)[1])
    assert [item["item_id"] for item in answer["items"]] == toy_serving.best(1, "12")
    assert server.process.wait(60) == 0


def test_a_request_that_never_ends_delays_the_stop_by_no_more_than_was_said(toy_serving, start_server):
    toy_serving.publish(1)
    server = start_server("--stop-seconds", "1")
    server.wait_for_release(1)
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as waiting:
        waiting.sendall(b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n1")
        server.wait_for(lambda: server.figure("dssm_requests_in_progress") >= 2)
        start = time.monotonic()
        assert server.stop() == 0
        # A second to the end of requests, and what a busy machine needs to end a process.
        assert time.monotonic() - start < 20


def test_more_than_may_be_at_the_same_time_are_sent_away_and_others_are_answered(toy_serving, start_server):
    toy_serving.publish(1)
    server = start_server("--max-concurrent", "1")
    server.wait_for_release(1)

    def ask(_):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("GET", "/recommend?user=2")
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status, answer.headers["Retry-After"]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = set(pool.map(ask, range(200)))
    assert answers == {(200, None), (503, "1")}
    assert server.get("/readyz")[0] == 200


def test_a_connection_may_be_idle(start_server):
    server = start_server()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    for pause_seconds in (6, 0):
        connection.request("GET", "/healthz")
        assert connection.getresponse().read()
        time.sleep(pause_seconds)
    connection.close()


def test_it_listens_on_loopback_alone_and_says_where_it_cannot(prepared, toy_serving, start_server, tmp_path):
    toy_serving.publish(1)
    server = start_server()
    # All of 127.0.0.0/8 is this machine, but the server has one address of it.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", server.port), timeout=5)
    arguments = ["serve", "--config", toy_serving.config, "--port", server.port]
    second = prepared.run(prepared.dssm, arguments, tmp_path, timeout=READY_SECONDS)
    assert second.returncode == 1
    assert f"Cannot listen on 127.0.0.1:{server.port}" in second.stderr


def fuzz(operation, mode, end):
    """Send an operation what it describes, or what it does not, and count; a few also after the end."""
    sent = 0

    @settings(
        max_examples=25,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case):
        nonlocal sent
        if sent >= 5 and time.monotonic() > end:
            return
        # Names of models that there are reach further than names that are none.
        if "name" in (case.path_parameters or {}) and sent % 2:
            case.path_parameters["name"] = ["user_tower", "item_tower", "retriever"][sent % 3]
            if "version" in case.path_parameters:
                case.path_parameters["version"] = "1"
        answer = case.call()
        sent += 1
        assert answer.status_code < 500, (case.as_curl_command(), answer.text)

    # An operation that takes nothing has no wrong input.
    is_negative = mode is schemathesis.GenerationMode.NEGATIVE
    with contextlib.suppress(Unsatisfiable) if is_negative else contextlib.nullcontext():
        send()
    return sent


def test_whatever_is_sent_no_answer_blames_the_server(toy_serving, start_server):
    toy_serving.publish(1)
    server = start_server("--max-k", "20")
    server.wait_for_release(1)
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{server.port}/openapi.json")
    operations = [operation.ok() for operation in schema.get_all_operations()]
    assert len(operations) >= 14
    end = time.monotonic() + 60
    for operation in operations:
        assert fuzz(operation, schemathesis.GenerationMode.POSITIVE, end) > 0
    wrong = [fuzz(operation, schemathesis.GenerationMode.NEGATIVE, end + 60) for operation in operations]
    assert sum(wrong) > len(operations)
    assert server.get("/readyz")[0] == 200
    assert "Traceback" not in server.log.read_text()


def test_the_server_imports_nothing_that_it_does_not_need(toy_serving):
    toy_serving.publish(1)
    heavy = {
        "apache_beam", "keras", "ml_metadata", "pandas", "pyarrow.dataset", "sklearn",
        "tensorflow.lite.python.lite", "tensorflow_transform", "tf_keras", "tfx",
    }  # fmt: skip
    code = (
        "import sys; from pathlib import Path; from pipeline.cli import prepare_process; prepare_process()\n"
        "import pipeline.serving.server; from pipeline.serving.models import load_model\n"
        "from schemas.tensorflow_alone import import_tensorflow_alone; import_tensorflow_alone()\n"
        f"load_model('retriever', 1, Path({str(toy_serving.directory / 'retriever' / '1')!r}))\n"
        "from components.candidate_indexer.logic import read_index\n"
        f"read_index(Path({str(toy_serving.directory / 'index' / '1')!r}))\n"
        f"print(*sorted(set(sys.modules) & {heavy}))\n"
        # It is there for whoever needs it.
        "import tensorflow as tf; tf.lite.Interpreter, tf.compat.v1.Session, tf.distribute.MirroredStrategy"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
