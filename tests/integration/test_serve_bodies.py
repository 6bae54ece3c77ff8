"""When `dssm serve` reads a body, and how much of all bodies it holds: the application on real sockets.

No release is loaded: a body that is worked on is an empty list, which is refused before one is asked for.
"""

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from pipeline.serving.app import create_app
from pipeline.serving.limits import Limits
from pipeline.serving.metrics import Metrics
from pipeline.serving.releases import ReleaseWatcher
from pipeline.serving.service import Service

pytestmark = pytest.mark.integration

SECONDS = 20
WORKED_ON = (400, 'Expected a JSON object such as {"user": "42", "k": 10}. Received: another value.')


class Client:
    """A connection that sends a body bit by bit."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)

    def begin(self, size: int, part: bytes, path: str = "/recommend") -> "Client":
        """Send the head of a request, and the first part of a body of some bytes."""
        self.send(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode() + part)
        return self

    def send(self, part: bytes) -> None:
        """Send more."""
        self._socket.sendall(part)

    def receive(self) -> tuple[int, str]:
        """Wait for the answer: its status and what it says is wrong."""
        answer = http.client.HTTPResponse(self._socket)
        answer.begin()
        assert (answer.headers["Retry-After"] is not None) == (answer.status == 503)
        return answer.status, json.loads(answer.read())["error"]

    def close(self) -> None:
        """Go away."""
        self._socket.close()


class Server:
    """The application on a socket, in a thread of this process."""

    def __init__(self, directory: Path, pool: ThreadPoolExecutor, limits: Limits, protocol: Any) -> None:
        metrics = Metrics()
        # It is never started, and so loads nothing.
        watcher = ReleaseWatcher(
            str(directory), lambda version: pytest.fail(f"release {version}"), metrics, poll_seconds=1
        )
        self.service = Service(watcher, pool, limits, metrics)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._port = self._listening.getsockname()[1]
        self._server = uvicorn.Server(
            uvicorn.Config(
                create_app(self.service), http=protocol, log_config=None, access_log=False, lifespan="off"
            )
        )
        self._thread = threading.Thread(target=self._server.run, args=([self._listening],), daemon=True)
        self._thread.start()
        self._clients: list[Client] = []

    def connect(self) -> Client:
        """Open a connection."""
        self._clients.append(Client(self._port))
        return self._clients[-1]

    def wait_until_held(self, size: int) -> None:
        """Wait until so many bytes of bodies are held."""
        end = time.monotonic() + SECONDS
        while self.service.bodies.held != size:
            assert time.monotonic() < end, self.service.bodies.held
            time.sleep(0.005)

    def stop(self) -> None:
        """Close everything."""
        for client in self._clients:
            client.close()
        self._server.should_exit = True
        self._thread.join(SECONDS)
        self._listening.close()


@pytest.fixture(params=["httptools", "h11"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Limits], Server]]:
    """Start a server, which reads HTTP by either of uvicorn's ways."""
    pytest.importorskip(request.param)
    servers: list[Server] = []
    with ThreadPoolExecutor(1) as pool:

        def start_server(limits: Limits) -> Server:
            servers.append(Server(tmp_path, pool, limits, request.param))
            return servers[-1]

        yield start_server
        for server in servers:
            server.stop()


@pytest.mark.parametrize("path", ["/recommend", "/v1/models/retriever:predict"])
def test_where_no_place_is_free_a_body_is_not_waited_for(start: Any, path: str) -> None:
    server = start(Limits(concurrent=1))
    client = server.connect()
    with server.service.gate.enter():
        # Of this one the rest is never sent, until the answer is there.
        client.begin(10, b"[", path)
        status, error = client.receive()
        assert status == 503
        assert error == (
            "Expected at most 1 requests at the same time. Received: one more. Send it again later."
        )
    # The rest of the refused body is not the next request.
    client.send(b" " * 8 + b"]")
    assert client.begin(2, b"[]").receive() == WORKED_ON


def test_who_sends_a_large_body_in_vain_is_told_why(start: Any) -> None:
    server = start(Limits(concurrent=1))
    client = server.connect()
    with server.service.gate.enter():
        # More than the buffers of both ends hold: the server has to take it to be understood.
        client.begin(4 << 20, b" " * (4 << 20))
        assert client.receive()[0] == 503
        assert server.service.bodies.held == 0
    assert client.begin(2, b"[]").receive() == WORKED_ON


def test_a_body_that_comes_slowly_holds_no_place(start: Any) -> None:
    server = start(Limits(concurrent=1))
    slow = server.connect().begin(2, b"[")
    server.wait_until_held(1)
    assert server.service.gate.busy == 0
    assert server.connect().begin(2, b"[]").receive() == WORKED_ON
    slow.send(b"]")
    assert slow.receive() == WORKED_ON


def test_a_place_that_is_gone_when_the_body_has_come_is_refused(start: Any) -> None:
    server = start(Limits(concurrent=1))
    slow = server.connect().begin(2, b"[")
    server.wait_until_held(1)
    with server.service.gate.enter():
        slow.send(b"]")
        assert slow.receive()[0] == 503


def test_all_bodies_on_their_way_share_so_many_bytes(start: Any) -> None:
    # Two bodies of ten bytes, or twenty bytes of more.
    server = start(Limits(body_bytes=10, bodies=2))
    first = server.connect().begin(10, b"[" + b" " * 8)
    second = server.connect().begin(10, b"[" + b" " * 8)
    server.wait_until_held(18)
    # The last two of the twenty bytes; one more than them is refused, and takes none of them away.
    assert server.connect().begin(2, b"[]").receive() == WORKED_ON
    refused = server.connect().begin(3, b"[ ]")
    assert refused.receive() == (
        503,
        "Expected at most 20 bytes of bodies on their way at the same time. Received: more. Send it again "
        "later.",
    )
    server.wait_until_held(18)
    # One that is refused in the middle: what it had sent is given back, and the rest of it is no request.
    middle = server.connect().begin(9, b"[ ")
    server.wait_until_held(20)
    middle.send(b"  ")
    assert middle.receive()[0] == 503
    server.wait_until_held(18)
    middle.send(b"    ]")
    assert middle.begin(2, b"[]").receive() == WORKED_ON
    # Places come back at the end of a body, and of a connection.
    first.send(b"]")
    assert first.receive() == WORKED_ON
    server.wait_until_held(9)
    assert refused.begin(3, b"[ ]").receive() == WORKED_ON
    second.close()
    server.wait_until_held(0)


def test_a_body_that_does_not_come_gives_its_bytes_back(start: Any) -> None:
    server = start(Limits(body_bytes=10, bodies=1, body_seconds=0.5))
    slow = server.connect().begin(10, b"[")
    server.wait_until_held(1)
    assert slow.receive()[0] == 408
    server.wait_until_held(0)
