"""Checks a compiled pipeline against the messages that Kubeflow Pipelines parses it into."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pipeline.kubeflow.lint.field_values import describe, fits, hint, is_any_value, normalize
from pipeline.kubeflow.lint.finding import Finding, join, show, suggest

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

_PIPELINE_KEYS: Final = frozenset({"root", "pipelineInfo", "pipeline_info"})


def tell_apart(
    documents: Sequence[Any], findings: list[Finding]
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Find the pipeline and the platform document.

    Args:
        documents: The documents of the file, as plain data.
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
        elif isinstance(document, dict) and _PIPELINE_KEYS & document.keys():
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
        # The server takes the names of the messages' own language too, such as enable_cache.
        spellings = {field.name: field for field in descriptor.fields} | fields
        kept: dict[str, Any] = {}
        written: dict[str, str] = {}
        chosen: dict[str, str] = {}
        for key, item in value.items():
            inner = join(path, key)
            field = spellings.get(key)
            if field is None:
                self.add(inner, f"unknown key {key!r}; {effect}", suggest(key, fields, "known here:"))
                continue
            if field.json_name in written:
                self.add(
                    inner,
                    f"{key!r} beside {written[field.json_name]!r}, which is the same key; KFP refuses both",
                    "Remove one of them",
                )
                continue
            written[field.json_name] = key
            self._check_version(descriptor, field, inner, effect)
            if self._is_second_choice(field, key, chosen, inner, effect):
                continue
            if item is None and not is_any_value(field):
                self.add(
                    inner,
                    "nothing is written here; KFP reads it as if the key were absent",
                    "Leave the key out",
                )
                continue
            kept |= self._clean_field(field, item, inner, effect)
        return kept

    def _check_version(self, descriptor: Any, field: Any, path: str, effect: str) -> None:
        since = NEWER_THAN_2_14.get(f"{descriptor.full_name}.{field.json_name}")
        if since is not None:
            self.add(
                path,
                f"only KFP {since} and newer know {field.json_name!r}; an older server: {effect}",
                "Leave it out",
            )

    def _is_second_choice(self, field: Any, key: str, chosen: dict[str, str], path: str, effect: str) -> bool:
        union = field.containing_oneof
        if union is None:
            return False
        if union.name in chosen:
            self.add(
                path,
                f"{key!r} beside {chosen[union.name]!r}, of which only one may stand here; {effect}",
                "Remove one of them",
            )
            return True
        chosen[union.name] = key
        return False

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
        message = field.message_type
        if message is not None and not message.full_name.startswith("google.protobuf."):
            return [self.clean(message, value, path, effect)]
        if not fits(field, value):
            self.add(
                path, f"expected {describe(field)}. Received: {show(value)}; {effect}", hint(field, value)
            )
            return []
        return [normalize(field, value)]


def list_texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield every text in plain data, with where it stands.

    Args:
        value: Mappings, lists and scalars.
        path: Where the value stands.

    Yields:
        The path and the text.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from list_texts(item, join(path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from list_texts(item, f"{path}[{index}]")
    elif isinstance(value, str):
        yield path, value
