"""A fingerprint of the code that the steps run, so that TFX's cache sees a changed version."""

import hashlib
import importlib.metadata
from pathlib import Path
from typing import Final

from components.interaction_ingest.sources.registry import FORMATS
from schemas.user_code import hash_user_code

_PACKAGES: Final = ("schemas", "trainer", "components", "pipeline")
# Those that compute or write what a step gives to the next; each format of source files names its own.
_LIBRARIES: Final = (
    "apache-beam",
    "numpy",
    "pandas",
    "protobuf",
    "pyarrow",
    "tensorflow",
    "tensorflow-data-validation",
    "tensorflow-metadata",
    "tensorflow-transform",
    "tf-keras",
    "tfx",
    "tfx-bsl",
)


def fingerprint_code(user_tower: str | None = None, root: Path = Path(__file__).parent.parent) -> str:
    """Hash the project's Python files, a user's own tower, and the versions of the libraries that touch data.

    TFX decides on a step by its inputs and settings; user code named by a dotted path is neither.

    Args:
        user_tower: `model.user_tower`: the whole package that holds it counts, not what that imports.
        root: The folder of the import packages.

    Returns:
        64 hexadecimal digits.

    Raises:
        ConfigError: The user tower's module cannot be found.
    """
    digest = hashlib.sha256()
    of_formats = (library for one in FORMATS.values() for library in one.libraries)
    for library in sorted({*_LIBRARIES, *of_formats}):
        digest.update(f"{library}=={importlib.metadata.version(library)}\n".encode())
    for package in _PACKAGES:
        for file in sorted((root / package).rglob("*.py")):
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            digest.update(f"{file.relative_to(root).as_posix()} {content}\n".encode())
    if user_tower is not None:
        digest.update(hash_user_code("model.user_tower", user_tower).encode())
    return digest.hexdigest()
