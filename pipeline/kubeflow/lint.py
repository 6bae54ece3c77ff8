"""Checks a compiled pipeline for what Kubeflow Pipelines refuses late or gets wrong without a word.

The server checks little when a pipeline is uploaded: most mistakes stop a run when it is created or
when a pod starts, and some are dropped silently. The rules below are taken from the source of the API
server, the compiler, the driver and the launcher of KFP 2.14 to 2.17, and of Argo Workflows, which
runs what they make.
"""

import graphlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import yaml

from pipeline.kubeflow.credentials import find_credential_options, names_credential
from pipeline.kubeflow.lint_document import (
    IN_DEPLOYMENT,
    IN_PIPELINE,
    Finding,
    Linter,
    join,
    read_documents,
    show,
    suggest,
    tell_apart,
)  # fmt: skip
from pipeline.kubeflow.lint_platform import (
    ENVIRONMENT_NAME,
    QUANTITY,
    PlatformLinter,
    list_platform_variables,
)
from schemas.errors import ConfigError

SCHEMA_VERSION: Final = "2.1.0"
# Argo makes one of its own names from each task's, with `-driver` behind it.
TASK_ID: Final = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]*")
# An Argo parameter is named after each component.
COMPONENT_NAME: Final = re.compile(r"[-_a-zA-Z0-9]+")
PIPELINE_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
PIPELINE_NAME_MAX_LENGTH: Final = 128
# TFX's rule for the title of a custom artifact, from which the container finds the class again.
ARTIFACT_TITLE: Final = re.compile(r"[a-z][a-z0-9-_]{2,20}[.][A-Z][a-zA-Z0-9-_]{2,49}")
LIBRARY_ARTIFACTS: Final = ("tfx.", "system.", "google.")
REMOTE_URI: Final = re.compile(r"(gs|s3|minio)://[^/?]+.*")
_DECIMAL_SUFFIXES: Final = {
    "n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18,
}  # fmt: skip
LARGEST_EXACT_INTEGER: Final = 2**53

PLACEHOLDER: Final = re.compile(r"\{\{(.*?)(?:\}\}|$)", re.DOTALL)
INPUT_PLACEHOLDER: Final = re.compile(r"\{\{\$\.inputs\.(parameters|artifacts)\['(.+?)'\]")
# The driver replaces a constant that is one of these, whole.
DRIVER_PLACEHOLDERS: Final = frozenset(
    f"{{{{$.{name}}}}}"
    for name in (
        "pipeline_job_name", "pipeline_job_resource_name", "pipeline_job_uuid", "pipeline_task_name",
        "pipeline_task_uuid", "pipeline_job_create_time_utc", "pipeline_job_schedule_time_utc",
    )
)  # fmt: skip

# Values that the KFP SDK passes into a task for the texts in its other inputs.
SDK_CHANNEL: Final = "pipelinechannel--"
# The driver itself does what these stand for; no container runs.
DRIVER_IMAGES: Final = ("argostub/createpvc", "argostub/deletepvc")

SECRET_VALUE: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----|\b(AKIA|ASIA)[0-9A-Z]{16}\b|[a-zA-Z][a-zA-Z0-9+.-]*://[^/\s:@]+:[^/\s@]+@"
)


def lint_spec(text: str) -> list[Finding]:
    """Find what open-source KFP would refuse late or get wrong silently.

    Args:
        text: What `dssm compile` wrote: one YAML document with the pipeline, and perhaps a second one
            with the settings for Kubernetes.

    Returns:
        The findings, the same ones in the same order for the same text; none for a pipeline that
        KFP 2.14 to 2.17 runs as it is written.
    """
    findings: list[Finding] = []
    documents = read_documents(text, findings)
    pipeline, platform = tell_apart(documents, findings)
    if pipeline is not None:
        _PipelineLinter(findings).check(pipeline, platform)
    return list(dict.fromkeys(findings))


def render_findings(findings: Sequence[Finding]) -> str:
    """Write findings for a terminal.

    Args:
        findings: What `lint_spec` found.

    Returns:
        A line that counts them, and one entry each: the path, the problem, what to do.
    """
    if not findings:
        return "Nothing found that Kubeflow Pipelines would refuse or get wrong"
    count = "1 problem" if len(findings) == 1 else f"{len(findings)} problems"
    entries = [f"  {found.path}\n    {found.problem}.\n    {found.remedy}." for found in findings]
    return "\n".join([f"{count} that Kubeflow Pipelines would refuse late or get wrong silently:", *entries])


def check_spec(text: str) -> None:
    """Refuse a compiled pipeline that Kubeflow Pipelines would not run as it is written.

    Args:
        text: The YAML, as for `lint_spec`.

    Raises:
        ConfigError: There are findings; the message lists them all.
    """
    findings = lint_spec(text)
    if findings:
        raise ConfigError(render_findings(findings))


class _PipelineLinter(Linter):
    """One walk through the pipeline document, and through what both documents say of one task."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__(findings)
        self._deployment: Any = None
        self._executor_configs: dict[str, Any] = {}

    def check(self, pipeline: dict[str, Any], platform: dict[str, Any] | None) -> None:
        # Importing kfp takes more than a second, and no other command needs it.
        from google.protobuf import json_format
        from kfp.pipeline_spec import pipeline_spec_pb2

        cleaned = self.clean(pipeline_spec_pb2.PipelineSpec.DESCRIPTOR, pipeline, "", IN_PIPELINE)
        deployment = dict(cleaned.get("deploymentSpec", {}))
        # The server allows this one.
        deployment.pop("@type", None)
        deployment = self.clean(
            pipeline_spec_pb2.PipelineDeploymentConfig.DESCRIPTOR, deployment, "deploymentSpec", IN_DEPLOYMENT
        )
        self._deployment = json_format.ParseDict(deployment, pipeline_spec_pb2.PipelineDeploymentConfig())
        spec = json_format.ParseDict(cleaned, pipeline_spec_pb2.PipelineSpec())

        if platform is not None:
            self._executor_configs = PlatformLinter(self._findings, self._deployment).check(platform)
        self._check_head(spec)
        self._check_run_parameters(spec)
        components = {"root": spec.root} | {
            f"components.{name}": component for name, component in sorted(spec.components.items())
        }
        for path, component in components.items():
            self._check_component(path, component, spec)
        self._check_names(spec)
        self._check_shared_containers(spec)
        for label, executor in sorted(self._deployment.executors.items()):
            self._check_executor(join("deploymentSpec.executors", label), label, executor)
        self._check_texts(cleaned | {"deploymentSpec": deployment}, "", ())
        if platform is not None:
            self._check_texts(platform, "", ())

    def _check_head(self, spec: Any) -> None:
        if spec.schema_version != SCHEMA_VERSION:
            self.add(
                "schemaVersion",
                f"expected {SCHEMA_VERSION}. Received: {show(spec.schema_version)}; KFP refuses the upload",
                "Compile with use_pipeline_spec_2_1=True",
            )
        name = spec.pipeline_info.name
        if not PIPELINE_NAME.fullmatch(name) or len(name) > PIPELINE_NAME_MAX_LENGTH:
            self.add(
                "pipelineInfo.name",
                f"expected at most {PIPELINE_NAME_MAX_LENGTH} lower-case letters, digits and '-', with a"
                " letter or"
                f" digit at both ends. Received: {show(name)}; the run's workflow gets no valid name",
                "Change run.name in the configuration",
            )
        if not spec.root.dag.tasks:
            self.add(
                "root.dag.tasks", "there are no tasks; KFP refuses the run", "Give the pipeline a component"
            )
        root = spec.default_pipeline_root
        if root and not REMOTE_URI.fullmatch(root):
            self.add(
                "defaultPipelineRoot",
                f"expected gs://, s3:// or minio:// with a bucket. Received: {show(root)}; a run that uses"
                " it fails in every task",
                "Name an object store that all pods reach, or leave it out for the server's own",
            )

    def _check_run_parameters(self, spec: Any) -> None:
        for name, parameter in sorted(spec.root.input_definitions.parameters.items()):
            path = join("root.inputDefinitions.parameters", name)
            if not parameter.HasField("default_value") and not parameter.is_optional:
                self.add(
                    path,
                    "no defaultValue; a run that does not set it is refused ('is not optional, yet has"
                    " neither"
                    " default value nor user provided value')",
                    "Write its default",
                )

    def _check_component(self, path: str, component: Any, spec: Any) -> None:
        for name, parameter in sorted(component.input_definitions.parameters.items()):
            self._check_parameter(f"{path}.{join('inputDefinitions.parameters', name)}", parameter)
        for side, definitions in (
            ("inputDefinitions", component.input_definitions),
            ("outputDefinitions", component.output_definitions),
        ):
            for name, artifact in sorted(definitions.artifacts.items()):
                self._check_artifact_type(
                    f"{path}.{join(f'{side}.artifacts', name)}.artifactType", artifact.artifact_type
                )
        kind = component.WhichOneof("implementation")
        if kind == "dag":
            self._check_dag(path, component, spec)
        elif kind is None:
            self.add(
                path,
                "neither executorLabel nor dag; KFP refuses the run when it is created",
                "Name the component's executor",
            )
        elif component.executor_label not in self._deployment.executors:
            self.add(
                f"{path}.executorLabel",
                f"there is no executor {component.executor_label!r}; KFP refuses the run when it is created",
                suggest(component.executor_label, self._deployment.executors, "deploymentSpec.executors has"),
            )
        else:
            container = self._deployment.executors[component.executor_label].container
            self._check_input_placeholders(
                join("deploymentSpec.executors", component.executor_label), container, component
            )

    def _check_parameter(self, path: str, parameter: Any) -> None:
        if not parameter.parameter_type:
            self.add(
                path,
                "no parameterType ('has unspecified type'); the run is refused, or the task fails",
                "Write its parameterType, such as STRING (`type` is schema 2.0)",
            )
        elif parameter.HasField("default_value"):
            self._check_value(f"{path}.defaultValue", parameter.default_value, parameter.parameter_type)

    def _check_value(self, path: str, value: Any, parameter_type: int) -> None:
        from kfp.pipeline_spec import pipeline_spec_pb2

        kind = value.WhichOneof("kind")
        name = pipeline_spec_pb2.ParameterType.ParameterTypeEnum.Name(parameter_type)
        expected = {
            "NUMBER_DOUBLE": "number_value", "NUMBER_INTEGER": "number_value", "STRING": "string_value",
            "BOOLEAN": "bool_value", "LIST": "list_value", "STRUCT": "struct_value",
        }.get(name)  # fmt: skip
        if kind is None or kind == "null_value":
            self.add(
                path, "the value is null; the task fails ('got null for input parameter')", "Write a value"
            )
        elif expected is not None and kind != expected:
            self.add(
                path,
                f"expected a value of type {name}. Received: {show(_plain(value))}; KFP turns it into text,"
                " or the"
                " task fails ('type mismatch')",
                "Correct the value or the parameterType",
            )
        elif kind == "number_value":
            number = value.number_value
            if name == "NUMBER_INTEGER" and number != math.floor(number):
                self.add(path, f"expected a whole number. Received: {number}", "Correct the value")
            elif abs(number) >= LARGEST_EXACT_INTEGER and number == math.floor(number):
                self.add(
                    path,
                    "KFP passes every number as a double, which does not hold an integer of this size"
                    " exactly",
                    "Make it a text",
                )

    def _check_artifact_type(self, path: str, artifact_type: Any) -> None:
        kind = artifact_type.WhichOneof("kind")
        if kind is None or kind == "schema_uri":
            self.add(
                path,
                "no instanceSchema and no schemaTitle; the launcher cannot record the artifact",
                "Write its instanceSchema",
            )
            return
        if kind == "schema_title":
            return
        inner = f"{path}.instanceSchema"
        try:
            schema = yaml.load(artifact_type.instance_schema, Loader=yaml.SafeLoader)
        except yaml.YAMLError:
            schema = None
        title = schema.get("title") if isinstance(schema, dict) else None
        if not isinstance(title, str) or not title:
            self.add(inner, "no title in it; the launcher dies ('No title specified')", "Write title: ...")
        elif not title.startswith(LIBRARY_ARTIFACTS):
            if not ARTIFACT_TITLE.fullmatch(title):
                self.add(
                    inner,
                    f"expected a title that matches {ARTIFACT_TITLE.pattern}. Received: {title!r}, from"
                    " which the"
                    " container cannot import the artifact's class",
                    "Correct the TYPE_NAME of the artifact",
                )
            if isinstance(schema, dict) and schema.get("properties"):
                self.add(
                    inner,
                    f"the custom artifact {title} has properties ('not expected in artifact type schema')",
                    "Drop its PROPERTIES and write custom properties",
                )

    def _check_dag(self, path: str, component: Any, spec: Any) -> None:
        tasks = component.dag.tasks
        upstream: dict[str, set[str]] = {}
        for task_id, task in sorted(tasks.items()):
            inner = join(f"{path}.dag.tasks", task_id)
            if not TASK_ID.fullmatch(task_id):
                self.add(
                    inner,
                    f"the task id {task_id!r} has other characters than letters, digits and '-' or starts"
                    " with '-';"
                    " KFP refuses the run when it is created",
                    "Rename the component with with_id()",
                )
            if task_id.endswith("-driver") and task_id.removesuffix("-driver") in tasks:
                self.add(
                    inner,
                    f"KFP makes a task of this name for {task_id.removesuffix('-driver')!r}; the run is"
                    " refused",
                    "Rename the component with with_id()",
                )
            self._check_task(inner, task, component, spec)
            upstream[task_id] = set(task.dependent_tasks) | {
                producer for _, producer, _, _ in _list_producers(inner, task)
            }
            for index, name in enumerate(task.dependent_tasks):
                if name not in tasks:
                    self.add(
                        f"{inner}.dependentTasks[{index}]",
                        f"there is no task {name!r}; KFP refuses the run when it is created",
                        suggest(name, tasks, "the tasks are"),
                    )
            for place, producer, side, key in _list_producers(inner, task):
                self._check_producer(place, producer, side, key, tasks, spec)
        try:
            graphlib.TopologicalSorter(upstream).prepare()
        except graphlib.CycleError as error:
            self.add(
                f"{path}.dag.tasks",
                f"the tasks wait for each other: {' -> '.join(error.args[1])}; KFP refuses the run",
                "Remove one of these dependencies",
            )

    def _check_producer(
        self, place: str, producer: str, side: str, key: str, tasks: Mapping[str, Any], spec: Any
    ) -> None:
        if producer not in tasks:
            self.add(
                f"{place}.producerTask",
                f"there is no task {producer!r} ('unknown producer task'); KFP refuses the run when it is"
                " created",
                suggest(producer, tasks, "the tasks are"),
            )
            return
        name = tasks[producer].component_ref.name
        if name in spec.components:
            outputs = getattr(spec.components[name].output_definitions, side)
            if key not in outputs:
                self.add(
                    place,
                    f"{producer!r} has no output {key!r}; the task that reads it fails when it starts",
                    suggest(key, outputs, f"the {side} of {name} are"),
                )

    def _check_task(self, path: str, task: Any, parent: Any, spec: Any) -> None:
        self._check_retry(path, task, spec)
        if task.WhichOneof("iterator") == "artifact_iterator":
            self.add(
                f"{path}.artifactIterator",
                "('artifact iterator not implemented yet'); KFP refuses the run when it is created",
                "Iterate over parameters",
            )
        name = task.component_ref.name
        if name not in spec.components:
            self.add(
                f"{path}.componentRef.name",
                f"there is no component {name!r}; KFP refuses the run when it is created",
                suggest(name, spec.components, "the components are"),
            )
            return
        component = spec.components[name]
        label = component.executor_label
        executor = self._deployment.executors.get(label)
        if executor is not None and executor.HasField("importer") and task.trigger_policy.condition:
            self.add(
                f"{path}.triggerPolicy.condition",
                "a condition on an importer is not supported; KFP refuses the run when it is created",
                "Put the condition on the tasks that read from it",
            )
        self._check_task_inputs(path, task, component, parent)

    def _check_task_inputs(self, path: str, task: Any, component: Any, parent: Any) -> None:
        for side in ("parameters", "artifacts"):
            given, declared = getattr(task.inputs, side), getattr(component.input_definitions, side)
            for name in sorted(given):
                if name not in declared and not name.startswith(SDK_CHANNEL):
                    self.add(
                        join(f"{path}.inputs.{side}", name),
                        f"the component {task.component_ref.name!r} declares no such input",
                        suggest(name, declared, f"its {side} are"),
                    )
            for name, definition in sorted(declared.items()):
                has_default = side == "parameters" and definition.HasField("default_value")
                is_iterated = name in (task.parameter_iterator.item_input, task.artifact_iterator.item_input)
                if name not in given and not (definition.is_optional or has_default or is_iterated):
                    self.add(
                        f"{path}.inputs.{side}",
                        f"the component {task.component_ref.name!r} needs {name!r}, and the task does not"
                        " give it;"
                        " the task fails when it starts",
                        f"Give {name!r} a value, or make it optional",
                    )
        parameters = component.input_definitions.parameters
        for name, value in sorted(task.inputs.parameters.items()):
            inner = join(f"{path}.inputs.parameters", name)
            parameter_type = parameters[name].parameter_type if name in parameters else 0
            self._check_input_parameter(inner, value, parameter_type, parent)
        for name, value in sorted(task.inputs.artifacts.items()):
            source = value.component_input_artifact
            if value.WhichOneof("kind") is None or (
                source and source not in parent.input_definitions.artifacts
            ):
                self.add(
                    join(f"{path}.inputs.artifacts", name),
                    f"the artifact {source!r} comes from nowhere; the task fails when it starts",
                    suggest(source, parent.input_definitions.artifacts, "the artifacts around it are"),
                )

    def _check_input_parameter(self, path: str, value: Any, parameter_type: int, parent: Any) -> None:
        kind = value.WhichOneof("kind")
        if kind is None:
            self.add(path, "no value is given; the task fails when it starts", "Write runtimeValue.constant")
        elif kind == "component_input_parameter":
            source = value.component_input_parameter
            if source not in parent.input_definitions.parameters:
                self.add(
                    f"{path}.componentInputParameter",
                    f"there is no run parameter {source!r}; the task fails when it starts",
                    suggest(source, parent.input_definitions.parameters, "the parameters are"),
                )
        elif kind == "runtime_value":
            constant = value.runtime_value.WhichOneof("value")
            if constant != "constant":
                self.add(
                    f"{path}.runtimeValue",
                    "expected `constant`; the driver has no other kind ('param runtime value spec ... not"
                    " implemented') and the task fails",
                    "Compile with use_pipeline_spec_2_1=True",
                )
            elif parameter_type:
                text = value.runtime_value.constant.string_value
                if text not in DRIVER_PLACEHOLDERS:
                    self._check_value(
                        f"{path}.runtimeValue.constant", value.runtime_value.constant, parameter_type
                    )

    def _check_retry(self, path: str, task: Any, spec: Any) -> None:
        if not task.HasField("retry_policy"):
            return
        policy, inner = task.retry_policy, f"{path}.retryPolicy"
        limit = policy.backoff_max_duration
        if policy.max_retry_count < 0:
            self.add(f"{inner}.maxRetryCount", "a negative count", "Write 0 or more")
        if policy.backoff_factor != math.floor(policy.backoff_factor):
            self.add(
                f"{inner}.backoffFactor",
                f"expected a whole number, which is all that Argo reads. Received: {policy.backoff_factor};"
                " the task"
                " fails at its first retry",
                "Write a whole number such as 2",
            )
        for name, duration in (("backoffDuration", policy.backoff_duration), ("backoffMaxDuration", limit)):
            if duration.nanos or duration.seconds < 0:
                self.add(
                    f"{inner}.{name}",
                    "KFP takes the whole seconds only, and none below 0",
                    "Write whole seconds such as 30s",
                )
        if policy.max_retry_count > 0 and limit.seconds <= 0:
            self.add(
                inner,
                "no backoffMaxDuration: Argo then allows 0 s from the start of the first attempt, and never"
                " retries"
                " ('Max duration limit exceeded')",
                "Write a backoffMaxDuration longer than all attempts together",
            )
        component = spec.components.get(task.component_ref.name)
        config = self._executor_configs.get(component.executor_label) if component is not None else None
        deadline = config.active_deadline_seconds if config is not None else 0
        if policy.max_retry_count > 0 and 0 < limit.seconds <= deadline:
            self.add(
                f"{inner}.backoffMaxDuration",
                f"{limit.seconds} s from the start of the first attempt, which may itself take"
                f" {deadline} s (activeDeadlineSeconds): after that it is not retried",
                f"Write more than {deadline}s, best {deadline}s times the number of attempts",
            )

    def _check_names(self, spec: Any) -> None:
        for name in sorted(spec.components):
            if not COMPONENT_NAME.fullmatch(name) or name == "root":
                self.add(
                    join("components", name),
                    "Argo parameters and templates are named after components: letters, digits, '-' and '_'"
                    " only,"
                    " and not 'root'; KFP refuses the run when it is created",
                    "Rename the component with with_id()",
                )

    def _check_shared_containers(self, spec: Any) -> None:
        """The compiler stores a component's interface under the hash of its container alone."""
        seen: dict[str, tuple[str, Any]] = {}
        for name, component in sorted(spec.components.items()):
            executor = self._deployment.executors.get(component.executor_label)
            if executor is None or not executor.HasField("container"):
                continue
            key = executor.container.SerializeToString(deterministic=True).hex()
            other, interface = seen.setdefault(key, (name, component))
            same = (
                interface.input_definitions == component.input_definitions
                and interface.output_definitions == component.output_definitions
            )
            if not same:
                self.add(
                    join("components", name),
                    f"its container is the same as that of {other!r}, but not its inputs and outputs; KFP"
                    " keeps one"
                    " interface per container and runs one with the other's",
                    "Make the containers differ, such as by an argument",
                )

    def _check_executor(self, path: str, label: str, executor: Any) -> None:
        kind = executor.WhichOneof("spec")
        if kind == "container":
            self._check_container(f"{path}.container", label, executor.container)
        elif kind == "importer":
            self._check_importer(f"{path}.importer", executor.importer)
        else:
            self.add(
                f"{path}.{'customJob' if kind == 'custom_job' else kind}" if kind else path,
                "('non-container and non-importer executor not implemented'); KFP refuses the run when it is"
                " created",
                "Read what the resolver would find in a component of our own",
            )

    def _check_container(self, path: str, label: str, container: Any) -> None:
        if not container.image.strip():
            self.add(
                f"{path}.image", "no image; the pod cannot start", "Set kubeflow.image in the configuration"
            )
        elif container.image != container.image.strip() or re.search(r"\s", container.image):
            self.add(
                f"{path}.image",
                f"white space in {container.image!r}; the pod cannot start ('InvalidImageName')",
                "Correct the image",
            )
        if not container.command and not container.args and container.image not in DRIVER_IMAGES:
            self.add(
                path,
                "neither command nor args ('command and arguments are empty'): KFP's launcher never runs the"
                " image's"
                " own entrypoint",
                "Write the command",
            )
        for name in find_credential_options([*container.command, *container.args]):
            self.add(
                f"{path}.args",
                f"{name} looks like a secret, and everyone who can read the pipeline can read its value",
                "Leave it out and give it to the pods as an environment variable from a Kubernetes secret",
            )
        if container.HasField("lifecycle"):
            self.add(
                f"{path}.lifecycle",
                "KFP never runs a pre-cache hook: the driver of a file-based ExampleGen would not look for"
                " new data",
                "Ingest with a component that resolves spans and fingerprints itself, uncached",
            )
        self._check_environment(path, label, container)
        self._check_resources(f"{path}.resources", container.resources)

    def _check_environment(self, path: str, label: str, container: Any) -> None:
        config = self._executor_configs.get(label)
        platform_names = list_platform_variables(config) if config is not None else set()
        seen: set[str] = set()
        for index, variable in enumerate(container.env):
            inner = f"{path}.env[{index}]"
            name = variable.name
            if not ENVIRONMENT_NAME.fullmatch(name):
                self.add(
                    f"{inner}.name", f"not a name of a variable: {name!r}; the pod is refused", "Correct it"
                )
            if name in seen:
                self.add(
                    f"{inner}.name", f"{name} stands here twice, and the last one wins", "Remove one of them"
                )
            seen.add(name)
            if name in platform_names:
                self.add(
                    f"{inner}.name",
                    f"{name} has a value here and another source in the platform document; the pod is"
                    " refused",
                    "Remove one of them",
                )
            if variable.value and names_credential(name):
                self.add(
                    f"{inner}.value",
                    f"{name} looks like a secret, and everyone who can read the pipeline can read its value",
                    "Take it from a Kubernetes secret: secrets in the configuration's kubeflow section",
                )

    def _check_resources(self, path: str, resources: Any) -> None:
        amounts: dict[str, Any] = {}
        for kind, unit in (("cpu", ""), ("memory", "G")):
            for bound in ("Limit", "Request"):
                text = getattr(resources, f"resource_{kind}_{bound.lower()}")
                number = getattr(resources, f"{kind}_{bound.lower()}")
                key = f"resource{kind.capitalize()}{bound}" if text else f"{kind}{bound}"
                amount = text or (f"{number:.15g}{unit}" if number else "")
                if not amount or amount.startswith("{{$"):
                    continue
                if not QUANTITY.fullmatch(amount) or _parse_quantity(amount) <= 0:
                    self.add(
                        f"{path}.{key}",
                        f"not an amount that Kubernetes reads: {text or number!r}; the task fails when it"
                        " starts",
                        "Write a number above 0 such as 2, 500m or 4Gi",
                    )
                    continue
                amounts[kind + bound] = _parse_quantity(amount)
        for kind in ("cpu", "memory"):
            if amounts.get(f"{kind}Request", 0) > amounts.get(f"{kind}Limit", math.inf):
                self.add(
                    f"{path}.{kind}Request",
                    "more than the limit; the pod is refused",
                    "Lower it to the limit",
                )
        if resources.HasField("accelerator"):
            self._check_accelerator(f"{path}.accelerator", resources.accelerator)

    def _check_accelerator(self, path: str, accelerator: Any) -> None:
        kind, count = (
            accelerator.resource_type or accelerator.type,
            accelerator.resource_count or str(accelerator.count),
        )
        if not kind.startswith("{{$") and "/" not in kind.strip("/"):
            self.add(
                f"{path}.type",
                "expected the name of a Kubernetes resource such as nvidia.com/gpu. Received:"
                f" {show(kind)}; the"
                " accelerator is dropped, or no node ever fits",
                "Write the resource's name (Vertex AI's names are for --format vertex)",
            )
        if not count.startswith("{{$") and not re.fullmatch(r"[1-9]\d*", count):
            self.add(
                f"{path}.count",
                f"expected a whole number above 0. Received: {show(count)}; the accelerator is dropped"
                " without a"
                " word",
                "Write the number of accelerators, or remove the accelerator",
            )

    def _check_importer(self, path: str, importer: Any) -> None:
        inner = f"{path}.artifactUri"
        self._check_artifact_type(f"{path}.typeSchema", importer.type_schema)
        kind = importer.artifact_uri.WhichOneof("value")
        if kind == "runtime_parameter":
            return
        uri = importer.artifact_uri.constant.string_value
        if kind != "constant" or not uri:
            self.add(inner, "no `constant` with a URI; the importer fails", "Write artifactUri.constant")
        elif uri.startswith("oci://") and importer.type_schema.schema_title == "system.Model":
            return
        elif not REMOTE_URI.fullmatch(uri):
            self.add(
                f"{inner}.constant",
                f"expected gs://, s3:// or minio://. Received: {show(uri)}, which no other pod sees",
                "Put the artifact into the object store",
            )

    def _check_input_placeholders(self, path: str, container: Any, component: Any) -> None:
        for key in ("command", "args"):
            for index, text in enumerate(getattr(container, key)):
                for side, name in INPUT_PLACEHOLDER.findall(text):
                    if name not in getattr(component.input_definitions, side):
                        self.add(
                            f"{path}.container.{key}[{index}]",
                            f"the placeholder asks for the input {name!r}, which the component does not"
                            " declare; the"
                            " task fails when it starts",
                            suggest(name, getattr(component.input_definitions, side), f"its {side} are"),
                        )

    def _check_texts(self, value: Any, path: str, keys: tuple[str, ...]) -> None:
        """Look through every text of a document for placeholders and secrets."""
        if isinstance(value, Mapping):
            for key, item in value.items():
                self._check_texts(item, join(path, key), (*keys, key))
        elif isinstance(value, list):
            for index, item in enumerate(value):
                self._check_texts(item, f"{path}[{index}]", keys)
        elif isinstance(value, str):
            if SECRET_VALUE.search(value):
                self.add(
                    path,
                    "a private key, an access key or a password in a URL stands here, for everyone to read",
                    "Take it from a Kubernetes secret",
                )
            if any(not _is_known_placeholder(found, value, keys) for found in PLACEHOLDER.finditer(value)):
                self.add(
                    path,
                    "KFP does not resolve this {{...}} here, and Argo takes it for a template of its own:"
                    " the run is"
                    " refused, or the text changes",
                    "Remove the braces, or make the value a run parameter",
                )


def _parse_quantity(text: str) -> Decimal:
    """Read an amount that matches `QUANTITY`."""
    number, suffix = re.fullmatch(r"([-+.\d]+)(.*)", text).groups()  # type: ignore[union-attr]
    if suffix.endswith("i"):
        return Decimal(number) * 1024 ** ("KMGTPE".index(suffix[0]) + 1)
    exponent = _DECIMAL_SUFFIXES[suffix] if suffix in _DECIMAL_SUFFIXES else int(suffix[1:])
    return Decimal(number) * Decimal(10) ** exponent


def _list_producers(path: str, task: Any) -> Iterator[tuple[str, str, str, str]]:
    """Yield the place, the task, the kind of output and the output that each input comes from."""
    for name, value in sorted(task.inputs.artifacts.items()):
        if value.WhichOneof("kind") == "task_output_artifact":
            source = value.task_output_artifact
            place = f"{join(f'{path}.inputs.artifacts', name)}.taskOutputArtifact"
            yield place, source.producer_task, "artifacts", source.output_artifact_key
    for name, value in sorted(task.inputs.parameters.items()):
        if value.WhichOneof("kind") == "task_output_parameter":
            output = value.task_output_parameter
            place = f"{join(f'{path}.inputs.parameters', name)}.taskOutputParameter"
            yield place, output.producer_task, "parameters", output.output_parameter_key


def _is_known_placeholder(found: re.Match[str], text: str, keys: tuple[str, ...]) -> bool:
    if "runtimeValue" in keys:
        name = found.group(1)
        is_channel = name.startswith(f"$.inputs.parameters['{SDK_CHANNEL}")
        return text in DRIVER_PLACEHOLDERS or name == "$.workspace_path" or is_channel
    in_container = "container" in keys and keys[-1] not in ("name", "value")
    return in_container and found.group(1).startswith("$")


def _plain(value: Any) -> Any:
    from google.protobuf import json_format

    return json_format.MessageToDict(value)
