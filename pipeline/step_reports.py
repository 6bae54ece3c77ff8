"""What a step's process says while it runs, on its way to the process that forked it and that alone draws."""

import logging
import multiprocessing.connection
from dataclasses import dataclass, replace

from schemas.contract import LIVE_LOGGER, PROGRESS_LOGGER
from schemas.progress import StepProgress, report_progress

_LOGGERS = tuple(logging.getLogger(name) for name in (PROGRESS_LOGGER, LIVE_LOGGER))


@dataclass(frozen=True)
class Line:
    """A progress line."""

    level: int
    """Of logging."""
    text: str
    """What a person reads."""


class ReportSender(logging.Handler):
    """Sends progress lines and how far the step is through a pipe, from whichever thread.

    Args:
        sender: The end of the pipe that is written to.
    """

    def __init__(self, sender: multiprocessing.connection.Connection) -> None:
        super().__init__()
        self._sender = sender

    def replace_handlers(self) -> None:
        """Take the place of the handlers that this process has of the one that it was forked from."""
        for logger in _LOGGERS:
            logger.handlers = [self]

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record.

        Args:
            record: A progress line, or a record of `schemas.progress`.
        """
        # What logging itself does: nothing that is shown is worth the step.
        try:
            is_line = record.name == PROGRESS_LOGGER
            self._sender.send(Line(record.levelno, record.getMessage()) if is_line else record.msg)
        except Exception:
            self.handleError(record)

    def send_last(self, message: object) -> None:
        """Send the last message; what other threads say afterwards is lost.

        Args:
            message: Anything that can be pickled.
        """
        for logger in _LOGGERS:
            logger.handlers = [logging.NullHandler()]
        self.acquire()
        try:
            self._sender.send(message)
        finally:
            self.release()


def pass_on(message: Line | StepProgress, step: str) -> None:
    """Say in this process what a step's process has said.

    Args:
        message: What it said.
        step: What the step is called.
    """
    match message:
        case Line():
            logging.getLogger(PROGRESS_LOGGER).log(message.level, "%s", message.text)
        case StepProgress():
            report_progress(replace(message, step=step))
