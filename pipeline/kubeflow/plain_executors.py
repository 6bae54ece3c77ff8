"""Runs executors that need nothing of TFX, on artifacts that are plain values."""

import importlib.metadata
from collections.abc import Sequence
from typing import Any, Final

from components.execution import BeamContext, PlainExecutor
from pipeline.kubeflow.container_io import (
    ContainerError,
    Invocation,
    Made,
    RuntimeArtifact,
    prepare_outputs,
)

# Left empty where there is no training log and where nothing is pushed.
_MAY_BE_EMPTY: Final = ("tfx.ModelRun", "tfx.PushedModel")
# Of these KFP's page shows the file at the URI itself.
_SINGLE_FILES: Final = ("system.HTML", "system.Markdown")
# By it TFX's own steps tell the layout of the files.
_VERSION_PROPERTY: Final = "tfx_version"
_SPLIT_NAMES: Final = "split_names"


class PlainArtifact:
    """An artifact as `components.execution.ExecutorArtifact` says."""

    def __init__(self, runtime: RuntimeArtifact) -> None:
        """Make one.

        Args:
            runtime: What the launcher says about it.
        """
        self.uri = str(runtime.path)
        self._properties = dict(runtime.metadata)
        self._noted: dict[str, int | float | str] = {}

    @property
    def split_names(self) -> str:
        """The names of its splits, as JSON."""
        return str(self._properties[_SPLIT_NAMES])

    @split_names.setter
    def split_names(self, names: str) -> None:
        self._properties[_SPLIT_NAMES] = self._noted[_SPLIT_NAMES] = names

    def set_int_custom_property(self, key: str, value: int) -> None:
        """Note a number.

        Args:
            key: The property's name.
            value: A whole number, at most 2^53, which is what Kubeflow Pipelines keeps exactly.
        """
        self._noted[key] = int(value)

    def set_float_custom_property(self, key: str, value: float) -> None:
        """Note a number that need not be whole.

        Args:
            key: The property's name.
            value: A finite number.
        """
        self._noted[key] = float(value)

    def set_string_custom_property(self, key: str, value: str) -> None:
        """Note a text.

        Args:
            key: The property's name.
            value: The text.
        """
        self._noted[key] = value

    def to_metadata(self) -> dict[str, Any]:
        """Read what the executor noted.

        Returns:
            JSON values by name, TFX's version among them.
        """
        return {_VERSION_PROPERTY: importlib.metadata.version("tfx"), **self._noted}


def run_plain_executor(
    executor_class: type[PlainExecutor], invocation: Invocation, beam_pipeline_args: Sequence[str]
) -> Made:
    """Run an executor.

    Args:
        executor_class: Its class.
        invocation: The task.
        beam_pipeline_args: Options of Beam's pipeline, for one that needs Beam.

    Returns:
        What it made.

    Raises:
        ContainerError: It gave other values than are asked for.
        DssmError: The executor refused its input.
    """
    inputs, outputs = (
        {key: [PlainArtifact(one) for one in value] for key, value in artifacts.items()}
        for artifacts in (invocation.inputs, invocation.outputs)
    )
    prepare_outputs(invocation)
    for artifacts in invocation.outputs.values():
        for artifact in artifacts:
            if artifact.type_title not in _SINGLE_FILES:
                artifact.path.mkdir()
    values = executor_class(BeamContext(beam_pipeline_args)).Do(inputs, outputs, dict(invocation.parameters))
    if set(values or {}) != set(invocation.output_parameters):
        raise ContainerError(
            f"Output parameters: expected {', '.join(invocation.output_parameters) or 'none'}. "
            f"Received: {', '.join(values or {}) or 'none'}. Compile the pipeline and build the image from "
            "the same version."
        )
    return Made(
        metadata={key: [one.to_metadata() for one in value] for key, value in outputs.items()},
        values=values or {},
        may_be_empty={
            key
            for key, artifacts in invocation.outputs.items()
            if all(artifact.type_title in _MAY_BE_EMPTY for artifact in artifacts)
        },
    )
