"""Follows the current release: loads a new or rolled-back one beside the old one, and then swaps them."""

import gc
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pipeline.serving.engine import Engine
from pipeline.serving.metrics import Metrics
from schemas.contract import PROGRESS_LOGGER
from schemas.release import find_current_version

_RETRY_SECONDS: Final = 30.0


@dataclass(frozen=True)
class Refusal:
    """A current release that could not be loaded."""

    version: int | None
    """Its version; None where not even that can be told."""
    reason: str
    """Why, and what to do."""


class ReleaseWatcher:
    """Gives the engine that answers.

    A request takes the engine once and uses it to its end, whatever the watcher does meanwhile; what nobody
    uses any longer is freed.
    """

    def __init__(
        self,
        serving_directory: str,
        load: Callable[[int], Engine],
        metrics: Metrics,
        poll_seconds: float,
        retry_seconds: float = _RETRY_SECONDS,
    ) -> None:
        """Prepare to look.

        Args:
            serving_directory: The folder of the releases: a path or URI.
            load: Loads the release of a version.
            metrics: Where reloads are counted.
            poll_seconds: How often the current version is looked for.
            retry_seconds: After how long a release that was refused is tried again.
        """
        self._serving, self._load, self._metrics = serving_directory, load, metrics
        self._poll_seconds, self._retry_seconds = poll_seconds, retry_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="releases", daemon=True)
        self._refused_at = 0.0
        self.engine: Engine | None = None
        """What answers; None before a release is loaded."""
        self.refusal: Refusal | None = None
        """Why the current release is another one than that which answers; None where it is not, or is still
        being loaded."""

    def start(self) -> None:
        """Look now, and again and again, on a thread of its own."""
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Stop looking.

        Args:
            timeout: Seconds to wait for what is being loaded.

        Returns:
            Whether the thread has ended.
        """
        self._stopped.set()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def look(self) -> None:
        """Look once, and load the current release where it is another one."""
        log = logging.getLogger(PROGRESS_LOGGER)
        version = None
        try:
            version = find_current_version(self._serving)
            self._metrics.wanted_release.set(version or 0)
            if version is None:
                self._refuse(
                    None,
                    f"No release in {self._serving}. `dssm run` writes one when the evaluation blesses the "
                    "model; it is served as soon as it is there.",
                )
                return
            if self.engine is not None and self.engine.version == version:
                self.refusal = None
                return
            if self._was_refused(version):
                return
            engine = self._load(version)
        # Whatever is wrong with a release, what answers goes on answering.
        except Exception as error:
            self._refuse(version, f"{error}" or type(error).__name__)
            # Whoever sees the figure finds the reason in /release.
            self._metrics.failed_reloads.inc()
            return
        before = self.engine
        self.engine, self.refusal = engine, None
        self._metrics.release.set(version)
        self._metrics.load_seconds.set(engine.load_seconds)
        self._metrics.reloads.inc()
        log.info(
            "Release %s answers%s: %s items, loaded in %.1f s.",
            version,
            "" if before is None else f" in place of {before.version}",
            f"{len(engine.catalogue):,}",
            engine.load_seconds,
        )
        del before, engine
        # What TensorFlow loaded refers to itself, and is only found by the collector.
        gc.collect()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self.look()
            self._stopped.wait(self._poll_seconds)

    def _was_refused(self, version: int) -> bool:
        return (
            self.refusal is not None
            and self.refusal.version == version
            and time.monotonic() < self._refused_at + self._retry_seconds
        )

    def _refuse(self, version: int | None, reason: str) -> None:
        refusal = Refusal(version, reason)
        self._refused_at = time.monotonic()
        # The log says it once, and not every few seconds until somebody has mended it.
        if refusal != self.refusal:
            stays = "" if self.engine is None else f" Release {self.engine.version} goes on answering."
            what = "" if version is None else f"Release {version} is refused: "
            logging.getLogger(PROGRESS_LOGGER).warning("%s%s%s", what, reason, stays)
        self.refusal = refusal
