"""What a configuration must have, and what follows from it, before it is compiled."""

import dataclasses
import re
from typing import Final, Literal

from pipeline.config import PipelineConfig
from pipeline.kubeflow.config import SHARED_NAMES, STEPS, KubeflowConfig, StepConfig
from schemas.errors import ConfigError

Target = Literal["kubeflow", "vertex"]

TRAINER: Final = "Trainer"

REMOTE_URI: Final = re.compile(r"(gs|s3|minio)://[^/?]+.*")
"""Where KFP can keep artifacts: an object store, with a bucket."""

_KUBERNETES_ALONE: Final = ("secrets", "volumes", "node_selector", "tolerations")


def prepare_config(config: PipelineConfig, target: Target = "kubeflow") -> PipelineConfig:
    """Check a configuration for Kubeflow, and make it say what the compiled pipeline shall.

    Imports nothing heavy, so that what is wrong is said at once.

    Args:
        config: The checked configuration.
        target: Where the pipeline shall run.

    Returns:
        The configuration with the pipeline's name, the defaults of the run parameters and the Trainer's
        replicas as Kubeflow has them.

    Raises:
        ConfigError: There is no image, training.replicas contradicts the Trainer's accelerators, an
            environment holds the URLs of notifications, or, for Vertex AI, the pipeline root is not in a
            Cloud Storage bucket.
    """
    kubeflow = config.kubeflow
    if not kubeflow.image:
        raise ConfigError(
            "kubeflow.image: expected the image that every step runs in, as `make image` builds it. "
            "Received: nothing. Set it in the configuration, or with --set kubeflow.image=NAME:TAG."
        )
    if target == "vertex" and not (kubeflow.pipeline_root or "").startswith("gs://"):
        raise ConfigError(
            f"kubeflow.pipeline_root: Vertex AI keeps artifacts in a bucket, expected gs://BUCKET/FOLDER. "
            f"Received: {kubeflow.pipeline_root!r}."
        )
    _refuse_notification_urls(config)
    name = kubeflow.pipeline_name or re.sub("[^a-z0-9]+", "-", config.run.name.lower()).strip("-")
    if not 1 <= len(name) <= 128:
        raise ConfigError(
            f"run.name: expected letters or digits, 128 characters at most. Received: {config.run.name!r}. "
            f"Change it, or set kubeflow.pipeline_name."
        )
    return dataclasses.replace(
        config,
        run=dataclasses.replace(config.run, name=name),
        data=dataclasses.replace(config.data, directory=kubeflow.data_directory or config.data.directory),
        serving=dataclasses.replace(
            config.serving, directory=kubeflow.serving_directory or config.serving.directory
        ),
        training=dataclasses.replace(
            config.training,
            replicas=_replicas(config),
            checkpoint=dataclasses.replace(
                config.training.checkpoint,
                directory=kubeflow.checkpoint_directory or config.training.checkpoint.directory,
            ),
        ),
    )


def relative_locations(config: PipelineConfig) -> list[str]:
    """List the locations that no pod can find, since they are relative to a working directory.

    Args:
        config: What `prepare_config` gave.

    Returns:
        A line for each.
    """
    locations = {
        "data_directory": ("data.directory", config.data.directory),
        "serving_directory": ("serving.directory", config.serving.directory),
    }
    checkpoints = config.training.checkpoint.directory
    if checkpoints is not None:
        locations["checkpoint_directory"] = ("training.checkpoint.directory", checkpoints)
    return [
        f"{key} {value!r} is relative, and each pod has files of its own: set kubeflow.{parameter} to a "
        f"URI or to a path below a volume, or give the run parameter {parameter} with each run."
        for parameter, (key, value) in locations.items()
        if is_relative(value)
    ]


def is_relative(location: str) -> bool:
    """Tell whether a location depends on a working directory.

    Args:
        location: A URI or a path.

    Returns:
        True for a relative path.
    """
    return "://" not in location and not location.startswith("/")


def left_out_for_vertex(config: PipelineConfig) -> list[str]:
    """List the settings that a configuration has and Vertex AI does not know.

    Args:
        config: The checked configuration.

    Returns:
        Their keys.
    """
    sections: list[tuple[str, KubeflowConfig | StepConfig]] = [("kubeflow", config.kubeflow)]
    sections += [
        (f"kubeflow.steps.{step}", config.kubeflow.steps[step])
        for step in (*STEPS, *SHARED_NAMES)
        if step in config.kubeflow.steps
    ]
    keys = [
        f"{prefix}.{key}"
        for prefix, section in sections
        for key in _KUBERNETES_ALONE
        if getattr(section, key)
    ]
    return keys + (["kubeflow.image_pull_secrets"] if config.kubeflow.image_pull_secrets else [])


def _refuse_notification_urls(config: PipelineConfig) -> None:
    variable = config.retraining.notify.urls_env
    for prefix, environment in (
        ("kubeflow", config.kubeflow.environment),
        *((f"kubeflow.steps.{name}", step.environment) for name, step in config.kubeflow.steps.items()),
    ):
        if variable in environment:
            raise ConfigError(
                f"{prefix}.environment: {variable} holds URLs with tokens and passwords, which would be "
                "readable in the compiled file. Put it into a Kubernetes secret and name that in "
                "kubeflow.steps.RetrainingEnd.secrets."
            )


def _replicas(config: PipelineConfig) -> int | None:
    gpu = config.kubeflow.step(TRAINER).gpu
    replicas = config.training.replicas
    if gpu is None:
        return replicas
    if replicas not in (None, gpu.count):
        raise ConfigError(
            f"training.replicas: expected the Trainer's accelerators, kubeflow.steps.Trainer.gpu.count "
            f"{gpu.count}. Received: {replicas}. Leave training.replicas out."
        )
    return gpu.count
