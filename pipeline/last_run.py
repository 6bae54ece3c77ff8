"""Remembers with what configuration `dssm run` was called in a folder, for commands that read what it made.

It is kept per working directory, since that is what separates the projects of one user: relative paths in a
configuration mean something else in another folder, too.
"""

import dataclasses
import datetime
import json
import os
import tempfile
from pathlib import Path
from typing import Final

FILE: Final = Path(".dssm", "last_run.json")
"""Where it is remembered, in the working directory."""
ENVIRONMENT_VARIABLE: Final = "DSSM_LAST_RUN"
"""Names another file; set to nothing, nothing is remembered or found."""


@dataclasses.dataclass(frozen=True)
class LastRun:
    """How `dssm run` or `dssm retrain` was called."""

    config: str
    """The configuration file, as it was named."""
    overrides: tuple[str, ...]
    """Its `--set` options."""
    time: str
    """When it began: ISO 8601, UTC."""


def remember_run(config: str, overrides: tuple[str, ...]) -> str | None:
    """Remember how a run is called, in the place of the one before.

    Args:
        config: The configuration file, as it is named.
        overrides: The `--set` options.

    Returns:
        Why it is not remembered, for the screen; None where it is, or where nothing shall be.
    """
    file = _find_file()
    if file is None:
        return None
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    content = json.dumps(dataclasses.asdict(LastRun(config, overrides, now)), indent=2) + "\n"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=".tmp-")
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(content)
        Path(temporary).replace(file)
    except OSError as error:
        return f"{file} cannot be written ({error.strerror}): later commands need --config."
    return None


def find_last_run() -> LastRun | None:
    """Find how the last run of the working directory was called.

    Returns:
        What `remember_run` was given; None where there was no run, or where nothing is remembered.

    Raises:
        ValueError: The file is not one that this program wrote.
    """
    file = _find_file()
    if file is None:
        return None
    try:
        content = json.loads(file.read_bytes())
        return LastRun(str(content["config"]), tuple(map(str, content["overrides"])), str(content["time"]))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{file}: expected what `dssm run` wrote. Received: {error!r}. Delete it, or give --config."
        ) from error


def _find_file() -> Path | None:
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if named is None:
        return FILE
    return Path(named) if named else None
