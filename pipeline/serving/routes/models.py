"""TensorFlow Serving's REST API of the towers and the retriever."""

from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from pipeline.serving.errors import RequestError
from pipeline.serving.models import ServedModel
from pipeline.serving.parameters import Parameter
from pipeline.serving.predict import read_prediction, render_prediction
from pipeline.serving.service import Service, answer, describe

_NAME: Final = Parameter("name", "user_tower, item_tower or retriever.", within="path")
_VERSION: Final = Parameter("version", "The version of the current release.", within="path")
_BODY: Final = {
    "type": "object",
    "properties": {
        "signature_name": {"type": "string", "default": "serving_default"},
        "instances": {"type": "array", "description": "For each row an object with a value for each input."},
        "inputs": {"description": "An object with all rows' values for each input."},
    },
    "additionalProperties": False,
}


def make_router(service: Service) -> APIRouter:
    """Make the routes.

    Args:
        service: What answers.

    Returns:
        The routes.
    """
    router = APIRouter(prefix="/v1/models")

    def find_model(request: Request) -> ServedModel:
        name, version = request.path_params["name"], request.path_params.get("version")
        engine = service.find_engine()
        if name not in engine.models:
            raise RequestError(
                f"Servable not found: expected one of {', '.join(engine.models)}. Received: {name!r:.80}.",
                HTTPStatus.NOT_FOUND,
            )
        if version is not None and version != str(engine.version):
            raise RequestError(
                f"Servable not found: expected version {engine.version} of {name}, the current release. "
                f"Received: {version!r:.80}. Leave the version out, or roll back to it.",
                HTTPStatus.NOT_FOUND,
            )
        return engine.models[name]

    async def predict(request: Request) -> Response:
        async with service.admit(request) as body:
            model = find_model(request)
            return Response(await service.call(_predict, body, model, service), media_type="application/json")

    async def describe_metadata(request: Request) -> Response:
        model = find_model(request)
        spec = {"name": model.name, "signature_name": "", "version": str(model.version)}
        return answer({"model_spec": spec, "metadata": {"signature_def": {"signature_def": model.metadata}}})

    async def show_status(request: Request) -> Response:
        model = find_model(request)
        status = {"error_code": "OK", "error_message": ""}
        state = {"version": str(model.version), "state": "AVAILABLE", "status": status}
        return answer({"model_version_status": [state]})

    for path, parameters in (("/{name}", (_NAME,)), ("/{name}/versions/{version}", (_NAME, _VERSION))):
        _add(router, "POST", f"{path}:predict", predict, describe("Call a model.", parameters, _BODY))
        _add(router, "GET", f"{path}/metadata", describe_metadata, describe("List signatures.", parameters))
        _add(router, "GET", path, show_status, describe("Tell whether a model is available.", parameters))
    return router


def _add(router: APIRouter, method: str, path: str, handler: Any, description: dict[str, Any]) -> None:
    router.add_api_route(path, handler, methods=[method], **description)


def _predict(body: bytes, model: ServedModel, service: Service) -> bytes:
    prediction = read_prediction(body, model, service.limits)
    outputs = model.find_signature(prediction.signature).call(prediction.arrays)
    return render_prediction(outputs, prediction.is_row_format)
