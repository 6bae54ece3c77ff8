"""Runs TFX's own executors, and Beam's, on TFX's artifacts."""

import logging
from typing import Any

from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.orchestration.portable import outputs_utils
from tfx.types.value_artifact import ValueArtifact

from pipeline.kubeflow.container_artifacts import MAY_BE_EMPTY, to_metadata, to_tfx_artifact
from pipeline.kubeflow.container_io import ContainerError, Invocation, Made, prepare_outputs


def run_tfx_executor(executor_class: type, invocation: Invocation, beam_pipeline_args: list[str]) -> Made:
    """Run an executor.

    Args:
        executor_class: Its class.
        invocation: The task.
        beam_pipeline_args: Options of Beam's pipeline.

    Returns:
        What it made.

    Raises:
        ContainerError: An artifact type is unknown, or a property cannot be kept.
        DssmError: The executor refused its input.
    """
    # TFX's logger, which its import has left at warnings.
    logging.getLogger("absl").setLevel(logging.INFO)
    inputs = {key: [to_tfx_artifact(one) for one in value] for key, value in invocation.inputs.items()}
    outputs = {key: [to_tfx_artifact(one) for one in value] for key, value in invocation.outputs.items()}
    executor = _make_executor(executor_class, invocation, beam_pipeline_args)

    prepare_outputs(invocation)
    outputs_utils.make_output_dirs(outputs)
    executor.Do(inputs, outputs, dict(invocation.parameters))

    outputs_utils.tag_output_artifacts_with_version(outputs)
    values: dict[str, Any] = {}
    for key in invocation.output_parameters:
        [artifact] = outputs.get(key) or [None]
        if not isinstance(artifact, ValueArtifact):
            raise ContainerError(
                f"Output parameter {key!r}: expected an output of this name that holds a value."
            )
        values[key] = artifact.read()
    return Made(
        metadata={key: [to_metadata(one, key) for one in value] for key, value in outputs.items()},
        values=values,
        may_be_empty={
            key for key, made in outputs.items() if all(isinstance(one, MAY_BE_EMPTY) for one in made)
        },
    )


def _make_executor(executor_class: type, invocation: Invocation, beam_pipeline_args: list[str]) -> Any:
    task_directory = invocation.output_file.parent
    common = {"tmp_dir": str(task_directory / ".temp"), "unique_id": task_directory.name}
    if issubclass(executor_class, BaseBeamExecutor):
        context = BaseBeamExecutor.Context(beam_pipeline_args=beam_pipeline_args, **common)
    else:
        context = BaseExecutor.Context(extra_flags=beam_pipeline_args, **common)
    return executor_class(context)
