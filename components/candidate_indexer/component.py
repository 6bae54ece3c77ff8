"""The TFX component that embeds the catalogue."""

from pathlib import Path
from typing import Any, ClassVar

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.artifact import Artifact
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import path_utils

from components.artifacts import CandidateIndex, Catalogue
from components.candidate_indexer.logic import build_index
from schemas.contract import ITEM_TOWER
from schemas.features import FeatureSpec
from schemas.strict_config import from_json, to_short_json


class CandidateIndexerSpec(ComponentSpec):
    """Inputs, outputs and parameters of CandidateIndexer."""

    PARAMETERS: ClassVar = {"feature_spec": ExecutionParameter(type=str)}
    INPUTS: ClassVar = {
        "model": ChannelParameter(type=standard_artifacts.Model),
        "catalogue": ChannelParameter(type=Catalogue),
    }
    OUTPUTS: ClassVar = {"index": ChannelParameter(type=CandidateIndex)}


class CandidateIndexerExecutor(BaseExecutor):
    """Unpacks the artifacts for `build_index`."""

    def Do(  # noqa: N802 - TFX names it
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Write the index.

        Args:
            input_dict: `model` and `catalogue`.
            output_dict: `index`.
            exec_properties: `feature_spec`, as JSON.
        """
        model = artifact_utils.get_single_instance(input_dict["model"])
        build_index(
            item_tower=Path(path_utils.serving_model_dir(model.uri)) / ITEM_TOWER,
            catalogue=Path(artifact_utils.get_single_uri(input_dict["catalogue"])),
            output=Path(artifact_utils.get_single_uri(output_dict["index"])),
            item_id=from_json(FeatureSpec, exec_properties["feature_spec"]).item_id.name,
        )


class CandidateIndexer(BaseComponent):
    """Runs the item tower over the whole catalogue."""

    SPEC_CLASS = CandidateIndexerSpec
    EXECUTOR_SPEC = ExecutorClassSpec(CandidateIndexerExecutor)

    def __init__(self, model: BaseChannel, catalogue: BaseChannel, feature_spec: FeatureSpec) -> None:
        """Declare the step.

        Args:
            model: The Trainer's `model`.
            catalogue: InteractionIngest's `catalogue`.
            feature_spec: The features.
        """
        super().__init__(
            spec=CandidateIndexerSpec(
                model=model,
                catalogue=catalogue,
                feature_spec=to_short_json(feature_spec),
                index=Channel(type=CandidateIndex),
            )
        )
