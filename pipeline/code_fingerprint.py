"""A fingerprint of the code that the steps run, so that TFX's cache sees a changed version."""

import hashlib
import importlib.metadata
from pathlib import Path
from typing import Final

_PACKAGES: Final = ("schemas", "trainer", "components", "pipeline")
_LIBRARIES: Final = ("tfx", "tensorflow", "tensorflow-transform", "tf-keras")


def fingerprint_code(root: Path = Path(__file__).parent.parent) -> str:
    """Hash the project's Python files and the versions of the libraries that shape its results.

    TFX decides on a step by its inputs and settings; user code named by a dotted path is neither.

    Args:
        root: The folder of the import packages.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for library in _LIBRARIES:
        digest.update(f"{library}=={importlib.metadata.version(library)}\n".encode())
    for package in _PACKAGES:
        for file in sorted((root / package).rglob("*.py")):
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            digest.update(f"{file.relative_to(root).as_posix()} {content}\n".encode())
    return digest.hexdigest()
