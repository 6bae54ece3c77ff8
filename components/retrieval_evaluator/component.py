"""The TFX component that judges a model."""

import json
from collections.abc import Sequence
from typing import ClassVar

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.artifacts import AnnIndex, CandidateIndex, Report, Sequences
from components.interaction_ingest.config import Split
from components.retrieval_evaluator.config import EvaluationConfig
from components.retrieval_evaluator.executor import RetrievalEvaluatorExecutor
from schemas.features import FeatureSpec
from schemas.strict_config import to_json, to_short_json


class RetrievalEvaluatorSpec(ComponentSpec):
    """Inputs, outputs and parameters of RetrievalEvaluator."""

    PARAMETERS: ClassVar = {
        "feature_spec": ExecutionParameter(type=str),
        "evaluation_config": ExecutionParameter(type=str),
        "split": ExecutionParameter(type=str),
        "display": ExecutionParameter(type=str),
        "serving_directory": ExecutionParameter(type=str),
        "run_id": ExecutionParameter(type=str),
    }
    INPUTS: ClassVar = {
        "sequences": ChannelParameter(type=Sequences),
        "model": ChannelParameter(type=standard_artifacts.Model),
        "index": ChannelParameter(type=CandidateIndex),
        "ann": ChannelParameter(type=AnnIndex),
    }
    OUTPUTS: ClassVar = {
        "blessing": ChannelParameter(type=standard_artifacts.ModelBlessing),
        "report": ChannelParameter(type=Report),
    }


class RetrievalEvaluator(BaseComponent):
    """Ranks the whole catalogue for every held-out user and blesses the model or not.

    The released model is ranked anew on the same users, so its figures are never those of another run.
    """

    SPEC_CLASS = RetrievalEvaluatorSpec
    EXECUTOR_SPEC = ExecutorClassSpec(RetrievalEvaluatorExecutor)

    def __init__(
        self,
        sequences: BaseChannel,
        model: BaseChannel,
        index: BaseChannel,
        ann: BaseChannel,
        feature_spec: FeatureSpec,
        evaluation_config: EvaluationConfig,
        split: Split,
        display: Sequence[str],
        serving_directory: str | RuntimeParameter,
        run_id: str | RuntimeParameter,
    ) -> None:
        """Declare the step.

        Args:
            sequences: InteractionIngest's `sequences`.
            model: The Trainer's `model`.
            index: CandidateIndexer's `index`.
            ann: AnnIndexer's `ann`.
            feature_spec: The features of the user tower, read or not.
            evaluation_config: The protocol and the rules of the gate.
            split: The rule of the split, which tells what a release has seen.
            display: The columns of the index that a person knows an item by.
            serving_directory: The folder that releases are pushed to: a path or URI. Only read.
            run_id: The run, so that no other run's comparison is reused.
        """
        super().__init__(
            spec=RetrievalEvaluatorSpec(
                sequences=sequences,
                model=model,
                index=index,
                ann=ann,
                feature_spec=to_short_json(feature_spec),
                evaluation_config=to_json(evaluation_config),
                split=to_json(split),
                display=json.dumps(list(display)),
                serving_directory=serving_directory,
                run_id=run_id,
                blessing=Channel(type=standard_artifacts.ModelBlessing),
                report=Channel(type=Report),
            )
        )
