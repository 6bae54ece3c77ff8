"""The TFX adapter of TowerPusher."""

import os
from pathlib import Path
from typing import Any, ClassVar, Final

from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.artifact import Artifact
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import path_utils

from components.artifacts import CandidateIndex, Report
from components.tower_pusher.logic import PushInputs, push_if_blessed
from schemas.contract import RUN_ID_VARIABLE

_UNKNOWN_RUN: Final = "unknown"


class TowerPusherSpec(ComponentSpec):
    """Parameters and artifacts of TowerPusher."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        "serving_directory": ExecutionParameter(type=str),
        "run_id": ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {
        "model": ChannelParameter(type=standard_artifacts.Model),
        "index": ChannelParameter(type=CandidateIndex),
        "blessing": ChannelParameter(type=standard_artifacts.ModelBlessing),
        "report": ChannelParameter(type=Report),
        "schema": ChannelParameter(type=standard_artifacts.Schema),
        "transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph),
        "statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics),
    }
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {
        "pushed_release": ChannelParameter(type=standard_artifacts.PushedModel)
    }


class TowerPusherExecutor(base_executor.BaseExecutor):
    """Pushes a release and notes it in the artifact."""

    def Do(  # noqa: N802 (TFX's name)
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Unpack the artifacts, push, and set the output's custom properties.

        Args:
            input_dict: `model`, `index`, `blessing`, `report`, `schema`, `transform_graph` and `statistics`.
            output_dict: `pushed_release`; its custom property `pushed` is 1 or 0, and with 1 `version`
                is the version number and `release` the manifest's folder, a path or URI.
            exec_properties: `serving_directory` and `run_id`.

        Raises:
            ReleaseError: The parts do not belong together, or the serving directory cannot be written.
            StorageError: It is in an object store, which cannot be reached or refuses.
        """
        paths = {key: Path(artifact_utils.get_single_uri(artifacts)) for key, artifacts in input_dict.items()}
        pushed_release = artifact_utils.get_single_instance(output_dict["pushed_release"])
        release = push_if_blessed(
            PushInputs(
                model=Path(path_utils.serving_model_dir(str(paths["model"]))),
                index=paths["index"],
                report=paths["report"],
                schema=paths["schema"],
                transform_graph=paths["transform_graph"],
                statistics=paths["statistics"],
            ),
            blessing=paths["blessing"],
            serving_directory=exec_properties["serving_directory"],
            run_id=exec_properties["run_id"] or os.environ.get(RUN_ID_VARIABLE) or _UNKNOWN_RUN,
            result_directory=Path(pushed_release.uri),
        )
        pushed_release.set_int_custom_property("pushed", int(release is not None))
        if release is not None:
            pushed_release.set_int_custom_property("version", release.version)
            pushed_release.set_string_custom_property("release", release.location)


class TowerPusher(base_component.BaseComponent):
    """Writes both towers, the index, the state and a manifest as one release, where the model was blessed."""

    SPEC_CLASS = TowerPusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(TowerPusherExecutor)

    def __init__(
        self,
        model: BaseChannel,
        index: BaseChannel,
        blessing: BaseChannel,
        report: BaseChannel,
        schema: BaseChannel,
        transform_graph: BaseChannel,
        statistics: BaseChannel,
        serving_directory: str | RuntimeParameter,
        run_id: str | RuntimeParameter,
    ) -> None:
        """Build the node.

        Args:
            model: The trained towers, of type Model.
            index: The item embeddings, of type components.CandidateIndex.
            blessing: The evaluation's verdict, of type ModelBlessing.
            report: The evaluation's figures, of type components.Report.
            schema: The schema of the raw examples, of type Schema.
            transform_graph: Transform's graph, of type TransformGraph.
            statistics: The statistics of the raw examples, of type ExampleStatistics; those of the train
                split are kept with the release, for the next run to compare with.
            serving_directory: The folder that releases are pushed to: a path or URI.
            run_id: What the manifest calls the run; '' for what the environment variable DSSM_RUN_ID says
                where the step runs, or 'unknown' without one.
        """
        super().__init__(
            TowerPusherSpec(
                model=model,
                index=index,
                blessing=blessing,
                report=report,
                schema=schema,
                transform_graph=transform_graph,
                statistics=statistics,
                serving_directory=serving_directory,
                run_id=run_id,
                pushed_release=Channel(type=standard_artifacts.PushedModel),
            )
        )
