"""What the handlers of all routes share."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from pipeline.serving.bodies import BodyReader
from pipeline.serving.engine import Engine
from pipeline.serving.errors import RequestError
from pipeline.serving.json_text import render_json
from pipeline.serving.limits import Gate, Limits
from pipeline.serving.metrics import Metrics
from pipeline.serving.parameters import Parameter
from pipeline.serving.releases import ReleaseWatcher

T = TypeVar("T")

_ERROR: Final = {
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["error"],
                "properties": {"error": {"type": "string"}},
            }
        }
    }
}
_REFUSALS: Final = {
    HTTPStatus.BAD_REQUEST: "The request cannot be understood, or not be answered.",
    HTTPStatus.NOT_FOUND: "There is no such user, item or model.",
    HTTPStatus.REQUEST_TIMEOUT: "The body did not come in time.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too large.",
    HTTPStatus.SERVICE_UNAVAILABLE: "There is no release yet, or there are too many requests.",
}


class Service:
    """The release that answers, and what requests may ask of it."""

    def __init__(
        self, watcher: ReleaseWatcher, pool: ThreadPoolExecutor, limits: Limits, metrics: Metrics
    ) -> None:
        """Share these.

        Args:
            watcher: Gives the release that answers.
            pool: The threads that models are called on.
            limits: What a request may ask for.
            metrics: What is counted.
        """
        self.watcher, self.limits, self.metrics = watcher, limits, metrics
        self.gate = Gate(limits.concurrent)
        """How many requests are worked on."""
        self.bodies = BodyReader(limits)
        """How much of bodies is being read."""
        self._pool = pool

    def find_engine(self) -> Engine:
        """Find what answers. A request asks once, and uses the same engine to its end.

        Returns:
            The engine.

        Raises:
            RequestError: There is none yet.
        """
        engine, refusal = self.watcher.engine, self.watcher.refusal
        if engine is None:
            reason = "It is being loaded." if refusal is None else refusal.reason
            raise RequestError(
                f"Expected a release. Received: none yet. {reason}",
                HTTPStatus.SERVICE_UNAVAILABLE,
                {"Retry-After": "5"},
            )
        return engine

    @contextlib.asynccontextmanager
    async def admit(self, request: Request) -> AsyncIterator[bytes]:
        """Read a request's body, and then work on it: a slow client holds no place of the gate.

        Args:
            request: The request.

        Yields:
            The body.

        Raises:
            RequestError: As many as may be are worked on, or the body is not read.
        """
        # A body that would only be thrown away is not read.
        self.gate.check()
        body = await self.bodies.read(request)
        with self.gate.enter():
            yield body

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Compute something on a thread of the pool.

        Args:
            function: What computes it.
            arguments: What it is given.

        Returns:
            What it returns.
        """
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)


def answer(content: Mapping[str, Any]) -> Response:
    """Make the answer to a request.

    Args:
        content: What it says.

    Returns:
        JSON.
    """
    return Response(render_json(content), media_type="application/json")


def describe(
    summary: str, parameters: Sequence[Parameter] = (), body: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Describe a route as FastAPI takes it; its handler reads parameters and body itself.

    Args:
        summary: What it is for.
        parameters: Those of the URL.
        body: The body's JSON schema; None: there is none.

    Returns:
        Arguments for the route's decorator.
    """
    extra: dict[str, Any] = {"parameters": [parameter.describe() for parameter in parameters]}
    if body is not None:
        extra["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return {
        "summary": summary,
        "openapi_extra": extra,
        "responses": {
            int(status): {"description": meaning, **_ERROR} for status, meaning in _REFUSALS.items()
        },
    }
