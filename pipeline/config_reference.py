"""The reference of every configuration key, made from the dataclasses' own docstrings."""

import ast
import dataclasses
import inspect
import itertools
import json
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from pipeline.config import PipelineConfig
from schemas.features import FeatureSpec

_REQUIRED: Final = "required"
_MANY: Final = {tuple: "[]", dict: ".*"}


@dataclass(frozen=True)
class KeyReference:
    """One configuration key as a user reads about it."""

    key: str
    """Dotted, `[]` for the elements of a list and `*` for a name."""
    default: str
    """In YAML, or `required`."""
    description: str
    """The key's docstring on one line."""


def list_keys(cls: type) -> list[KeyReference]:
    """Describe every key of a configuration dataclass, nested ones included.

    Args:
        cls: A pydantic dataclass.

    Returns:
        The keys in declaration order.
    """
    return list(_walk(cls, ""))


def render_reference() -> str:
    """Render the keys of the configuration file and of a schema file as Markdown.

    Returns:
        The text of docs/configuration.md.
    """
    parts = [
        "# Configuration",
        "",
        "Made by `dssm config`; do not edit.",
        "",
        "A run has one configuration file (`dssm run --config`), and the data set that it names has one",
        "schema file. `--set section.key=value` overrides a key of the configuration, the value in YAML.",
        "Unknown keys are refused. Both files are YAML 1.2: `true` and `false` alone are truth",
        "values, and 010 is 10.",
        "",
        "Without `--config`, the commands that look at what a run made (`recommend`, `report`, `runs`,",
        "`status`, `releases`, `export`, `embed`, `serve`, `compare`, `prune`, `refresh-index`) take the",
        "configuration, with its `--set`, of the last `dssm run` or `dssm retrain` in the same folder, and",
        "say so on the error stream. `.dssm/last_run.json` there remembers it; `DSSM_LAST_RUN` names another",
        "file, or none where it is empty. What makes something of a configuration (`run`, `retrain`,",
        "`train`, `compile`, `submit`, `schedule`) does not follow it.",
        "",
        "## The configuration file",
        "",
        *_table(list_keys(PipelineConfig)),
        "",
        "## The schema file",
        "",
        *_table(list_keys(FeatureSpec)),
        "",
    ]
    return "\n".join(parts)


def _walk(cls: Any, prefix: str) -> Iterator[KeyReference]:
    hints = typing.get_type_hints(cls)
    fields, docstrings = cls.__pydantic_fields__, _read_docstrings(cls)
    for field in dataclasses.fields(cls):
        nested = list(_nested(hints[field.name]))
        description = docstrings.get(field.name, "").replace("\n", " ")
        many = _MANY.get(typing.get_origin(hints[field.name]), "") if nested else ""
        key = f"{prefix}{field.name}{many}"
        yield KeyReference(key, _default(fields[field.name], bool(nested)), description)
        for member in nested:
            for reference in _walk(member, f"{key}."):
                if len(nested) > 1 and reference.key == f"{key}.kind":
                    yield dataclasses.replace(reference, description=inspect.cleandoc(member.__doc__ or ""))
                else:
                    yield reference


def _read_docstrings(cls: type) -> dict[str, str]:
    """Read the fields' docstrings from the source of the class and its bases, by the fields' names.

    pydantic could keep them, but would read every source whenever a command imports the configuration.
    """
    docstrings = {}
    for base in reversed(cls.__mro__):
        if dataclasses.is_dataclass(base):
            [definition] = ast.parse(inspect.getsource(base)).body
            assert isinstance(definition, ast.ClassDef)
            for field, text in itertools.pairwise(definition.body):
                match field, text:
                    case (
                        ast.AnnAssign(target=ast.Name(id=name)),
                        ast.Expr(value=ast.Constant(value=str(docstring))),
                    ):
                        docstrings[name] = inspect.cleandoc(docstring)
    return docstrings


def _nested(hint: Any) -> Iterator[Any]:
    if dataclasses.is_dataclass(hint):
        yield hint
    elif typing.get_origin(hint) in (typing.Union, types.UnionType, typing.Annotated, tuple, dict):
        for argument in typing.get_args(hint):
            yield from _nested(argument)


def _default(field: Any, is_section: bool) -> str:
    if field.is_required():
        is_literal = typing.get_origin(field.annotation) is typing.Literal
        kinds = typing.get_args(field.annotation) if is_literal else ()
        return f"`{kinds[0]}`" if len(kinds) == 1 else _REQUIRED
    value = field.get_default(call_default_factory=True)
    if dataclasses.is_dataclass(value):
        kind = getattr(value, "kind", None)
        return f"`{{kind: {kind}}}`" if kind else ""
    if value is None and is_section:
        return "none"
    return f"`{json.dumps(value)}`"


def _table(keys: list[KeyReference]) -> list[str]:
    rows = [f"| `{key.key}` | {key.default} | {key.description} |" for key in keys]
    return ["| key | default | |", "| --- | --- | --- |", *rows]
