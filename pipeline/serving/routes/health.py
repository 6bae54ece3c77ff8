"""Whether the server lives, what it serves, and how it does."""

from pathlib import Path
from typing import Final

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import FileResponse, Response

from pipeline.serving.service import Service, answer, describe

PAGE: Final = Path(__file__).parents[1] / "page" / "index.html"
"""The page at /."""


def make_router(service: Service) -> APIRouter:
    """Make the routes.

    Args:
        service: What answers.

    Returns:
        The routes.
    """
    router = APIRouter()

    @router.get("/healthz", **describe("Tell whether the server lives."))
    async def healthz() -> Response:
        return answer({"status": "alive"})

    @router.get("/readyz", **describe("Tell whether a release is loaded."))
    async def readyz() -> Response:
        return answer({"status": "ready", "release": service.find_engine().version})

    @router.get("/release", **describe("Describe the release that answers."))
    async def release() -> Response:
        engine, refusal = service.find_engine(), service.watcher.refusal
        manifest = engine.release.manifest
        refused = None if refusal is None else {"version": refusal.version, "reason": refusal.reason}
        return answer(
            {
                "version": engine.version,
                "created": manifest.created,
                "run_id": manifest.run_id,
                "model_id": manifest.model_id,
                "metrics": manifest.metrics,
                "items": len(engine.catalogue),
                "users": None if engine.users is None else len(engine.users),
                "models": list(engine.models),
                "search": "exact" if engine.ann is None else engine.ann.document.kind,
                "has_filter": engine.recommender.has_filter,
                "refused": refused,
                **engine.recommender.describe_inputs(),
            }
        )

    @router.get("/metrics", **describe("Figures for Prometheus."))
    async def metrics() -> Response:
        return Response(service.metrics.render(), media_type=CONTENT_TYPE_LATEST)

    @router.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(PAGE)

    return router
