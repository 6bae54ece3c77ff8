"""YAML files: found where a user names them, and read without losing anything unnoticed."""

import difflib
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Final

import yaml

from schemas.errors import ConfigError

_PACKAGES_ROOT = Path(__file__).resolve().parent.parent
_SHIPPED: Final = ("schemas/*.yaml", "pipeline/configs/*.yaml")


def locate(path: str | Path) -> Path:
    """Find a file in the working directory or, under the same name, in the installed packages.

    Args:
        path: Absolute, relative to the working directory, or the name of a file that is shipped
            with this package, such as `schemas/movielens_100k.yaml`.

    Returns:
        The path of an existing file.

    Raises:
        ConfigError: There is no such file in either place; the message names files that there are.
    """
    for candidate in (Path(path), _PACKAGES_ROOT / path):
        if candidate.is_file():
            return candidate
    what = "is a folder, not a file" if Path(path).is_dir() else "does not exist"
    raise ConfigError(
        f"{str(path)!r} {what}, looked for in {Path.cwd()} and among the files shipped with dssm"
        f"{_suggest_files(Path(path))}."
    )


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file whose top level is a mapping.

    Args:
        path: The file.

    Returns:
        The mapping.

    Raises:
        ConfigError: The file is unreadable, is not YAML, or is not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Cannot read {path}: {error}") from error
    try:
        data = parse_yaml(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error.__cause__
    if data is None:
        raise ConfigError(f"{path} is empty: expected a mapping of sections.")
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected a mapping of sections. Received: {show_value(data)}.")
    return data


def parse_yaml(text: str) -> Any:
    """Read YAML, refusing what would be lost or changed without a word.

    A key that stands twice in one mapping is an error. Values are those of YAML 1.2's core schema, unlike
    PyYAML's: `1e-3` is a number, 010 is 10, and dates, 1:30, 1_000, yes, no, on and off are text.

    Args:
        text: A YAML document.

    Returns:
        Plain data.

    Raises:
        ConfigError: The text is not YAML, or repeats a key.
    """
    documents = parse_yaml_documents(text)
    if len(documents) > 1:
        raise ConfigError(f"not valid YAML: expected a single document. Received: {len(documents)}")
    return documents[0] if documents else None


def parse_yaml_documents(text: str) -> list[Any]:
    """Read all documents of a YAML file, each as `parse_yaml` does.

    Args:
        text: YAML documents.

    Returns:
        Plain data, one value a document.

    Raises:
        ConfigError: The text is not YAML, or repeats a key.
    """
    try:
        return list(yaml.load_all(text, Loader=_Loader))
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"not valid YAML: {error}") from error


def show_value(value: Any) -> str:
    """Shorten a value for an error message.

    Args:
        value: Anything that YAML gave.

    Returns:
        Its text, cut to a line; `nothing` for None.
    """
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


class _Loader(yaml.SafeLoader):
    """YAML without repeated keys; the resolvers below replace PyYAML's."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be text", key_node.start_mark)
            # An alias may add keys by <<, which those of the mapping itself override.
            if key_node.value in seen and key_node.value != "<<":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key_node.value!r} stands here twice", key_node.start_mark
                )
            seen.add(key_node.value)
            if key_node.value != "<<":
                # A key is text as it stands: `no` and `1` too.
                key_node.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep=deep)


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    try:
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    except ValueError:
        raise yaml.constructor.ConstructorError(
            None, None, f"{text[:80]!r} is no whole number", node.start_mark
        ) from None


# https://yaml.org/spec/1.2.2/#103-core-schema, and << of YAML 1.1: tag, texts, first characters.
_CORE_SCHEMA: Final = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+0123456789."),
    ),
    ("merge", r"<<", ["<"]),
)
_Loader.yaml_implicit_resolvers = {}
for _tag, _texts, _first in _CORE_SCHEMA:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_texts})\Z"), _first)
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)


def _suggest_files(path: Path) -> str:
    shipped = [
        file.relative_to(_PACKAGES_ROOT) for pattern in _SHIPPED for file in _PACKAGES_ROOT.glob(pattern)
    ]
    beside = [
        path.parent / file.name
        for root in (Path(), _PACKAGES_ROOT)
        for file in (root / path.parent).glob("*.y*ml")
    ]
    inside = list(path.glob("*.y*ml")) if path.is_dir() else []
    files = list(dict.fromkeys(file.as_posix() for file in sorted(inside) + sorted(beside) + sorted(shipped)))
    near = difflib.get_close_matches(path.as_posix(), files, n=3, cutoff=0.5)
    same_name = [file for file in files if Path(file).stem == path.stem]
    found = list(dict.fromkeys(same_name + near)) or files[:5]
    return f"; there is {', '.join(map(repr, found))}" if found else ""
