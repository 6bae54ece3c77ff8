"""The load generator counts what fails: on what it says rests that no request failed."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.unit

PROGRAM = Path(__file__).parents[3] / "benchmarks" / "http_load.py"
GOOD = b'{"release": 3, "items": [{"item_id": "7"}]}'


def render(status: str, body: bytes) -> bytes:
    return b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[int], bytes | None]], int]]:
    """Serve one connection on loopback with an answer for each request, None ends the connection."""
    listening = socket.create_server(("127.0.0.1", 0))

    def start(answer: Callable[[int], bytes | None]) -> int:
        def run() -> None:
            connection, _ = listening.accept()
            number = 0
            with connection:
                while connection.recv(1 << 16):
                    content = answer(number)
                    if content is None:
                        return
                    # In two pieces, as a network may deliver it.
                    connection.sendall(content[:20])
                    connection.sendall(content[20:])
                    number += 1

        threading.Thread(target=run, daemon=True).start()
        return listening.getsockname()[1]

    yield start
    listening.close()


def send(port: int, tmp_path: Path) -> dict[str, Any]:
    bodies = tmp_path / "bodies.jsonl"
    bodies.write_text('{"user": "1"}\n{"user": "2"}\n')
    command = [sys.executable, PROGRAM, "--port", str(port), "--bodies", bodies, "--connections", "1"]
    command += ["--seconds", "0.3", "--warm-up", "0.1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as load:
        answer = load.stdout.readline()
    assert load.returncode == 0
    return json.loads(answer)


def test_good_answers_are_counted_by_release(serve, tmp_path):
    result = send(serve(lambda number: render("200 OK", GOOD)), tmp_path)

    assert result["failed"] == 0
    # Those of the warm-up are counted, and not timed.
    assert result["releases"]["3"] > result["requests"] > 0
    assert 0.0 < result["p50_ms"] <= result["p99_ms"] <= result["slowest_ms"]


@pytest.mark.parametrize(
    "answer",
    [
        render("503 Service Unavailable", b'{"error": "too many"}'),
        render("200 OK", b'{"release": 3, "items": []}'),
        render("200 OK", b'{"items": [{"item_id": "7"}]}'),
    ],
    ids=["refused", "no item", "no release"],
)
def test_another_answer_is_a_failure_that_is_shown(serve, tmp_path, answer):
    result = send(serve(lambda number: answer if number == 1 else render("200 OK", GOOD)), tmp_path)

    assert result["failed"] == 1
    [shown] = result["failures"]
    assert shown == answer.decode()


def test_a_connection_that_ends_is_a_failure(serve, tmp_path):
    result = send(serve(lambda number: None if number == 2 else render("200 OK", GOOD)), tmp_path)

    assert result["failed"] == 1
    assert "ended before the answer" in result["failures"][0]
    assert result["releases"] == {"3": 2}
