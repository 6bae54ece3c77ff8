"""A server without sockets on a small release."""

import functools
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient

from pipeline.config import load_config
from pipeline.serving.app import create_app
from pipeline.serving.engine import EngineSettings, load_engine
from pipeline.serving.limits import Limits
from pipeline.serving.metrics import Metrics
from pipeline.serving.releases import ReleaseWatcher
from pipeline.serving.service import Service


class Served:
    """The application on a serving directory; `look` takes the place of the watcher's thread."""

    def __init__(self, toy_serving, pool, limits, overrides=()):
        config = load_config(str(toy_serving.config), overrides)
        self.metrics = Metrics()
        settings = EngineSettings(
            serving_directory=config.serving.directory,
            cache_directory=toy_serving.directory / "cache",
            spec=config.load_features(),
            schema=config.data.schema,
            ranks_new_items=config.evaluation.candidates == "new",
        )
        self.watcher = ReleaseWatcher(
            settings.serving_directory,
            lambda version: load_engine(settings, version, pool, self.metrics),
            self.metrics,
            poll_seconds=1,
            retry_seconds=0,
        )
        self.look = self.watcher.look
        service = Service(self.watcher, pool, limits, self.metrics)
        self.client = TestClient(create_app(service), raise_server_exceptions=False)

    def recommend(self, expected_status=200, **content):
        answer = self.client.post("/recommend", json=content)
        assert answer.status_code == expected_status, answer.text
        return answer.json()


@pytest.fixture(scope="session")
def serve_toy():
    with ThreadPoolExecutor(2) as pool:

        def start(toy_serving, limits=Limits(), overrides=()):  # noqa: B008
            served = Served(toy_serving, pool, limits, overrides)
            served.look()
            return served

        yield start


@pytest.fixture
def serve(toy_serving, serve_toy):
    return functools.partial(serve_toy, toy_serving)
