"""The TFX component that builds the approximate index."""

from typing import ClassVar

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import standard_artifacts
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.ann_index.config import AnnConfig
from components.ann_index.executor import AnnIndexerExecutor
from components.artifacts import AnnIndex, CandidateIndex, Sequences
from schemas.features import FeatureSpec
from schemas.strict_config import to_json, to_short_json


class AnnIndexerSpec(ComponentSpec):
    """Inputs, outputs and parameters of AnnIndexer."""

    PARAMETERS: ClassVar = {
        "feature_spec": ExecutionParameter(type=str),
        "ann_config": ExecutionParameter(type=str),
    }
    INPUTS: ClassVar = {
        "model": ChannelParameter(type=standard_artifacts.Model),
        "index": ChannelParameter(type=CandidateIndex),
        "sequences": ChannelParameter(type=Sequences),
    }
    OUTPUTS: ClassVar = {"ann": ChannelParameter(type=AnnIndex)}


class AnnIndexer(BaseComponent):
    """Builds approximate indexes over the catalogue, and keeps the fastest that finds what exact search does.

    Output: `ann`, the index with its measured recall; without one where the catalogue is small.
    """

    SPEC_CLASS = AnnIndexerSpec
    EXECUTOR_SPEC = ExecutorClassSpec(AnnIndexerExecutor)

    def __init__(
        self,
        model: BaseChannel,
        index: BaseChannel,
        sequences: BaseChannel,
        feature_spec: FeatureSpec,
        ann_config: AnnConfig,
    ) -> None:
        """Declare the step.

        Args:
            model: The Trainer's `model`.
            index: CandidateIndexer's `index`.
            sequences: InteractionIngest's `sequences`.
            feature_spec: The features of the user tower.
            ann_config: What is tried and what is enough.
        """
        super().__init__(
            spec=AnnIndexerSpec(
                model=model,
                index=index,
                sequences=sequences,
                feature_spec=to_short_json(feature_spec),
                ann_config=to_json(ann_config),
                ann=Channel(type=AnnIndex),
            )
        )
