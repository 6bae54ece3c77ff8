"""Notifications through apprise itself, to an HTTP server on loopback."""

import http.server
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.retraining.config import NotifyConfig
from pipeline.retraining.notify import Event, notify

pytest.importorskip("apprise")
pytestmark = pytest.mark.integration

EVENT = Event("refused", "shop", "recall@10 fell from 0.25 to 0.21.", "run-1")


class Server(http.server.ThreadingHTTPServer):
    """Keeps the messages that it took, and refuses as many as it is told first."""

    refuse = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.messages: list[Any] = []


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        refused, self.server.refuse = self.server.refuse > 0, self.server.refuse - 1
        if not refused:
            self.server.messages.append(message)
        self.send_response(500 if refused else 200)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def give_url(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    host, port = server.server_address[:2]
    monkeypatch.setenv("DSSM_NOTIFY_URLS", f"json://user:s3cr%40t@{host!s}:{port}/T0KEN")


def test_a_service_that_is_down_for_a_moment_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    give_url(server, monkeypatch)
    server.refuse = 2
    waits: list[float] = []
    [delivery] = notify(NotifyConfig(), EVENT, sleep=waits.append)
    assert (delivery.receiver, delivery.attempts, delivery.error) == ("json (URL 1 of 1)", 3, None)
    assert waits == [1.0, 4.0]
    [message] = server.messages
    assert (message["title"], message["message"]) == (EVENT.title, EVENT.body)
    assert message["type"] == "warning"


def test_what_apprise_says_of_a_failure_holds_no_secret(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    give_url(server, monkeypatch)
    server.refuse = 9
    [delivery] = notify(NotifyConfig(attempts=2), EVENT, sleep=lambda _: None)
    assert delivery.error is not None
    assert "500" in delivery.error
    for text in (delivery.error, caplog.text):
        assert not any(secret in text for secret in ("s3cr", "T0KEN"))


def test_a_url_that_apprise_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSSM_NOTIFY_URLS", "nosuch://T0KEN/s3cret")
    [delivery] = notify(NotifyConfig(attempts=1), EVENT)
    assert delivery.receiver == "nosuch (URL 1 of 1)"
    assert delivery.error is not None
    assert "apprise does not know such a URL" in delivery.error
