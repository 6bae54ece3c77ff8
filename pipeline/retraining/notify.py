"""Tells people how a run ended: through services of apprise, a command, or both.

Each is a process of its own, which reads the message on its standard input. So a service that does not answer
can be ended, what it prints is seen before a log sees it, and its threads are in no fork of this process. No
URL of apprise is in the configuration, on a command line, in a log or in a message.
"""

import dataclasses
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from pipeline.retraining.config import EventKind, NotifyConfig
from pipeline.runs import Status
from schemas.contract import PROGRESS_LOGGER

URL_VARIABLE: Final = "DSSM_NOTIFY_URL"
"""What `pipeline.retraining.apprise_service` is given the one URL in that it is to use."""

# -P: no file of the working directory is taken for a module.
_APPRISE: Final = (sys.executable, "-P", "-m", "pipeline.retraining.apprise_service")
_TITLES: Final[Mapping[EventKind, str]] = {
    "released": "released",
    "recovery": "released again",
    "refused": "the model was refused",
    "failure": "the retraining failed",
}
_WAITS_SECONDS: Final = (1.0, 4.0, 16.0, 60.0)
_TITLE_CHARACTERS: Final = 250
_REASON_CHARACTERS: Final = 300
_REDACTED: Final = "***"
# Shorter parts are in every other word, and no secret.
_SHORTEST_SECRET: Final = 3

_progress = logging.getLogger(PROGRESS_LOGGER)


@dataclass(frozen=True)
class Event:
    """Something that people are told."""

    kind: EventKind
    """What happened."""
    pipeline: str
    """The name of the pipeline."""
    body: str
    """In full."""
    run_id: str | None = None
    """The run; None where it did not come to one."""
    release: int | None = None
    """The version of its release; None without one."""

    @property
    def title(self) -> str:
        """What happened, in a line."""
        return f"{self.pipeline}: {_TITLES[self.kind]}"


@dataclass(frozen=True)
class Delivery:
    """Whether a service or the command was told."""

    receiver: str
    """Which it is, without what is secret."""
    attempts: int
    """How often it was tried."""
    error: str | None
    """Why the last attempt failed, without what is secret; None: it was told."""


@dataclass(frozen=True)
class _Sender:
    """A program that tells somebody."""

    receiver: str
    """What messages call it."""
    command: tuple[str, ...]
    """The program and its arguments."""
    environment: Mapping[str, str]
    """Variables of its own."""


def notify(
    config: NotifyConfig,
    event: Event,
    *,
    environment: Mapping[str, str] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Delivery, ...]:
    """Tell people what happened, where the configuration wants them told.

    A notification that cannot be sent is a warning, and never an error.

    Args:
        config: Who is told what.
        event: What happened.
        environment: The variables, the one with apprise's URLs among them; None: those of this process.
        sleep: Waits so many seconds before the next attempt.

    Returns:
        Who was told, and who could not be; nobody where the configuration does not want it.
    """
    # A recovery is a release.
    wanted = event.kind in config.on or (event.kind == "recovery" and "released" in config.on)
    if not wanted:
        return ()
    variables = dict(os.environ if environment is None else environment)
    urls = variables.get(config.urls_env, "").split()
    deliveries = []
    for sender in _list_senders(config, urls):
        delivery = _deliver(sender, config, event, variables, urls, sleep)
        if delivery.error is not None:
            _progress.warning(
                "Cannot notify %s of %r (%d attempts): %s",
                *(delivery.receiver, event.title, delivery.attempts, delivery.error),
            )
        deliveries.append(delivery)
    return tuple(deliveries)


def find_event_kind(status: Status, earlier: Sequence[Status]) -> EventKind | None:
    """Tell what the end of a run means to those who are told.

    Args:
        status: How it ended.
        earlier: How the runs before it ended, the newest first.

    Returns:
        `recovery` for a release after a run that failed, was killed or was refused; None for a run that goes
        on.
    """
    if status == "running":
        return None
    if status == "not blessed":
        return "refused"
    if status != "released":
        return "failure"
    before = next((other for other in earlier if other != "running"), "released")
    return "released" if before == "released" else "recovery"


def redact(text: str, urls: Sequence[str]) -> str:
    """Take out of a text what is secret in URLs.

    Args:
        text: What a service said.
        urls: URLs of apprise. A token can stand anywhere in them, also where other URLs have a host, so that
            every part but the scheme counts as one.

    Returns:
        The text, with asterisks in place of them.
    """
    secrets = set()
    for url in urls:
        rest = url.partition("://")[2] or url
        parts = [rest, *re.split(r"[/:@?&=,]+", rest)]
        secrets |= {*parts, *map(unquote, parts)}
    # The longest first, so that no part of a secret is left.
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = re.sub(re.escape(secret), _REDACTED, text, flags=re.IGNORECASE)
    return text


def _list_senders(config: NotifyConfig, urls: Sequence[str]) -> list[_Sender]:
    # One process a URL: what one service has been told, it is not told again because another one failed.
    senders = [
        _Sender(_name_service(url, number, len(urls)), _APPRISE, {URL_VARIABLE: url})
        for number, url in enumerate(urls, 1)
    ]
    if config.command is not None:
        senders.append(_Sender("retraining.notify.command", config.command, {}))
    return senders


def _name_service(url: str, number: int, urls: int) -> str:
    scheme, separator, _ = url.partition("://")
    place = f"URL {number} of {urls}"
    return f"{scheme} ({place})" if separator else place


def _deliver(
    sender: _Sender,
    config: NotifyConfig,
    event: Event,
    variables: Mapping[str, str],
    urls: Sequence[str],
    sleep: Callable[[float], None],
) -> Delivery:
    message = json.dumps(dataclasses.asdict(event) | {"title": event.title}).encode()
    environment = {**variables, **sender.environment, **_describe(event)}
    error: str | None = None
    for attempt in range(1, config.attempts + 1):
        if attempt > 1:
            sleep(_WAITS_SECONDS[min(attempt - 2, len(_WAITS_SECONDS) - 1)])
        said = _call(sender.command, message, environment, config.timeout_seconds)
        if said is None:
            return Delivery(sender.receiver, attempt, None)
        error = redact(said, urls)[-_REASON_CHARACTERS:]
    return Delivery(sender.receiver, config.attempts, error)


def _describe(event: Event) -> dict[str, str]:
    # The body is for standard input: a variable may hold 128 KiB.
    return {
        "DSSM_EVENT": event.kind,
        "DSSM_TITLE": event.title.replace("\0", "")[:_TITLE_CHARACTERS],
        "DSSM_PIPELINE": event.pipeline[:_TITLE_CHARACTERS],
        "DSSM_RUN_ID": event.run_id or "",
        "DSSM_RELEASE": "" if event.release is None else str(event.release),
    }


def _call(
    command: Sequence[str], message: bytes, environment: Mapping[str, str], timeout_seconds: float
) -> str | None:
    """Run a program, and return why it failed; None where it did not."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
        )
    except OSError as error:
        return f"cannot start {command[0]}: {error.strerror}"
    with process:
        try:
            output, _ = process.communicate(message, timeout_seconds)
        except subprocess.TimeoutExpired:
            # With all that it started.
            os.killpg(process.pid, signal.SIGKILL)
            return f"no end within {timeout_seconds:g} s"
    if process.returncode == 0:
        return None
    lines = output.decode(errors="replace").strip().splitlines()
    return f"exit status {process.returncode}: {lines[-1] if lines else 'it said nothing'}"
