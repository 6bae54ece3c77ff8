"""A load of POST requests from a process of its own: what wrk does, with every answer looked at.

    python http_load.py --port 8501 --bodies bodies.jsonl --connections 8 --seconds 10

Each connection sends its next request once it has the answer to the last. A request failed unless its answer
has the status 200, names a release and lists an item; it failed as well where the connection ended before
that. The load ends after --seconds, or when standard input is closed. One line of JSON says what came of it.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import math
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_RELEASE: Final = re.compile(rb'"release": *(\d+)')
_ITEM: Final = b'"item_id"'
_SHOWN_FAILURES: Final = 5


class Load:
    """What is sent, and what came back."""

    def __init__(self, requests: list[bytes], warm_up_until: float) -> None:
        """Begin with nothing.

        Args:
            requests: They are sent in turn, over all connections.
            warm_up_until: Answers to what was sent before are checked, and not timed.
        """
        self.next: Iterator[bytes] = itertools.cycle(requests)
        self.warm_up_until = warm_up_until
        self.is_over = False
        self.milliseconds: list[float] = []
        self.failed = 0
        self.failures: list[str] = []
        self.releases: Counter[str] = Counter()

    def fail(self, reason: str) -> None:
        """Count a request that failed."""
        self.failed += 1
        if len(self.failures) < _SHOWN_FAILURES:
            self.failures.append(reason)


class Connection(asyncio.Protocol):
    """One connection, with one request under way."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.ended = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._length = -1
        self._is_waiting = False
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def _send(self) -> None:
        assert self._transport is not None
        self._received, self._length, self._is_waiting = b"", -1, True
        self._sent_at = time.perf_counter()
        self._transport.write(next(self.load.next))

    def data_received(self, data: bytes) -> None:
        """Take a piece of an answer; with the last one, send the next request."""
        self._received += data
        if self._length < 0:
            head = self._received.find(_HEAD_END)
            if head < 0:
                return
            length = _LENGTH.search(self._received, 0, head + 2)
            self._length = head + len(_HEAD_END) + (int(length[1]) if length else 0)
        if len(self._received) < self._length:
            return
        now = time.perf_counter()
        self._is_waiting = False
        self._check(self._received)
        if self._sent_at >= self.load.warm_up_until:
            self.load.milliseconds.append(1000 * (now - self._sent_at))
        if self.load.is_over:
            assert self._transport is not None
            self._transport.close()
        else:
            self._send()

    def _check(self, answer: bytes) -> None:
        release = _RELEASE.search(answer)
        if not answer.startswith(b"HTTP/1.1 200 ") or release is None or _ITEM not in answer:
            self.load.fail(answer[:300].decode(errors="replace"))
        else:
            self.load.releases[release[1].decode()] += 1

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the request that was under way as failed, and end."""
        if self._is_waiting:
            self.load.fail(f"the connection ended before the answer: {exc}")
        self.ended.set_result(None)


async def send_load(
    port: int, requests: list[bytes], connections: int, seconds: float, warm_up: float
) -> dict[str, object]:
    """Send requests until the time is over or standard input is closed.

    Args:
        port: Of a server on this machine.
        requests: Whole HTTP requests.
        connections: How many are open at the same time.
        seconds: How long at most, the warm-up left out.
        warm_up: Seconds at the start that are not timed.

    Returns:
        What the program prints.
    """
    loop = asyncio.get_running_loop()
    load = Load(requests, time.perf_counter() + warm_up)
    open_ones = [
        (await loop.create_connection(lambda: Connection(load), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    closed = asyncio.Event()
    loop.add_reader(sys.stdin, closed.set)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(closed.wait(), warm_up + seconds)
    loop.remove_reader(sys.stdin)
    took = time.perf_counter() - load.warm_up_until
    answered = len(load.milliseconds)
    load.is_over = True
    await asyncio.gather(*(connection.ended for connection in open_ones))
    ordered = sorted(load.milliseconds)
    return {
        "connections": connections,
        "seconds": took,
        "requests": len(ordered),
        "requests_per_second": answered / took,
        "p50_ms": _percentile(ordered, 0.50),
        "p99_ms": _percentile(ordered, 0.99),
        "slowest_ms": ordered[-1] if ordered else math.nan,
        "failed": load.failed,
        "failures": load.failures,
        "releases": load.releases,
    }


def _percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def make_request(body: str, port: int) -> bytes:
    """Make a whole HTTP request for /recommend."""
    content = body.encode()
    head = (
        f"POST /recommend HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def main() -> None:
    """Send the load and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--bodies", type=Path, required=True, help="a JSON body in each line")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--warm-up", type=float, default=1.0)
    arguments = parser.parse_args()
    bodies = arguments.bodies.read_text(encoding="utf-8").splitlines()
    requests = [make_request(body, arguments.port) for body in bodies]
    result = asyncio.run(
        send_load(arguments.port, requests, arguments.connections, arguments.seconds, arguments.warm_up)
    )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
