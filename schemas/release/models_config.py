"""What TensorFlow Serving is to load: `<serving>/models.config`, with one version of every servable.

A server that polls it (--model_config_file_poll_wait_seconds) never sees half a release, since a version is
named only once it is whole, and switches all servables to it together.
"""

import re
from pathlib import Path
from typing import Final

from schemas import storage
from schemas.contract import ITEM_TOWER, MODELS_CONFIG_FILE, RETRIEVER, USER_TOWER
from schemas.release.current import require_current_version
from schemas.release.find import read_manifest
from schemas.release.locking import hold_lock
from schemas.release.manifest import Manifest

SERVABLES: Final = (USER_TOWER, ITEM_TOWER, RETRIEVER)
"""The parts that are SavedModels with signatures of their own."""


def compose_models_config(serving_directory: str | Path, manifest: Manifest) -> str:
    """Write down which versions TensorFlow Serving is to load.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.
        manifest: The release's that is to be served.

    Returns:
        A ModelServerConfig in protobuf's text format.
    """
    configs = []
    for part in SERVABLES:
        if part in manifest.parts:
            base = storage.join(serving_directory, part)
            base = base if storage.is_remote(base) else str(Path(base).absolute())
            configs.append(
                "  config {\n"
                f'    name: "{part}"\n'
                f'    base_path: "{_escape(base)}"\n'
                '    model_platform: "tensorflow"\n'
                "    model_version_policy {\n"
                "      specific {\n"
                f"        versions: {manifest.version}\n"
                "      }\n"
                "    }\n"
                "  }\n"
            )
    return f"model_config_list {{\n{''.join(configs)}}}\n"


def write_models_config(serving_directory: str | Path, version: int) -> None:
    """Let TensorFlow Serving load a release, whichever is current.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI. Of one on this machine, the
            caller holds the lock.
        version: The release.

    Raises:
        ReleaseError: There is no such release.
        StorageError: The file cannot be written.
    """
    content = compose_models_config(serving_directory, read_manifest(serving_directory, version))
    storage.replace_bytes(storage.join(serving_directory, MODELS_CONFIG_FILE), content.encode())


def list_served_versions(serving_directory: str | Path) -> list[int]:
    """List the releases that TensorFlow Serving is told to load.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI.

    Returns:
        The versions in ascending order, of which there is one in a file of this program; none without a file.

    Raises:
        StorageError: The folder's store cannot be reached or refuses.
    """
    try:
        content = storage.read_bytes(storage.join(serving_directory, MODELS_CONFIG_FILE))
    except storage.NotFoundError:
        return []
    return sorted({int(version) for version in re.findall(rb"\bversions: (\d+)", content)})


def update_models_config(serving_directory: str | Path) -> int:
    """Let TensorFlow Serving load the current release, after a push or a rollback.

    Args:
        serving_directory: The folder that releases are pushed to: a path or URI. The caller does not hold
            its lock.

    Returns:
        The release.

    Raises:
        ReleaseError: There is no release, or the lock cannot be had.
        StorageError: The file cannot be written.
    """
    with hold_lock(serving_directory):
        version = require_current_version(serving_directory)
        while True:
            write_models_config(serving_directory, version)
            # In an object store, where there is no lock, another release can have become current since, and
            # its own file been overwritten.
            current = require_current_version(serving_directory)
            if current == version:
                return version
            version = current


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
