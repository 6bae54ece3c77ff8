"""Messages about a configuration: which key is wrong, what was expected, and the nearest right one."""

import dataclasses
import difflib
import functools
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from schemas.yaml_files import show_value


def known_keys(cls: type) -> list[str]:
    """List every key that a configuration dataclass accepts, dotted, in declaration order.

    Args:
        cls: The dataclass.

    Returns:
        Keys such as `training.epochs`.
    """
    # The members of a union share some of their keys.
    return list(dict.fromkeys(_walk_keys(cls, "")))


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


def explain_problems(cls: type, data: Any, error: ValidationError) -> list[str]:
    """Turn what pydantic found into messages for the author of a configuration file.

    Args:
        cls: The dataclass that was to be built.
        data: The plain data that it was to be built from.
        error: What pydantic raised.

    Returns:
        One message per problem: the dotted key, what was expected, what came, the nearest known key.
    """
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
        return f"{inner}{place.label}: expected {_choose(tags, tag)}. Received: {show_value(tag)}"
    expected = _expected(place.hint, problem)
    return f"{where}expected {expected}. Received: {show_value(received)}{_hint(kind, received)}"


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
