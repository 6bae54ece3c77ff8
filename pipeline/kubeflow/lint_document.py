"""Reads a compiled pipeline and checks it against the messages that Kubeflow Pipelines parses it into."""

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml


@dataclass(frozen=True)
class Finding:
    """One thing in a compiled pipeline that will go wrong."""

    path: str
    """Where it stands, such as `root.dag.tasks.Trainer.retryPolicy`."""
    problem: str
    """What is wrong, and what KFP would do with it."""
    remedy: str
    """What to do."""

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}. {self.remedy}."


# Keys that the installed messages know and the older servers do not.
NEWER_THAN_2_14: Final = {
    "ml_pipelines.ComponentSpec.taskConfigPassthroughs": "2.15",
    "ml_pipelines.ComponentInputsSpec.ParameterSpec.literals": "2.16",
    "ml_pipelines.PipelineDeploymentConfig.ImporterSpec.downloadToWorkspace": "2.15",
    "ml_pipelines.PipelineConfig.resourceTtlOnCompletion": "2.17",
    "ml_pipelines.PipelineConfig.resourceTtlOnSuccess": "2.17",
    "ml_pipelines.PipelineConfig.resourceTtlOnFailure": "2.17",
    "ml_pipelines.PipelineConfig.activeDeadlineSeconds": "2.17",
    "kfp_kubernetes.SecretAsEnv.optional": "2.15",
    "kfp_kubernetes.ConfigMapAsEnv.optional": "2.15",
    "kfp_kubernetes.PvcMount.subPath": "2.16",
    "kfp_kubernetes.KubernetesExecutorConfig.securityContext": "2.16",
}

# What KFP does with a key that it does not know, by the message that the key stands in.
IN_PIPELINE: Final = "KFP refuses the upload"
IN_DEPLOYMENT: Final = "KFP discards it without a word"
IN_PLATFORM: Final = "KFP drops the whole platform document without a word"
IN_EXECUTOR: Final = "KFP refuses the run when it is created"

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG: Final = "tag:yaml.org,2002:"
# How the server's YAML 1.2 parser reads a plain scalar.
_GO_NUMBER: Final = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?0(x[0-9a-fA-F]+|o?[0-7]+|b[01]+)"
)


def read_documents(text: str, findings: list[Finding]) -> list[Any]:
    """Read every YAML document of a file, and find what the server's parser would read differently.

    Args:
        text: The file.
        findings: Where to add what is found.

    Returns:
        Plain data, one value per document that is not empty.
    """
    documents = []
    try:
        loader = _LOADER(text)
        while loader.check_node():
            node = loader.get_node()
            findings.extend(_check_yaml(node, ""))
            documents.append(_as_json(loader.construct_document(node)))
    except yaml.YAMLError as error:
        findings.append(Finding("(file)", f"not valid YAML: {error}", "Compile the pipeline again"))
        return []
    return [document for document in documents if document is not None]


def tell_apart(
    documents: Sequence[Any], findings: list[Finding]
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Find the pipeline and the platform document.

    Args:
        documents: What `read_documents` gave.
        findings: Where to add documents that KFP refuses or ignores.

    Returns:
        The pipeline document and the platform document, None for one that is not there.
    """
    pipelines: list[tuple[int, dict[str, Any]]] = []
    platforms: list[tuple[int, dict[str, Any]]] = []
    for number, document in enumerate(documents, start=1):
        if isinstance(document, dict) and ("pipelineSpec" in document or "runtimeConfig" in document):
            findings.append(
                Finding(
                    f"(document {number})",
                    "this is a pipeline job, the JSON of Vertex AI, which open-source KFP refuses",
                    "Compile with --format kubeflow",
                )
            )
        elif isinstance(document, dict) and "platforms" in document:
            platforms.append((number, document))
        elif isinstance(document, dict) and ("root" in document or "pipelineInfo" in document):
            pipelines.append((number, document))
        else:
            findings.append(
                Finding(
                    f"(document {number})",
                    "neither a pipeline (pipelineInfo, root) nor settings for a platform (platforms); KFP"
                    " ignores it without a word",
                    "Remove it, or correct its keys",
                )
            )
    for kind, found in (("pipeline", pipelines), ("platform", platforms)):
        if len(found) > 1:
            findings.append(
                Finding(
                    f"(document {found[1][0]})",
                    f"a second {kind} document; KFP refuses the upload",
                    f"Write one {kind} document",
                )
            )
    if not pipelines and not findings:
        findings.append(
            Finding("(file)", "there is no pipeline in it", "Name the file that dssm compile wrote")
        )
    elif pipelines and platforms and platforms[0][0] < pipelines[0][0]:
        findings.append(
            Finding(
                "(document 1)",
                "the platform document stands first, and the KFP SDK takes the first one for the pipeline",
                "Write the pipeline document first",
            )
        )
    return (pipelines[0][1] if pipelines else None), (platforms[0][1] if platforms else None)


class Linter:
    """What the walks through both documents share: the findings, and the check against a message."""

    def __init__(self, findings: list[Finding]) -> None:
        self._findings = findings

    def add(self, path: str, problem: str, remedy: str) -> None:
        """Report a finding."""
        self._findings.append(Finding(path, problem, remedy))

    def clean(self, descriptor: Any, value: Any, path: str, effect: str) -> dict[str, Any]:
        """Check plain data against a message.

        Args:
            descriptor: The message's descriptor.
            value: Plain data, as YAML gave it.
            path: Where the data stand in the document.
            effect: What KFP does with a key that the message does not have.

        Returns:
            What fits the message; everything else has become a finding.
        """
        if not isinstance(value, Mapping):
            self.add(path or "(file)", f"expected a mapping. Received: {show(value)}", "Compile again")
            return {}
        fields = {field.json_name: field for field in descriptor.fields}
        kept: dict[str, Any] = {}
        chosen: dict[str, str] = {}
        for key, item in value.items():
            inner = join(path, key)
            field = fields.get(key)
            if field is None:
                self.add(inner, f"unknown key {key!r}; {effect}", _suggest_key(key, fields))
                continue
            since = NEWER_THAN_2_14.get(f"{descriptor.full_name}.{key}")
            if since is not None:
                self.add(
                    inner,
                    f"only KFP {since} and newer know {key!r}; an older server: {effect}",
                    "Leave it out",
                )
            # An `optional` field makes a union of its own, whose name starts with an underscore.
            union = field.containing_oneof
            if union is not None and not union.name.startswith("_"):
                if union.name in chosen:
                    self.add(
                        inner,
                        f"{key!r} beside {chosen[union.name]!r}, of which only one may stand here; {effect}",
                        "Remove one of them",
                    )
                    continue
                chosen[union.name] = key
            if item is None and not _is_any_value(field):
                self.add(
                    inner,
                    "nothing is written here; KFP reads it as if the key were absent",
                    "Leave the key out",
                )
                continue
            kept |= self._clean_field(field, item, inner, effect)
        return kept

    def _clean_field(self, field: Any, item: Any, path: str, effect: str) -> dict[str, Any]:
        message = field.message_type
        if message is not None and message.GetOptions().map_entry:
            if not isinstance(item, Mapping):
                self.add(path, f"expected a mapping. Received: {show(item)}; {effect}", "Compile again")
                return {}
            entry = message.fields_by_name["value"]
            values = {
                key: self._clean_one(entry, value, join(path, key), effect) for key, value in item.items()
            }
            return {field.json_name: {key: found[0] for key, found in values.items() if found}}
        if field.is_repeated:
            if not isinstance(item, list):
                self.add(path, f"expected a list. Received: {show(item)}; {effect}", "Write [...] around it")
                return {}
            elements = [
                self._clean_one(field, value, f"{path}[{index}]", effect) for index, value in enumerate(item)
            ]
            return {field.json_name: [found[0] for found in elements if found]}
        found = self._clean_one(field, item, path, effect)
        return {field.json_name: found[0]} if found else {}

    def _clean_one(self, field: Any, value: Any, path: str, effect: str) -> list[Any]:
        """Return the value in a list, or an empty list where it does not fit."""
        from google.protobuf import json_format, message_factory

        message = field.message_type
        if message is not None and not message.full_name.startswith("google.protobuf."):
            return [self.clean(message, value, path, effect)]
        holder = message_factory.GetMessageClass(field.containing_type)()
        key = field.json_name
        try:
            json_format.ParseDict({key: [value] if field.is_repeated else value}, holder)
        except (json_format.ParseError, ValueError, TypeError):
            self.add(
                path, f"expected {_describe(field)}. Received: {show(value)}; {effect}", _hint(field, value)
            )
            return []
        return [value]


def join(path: str, key: str) -> str:
    """Write the path of a key inside the mapping at `path`."""
    name = key if re.fullmatch(r"[-@\w]+", key) else f"[{json.dumps(key)}]"
    return f"{path}{'.' if path and name == key else ''}{name}"


def suggest(name: str, names: Iterable[str], introduction: str) -> str:
    """Say what to write in place of a wrong name: the nearest known one, or else all of them."""
    known = sorted(names)
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if nearest:
        return f"Write {nearest[0]!r}"
    listed = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
    return f"Correct or remove it ({introduction} {listed or 'none'})"


def show(value: Any) -> str:
    """Write a value for a message, shortened."""
    text = "nothing" if value in (None, "") else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _check_yaml(node: yaml.Node, path: str) -> Iterator[Finding]:
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key_node, value_node in node.value:
            key = str(key_node.value)
            inner = join(path, key)
            if key in seen:
                yield Finding(
                    inner, "the key stands here twice; KFP refuses the upload", "Remove one of them"
                )
            seen.add(key)
            if key_node.tag != f"{_TAG}str":
                yield Finding(
                    inner, f"the key {key} is not text; KFP refuses the upload", "Put the key in quotes"
                )
            yield from _check_yaml(value_node, inner)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _check_yaml(item, f"{path}[{index}]")
    elif isinstance(node, yaml.ScalarNode) and not node.style and _is_ambiguous(node):
        yield Finding(
            path or "(file)",
            f"{node.value} is one thing to Python's YAML and another to KFP's: text, number, truth value or"
            " date",
            "Put it in quotes if it is text",
        )


def _is_ambiguous(node: yaml.ScalarNode) -> bool:
    kind, value = node.tag.removeprefix(_TAG), node.value
    if kind == "str":
        return _GO_NUMBER.fullmatch(value.replace("_", "")) is not None
    if kind == "bool":
        return value.lower() not in ("true", "false")
    return kind == "timestamp" or (kind in ("int", "float") and ":" in value)


def _as_json(value: Any) -> Any:
    """Replace what JSON cannot hold by text; `_check_yaml` has reported it."""
    if isinstance(value, Mapping):
        return {str(key): _as_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_json(item) for item in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _is_any_value(field: Any) -> bool:
    return field.message_type is not None and field.message_type.full_name == "google.protobuf.Value"


def _describe(field: Any) -> str:
    if field.message_type is not None:
        return {
            "google.protobuf.Duration": "a duration with its unit, such as 30s",
            "google.protobuf.Struct": "a mapping",
        }.get(field.message_type.full_name, "another type")
    if field.enum_type is not None:
        return " or ".join(value.name for value in field.enum_type.values[1:])
    return {
        field.TYPE_STRING: "text",
        field.TYPE_BOOL: "true or false",
        field.TYPE_DOUBLE: "a number",
        field.TYPE_FLOAT: "a number",
    }.get(field.type, "a whole number")


def _hint(field: Any, value: Any) -> str:
    if field.message_type is not None and field.message_type.full_name == "google.protobuf.Duration":
        return (
            f"Write {value}s" if re.fullmatch(r"\d+", str(value)) else "Write seconds with an s, such as 30s"
        )
    if field.enum_type is None and field.type == field.TYPE_STRING and isinstance(value, int | float):
        return "Put it in quotes"
    if field.enum_type is None and field.type == field.TYPE_BOOL and isinstance(value, str):
        return "Write true or false, without quotes"
    return "Correct the value"


def _suggest_key(key: str, fields: Mapping[str, Any]) -> str:
    by_name = {field.name: name for name, field in fields.items()}
    if key in by_name:
        return f"Write {by_name[key]!r}"
    return suggest(key, fields, "known here:")
