"""A fingerprint of the code that the steps run, so that TFX's cache sees a changed version."""

import hashlib
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Final

from schemas.errors import ConfigError

_PACKAGES: Final = ("schemas", "trainer", "components", "pipeline")
_LIBRARIES: Final = ("tfx", "tensorflow", "tensorflow-transform", "tf-keras")


def fingerprint_code(user_tower: str | None = None, root: Path = Path(__file__).parent.parent) -> str:
    """Hash the project's Python files, a user's own tower, and the versions of the libraries that count.

    TFX decides on a step by its inputs and settings; user code named by a dotted path is neither.

    Args:
        user_tower: `model.user_tower`: of its module, the file itself counts, not what that imports.
        root: The folder of the import packages.

    Returns:
        64 hexadecimal digits.

    Raises:
        ConfigError: The user tower's module cannot be found.
    """
    digest = hashlib.sha256()
    for library in _LIBRARIES:
        digest.update(f"{library}=={importlib.metadata.version(library)}\n".encode())
    for package in _PACKAGES:
        for file in sorted((root / package).rglob("*.py")):
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            digest.update(f"{file.relative_to(root).as_posix()} {content}\n".encode())
    if user_tower is not None:
        digest.update(_find_source(user_tower).read_bytes())
    return digest.hexdigest()


def _find_source(dotted_path: str) -> Path:
    module = dotted_path.rpartition(".")[0]
    try:
        spec = importlib.util.find_spec(module) if module else None
    except ImportError:
        spec = None
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise ConfigError(
            f"model.user_tower: expected the dotted path of a function, such as my_package.towers.build. "
            f"Received: {dotted_path!r}, and Python finds no module {module!r}. Install it into this "
            "environment, or set PYTHONPATH."
        )
    return Path(spec.origin)
