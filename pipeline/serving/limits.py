"""What one request may ask for, and how many are answered at the same time."""

import asyncio
import contextlib
from collections.abc import Iterator, Sized
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from starlette.requests import ClientDisconnect, Request

from pipeline.serving.errors import RequestError

_DEFAULT_K: Final = 10


@dataclass(frozen=True)
class Limits:
    """The most that a request may be, have or ask for."""

    body_bytes: int = 4 << 20
    """Bytes of a body."""
    rows: int = 1024
    """Rows of a batch."""
    k: int = 1000
    """Items of an answer."""
    list_entries: int = 10_000
    """Entries of each list in a request for recommendations: the longest is the width of a whole batch."""
    concurrent: int = 256
    """Requests that are worked on at the same time, those for health and figures aside."""
    body_seconds: float = 30.0
    """Seconds within which a body must have come."""

    def choose_k(self, k: int | None) -> int:
        """Choose the number of items of an answer.

        Args:
            k: What the request says, at least 1; None: nothing.

        Returns:
            That, or 10 where it says nothing and 10 are allowed.

        Raises:
            RequestError: More are asked for than are allowed.
        """
        if k is None:
            return min(_DEFAULT_K, self.k)
        if k > self.k:
            raise RequestError(f"k: expected at most {self.k:,}. Received: {k:,}.")
        return k

    def check_list(self, name: str, entries: Sized) -> None:
        """Check the length of a list in a request for recommendations.

        Args:
            name: The list's, for messages.
            entries: The list.

        Raises:
            RequestError: It is longer than is allowed.
        """
        if len(entries) > self.list_entries:
            raise RequestError(
                f"{name:.80}: expected at most {self.list_entries:,} entries. Received: {len(entries):,}. "
                "Send fewer, or start the server with a larger --max-list."
            )


class Gate:
    """Lets so many requests work at the same time, and sends the others away at once."""

    def __init__(self, places: int) -> None:
        self.busy = 0
        """Requests that are worked on."""
        self._places = places

    @contextlib.contextmanager
    def enter(self) -> Iterator[None]:
        """Work on a request, on the event loop's thread.

        Raises:
            RequestError: As many as may be are worked on.
        """
        if self.busy >= self._places:
            raise RequestError(
                f"Expected at most {self._places:,} requests at the same time. Received: one more. "
                "Send it again later.",
                HTTPStatus.SERVICE_UNAVAILABLE,
                {"Retry-After": "1"},
            )
        self.busy += 1
        try:
            yield
        finally:
            self.busy -= 1


async def read_body(request: Request, limits: Limits) -> bytes:
    """Read a request's body, no more of it than is allowed.

    Args:
        request: The request.
        limits: What is allowed.

    Returns:
        The body.

    Raises:
        RequestError: The body is too large, comes too slowly, or not whole.
    """
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limits.body_bytes:
        raise _too_large(limits, f"{int(declared):,}")
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for part in request.stream():
                size += len(part)
                if size > limits.body_bytes:
                    raise _too_large(limits, "more")
                parts.append(part)
    except TimeoutError:
        raise RequestError(
            f"Expected the whole body within {limits.body_seconds:g} seconds. Received: {size:,} bytes. "
            "Send it again.",
            HTTPStatus.REQUEST_TIMEOUT,
            {"Connection": "close"},
        ) from None
    except ClientDisconnect:
        raise RequestError("Expected a whole body. Received: the end of the connection.") from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(limits: Limits, received: str) -> RequestError:
    return RequestError(
        f"Expected a body of at most {limits.body_bytes:,} bytes. Received: {received}. Send fewer rows at a "
        "time, or start the server with a larger --max-body-mib.",
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        # What is still to come would be read as the next request.
        {"Connection": "close"},
    )
