"""Reads YAML as the server of Kubeflow Pipelines does, and finds what it refuses or reads differently.

The server reads YAML 1.2 with Go's yaml.v3 and goes on with JSON. Python's YAML is 1.1, and its errors are
of many types, so nothing but its parser's events is used: they hold no values yet.
"""

import datetime
import math
import re
from typing import Any, Final

import yaml

from pipeline.kubeflow.lint.finding import Finding, join, show

# More levels than any pipeline has, and few enough for every walk through a document.
DEEPEST_LEVEL: Final = 64
# Mappings that are written once and stand in many places would take minutes to walk through.
MOST_ALIASED_TEXT: Final = 4_000_000
MOST_ALIASED_VALUES: Final = 100_000

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG: Final = "tag:yaml.org,2002:"
_GO_CONSTANTS: Final[dict[str, tuple[str, Any]]] = (
    dict.fromkeys(("", "~", "null", "Null", "NULL"), ("null", None))
    | dict.fromkeys(("true", "True", "TRUE"), ("bool", True))
    | dict.fromkeys(("false", "False", "FALSE"), ("bool", False))
    | {"<<": ("merge", "<<")}
)
_NOT_FINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INTEGER: Final = re.compile(
    r"(?P<sign>[-+]?)(?:0[xX](?P<hex>[0-9a-fA-F]+)|0[oO]?(?P<octal>[0-7]+)"
    r"|0[bB](?P<binary>[01]+)|(?P<decimal>0|[1-9][0-9]*))"
)
_BASES: Final = {"hex": 16, "octal": 8, "binary": 2, "decimal": 10}
_DATE: Final = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})"
    r"(?:([Tt ])(\d{1,2}):(\d{1,2}):(\d{1,2})(?:\.\d+)?(Z|[-+]\d\d:\d\d)?)?",
    re.ASCII,
)
# What Python's YAML makes of a plain text, by the tag that it gives it.
_PYTHON_KINDS: Final = {"int": "number", "float": "number", "value": "str"}


class _RefusedError(Exception):
    """The text cannot be read any further."""

    def __init__(self, path: str, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.finding = Finding(path or "(file)", problem, remedy)


class _Size:
    """How much a value holds, with everything that its aliases stand for."""

    def __init__(self) -> None:
        self.values = 0
        self.characters = 0

    def add(self, other: "_Size") -> None:
        self.values += other.values
        self.characters += other.characters


def read_documents(text: str, findings: list[Finding]) -> list[Any]:
    """Read every YAML document of a file, and find what the server's parser would read differently.

    Args:
        text: The file.
        findings: Where to add what is found.

    Returns:
        Plain data, as the server reads it, one value per document that is not empty; none of it if the
        text cannot be read.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        findings.append(Finding("(file)", f"not valid UTF-8: {error}", "Compile the pipeline again"))
        return []
    try:
        documents = _Reader(text, findings).read()
    except _RefusedError as error:
        findings.append(error.finding)
        return []
    except yaml.YAMLError as error:
        findings.append(Finding("(file)", f"not valid YAML: {error}", "Compile the pipeline again"))
        return []
    return [document for document in documents if document is not None]


class _Reader:
    """One walk through the events of a file."""

    def __init__(self, text: str, findings: list[Finding]) -> None:
        self._loader = _LOADER(text)
        self._findings = findings
        self._anchors: dict[str, tuple[Any, _Size]] = {}
        self._open_anchors: set[str] = set()
        self._aliased = _Size()

    def read(self) -> list[Any]:
        """Read all documents."""
        documents = []
        while not self._loader.check_event(yaml.StreamEndEvent):
            event = self._loader.get_event()
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors.clear()
                documents.append(self._read_value("", 0)[0])
        return documents

    def _read_value(self, path: str, level: int) -> tuple[Any, _Size]:
        event = self._loader.get_event()
        if isinstance(event, yaml.AliasEvent):
            return self._read_alias(str(event.anchor), path)
        if level > DEEPEST_LEVEL:
            raise _RefusedError(
                path[:200], f"nested more than {DEEPEST_LEVEL} levels deep", "Make the value flat, or a text"
            )
        if event.anchor is not None:
            self._open_anchors.add(event.anchor)
        size = _Size()
        size.values = 1
        value: Any
        if isinstance(event, yaml.ScalarEvent):
            value = self._read_scalar(event, path)
            size.characters = len(event.value)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._read_list(path, level, size)
        else:
            value = self._read_mapping(path, level, size)
        if event.anchor is not None:
            self._open_anchors.discard(event.anchor)
            self._anchors[event.anchor] = (value, size)
        return value, size

    def _read_alias(self, anchor: str, path: str) -> tuple[Any, _Size]:
        if anchor in self._open_anchors:
            raise _RefusedError(
                path, f"the anchor {anchor!r} contains itself; KFP refuses the upload", "Write the value out"
            )
        if anchor not in self._anchors:
            raise _RefusedError(
                path, f"there is no anchor {anchor!r}; KFP refuses the upload", "Write the value out"
            )
        value, size = self._anchors[anchor]
        self._aliased.add(size)
        if self._aliased.values > MOST_ALIASED_VALUES or self._aliased.characters > MOST_ALIASED_TEXT:
            raise _RefusedError(
                path,
                f"the aliases of the file stand for more than {MOST_ALIASED_VALUES} values or"
                f" {MOST_ALIASED_TEXT} characters",
                "Write a smaller pipeline, without aliases",
            )
        return value, size

    def _read_list(self, path: str, level: int, size: _Size) -> list[Any]:
        values: list[Any] = []
        while not self._loader.check_event(yaml.SequenceEndEvent):
            value, inner = self._read_value(f"{path}[{len(values)}]", level + 1)
            values.append(value)
            size.add(inner)
        self._loader.get_event()
        return values

    def _read_mapping(self, path: str, level: int, size: _Size) -> dict[str, Any]:
        values: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        seen: set[str] = set()
        while not self._loader.check_event(yaml.MappingEndEvent):
            key, is_merge = self._read_key(path, level, seen)
            value, inner = self._read_value(join(path, key), level + 1)
            size.add(inner)
            if is_merge:
                merged = self._merge(value, join(path, key))
            else:
                values[key] = value
        self._loader.get_event()
        return merged | values

    def _read_key(self, path: str, level: int, seen: set[str]) -> tuple[str, bool]:
        event = self._loader.peek_event()
        is_scalar = isinstance(event, yaml.ScalarEvent)
        value, _ = self._read_value(join(path, event.value) if is_scalar else path, level + 1)
        if is_scalar:
            key = event.value
        elif isinstance(value, str):
            key = value
        else:
            raise _RefusedError(
                path,
                f"a key that is not text: {show(value)}; KFP refuses the upload",
                "Write a text for the key",
            )
        inner = join(path, key)
        if key in seen:
            self._add(inner, "the key stands here twice; KFP refuses the upload", "Remove one of them")
        seen.add(key)
        is_merge = is_scalar and _is_plain(event) and key == "<<"
        if not isinstance(value, str) and not is_merge:
            self._add(inner, f"the key {key} is not text; KFP refuses the upload", "Put the key in quotes")
        return key, is_merge

    def _merge(self, value: Any, path: str) -> dict[str, Any]:
        sources = value if isinstance(value, list) else [value]
        merged: dict[str, Any] = {}
        for source in reversed(sources):
            if not isinstance(source, dict):
                raise _RefusedError(
                    path, f"merges {show(source)}, which is no mapping; KFP refuses the upload", "Remove it"
                )
            merged |= source
        return merged

    def _read_scalar(self, event: yaml.ScalarEvent, path: str) -> Any:
        text = event.value
        if _is_plain(event):
            return self._read_plain(text, path)
        if event.tag in (None, "!", f"{_TAG}str"):
            return text
        return self._read_tagged(event.tag, text, path)

    def _read_plain(self, text: str, path: str) -> Any:
        if _NOT_FINITE.fullmatch(text):
            self._add(
                path, f"{text} is no number that JSON has; KFP refuses the upload", "Write another number"
            )
            return text
        kind, value = resolve(text)
        tag = self._loader.resolve(yaml.ScalarNode, text, (True, False)).removeprefix(_TAG)
        # A date is text to none of the two, and the server writes it in another way.
        if kind == "timestamp" or (kind != _PYTHON_KINDS.get(tag, tag) and tag != "timestamp"):
            self._add(
                path,
                f"{show(text)} is one thing to Python's YAML and another to KFP's: text, number, truth value"
                " or date",
                "Put it in quotes if it is text",
            )
        return value

    def _read_tagged(self, tag: str, text: str, path: str) -> Any:
        kind, value = resolve(text)
        wanted = {"int": int, "float": (int, float), "bool": bool, "null": type(None)}.get(
            tag.removeprefix(_TAG)
        )
        fits = wanted is not None and isinstance(value, wanted)  # type: ignore[arg-type]
        if not fits or (kind == "bool") != (wanted is bool):
            self._add(
                path,
                f"the tag {tag} does not go with {show(text)}; KFP refuses the upload, or reads it otherwise",
                "Remove the tag",
            )
            return text
        return value

    def _add(self, path: str, problem: str, remedy: str) -> None:
        self._findings.append(Finding(path or "(file)", problem, remedy))


def resolve(text: str) -> tuple[str, Any]:
    """Read a text without quotes as the server's parser does.

    Args:
        text: The text.

    Returns:
        Its kind, and the value; what it takes for a date is left as text.
    """
    if text in _GO_CONSTANTS:
        return _GO_CONSTANTS[text]
    if _is_date(text):
        return "timestamp", text
    number = _read_number(text)
    return ("str", text) if number is None else ("number", number)


def _is_plain(event: yaml.ScalarEvent) -> bool:
    return event.tag in (None, "!") and not event.style


def _read_number(text: str) -> int | float | None:
    plain = text if text.startswith(".") else text.replace("_", "")
    if text[0] not in "+-.0123456789":
        return None
    integer = _INTEGER.fullmatch(plain)
    # 64 binary digits and a sign; a longer decimal number becomes a float.
    if integer is not None and len(plain) <= 67:
        value = _read_integer(integer)
        if -(2**63) <= value < 2**63 or (value < 2**64 and not integer["sign"]):
            return value
    number = float(plain) if _FLOAT.fullmatch(plain) else math.inf
    return number if math.isfinite(number) else None


def _read_integer(found: re.Match[str]) -> int:
    base = _BASES[str(found.lastgroup)]
    return int(found["sign"] + found[str(found.lastgroup)], base)


def _is_date(text: str) -> bool:
    found = _DATE.fullmatch(text)
    if found is None:
        return False
    year, month, day, separator, hour, minute, second, zone = found.groups()
    # Go reads a time zone behind a T only, and requires it there.
    if separator is not None and (separator == " ") != (zone is None):
        return False
    try:
        datetime.datetime(
            max(int(year), 1), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0)
        )
    except ValueError:
        return False
    return zone in (None, "Z") or (int(zone[1:3]) <= 24 and int(zone[4:6]) < 60)


def read_first_document(text: str) -> Any:
    """Read the first document of a text inside the pipeline.

    Args:
        text: YAML, such as the schema of an artifact.

    Returns:
        Plain data; None if it cannot be read, or is empty.
    """
    findings: list[Finding] = []
    documents = read_documents(text, findings)
    return documents[0] if documents and not findings else None
