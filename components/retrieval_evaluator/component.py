"""The TFX component that judges a model."""

from typing import ClassVar

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import standard_artifacts
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.artifacts import CandidateIndex, Report, Sequences
from components.retrieval_evaluator.config import EvaluationConfig
from components.retrieval_evaluator.executor import RetrievalEvaluatorExecutor
from schemas.features import FeatureSpec
from schemas.strict_config import to_json, to_short_json


class RetrievalEvaluatorSpec(ComponentSpec):
    """Inputs, outputs and parameters of RetrievalEvaluator."""

    PARAMETERS: ClassVar = {
        "feature_spec": ExecutionParameter(type=str),
        "evaluation_config": ExecutionParameter(type=str),
    }
    INPUTS: ClassVar = {
        "sequences": ChannelParameter(type=Sequences),
        "model": ChannelParameter(type=standard_artifacts.Model),
        "index": ChannelParameter(type=CandidateIndex),
    }
    OUTPUTS: ClassVar = {
        "blessing": ChannelParameter(type=standard_artifacts.ModelBlessing),
        "report": ChannelParameter(type=Report),
    }


class RetrievalEvaluator(BaseComponent):
    """Ranks the whole catalogue for every held-out user and blesses the model or not."""

    SPEC_CLASS = RetrievalEvaluatorSpec
    EXECUTOR_SPEC = ExecutorClassSpec(RetrievalEvaluatorExecutor)

    def __init__(
        self,
        sequences: BaseChannel,
        model: BaseChannel,
        index: BaseChannel,
        feature_spec: FeatureSpec,
        evaluation_config: EvaluationConfig,
    ) -> None:
        """Declare the step.

        Args:
            sequences: InteractionIngest's `sequences`.
            model: The Trainer's `model`.
            index: CandidateIndexer's `index`.
            feature_spec: The features that the user tower reads.
            evaluation_config: The cut-offs, the users and the blessing's rule.
        """
        super().__init__(
            spec=RetrievalEvaluatorSpec(
                sequences=sequences,
                model=model,
                index=index,
                feature_spec=to_short_json(feature_spec),
                evaluation_config=to_json(evaluation_config),
                blessing=Channel(type=standard_artifacts.ModelBlessing),
                report=Channel(type=Report),
            )
        )
