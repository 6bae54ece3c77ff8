"""What an executor needs of TFX, without importing it.

TFX's own helpers load TensorFlow, ten seconds in a pod that may only write a small file. TFX asks no more
of an executor than a class with `Do`; in a container, where TFX itself does not run, a `PlainExecutor` is
given light artifacts (pipeline.kubeflow.plain_executors).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    import apache_beam as beam

MODEL_FOLDER: Final = "Format-Serving"
"""Where TFX has a trained model in its artifact."""

_SPLIT_FOLDER: Final = "Split-{}"


class ExecutorArtifact(Protocol):
    """An artifact as an executor sees it: TFX's own, or that of a container."""

    uri: str
    """Folder of its files."""

    def set_int_custom_property(self, key: str, value: int) -> None:
        """Note a number."""

    def set_float_custom_property(self, key: str, value: float) -> None:
        """Note a number that need not be whole."""

    def set_string_custom_property(self, key: str, value: str) -> None:
        """Note a text."""


Artifacts = Mapping[str, Sequence[Any]]
"""Artifacts by the key of the input or output: one each, but for an optional one that is not there."""

Values = Mapping[str, str | int | float]
"""Outputs that are values, by name; only Kubeflow Pipelines knows such."""


class PlainExecutor:
    """Base of the executors that need nothing of TFX."""

    def __init__(self, context: object = None) -> None:
        """Make one.

        Args:
            context: What TFX knows about the task; not used.
        """

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Mapping[str, Any]
    ) -> Values | None:
        """Do the step's work.

        Args:
            input_dict: The inputs.
            output_dict: The outputs, whose folders are there.
            exec_properties: The parameters by name.

        Returns:
            The outputs that are values; None where there are none.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class BeamContext:
    """What a `PlainBeamExecutor` is told, by TFX in an object of its own."""

    beam_pipeline_args: Sequence[str] = ()
    """Options of Beam's pipeline."""


class PlainBeamExecutor(PlainExecutor):
    """Base of the executors that need Beam, but nothing of TFX."""

    def __init__(self, context: BeamContext) -> None:
        """Make one.

        Args:
            context: The task's options of Beam.
        """
        super().__init__(context)
        self._beam_pipeline_args = list(context.beam_pipeline_args or ())

    def make_beam_pipeline(self) -> "beam.Pipeline":
        """Make a pipeline with the task's options.

        Returns:
            The pipeline.
        """
        # The other executors do without its seconds of imports.
        import apache_beam as beam

        return beam.Pipeline(argv=self._beam_pipeline_args)


def get_path(artifacts: Artifacts, key: str) -> Path:
    """Find the folder of an artifact.

    Args:
        artifacts: The inputs or the outputs.
        key: One that holds one artifact.

    Returns:
        Its folder.
    """
    [artifact] = artifacts[key]
    return Path(artifact.uri)


def get_optional_path(artifacts: Artifacts, key: str) -> Path | None:
    """Find the folder of an artifact that may be missing.

    Args:
        artifacts: The inputs or the outputs.
        key: One that holds one artifact or none.

    Returns:
        Its folder, or None.
    """
    return get_path(artifacts, key) if artifacts.get(key) else None


def get_file_path(artifacts: Artifacts, key: str, name: str) -> Path:
    """Find where to write an artifact that is one file.

    TFX gives it a folder; Kubeflow Pipelines' page shows what is at the artifact's own URI, so that in a
    container it is a file there.

    Args:
        artifacts: The outputs.
        key: One that holds one artifact.
        name: The file's name, where there is a folder for it.

    Returns:
        The file, which need not exist.
    """
    path = get_path(artifacts, key)
    return path / name if path.is_dir() else path


def get_split_paths(artifacts: Artifacts, key: str) -> dict[str, Path]:
    """Find the folders of the splits of an artifact.

    Args:
        artifacts: The inputs.
        key: One that holds one artifact.

    Returns:
        The folder of each split.
    """
    [artifact] = artifacts[key]
    names = json.loads(artifact.split_names)
    return {name: Path(artifact.uri) / _SPLIT_FOLDER.format(name) for name in names}
