"""YAML files and JSON texts into frozen dataclasses, refusing what they do not know."""

import dataclasses
import difflib
import functools
import json
import re
import types
import typing
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from schemas.errors import ConfigError

T = TypeVar("T")

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
"""The pydantic settings that every configuration dataclass is declared with."""

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
        raise ConfigError(f"{path}: expected a mapping of sections. Received: {_show(data)}.")
    return data


def parse_yaml(text: str) -> Any:
    """Read YAML, refusing what would be lost or changed without a word.

    A key that stands twice in one mapping is an error. `1e-3` is a number and a date stays text, as in
    YAML 1.2 and unlike in PyYAML's default.

    Args:
        text: A YAML document.

    Returns:
        Plain data.

    Raises:
        ConfigError: The text is not YAML, or repeats a key.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"not valid YAML: {error}") from error


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
    except ValidationError as error:
        problems = _explain_all(cls, data, error)
        listed = (
            f" {problems[0]}" if len(problems) == 1 else "".join(f"\n  - {problem}" for problem in problems)
        )
        raise ConfigError(f"{source}:{listed}") from None


def to_json(config: Any) -> str:
    """Serialise a configuration dataclass, the same text for equal values.

    Args:
        config: An instance of a pydantic dataclass.

    Returns:
        JSON with sorted keys.
    """
    return json.dumps(
        TypeAdapter(type(config)).dump_python(config, mode="json"), sort_keys=True, ensure_ascii=True
    )


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
    source = f"serialised {cls.__name__}"
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{source}: expected JSON, {error}. Received: {_show(text)}.") from error
    return parse(cls, data, source=source)


def known_keys(cls: type) -> list[str]:
    """List every key that a configuration dataclass accepts, dotted, in declaration order.

    Args:
        cls: The dataclass.

    Returns:
        Keys such as `training.epochs`.
    """
    # The members of a union share some of their keys.
    return list(dict.fromkeys(_walk_keys(cls, "")))


class _Loader(yaml.SafeLoader):
    """YAML without repeated keys; the resolvers below replace PyYAML's for numbers and dates."""

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


_FLOAT_TAG: Final = "tag:yaml.org,2002:float"
_TIMESTAMP_TAG: Final = "tag:yaml.org,2002:timestamp"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_FLOAT_TAG, _TIMESTAMP_TAG)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    _FLOAT_TAG,
    re.compile(
        r"^[-+]?(\d[\d_]*\.[\d_]*([eE][-+]?\d+)?|\d[\d_]*[eE][-+]?\d+|\.\d+([eE][-+]?\d+)?"
        r"|\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


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


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where in a configuration pydantic found a problem."""

    key: str
    """The dotted key as a user writes it: without the names of union members."""
    owner: Any
    """The type that holds the last part of the key: a dataclass, or None."""
    hint: Any
    """The declared type of the key itself, or None where it is unknown."""
    label: str
    """The name of the innermost list element on the way, such as a feature's, in brackets."""


def _explain_all(cls: type, data: Any, error: ValidationError) -> list[str]:
    unknown: list[str] = []
    other: dict[str, str] = {}
    missing: dict[str, str] = {}
    suggested = set()
    for problem in error.errors():
        place = _locate_problem(cls, data, problem["loc"])
        if problem["type"] == "unexpected_keyword_argument":
            text, nearest = _explain_unknown(cls, place)
            unknown.append(text)
            suggested.add(nearest)
        elif problem["type"] == "missing":
            missing[place.key] = f"missing key {place.key!r}{place.label}"
        else:
            # A union of plain types gives one problem per type: the first names them all.
            other.setdefault(place.key, _explain_value(place, problem))
    # A mistyped key is also a missing one; the first message about it says enough.
    return [*unknown, *other.values(), *(text for key, text in missing.items() if key not in suggested)]


def _locate_problem(cls: type, data: Any, location: Sequence[int | str]) -> _Place:
    hint: Any = cls
    owner: Any = None
    parts: list[str] = []
    label = ""
    for part in location:
        hint = _strip(hint)
        members = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else ()
        if members:
            # pydantic says which member of the union it tried, which is no part of the key.
            hint = next((member for member in map(_strip, members) if part in _tags(member)), hint)
            continue
        owner = hint
        parts.append(str(part))
        data = data[part] if _has(data, part) else None
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            hint = typing.get_type_hints(hint, include_extras=True).get(str(part))
        elif isinstance(part, int):
            hint = next(iter(typing.get_args(hint)), None)
            name = data.get("name") if isinstance(data, dict) else None
            label = f" ({name})" if isinstance(name, str) else ""
        elif typing.get_origin(hint) is dict:
            hint = typing.get_args(hint)[1]
    return _Place(".".join(parts), owner, _strip(hint), label)


def _strip(hint: Any) -> Any:
    """Take Annotated and None off a type."""
    while True:
        arguments = typing.get_args(hint)
        if typing.get_origin(hint) is typing.Annotated:
            hint = arguments[0]
        elif typing.get_origin(hint) in (typing.Union, types.UnionType) and type(None) in arguments:
            rest = tuple(argument for argument in arguments if argument is not type(None))
            hint = functools.reduce(lambda left, right: left | right, rest)
        else:
            return hint


def _tags(member: Any) -> tuple[Any, ...]:
    """The values of `kind` that choose a member of a union."""
    if not dataclasses.is_dataclass(member):
        return ()
    return typing.get_args(typing.get_type_hints(member)["kind"])


def _has(data: Any, part: int | str) -> bool:
    return part in data if isinstance(data, dict) else isinstance(data, list) and part in range(len(data))


def _explain_unknown(cls: type, place: _Place) -> tuple[str, str]:
    section, _, name = place.key.rpartition(".")
    siblings = [field.name for field in dataclasses.fields(place.owner)]
    text = f"unknown key {place.key!r}{place.label}"
    nearest = difflib.get_close_matches(name, siblings, n=1, cutoff=0.6)
    if nearest:
        key = f"{section}.{nearest[0]}" if section else nearest[0]
        return f"{text}; did you mean {key!r}?", key
    known = f"known here: {', '.join(siblings)}"
    elsewhere = {key: key.rpartition(".")[2] for key in known_keys(cls)}
    if ".".join(part for part in place.key.split(".") if not part.isdigit()) in elsewhere:
        return f"{text} with kind {_tags(place.owner)[0]!r}; {known}", ""
    # Not a slip of the finger: perhaps the right key in the wrong section.
    exact = [key for key, last in elsewhere.items() if last == name]
    close = difflib.get_close_matches(name, list(elsewhere.values()), n=1, cutoff=0.75)
    keys = exact or [key for key, last in elsewhere.items() if last in close]
    return f"{text}; did you mean {keys[0]!r}? ({known})" if keys else f"{text}; {known}", ""


def _explain_value(place: _Place, problem: Any) -> str:
    kind, received, context = problem["type"], problem["input"], problem.get("ctx", {})
    where = f"{place.key}{place.label}: " if place.key else ""
    if kind == "value_error":
        # Raised by a check of ours, whose message says what was received.
        return where + problem["msg"].removeprefix("Value error, ")
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        tags = [str(tag) for member in typing.get_args(place.hint) for tag in _tags(_strip(member))]
        inner = f"{place.key}.kind"
        if kind == "union_tag_not_found":
            return f"missing key {inner!r}{place.label}: expected {_choose(tags, '')}"
        tag = context["tag"]
        return f"{inner}{place.label}: expected {_choose(tags, tag)}. Received: {_show(tag)}"
    expected = _expected(place.hint, problem)
    return f"{where}expected {expected}. Received: {_show(received)}{_hint(kind, received)}"


def _expected(hint: Any, problem: Any) -> str:
    kind, context = problem["type"], problem.get("ctx", {})
    limits = {
        "greater_than_equal": ("at least", "ge"),
        "greater_than": ("more than", "gt"),
        "less_than_equal": ("at most", "le"),
        "less_than": ("less than", "lt"),
    }
    if kind in limits:
        words, limit = limits[kind]
        return f"{words} {context[limit]:g}"
    if kind == "literal_error":
        return _choose([str(value) for value in typing.get_args(hint)], problem["input"])
    if kind == "finite_number":
        return "a finite number"
    return _describe_type(hint) or problem["msg"]


def _describe_type(hint: Any) -> str:
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    if hint in names:
        return names[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return "a list, such as [a, b]"
    if origin in (typing.Union, types.UnionType):
        tags = [str(tag) for member in arguments for tag in _tags(_strip(member))]
        if tags:
            return f"a mapping with a kind, such as {{kind: {tags[0]}}}"
        return " or ".join(filter(None, map(_describe_type, arguments)))
    if dataclasses.is_dataclass(hint):
        return (
            f"a mapping with some of the keys {', '.join(field.name for field in dataclasses.fields(hint))}"
        )
    if getattr(hint, "__name__", "") == "datetime":
        return "a moment, such as 2026-11-01T00:00:00Z"
    return ""


def _hint(kind: str, received: Any) -> str:
    if received is None:
        return "; leave the key out for its default, or write what belongs below it"
    if kind == "string_type" and isinstance(received, bool | int | float):
        return "; put it in quotes to make it text"
    return ""


def _choose(names: list[str], received: Any) -> str:
    near = difflib.get_close_matches(str(received), names, n=1, cutoff=0.6)
    text = " or ".join(map(repr, names))
    return f"{text} (did you mean {near[0]!r}?)" if near else text


def _show(value: Any) -> str:
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


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
