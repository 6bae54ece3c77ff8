"""A user's own code, named in a configuration by a dotted path: what it is, as a hash."""

import hashlib
import importlib.util
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES
from pathlib import Path
from typing import Final

from schemas.errors import ConfigError

_SUFFIXES: Final = (*SOURCE_SUFFIXES, *EXTENSION_SUFFIXES)


def hash_user_code(key: str, dotted_path: str) -> str:
    """Hash the package that holds a function, so that a change anywhere in it is seen.

    A function may be imported from another module of its package than the one that is named, and calls
    more of them, so the package counts as a whole.

    Args:
        key: The configuration's key, for the message.
        dotted_path: The function, such as my_package.towers.build.

    Returns:
        64 hexadecimal digits of every Python file and every compiled module of the top-level package with
        its place in it, or of the module where it is in no package.

    Raises:
        ConfigError: Python finds no such module.
    """
    module = dotted_path.rpartition(".")[0]
    files = _list_files(module)
    if not files:
        raise ConfigError(
            f"{key}: expected the dotted path of a function, such as my_package.towers.build. "
            f"Received: {dotted_path!r}, and Python finds no module {module!r}. Install it into this "
            "environment, or set PYTHONPATH."
        )
    digest = hashlib.sha256()
    for name, file in sorted(files.items()):
        digest.update(f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _list_files(module: str) -> dict[str, Path]:
    """List the Python files of the package that holds a module by their place in it; none without the module.

    Nothing of it is imported: that could take long, and change what is found the next time.
    """
    package, *inner = module.split(".")
    # What runs as __main__ is another module in each process.
    found = None if package in ("", "__main__") else importlib.util.find_spec(package)
    if found is None:
        return {}
    if found.submodule_search_locations is None:
        file = Path(found.origin or "")
        return {file.name: file} if file.is_file() and not inner else {}
    files: dict[str, Path] = {}
    for folder in map(Path, found.submodule_search_locations):
        files |= {
            file.relative_to(folder).as_posix(): file
            for suffix in _SUFFIXES
            for file in folder.rglob(f"*{suffix}")
        }
    place = "/".join(inner)
    is_there = (
        not inner
        or any(f"{place}{suffix}" in files for suffix in _SUFFIXES)
        or any(name.startswith(f"{place}/") for name in files)
    )
    return files if is_there else {}
