"""YAML files and JSON texts into frozen dataclasses, refusing what they do not know."""

import dataclasses
import difflib
import functools
import json
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from schemas.errors import ConfigError

T = TypeVar("T")

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
"""The pydantic settings that every configuration dataclass is declared with."""

_PACKAGES_ROOT = Path(__file__).resolve().parent.parent


def locate(path: str | Path) -> Path:
    """Find a file in the working directory or, under the same name, in the installed packages.

    Args:
        path: Absolute, relative to the working directory, or the name of a file that is shipped
            with this package, such as `schemas/movielens_100k.yaml`.

    Returns:
        The path of an existing file.

    Raises:
        ConfigError: There is no such file in either place.
    """
    for candidate in (Path(path), _PACKAGES_ROOT / path):
        if candidate.is_file():
            return candidate
    raise ConfigError(f"No file {str(path)!r}, neither from {Path.cwd()} nor among the files shipped with dssm.")


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
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Cannot read {path}: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected a mapping of sections. Received: {type(data).__name__}.")
    return data


def parse(cls: type[T], data: dict[str, Any], source: str) -> T:
    """Build a configuration dataclass from plain data.

    Args:
        cls: A pydantic dataclass declared with `STRICT`.
        data: What YAML or JSON gave.
        source: The file's name, for messages.

    Returns:
        The instance.

    Raises:
        ConfigError: A key is unknown, missing, or has a value of the wrong type or range; every
            such key is listed, an unknown one with the nearest known key.
    """
    try:
        return _adapter(cls).validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as error:
        problems = [_explain(cls, problem) for problem in error.errors()]
        raise ConfigError(f"{source}: " + "; ".join(problems)) from None


def to_json(config: Any) -> str:
    """Serialise a configuration dataclass, the same text for equal values.

    Args:
        config: An instance of a pydantic dataclass.

    Returns:
        JSON with sorted keys.
    """
    return json.dumps(_adapter(type(config)).dump_python(config, mode="json"), sort_keys=True, ensure_ascii=True)


def from_json(cls: type[T], text: str) -> T:
    """Read what `to_json` wrote.

    Args:
        cls: The dataclass.
        text: The JSON text.

    Returns:
        The instance.

    Raises:
        ConfigError: The text does not describe a `cls`.
    """
    return parse(cls, json.loads(text), source=f"serialised {cls.__name__}")


def known_keys(cls: type) -> list[str]:
    """List every key that a configuration dataclass accepts, dotted, in declaration order.

    Args:
        cls: The dataclass.

    Returns:
        Keys such as `training.epochs`.
    """
    return list(_walk_keys(cls, ""))


@functools.cache
def _adapter(cls: type[T]) -> TypeAdapter[T]:
    return TypeAdapter(cls)


def _walk_keys(cls: type, prefix: str) -> Iterator[str]:
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        yield prefix + field.name
        for nested in _dataclasses_in(hints[field.name]):
            yield from _walk_keys(nested, f"{prefix}{field.name}.")


def _dataclasses_in(hint: Any) -> Iterator[type]:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        yield hint
    elif typing.get_origin(hint) in (typing.Union, types.UnionType, typing.Annotated, tuple):
        for argument in typing.get_args(hint):
            yield from _dataclasses_in(argument)


def _explain(cls: type, problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "unexpected_keyword_argument":
        # Positions in lists and union tags are no part of a known key.
        plain = ".".join(str(part) for part in problem["loc"] if isinstance(part, str))
        nearest = difflib.get_close_matches(plain, known_keys(cls), n=1, cutoff=0.0)
        return f"unknown key {key!r}" + (f"; did you mean {nearest[0]!r}?" if nearest else "")
    if problem["type"] == "missing":
        return f"missing key {key!r}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{key}: {message}. Received: {problem['input']!r}" if key else message
