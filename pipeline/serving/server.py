"""Runs the application in this process until it is told to stop."""

import logging
import os
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import FrameType
from typing import Final

import uvicorn

from pipeline.config import PipelineConfig
from pipeline.serving.app import create_app
from pipeline.serving.engine import Engine, EngineSettings, load_engine
from pipeline.serving.limits import Limits
from pipeline.serving.metrics import Metrics
from pipeline.serving.releases import ReleaseWatcher
from pipeline.serving.service import Service
from schemas.contract import PROGRESS_LOGGER
from schemas.errors import ConfigError
from schemas.features import load_feature_spec

_LOAD_STOP_SECONDS: Final = 10.0
# Longer than proxies keep an idle connection, mostly 60: who closes it first fails the other's next request.
_KEEP_ALIVE_SECONDS: Final = 75


@dataclass(frozen=True)
class ServerOptions:
    """How the server listens and stops."""

    host: str
    """The address to listen on."""
    port: int
    """The port; 0: any that is free."""
    poll_seconds: float
    """How often the current release is looked for."""
    stop_seconds: int
    """How long requests may take to their end once the server is told to stop."""
    threads: int
    """Model calls at the same time."""


def serve(config: PipelineConfig, options: ServerOptions, limits: Limits) -> None:
    """Serve the current release until SIGTERM or Ctrl-C.

    Args:
        config: The configuration.
        options: How to listen and stop.
        limits: What a request may ask for.

    Raises:
        ConfigError: The schema is wrong, or the address cannot be listened on.
    """
    settings = EngineSettings(
        serving_directory=config.serving.directory,
        cache_directory=config.run.release_cache,
        # Without the check of the tables' columns: no table is read.
        spec=load_feature_spec(config.data.schema),
        schema=config.data.schema,
        ranks_new_items=config.evaluation.candidates == "new",
        calls=options.threads,
    )
    metrics = Metrics()
    # Predictions never wait for recommendations, of which so many are computed at the same time.
    pool = ThreadPoolExecutor(2 * options.threads, thread_name_prefix="models")

    def load(version: int) -> Engine:
        return load_engine(settings, version, pool, metrics)

    watcher = ReleaseWatcher(settings.serving_directory, load, metrics, options.poll_seconds)
    app = create_app(Service(watcher, pool, limits, metrics))
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=options.stop_seconds,
        )
    )
    # Uvicorn raises the signal again once it has stopped, which would end the process as if it was killed.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    with _listen(options) as listening:
        host, port = listening.getsockname()[:2]
        logging.getLogger(PROGRESS_LOGGER).info(
            "Serving %s on http://%s:%s", settings.serving_directory, host, port
        )
        watcher.start()
        try:
            server.run([listening])
        finally:
            has_ended = watcher.stop(_LOAD_STOP_SECONDS)
            pool.shutdown(wait=False, cancel_futures=True)
            logging.getLogger(PROGRESS_LOGGER).info("Stopped.")
            sys.stdout.flush()
            if not has_ended:
                # TensorFlow aborts where the interpreter ends under a thread that is loading.
                os._exit(0)


def _listen(options: ServerOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((options.host, options.port))
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"Cannot listen on {options.host}:{options.port}: {error}. Stop what listens there, or name "
            "another --host or --port."
        ) from error
    listening.listen(2048)
    return listening


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)
