"""A fingerprint of the code that the steps run, so that TFX's cache sees a changed version."""

import hashlib
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Final

from schemas.errors import ConfigError

_PACKAGES: Final = ("schemas", "trainer", "components", "pipeline")
# Every library that touches the data or the model.
_LIBRARIES: Final = (
    "apache-beam", "fastavro", "numpy", "pandas", "pyarrow", "tensorflow", "tensorflow-data-validation",
    "tensorflow-metadata", "tensorflow-transform", "tf-keras", "tfx", "tfx-bsl",
)  # fmt: skip


def fingerprint_code(user_tower: str | None = None, root: Path = Path(__file__).parent.parent) -> str:
    """Hash the project's Python files, a user's own tower, and the versions of the libraries that count.

    TFX decides on a step by its inputs and settings; user code named by a dotted path is neither.

    Args:
        user_tower: `model.user_tower`: every Python file of its package counts, since a package may only hand
            on what another of its modules defines; of a module that is in no package, the file itself.
        root: The folder of the import packages.

    Returns:
        64 hexadecimal digits.

    Raises:
        ConfigError: The user tower's module cannot be found.
    """
    digest = hashlib.sha256()
    for library in _LIBRARIES:
        digest.update(f"{library}=={_find_version(library)}\n".encode())
    for package in _PACKAGES:
        _add_package(digest, root / package)
    if user_tower is not None:
        source = _find_source(user_tower)
        if source.is_dir():
            _add_package(digest, source)
        else:
            digest.update(source.read_bytes())
    return digest.hexdigest()


def _find_version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _add_package(digest: "hashlib._Hash", folder: Path) -> None:
    for file in sorted(folder.rglob("*.py")):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{file.relative_to(folder.parent).as_posix()} {content}\n".encode())


def _find_source(dotted_path: str) -> Path:
    """Find the folder of the package that a function is in, or the file of a module that is in none."""
    module = dotted_path.rpartition(".")[0]
    try:
        spec = importlib.util.find_spec(module) if module else None
        outermost = importlib.util.find_spec(module.partition(".")[0]) if spec else None
    except ImportError:
        spec = outermost = None
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise ConfigError(
            f"model.user_tower: expected the dotted path of a function, such as my_package.towers.build. "
            f"Received: {dotted_path!r}, and Python finds no module {module!r}. Install it into this "
            "environment, or set PYTHONPATH."
        )
    if outermost is not None and outermost.origin is not None and outermost.submodule_search_locations:
        return Path(outermost.origin).parent
    # Of a namespace package, which is no folder of one owner, the innermost package counts.
    return Path(spec.origin).parent if spec.submodule_search_locations or "." in module else Path(spec.origin)
