"""Recommendations, and what one needs to ask for them: users and items."""

from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from pipeline.serving.errors import RequestError
from pipeline.serving.json_text import render_json
from pipeline.serving.parameters import Parameter, read_parameters
from pipeline.serving.recommending import REQUEST, list_items, read_request
from pipeline.serving.service import Service, answer, describe

# The server's --max-k is the limit, as for a body.
_K: Final = Parameter("k", "Number of items.", "number", maximum=None)
_LIMIT: Final = Parameter("limit", "The most that are listed.", "number")
_RECOMMEND: Final = (
    Parameter("user", "A user that the release knows.", required=True),
    _K,
    Parameter("exclude", "An item that is not recommended.", "texts"),
    Parameter("filter", "A value of the release's filter feature that an item may have.", "texts"),
)
_SIMILAR: Final = (Parameter("item", "An item's id.", required=True), _K)
_USERS: Final = (Parameter("prefix", "What the ids start with."), _LIMIT)
_ITEMS: Final = (Parameter("query", "What the id starts with, or a displayed text holds."), _LIMIT)


def make_router(service: Service) -> APIRouter:
    """Make the routes.

    Args:
        service: What answers.

    Returns:
        The routes.
    """
    router = APIRouter()

    async def recommend_by(body: bytes) -> Response:
        request = read_request(body, service.limits)
        engine = service.find_engine()
        question = engine.recommender.ask(request)
        ranking = await engine.batcher.submit(question.query)
        return answer(engine.recommender.answer(question, ranking))

    @router.post("/recommend", **describe("Recommend items.", body=REQUEST.json_schema()))
    async def recommend(request: Request) -> Response:
        async with service.admit(request) as body:
            return await recommend_by(body)

    @router.get("/recommend", **describe("Recommend items to a known user.", _RECOMMEND))
    async def recommend_known(request: Request) -> Response:
        values = read_parameters(request.query_params, _RECOMMEND)
        with service.gate.enter():
            return await recommend_by(render_json(values))

    @router.get("/similar", **describe("Find the items that are most like one.", _SIMILAR))
    async def similar(request: Request) -> Response:
        values = read_parameters(request.query_params, _SIMILAR)
        with service.gate.enter():
            engine = service.find_engine()
            row = engine.catalogue.find(values["item"])
            if row is None:
                raise RequestError(
                    f"Expected an item of release {engine.version}. Received: {values['item']!r:.80}, which "
                    f"is not among its {len(engine.catalogue):,}. GET /items?query=... finds items.",
                    HTTPStatus.NOT_FOUND,
                )
            k = service.limits.choose_k(values.get("k"))
            ranking = await service.call(engine.find_similar, row, k)
            return answer(
                {
                    "release": engine.version,
                    "item": engine.catalogue.describe(row),
                    "items": list_items(engine.catalogue, ranking),
                }
            )

    @router.get("/users", **describe("List known users.", _USERS))
    async def users(request: Request) -> Response:
        values = read_parameters(request.query_params, _USERS)
        engine = service.find_engine()
        known = engine.users
        found = [] if known is None else known.list_ids(values.get("prefix", ""), values.get("limit", 20))
        return answer({"release": engine.version, "users": found})

    @router.get("/items", **describe("Find items.", _ITEMS))
    async def items(request: Request) -> Response:
        values = read_parameters(request.query_params, _ITEMS)
        with service.gate.enter():
            catalogue = service.find_engine().catalogue
            rows = await service.call(catalogue.search, values.get("query", ""), values.get("limit", 20))
            return answer({"items": [catalogue.describe(row) for row in rows]})

    return router
