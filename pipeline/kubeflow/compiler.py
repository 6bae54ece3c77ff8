"""Compiles the pipeline to a Kubeflow Pipelines v2.1 specification.

TFX's KubeflowV2DagRunner writes a specification that open-source Kubeflow Pipelines loads and then
fails on. What is missing or wrong is put right here: defaults of the run parameters, retries, caching
per task, resources, environment, and the platform document.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import (
    KubeflowV2DagRunner,
    KubeflowV2DagRunnerConfig,
)
from tfx.orchestration.pipeline import Pipeline

from pipeline.build import build_pipeline
from pipeline.config import PipelineConfig
from pipeline.kubeflow.config import StepSettings
from pipeline.kubeflow.graph import list_tasks
from pipeline.kubeflow.platform import build_platform_document
from pipeline.kubeflow.preparation import TRAINER, prepare_config
from pipeline.kubeflow.retraining_graph import wrap_in_retraining
from pipeline.kubeflow.yaml_text import write_documents
from pipeline.parameters import RunParameters, configured_values
from schemas.contract import REQUIRED_GPUS_VARIABLE
from schemas.errors import ConfigError
from schemas.features import FeatureSpec

ENTRYPOINT: Final = ("python", "-m", "pipeline.kubeflow.entrypoint")

_DESCRIPTIONS: Final = {
    "data_directory": "Folder of the tables: a URI, or a path that the pods see.",
    "window_from": "First day of the interactions that are read, such as 2026-11-01; empty for no limit.",
    "window_to": "Last day of the interactions that are read; empty for no limit.",
    "window_last_days": "Days of interactions that are read, back from the newest one; 0 for no limit.",
    "epochs": "Passes over the train split.",
    "start": (
        "warm to begin from a release, whatever training.cold_every says; cold to begin from nothing; empty "
        "for what the configuration says."
    ),
    "serving_directory": "Where releases go: a URI, or a path that the pods see.",
    "checkpoint_directory": (
        "Where a training that is killed finds its checkpoints again: a URI, or a path that the pods see; "
        "empty for none."
    ),
}

# A pod that waits for a free node is not yet on its deadline.
_QUEUE_SECONDS: Final = 24 * 3600
_ENDLESS_SECONDS: Final = 7 * 24 * 3600

_USER_INFO: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s@\"']+@", re.IGNORECASE)


@dataclass(frozen=True)
class CompiledStep:
    """One step of a compiled pipeline; its parts are those of the PipelineSpec and may be changed."""

    name: str
    """The step's name."""
    settings: StepSettings
    """What the configuration says of it."""
    task: dict[str, Any]
    """Its task."""
    executor: str
    """The label of its executor."""
    container: dict[str, Any]
    """Its container."""


def compile_pipeline(config: PipelineConfig, features: FeatureSpec, *, retraining: bool = False) -> str:
    """Compile the pipeline for open-source Kubeflow Pipelines.

    Args:
        config: The checked configuration.
        features: The features that `config.data.schema` names.
        retraining: Whether a run does what `dssm retrain` does, instead of what `dssm run` does.

    Returns:
        Two YAML documents, the pipeline and its Kubernetes platform; the same text for the same
        configuration.

    Raises:
        ConfigError: The configuration lacks what Kubeflow needs, or contradicts itself.
    """
    config = prepare_config(config)
    spec = build_job(config, features)["pipelineSpec"]
    if retraining:
        spec = wrap_in_retraining(spec, config, features, ENTRYPOINT)
    complete_spec(config, spec)
    steps = list_steps(config, spec)
    for step in steps:
        resources = _build_resources(step.settings)
        if resources:
            step.container["resources"] = resources
    executors = {step.executor: step.name for step in steps}
    text = write_documents([spec, build_platform_document(config.kubeflow, executors)])
    refuse_credentials(text)
    return text


def kubeflow_parameters(config: PipelineConfig) -> RunParameters:
    """Make the run parameters that Kubeflow fills in when a run starts.

    Args:
        config: What `prepare_config` gave.

    Returns:
        RuntimeParameters with the configuration's values as defaults.
    """
    values = {
        name: RuntimeParameter(name=name, ptype=type(value), default=value)
        for name, value in configured_values(config).items()
    }
    # Every pod has the run's id in its environment. Ingest is never reused there, so it needs no fingerprint.
    return RunParameters(
        **values, run_id="", input_fingerprint="", code_fingerprint="", training_fingerprint=""
    )


def build_job(config: PipelineConfig, features: FeatureSpec) -> dict[str, Any]:
    """Compile with TFX.

    Args:
        config: What `prepare_config` gave.
        features: The features that `config.data.schema` names.

    Returns:
        A PipelineJob of schema 2.1, to be completed by `complete_spec`.
    """
    pipeline = build_pipeline(config, features, kubeflow_parameters(config), enable_cache=True)
    runner = KubeflowV2DagRunner(
        KubeflowV2DagRunnerConfig(
            display_name=pipeline.pipeline_info.pipeline_name,
            default_image=_images(config, pipeline),
            default_commands=list(ENTRYPOINT),
            use_pipeline_spec_2_1=True,
        )
    )
    job: dict[str, Any] = runner.run(pipeline, write_out=False)
    return job


def complete_spec(config: PipelineConfig, spec: dict[str, Any]) -> None:
    """Add what every service needs: the root, defaults, caching, retries and environment.

    Args:
        config: What `prepare_config` gave.
        spec: The PipelineSpec, which is changed.
    """
    if config.kubeflow.pipeline_root:
        spec["defaultPipelineRoot"] = config.kubeflow.pipeline_root
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    for name, value in configured_values(config).items():
        parameters[name] |= {"defaultValue": value, "description": _DESCRIPTIONS[name]}
    for step in list_steps(config, spec):
        settings, environment = step.settings, dict(step.settings.environment)
        if step.name == TRAINER and settings.gpu is not None:
            environment[REQUIRED_GPUS_VARIABLE] = str(settings.gpu.count)
        if environment:
            step.container["env"] = [
                {"name": name, "value": value} for name, value in sorted(environment.items())
            ]
        step.task["cachingOptions"] = {"enableCache": settings.cache}
        if settings.retries.count:
            step.task["retryPolicy"] = _build_retry_policy(settings)


def refuse_credentials(text: str) -> None:
    """Refuse a compiled file with a user name or password in a URI.

    Args:
        text: The file.

    Raises:
        ConfigError: There is one; the message names the host only.
    """
    found = _USER_INFO.search(text)
    if found:
        end = re.match(r"[^/\s\"']*", text[found.end() :])
        raise ConfigError(
            f"A URI with a user name or a password, on {end.group() if end else ''!r}, would be readable in "
            f"the compiled file. Leave them out of the URI and name a Kubernetes secret in kubeflow.secrets."
        )


def _images(config: PipelineConfig, pipeline: Pipeline) -> dict[str, str | None]:
    images = {node.id: config.kubeflow.step(node.id).image for node in pipeline.components}
    return {"default_image_path": config.kubeflow.image, **images}


def list_steps(config: PipelineConfig, spec: dict[str, Any]) -> list[CompiledStep]:
    """List the steps of a compiled pipeline, wherever in its graph.

    Args:
        config: What `prepare_config` gave.
        spec: The PipelineSpec.

    Returns:
        The steps.
    """
    steps = []
    for task in list_tasks(spec):
        component = spec["components"][task.spec["componentRef"]["name"]]
        label = component.get("executorLabel")
        if label is not None:
            container = spec["deploymentSpec"]["executors"][label]["container"]
            settings = config.kubeflow.step(task.name)
            steps.append(CompiledStep(task.name, settings, task.spec, label, container))
    return steps


def _build_resources(settings: StepSettings) -> dict[str, Any]:
    resources: dict[str, Any] = {}
    # Each twice: newer servers read the text, older ones the number.
    if settings.cpu is not None:
        resources |= {"cpuLimit": settings.cpu, "resourceCpuLimit": f"{settings.cpu:g}"}
    if settings.memory_gb is not None:
        resources |= {"memoryLimit": settings.memory_gb, "resourceMemoryLimit": f"{settings.memory_gb:g}G"}
    if settings.gpu is not None:
        count = str(settings.gpu.count)
        resources["accelerator"] = {
            "type": settings.gpu.resource,
            "count": count,
            "resourceType": settings.gpu.resource,
            "resourceCount": count,
        }
    return resources


def _build_retry_policy(settings: StepSettings) -> dict[str, Any]:
    retries = settings.retries
    waits = sum(retries.backoff_seconds * retries.backoff_factor**attempt for attempt in range(retries.count))
    attempts = (retries.count + 1) * (settings.timeout_seconds or _ENDLESS_SECONDS)
    return {
        "maxRetryCount": retries.count,
        "backoffDuration": f"{retries.backoff_seconds}s",
        "backoffFactor": float(retries.backoff_factor),
        # Argo counts it from the start of the first attempt: a shorter one would end the retries early.
        "backoffMaxDuration": f"{attempts + waits + _QUEUE_SECONDS}s",
    }
