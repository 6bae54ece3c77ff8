"""Compiles the pipeline to a Kubeflow Pipelines v2.1 specification.

TFX's KubeflowV2DagRunner writes a specification that open-source Kubeflow Pipelines loads and then
fails on. What is missing or wrong is put right here: defaults of the run parameters, retries, caching
per task, resources, environment, and the platform document.
"""

import re
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
from pipeline.kubeflow.platform import build_platform_document
from pipeline.kubeflow.preparation import TRAINER, prepare_config
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


def compile_pipeline(config: PipelineConfig, features: FeatureSpec) -> str:
    """Compile the pipeline for open-source Kubeflow Pipelines.

    Args:
        config: The checked configuration.
        features: The features that `config.data.schema` names.

    Returns:
        Two YAML documents, the pipeline and its Kubernetes platform; the same text for the same
        configuration.

    Raises:
        ConfigError: The configuration lacks what Kubeflow needs, or contradicts itself.
    """
    config = prepare_config(config)
    spec = build_job(config, features)["pipelineSpec"]
    for _, settings, container in walk_containers(config, spec):
        resources = _build_resources(settings)
        if resources:
            container["resources"] = resources
    executors = {component["executorLabel"]: name for name, component in spec["components"].items()}
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
    """Compile with TFX and add what every service needs: defaults, caching, retries and environment.

    Args:
        config: What `prepare_config` gave.
        features: The features that `config.data.schema` names.

    Returns:
        A PipelineJob of schema 2.1.
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
    job = runner.run(pipeline, write_out=False)
    spec = job["pipelineSpec"]
    if config.kubeflow.pipeline_root:
        spec["defaultPipelineRoot"] = config.kubeflow.pipeline_root
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    for name, value in configured_values(config).items():
        parameters[name] |= {"defaultValue": value, "description": _DESCRIPTIONS[name]}
    for step, settings, container in walk_containers(config, spec):
        environment = dict(settings.environment)
        if step == TRAINER and settings.gpu is not None:
            environment[REQUIRED_GPUS_VARIABLE] = str(settings.gpu.count)
        if environment:
            container["env"] = [{"name": name, "value": value} for name, value in sorted(environment.items())]
        task = spec["root"]["dag"]["tasks"][step]
        task["cachingOptions"] = {"enableCache": settings.cache}
        if settings.retries.count:
            task["retryPolicy"] = _build_retry_policy(settings)
    return job


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


def walk_containers(
    config: PipelineConfig, spec: dict[str, Any]
) -> list[tuple[str, StepSettings, dict[str, Any]]]:
    """List the containers of a compiled pipeline.

    Args:
        config: What `prepare_config` gave.
        spec: The PipelineSpec.

    Returns:
        The step's name, its settings and its container, which may be changed, of each step.
    """
    executors = spec["deploymentSpec"]["executors"]
    return [
        (name, config.kubeflow.step(name), executors[component["executorLabel"]]["container"])
        for name, component in spec["components"].items()
    ]


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
