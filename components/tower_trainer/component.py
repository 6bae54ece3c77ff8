"""The TFX node of the training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import standard_artifacts
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.artifacts import Catalogue, Sequences
from components.tower_trainer.executor import TowerTrainerExecutor
from components.tower_trainer.logic import drop_run_parameters
from schemas.features import FeatureSpec
from schemas.strict_config import to_json, to_short_json

if TYPE_CHECKING:
    from tfx.orchestration.data_types import RuntimeParameter

NODE_ID = "Trainer"


class TowerTrainerSpec(ComponentSpec):
    """Inputs, outputs and parameters of TowerTrainer."""

    PARAMETERS: ClassVar = {
        "run_fn": ExecutionParameter(type=str),
        "feature_spec": ExecutionParameter(type=str),
        "trainer_config": ExecutionParameter(type=str),
        "epochs": ExecutionParameter(type=int),
        "start": ExecutionParameter(type=str),
        "checkpoint_directory": ExecutionParameter(type=str),
        "serving_directory": ExecutionParameter(type=str),
        "code_fingerprint": ExecutionParameter(type=str),
    }
    INPUTS: ClassVar = {
        "sequences": ChannelParameter(type=Sequences),
        "catalogue": ChannelParameter(type=Catalogue),
        "user_transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph),
        "item_transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph),
        "context_transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph, optional=True),
    }
    OUTPUTS: ClassVar = {
        "model": ChannelParameter(type=standard_artifacts.Model),
        "model_run": ChannelParameter(type=standard_artifacts.ModelRun),
    }


class TowerTrainer(BaseComponent):
    """Trains both towers. The node's id is Trainer.

    TFX's own Trainer asks for examples, and takes settings as one JSON text, in which a run parameter would
    silently be a constant; here each is an execution property of its own.
    """

    SPEC_CLASS = TowerTrainerSpec
    EXECUTOR_SPEC = ExecutorClassSpec(TowerTrainerExecutor)

    def __init__(
        self,
        sequences: BaseChannel,
        catalogue: BaseChannel,
        user_transform_graph: BaseChannel,
        item_transform_graph: BaseChannel,
        run_fn: str,
        feature_spec: FeatureSpec,
        trainer_config: Any,
        epochs: int | RuntimeParameter,
        start: str | RuntimeParameter,
        checkpoint_directory: str | RuntimeParameter,
        serving_directory: str | RuntimeParameter,
        context_transform_graph: BaseChannel | None = None,
        code_fingerprint: str = "",
    ) -> None:
        """Declare the step.

        Args:
            sequences: InteractionIngest's `sequences`.
            catalogue: InteractionIngest's `catalogue`.
            user_transform_graph: UserTransform's `transform_graph`.
            item_transform_graph: ItemTransform's `transform_graph`.
            run_fn: Dotted path of the function that trains; it is given one mapping with the folders of the
                artifacts, by their names here, `model` and `logs`, where to write, and the parameters that
                follow.
            feature_spec: The features.
            trainer_config: A `TrainerConfig`, whose own epochs and checkpoint directory are not used.
            epochs: Passes over the train split; may be a RuntimeParameter.
            start: `warm` to begin from a release, `cold` to begin from nothing, '' for what `trainer_config`
                says.
            checkpoint_directory: Folder of the checkpoints of all trainings, a path or URI; '' for none.
            serving_directory: Where the releases are that a warm start begins from, a path or URI; '' where
                none is wanted.
            context_transform_graph: ContextTransform's `transform_graph`; None without context features.
            code_fingerprint: Hash of the code, a user's own tower included, so that TFX's cache sees a
                changed version.
        """
        graphs = {"user_transform_graph": user_transform_graph, "item_transform_graph": item_transform_graph}
        if context_transform_graph is not None:
            graphs["context_transform_graph"] = context_transform_graph
        super().__init__(
            spec=TowerTrainerSpec(
                sequences=sequences,
                catalogue=catalogue,
                **graphs,
                run_fn=run_fn,
                feature_spec=to_short_json(feature_spec),
                trainer_config=drop_run_parameters(to_json(trainer_config)),
                epochs=epochs,
                start=start,
                checkpoint_directory=checkpoint_directory,
                serving_directory=serving_directory,
                code_fingerprint=code_fingerprint,
                model=Channel(type=standard_artifacts.Model),
                model_run=Channel(type=standard_artifacts.ModelRun),
            )
        )
        self.with_id(NODE_ID)
