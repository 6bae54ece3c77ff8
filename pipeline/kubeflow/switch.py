"""From one recurring run to another, so that one of the two is enabled whatever happens in between.

Kubeflow Pipelines has no call that changes two recurring runs at once, so there is a moment with none
enabled, or one with both. It is the first here, and everything is done to end it:

- the old one is enabled once more before it is disabled: that changes nothing, and shows that the server
  answers and that this account may put it back;
- a failure is taken back. The new one is deleted first: a request that was given up, and that the server
  serves later, then finds nothing to enable;
- an outage is waited out;
- a signal is heeded when one of the two is enabled.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from types import FrameType
from typing import Final

from pipeline.kubeflow.client import Kubeflow, KubeflowError
from schemas.contract import PROGRESS_LOGGER

# Longer than a server takes to be moved to another node.
_PATIENCE_SECONDS: Final = 600.0
_PAUSE_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.2
# How much later a request may be served that nobody waits for any more.
_SETTLING_SECONDS: Final = 10.0
_OLD_IS_LEFT: Final = "the old schedule is left enabled: run the command again"
_NOT_ENABLED: Final = "it may not be enabled yet: run the command again"
_UNKNOWN: Final = (
    "it is not known whether a schedule is enabled: look with `dssm schedule kubeflow status`, and run the"
    " command again"
)

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


def delete_recurring_run(kubeflow: Kubeflow, what: str, schedule_id: str) -> None:
    """Delete a recurring run; one that is gone already is fine.

    Args:
        kubeflow: The endpoint.
        what: What it is called, for errors.
        schedule_id: Its id.

    Raises:
        KubeflowError: The call failed.
    """
    try:
        kubeflow.call(f"delete {what}", kubeflow.client.delete_recurring_run, schedule_id)
    except KubeflowError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise


def switch(kubeflow: Kubeflow, what: str, *, new: str, enabled: Sequence[str]) -> None:
    """Disable recurring runs and enable another one.

    Args:
        kubeflow: The endpoint.
        what: What they are called, for errors.
        new: Id of the one to enable, which is disabled. After a failure it is deleted where an old one is
            put back.
        enabled: Ids of those that are enabled; one that is gone meanwhile is fine.

    Raises:
        KubeflowError: It failed; the message says what is enabled now.
        KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP came, and one of them is enabled, or none can be.
    """
    with _signals_held() as stop:
        way = _Switch(kubeflow, what, new, enabled, stop)
        way.choose_fallback()
        way.go()
    if stop.is_asked:
        rest = "; what it replaces is still listed: run the command again" if enabled else ""
        _progress.info("Interrupted: %s is enabled as asked for%s", what, rest)
        raise KeyboardInterrupt


@dataclass
class _Stop:
    """Whether something asked this process to end."""

    is_asked: bool = False

    def sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self.is_asked and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_SECONDS))


class _Switch:
    """The way from some recurring runs to another, and back."""

    def __init__(self, kubeflow: Kubeflow, what: str, new: str, enabled: Sequence[str], stop: _Stop) -> None:
        self._kubeflow = kubeflow
        self._what = what
        self._new = new
        self._enabled = enabled
        self._stop = stop
        self._fallback: str | None = None
        self._is_new_deleted = False
        self._may_be_served_late = False
        self._broken: set[str] = set()

    def choose_fallback(self) -> None:
        """Enable what is enabled, up to the first that can be put back."""
        for schedule_id in self._enabled:
            try:
                set_enabled(self._kubeflow, self._what, schedule_id, True)
            except KubeflowError as error:
                listed = self._list()
                if error.status == HTTPStatus.NOT_FOUND and listed is not None and schedule_id not in listed:
                    continue
                if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR and listed is not None:
                    # The server answers; what it cannot do is of this one, such as one half deleted.
                    self._broken.add(schedule_id)
                    continue
                raise KubeflowError(f"{error} ({_OLD_IS_LEFT})", error.status) from None
            self._fallback = schedule_id
            return

    def go(self) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        is_told = False
        while True:
            if not self._is_new_deleted:
                try:
                    self._go_forward()
                except Exception as error:
                    failure = error
                else:
                    return
            if self._go_back():
                raise _with_outcome(failure, _OLD_IS_LEFT) from None
            is_over = time.monotonic() >= deadline or self._stop.is_asked
            if self._fallback is None and (is_over or not _may_pass(failure)):
                raise _with_outcome(failure, _NOT_ENABLED) from None
            if is_over:
                raise _with_outcome(failure, _UNKNOWN) from None
            if not is_told:
                _progress.info(
                    "%s. Until the server answers, perhaps no schedule is enabled: trying for %d minutes,"
                    " leave this running",
                    str(failure).rstrip("."),
                    _PATIENCE_SECONDS // 60,
                )
            is_told = True
            self._stop.sleep(_PAUSE_SECONDS)

    def _go_forward(self) -> None:
        try:
            for schedule_id in self._enabled:
                if schedule_id in self._broken:
                    delete_recurring_run(self._kubeflow, self._what, schedule_id)
                else:
                    self._disable(schedule_id)
            set_enabled(self._kubeflow, self._what, self._new, True)
        except Exception as error:
            self._may_be_served_late |= _may_pass(error)
            raise

    def _go_back(self) -> bool:
        """Put the old one back, only once the new one is gone: both would run otherwise.

        Returns:
            Whether the old one is enabled.
        """
        if self._fallback is None:
            return False
        try:
            if not self._is_new_deleted:
                delete_recurring_run(self._kubeflow, self._what, self._new)
                self._is_new_deleted = True
            set_enabled(self._kubeflow, self._what, self._fallback, True)
            if self._may_be_served_late:
                time.sleep(_SETTLING_SECONDS)
                set_enabled(self._kubeflow, self._what, self._fallback, True)
        except KubeflowError as error:
            if error.status == HTTPStatus.NOT_FOUND and self._is_gone(self._fallback):
                raise KubeflowError(
                    f"{error} (somebody else changes {self._what} at the same time: look with"
                    " `dssm schedule kubeflow status`)",
                    error.status,
                ) from None
            return False
        return True

    def _disable(self, schedule_id: str) -> None:
        try:
            set_enabled(self._kubeflow, self._what, schedule_id, False)
        except KubeflowError as error:
            if error.status != HTTPStatus.NOT_FOUND or not self._is_gone(schedule_id):
                raise

    def _is_gone(self, schedule_id: str) -> bool:
        """Look after a 404, which a proxy without its server answers, too."""
        listed = self._list()
        return listed is not None and schedule_id not in listed

    def _list(self) -> set[str] | None:
        try:
            recurring = self._kubeflow.list_all(
                "list the recurring runs",
                "recurring_runs",
                self._kubeflow.client.list_recurring_runs,
                namespace=self._kubeflow.namespace,
            )
        except KubeflowError:
            return None
        return {found.recurring_run_id for found in recurring}


def _with_outcome(error: Exception, outcome: str) -> Exception:
    if isinstance(error, KubeflowError):
        return KubeflowError(f"{error} ({outcome})", error.status)
    error.add_note(outcome)
    return error


def _may_pass(error: Exception) -> bool:
    if not isinstance(error, KubeflowError):
        return False
    is_refusal = HTTPStatus.BAD_REQUEST <= error.status < HTTPStatus.INTERNAL_SERVER_ERROR
    return not is_refusal or error.status == HTTPStatus.TOO_MANY_REQUESTS


@contextlib.contextmanager
def _signals_held() -> Iterator[_Stop]:
    """Note what would end the process, so that no call is given up while the server serves it.

    Yields:
        What says whether a signal came.
    """
    stop = _Stop()

    def note(number: int, frame: FrameType | None) -> None:
        if not stop.is_asked:
            # A logger or a stream may be in use just where the signal came.
            os.write(2, b"Stopping as soon as a schedule is known to be enabled\n")
        stop.is_asked = True

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    # Python takes signals in its main thread alone; under nohup, SIGHUP is ignored and stays so.
    is_main = threading.current_thread() is threading.main_thread()
    held = {
        number: handler
        for number in (numbers if is_main else ())
        if (handler := signal.getsignal(number)) in (signal.SIG_DFL, signal.default_int_handler)
    }
    for number in held:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)
