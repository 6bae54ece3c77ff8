"""The values of a pipeline that change from run to run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter

if TYPE_CHECKING:
    from tfx.orchestration.data_types import RuntimeParameter

    from pipeline.config import PipelineConfig

LOCATIONS: Final = ("data_directory", "serving_directory", "checkpoint_directory")
"""The run parameters that are a path or a URI."""

OPTIONAL_LOCATIONS: Final = ("checkpoint_directory",)
"""Those of them that may be ''."""

CHECKPOINTS_FOLDER: Final = "checkpoints"
"""Folder of the run directory where checkpoints go that the configuration gives no place."""


@dataclass(frozen=True)
class RunParameters:
    """What one run of the pipeline is given.

    Each is an execution property of its own in the components that read it. A local run has values, a
    compiled pipeline `RuntimeParameter`s, which the orchestrator replaces by those of the run.
    """

    data_directory: str | RuntimeParameter
    """Folder of the tables: a local path or a URI."""
    window_from: str | RuntimeParameter
    """First day of the interactions that are read, such as 2026-11-01; '' for no limit."""
    window_to: str | RuntimeParameter
    """Last day of the interactions that are read; '' for no limit."""
    window_last_days: int | RuntimeParameter
    """Days of interactions that are read, back from the newest one; 0 for no limit."""
    epochs: int | RuntimeParameter
    """Passes over the train split."""
    start: str | RuntimeParameter
    """`warm` or `cold`; '' for what the configuration says."""
    serving_directory: str | RuntimeParameter
    """Where releases go: a local path or a URI."""
    checkpoint_directory: str | RuntimeParameter
    """Where trainings keep their checkpoints, each in a folder of its own: a path or a URI; '' for none."""
    run_id: str
    """What the release's manifest calls the run; '' for what the container's environment says."""
    input_fingerprint: str
    """Hash of the source data, so that an ingest is reused only where it is the same; '' where the
    ingest always executes."""
    code_fingerprint: str
    """What `fingerprint_code` gives, so that a changed version reuses nothing; '' where the orchestrator
    knows the code by its image."""
    training_fingerprint: str
    """The same with the user's own tower, which the Trainer alone runs."""

    @classmethod
    def from_config(
        cls,
        config: PipelineConfig,
        *,
        run_id: str,
        input_fingerprint: str,
        code_fingerprint: str,
        training_fingerprint: str,
    ) -> RunParameters:
        """Take the values of a local run from the configuration.

        Args:
            config: The checked configuration.
            run_id: What the release's manifest calls the run.
            input_fingerprint: Hash of the source data.
            code_fingerprint: Hash of the code.
            training_fingerprint: Hash of the code and the user's own tower.

        Returns:
            The values, local paths made absolute. Checkpoints are in the run's directory unless the
            configuration says where.
        """
        values = configured_values(config)
        values["checkpoint_directory"] = values["checkpoint_directory"] or str(
            Path(config.run.directory) / CHECKPOINTS_FOLDER
        )
        for name in LOCATIONS:
            values[name] = make_absolute(values[name])
        return cls(
            **values,
            run_id=run_id,
            input_fingerprint=input_fingerprint,
            code_fingerprint=code_fingerprint,
            training_fingerprint=training_fingerprint,
        )


def configured_values(config: PipelineConfig) -> dict[str, Any]:
    """List the run parameters as the configuration gives them.

    Args:
        config: The checked configuration.

    Returns:
        The value of each by its name in `RunParameters`, without the run's id and the fingerprints.
    """
    window = config.ingest.window
    first = window.first if window else None
    last = window.last if window else None
    return {
        "data_directory": config.data.directory,
        "window_from": first.isoformat() if first else "",
        "window_to": last.isoformat() if last else "",
        "window_last_days": (window.last_days if window else None) or 0,
        "epochs": config.training.epochs,
        "start": "",
        "serving_directory": config.serving.directory,
        "checkpoint_directory": config.training.checkpoint.directory or "",
    }


def list_settings(config: PipelineConfig) -> dict[str, Any]:
    """List the settings that do not change from run to run, for whoever reads a run's report.

    Args:
        config: The checked configuration.

    Returns:
        Plain data, section by section, defaults among them; without the run parameters, which each stand in
        one place only, and without `kubeflow` and `retraining`, which say nothing about what a run computes,
        and name secrets and nodes of a cluster that readers of a report need not know.
    """
    settings: dict[str, Any] = TypeAdapter(type(config)).dump_python(config, mode="json")
    for section in ("run", "data", "serving"):
        del settings[section]["directory"]
    del settings["kubeflow"], settings["retraining"]
    del settings["training"]["epochs"], settings["training"]["checkpoint"]["directory"]
    for name in ("first", "last", "last_days"):
        (settings["ingest"]["window"] or {}).pop(name, None)
    return settings


def make_absolute(location: str) -> str:
    """Make a local path absolute and leave a URI as it is.

    Args:
        location: A path, or a URI such as s3://bucket/folder.

    Returns:
        The location.
    """
    return location if "://" in location else str(Path(location).absolute())
