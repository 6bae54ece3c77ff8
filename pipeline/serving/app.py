"""The application: routes, errors as JSON, and what is counted of every request."""

import logging
import time
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.serving.errors import RequestError
from pipeline.serving.json_text import render_json
from pipeline.serving.metrics import Metrics
from pipeline.serving.routes import health, models, recommending
from pipeline.serving.service import Service
from schemas.contract import PROGRESS_LOGGER

_NO_ROUTE: Final = "other"


def create_app(service: Service) -> FastAPI:
    """Put the application together.

    Args:
        service: What answers; whoever runs the application starts and stops its watcher.

    Returns:
        The application.
    """
    app = FastAPI(
        title="dssm serve",
        version="1",
        description="Recommendations of the current release.",
        # Their pages load scripts from another server.
        docs_url=None,
        redoc_url=None,
    )
    for module in (health, recommending, models):
        app.include_router(module.make_router(service))
    app.add_exception_handler(RequestError, _answer_refusal)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(Exception, _answer_failure)
    app.add_middleware(Measure, metrics=service.metrics)
    return app


class Measure:
    """Counts requests and their seconds by route; a path of no route is `other`, or names would never end."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request by the application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        status = int(HTTPStatus.INTERNAL_SERVER_ERROR)

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._metrics.in_progress.inc()
        try:
            await self._app(scope, receive, note_status)
        finally:
            self._metrics.in_progress.dec()
            route = getattr(scope.get("route"), "path", _NO_ROUTE)
            self._metrics.requests.labels(route, status).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - start)


async def _answer_refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return _error(str(error), error.status, error.headers)


async def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.NOT_FOUND:
        message = f"Expected a path of /openapi.json. Received: {request.url.path!r:.200}."
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "another method")
        message = f"{request.url.path:.200}: expected {allowed}. Received: {request.method:.20}."
    else:
        message = str(error.detail)
    return _error(message, error.status_code, dict(error.headers or {}))


async def _answer_failure(request: Request, error: Exception) -> Response:
    logging.getLogger(PROGRESS_LOGGER).error(
        "%s %s failed.", request.method, request.url.path, exc_info=error
    )
    return _error("The server failed to answer; its log says why.", HTTPStatus.INTERNAL_SERVER_ERROR, {})


def _error(message: str, status: int, headers: dict[str, str]) -> Response:
    return Response(render_json({"error": message}), status, headers, "application/json")
