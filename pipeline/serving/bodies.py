"""Requests' bodies: how large one may be, and how much of all is held while they are being read."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request

from pipeline.serving.errors import RequestError, make_busy_error
from pipeline.serving.limits import Limits


class BodyReader:
    """Reads bodies, no more of one than is allowed, nor of all that are being read at the same time.

    What has come is counted, and not what is declared: who wants to use it up has to send it.
    """

    def __init__(self, limits: Limits) -> None:
        """Read nothing yet.

        Args:
            limits: What is allowed.
        """
        self.held = 0
        """Bytes that have come of bodies that are being read."""
        self._limits = limits

    async def read(self, request: Request) -> bytes:
        """Read a request's body, on the event loop's thread.

        Args:
            request: The request.

        Returns:
            The body.

        Raises:
            RequestError: The body is too large, comes too slowly, or not whole, or the bodies that are being
                read are too large together.
        """
        limits = self._limits
        declared = request.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > limits.body_bytes:
            raise _too_large(limits, f"{int(declared):,}")
        parts: list[bytes] = []
        size = 0
        try:
            with self._holding() as hold:
                async with asyncio.timeout(limits.body_seconds):
                    async for part in request.stream():
                        size += len(part)
                        if size > limits.body_bytes:
                            raise _too_large(limits, "more")
                        hold(len(part))
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

    @contextlib.contextmanager
    def _holding(self) -> Iterator[Callable[[int], None]]:
        """Count what has come of a body, until it is read or refused."""
        own = 0

        def hold(size: int) -> None:
            nonlocal own
            if self.held + size > self._limits.reading_bytes:
                raise make_busy_error(
                    f"Expected at most {self._limits.reading_bytes:,} bytes of bodies on their way at the "
                    "same time. Received: more."
                )
            own += size
            self.held += size

        try:
            yield hold
        finally:
            self.held -= own


def _too_large(limits: Limits, received: str) -> RequestError:
    return RequestError(
        f"Expected a body of at most {limits.body_bytes:,} bytes. Received: {received}. Send fewer rows at a "
        "time, or start the server with a larger --max-body-mib.",
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        # What is still to come would be read as the next request.
        {"Connection": "close"},
    )
