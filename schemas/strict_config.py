"""Plain data and JSON texts into frozen dataclasses, refusing what they do not know."""

import json
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from schemas.config_messages import explain_problems
from schemas.errors import ConfigError
from schemas.yaml_files import show_value

T = TypeVar("T")

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
"""The pydantic settings that every configuration dataclass is declared with."""


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
        # As JSON, since only there does pydantic's strict mode take a list for a tuple.
        return TypeAdapter(cls).validate_json(json.dumps(data), strict=True)
    except TypeError as error:
        raise ConfigError(
            f"{source}: expected plain values, lists and mappings. Received: {error}."
        ) from error
    except ValidationError as error:
        problems = explain_problems(cls, data, error)
        listed = (
            f" {problems[0]}" if len(problems) == 1 else "".join(f"\n  - {problem}" for problem in problems)
        )
        raise ConfigError(f"{source}:{listed}") from None


def to_json(config: Any) -> str:
    """Serialise a configuration dataclass, the same text for equal values.

    Args:
        config: An instance of a pydantic dataclass.

    Returns:
        JSON as `dump_json` writes it.
    """
    return dump_json(TypeAdapter(type(config)).dump_python(config, mode="json"))


def to_short_json(config: Any) -> str:
    """Serialise a configuration dataclass for a reader of the same version, without what is at its default.

    Kubeflow Pipelines hands all components' parameters over in one argument of a command line, which
    Linux limits to 128 KiB.

    Args:
        config: An instance of a pydantic dataclass.

    Returns:
        JSON as `dump_json` writes it.
    """
    return dump_json(TypeAdapter(type(config)).dump_python(config, mode="json", exclude_defaults=True))


def dump_json(content: Any) -> str:
    """Write plain data as JSON in which no template language finds anything.

    A component's parameter is on its way to a container an argument in two pods: Argo, and the driver and
    the launcher of Kubeflow Pipelines, replace `{{...}}`, and Kubernetes `$(NAME)` and, with `$`, `$$`. None
    of these can stand outside of JSON's strings, and inside they are written as escapes.

    Args:
        content: What `json.dumps` takes.

    Returns:
        ASCII with sorted keys, the same text for equal content.
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return text.replace("$", r"\u0024").replace("{{", r"{\u007b")


def from_json(cls: type[T], text: str) -> T:
    """Read what `to_json` or `to_short_json` wrote.

    Args:
        cls: The dataclass.
        text: The JSON text.

    Returns:
        The instance.

    Raises:
        ConfigError: The text does not describe a `cls`.
    """
    source = f"serialised {cls.__name__}"
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{source}: expected JSON, {error}. Received: {show_value(text)}.") from error
    return parse(cls, data, source=source)
