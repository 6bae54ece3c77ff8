"""From one recurring run to another, so that one of the two is enabled whatever happens in between.

Kubeflow Pipelines has no call that changes two recurring runs at once, so there is a moment with none
enabled, or one with both. It is the first here, and everything is done to end it: the way is tried before
it is taken, a call that fails is taken back, an outage is waited out, and a signal ends the process only
after that. What is left is a process that is killed in this moment, or a server that stays away.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from types import FrameType
from typing import Final

from pipeline.kubeflow.client import Kubeflow, KubeflowError
from schemas.contract import PROGRESS_LOGGER

# Longer than a server takes to be moved to another node.
_PATIENCE_SECONDS: Final = 600.0
_PAUSE_SECONDS: Final = 5.0
_OLD_IS_LEFT: Final = "the old schedule is left enabled: run the command again"
_NONE_BEFORE: Final = "it may not be enabled yet: run the command again"
_UNKNOWN: Final = "it is not known which schedule is enabled, at most one is: run the command again"

_progress = logging.getLogger(PROGRESS_LOGGER)


def set_enabled(kubeflow: Kubeflow, what: str, schedule_id: str, enabled: bool) -> None:
    """Let a recurring run start runs, or stop it from starting any.

    Args:
        kubeflow: The endpoint.
        what: What it is called, for errors.
        schedule_id: Its id.
        enabled: Whether it shall start runs.

    Raises:
        KubeflowError: The call failed.
    """
    client = kubeflow.client
    verb, method = (
        ("enable", client.enable_recurring_run) if enabled else ("disable", client.disable_recurring_run)
    )
    kubeflow.call(f"{verb} {what}", method, schedule_id)


def switch(kubeflow: Kubeflow, what: str, *, new: str, others: Sequence[str], fallback: str | None) -> None:
    """Disable recurring runs and enable another one.

    Args:
        kubeflow: The endpoint.
        what: What they are called, for errors.
        new: Id of the one to enable, which is disabled.
        others: Ids of those to disable; one that is gone already is fine.
        fallback: Id of the one of them that is enabled and is put back after a failure; None for none.

    Raises:
        KubeflowError: It failed; the message says what is enabled now.
        KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP came; the progress log says what is enabled now.
    """
    way = _Switch(kubeflow, what, new, others)
    if fallback is not None and not way.is_open(fallback):
        fallback = None
    with _signals_as_interrupts():
        try:
            way.go_patiently(fallback)
        except KeyboardInterrupt:
            outcome = way.go_back(fallback)
            _progress.info("Interrupted while %s was changed; %s", what, outcome or _UNKNOWN)
            raise


class _Switch:
    """The way from some recurring runs to another, and back."""

    def __init__(self, kubeflow: Kubeflow, what: str, new: str, others: Sequence[str]) -> None:
        self._kubeflow = kubeflow
        self._what = what
        self._new = new
        self._others = others

    def is_open(self, fallback: str) -> bool:
        """Enable what is enabled: it changes nothing, and shows that the server answers and may be asked.

        Returns:
            Whether it is there to be put back; somebody may have deleted it.
        """
        try:
            set_enabled(self._kubeflow, self._what, fallback, True)
        except KubeflowError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return False
        return True

    def go_patiently(self, fallback: str | None) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        is_told = False
        while True:
            try:
                self._go()
            except KubeflowError as error:
                outcome = self.go_back(fallback)
                if outcome is None and _may_pass(error) and time.monotonic() < deadline:
                    if not is_told:
                        _progress.info(
                            "%s. Until the server answers, perhaps no schedule is enabled: trying for"
                            " %d minutes, leave this running",
                            str(error).rstrip("."),
                            _PATIENCE_SECONDS // 60,
                        )
                    is_told = True
                    time.sleep(_PAUSE_SECONDS)
                    continue
                raise KubeflowError(f"{error} ({outcome or _UNKNOWN})", error.status) from None
            return

    def go_back(self, fallback: str | None) -> str | None:
        """Put the old one back, only once the new one is known to be disabled: both would run otherwise.

        Returns:
            What is enabled then; None where that is not known.
        """
        if fallback is None:
            return _NONE_BEFORE
        try:
            self._disable(self._new)
            set_enabled(self._kubeflow, self._what, fallback, True)
        except KubeflowError:
            return None
        return _OLD_IS_LEFT

    def _go(self) -> None:
        for other in self._others:
            self._disable(other)
        set_enabled(self._kubeflow, self._what, self._new, True)

    def _disable(self, schedule_id: str) -> None:
        try:
            set_enabled(self._kubeflow, self._what, schedule_id, False)
        except KubeflowError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise


def _may_pass(error: KubeflowError) -> bool:
    is_refusal = HTTPStatus.BAD_REQUEST <= error.status < HTTPStatus.INTERNAL_SERVER_ERROR
    return not is_refusal or error.status == HTTPStatus.TOO_MANY_REQUESTS


@contextlib.contextmanager
def _signals_as_interrupts() -> Iterator[None]:
    """Let what ends a process in a terminal or a CI job raise KeyboardInterrupt, as Ctrl-C does."""
    # Python takes signals in its main thread alone.
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    # Under nohup, SIGHUP is ignored and stays so.
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    replaced = {number: handler for number, handler in handlers.items() if handler is signal.SIG_DFL}
    for number in replaced:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)
