"""The TFX adapter of the training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from tfx.components.trainer.executor import GenericExecutor
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import standard_artifacts
from tfx.types.artifact import Artifact
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.tower_trainer.logic import compose_custom_config, drop_epochs
from schemas.features import FeatureSpec
from schemas.strict_config import to_json

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
    }
    INPUTS: ClassVar = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph),
        "schema": ChannelParameter(type=standard_artifacts.Schema),
    }
    OUTPUTS: ClassVar = {
        "model": ChannelParameter(type=standard_artifacts.Model),
        "model_run": ChannelParameter(type=standard_artifacts.ModelRun),
    }


class TowerTrainerExecutor(GenericExecutor):
    """TFX's executor, which knows of one JSON custom_config only."""

    def Do(  # noqa: N802 - TFX names it
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Call the run_fn.

        Args:
            input_dict: `examples`, `transform_graph` and `schema`.
            output_dict: `model` and `model_run`.
            exec_properties: `run_fn`, `feature_spec`, `trainer_config` and `epochs`.

        Raises:
            ConfigError: The epochs are no whole number from 1 on.
            DssmError: As the run_fn says.
        """
        properties = {
            "run_fn": exec_properties["run_fn"],
            "custom_config": compose_custom_config(
                exec_properties["feature_spec"], exec_properties["trainer_config"], exec_properties["epochs"]
            ),
            # TFX reads both; the epochs above say how long.
            "train_args": "{}",
            "eval_args": "{}",
        }
        super().Do(input_dict, output_dict, properties)


class TowerTrainer(BaseComponent):
    """Trains both towers.

    TFX's Trainer takes settings as one JSON text, in which a run parameter would silently be a
    constant; here the epochs are an execution property of their own. The node's id is Trainer.
    """

    SPEC_CLASS = TowerTrainerSpec
    EXECUTOR_SPEC = ExecutorClassSpec(TowerTrainerExecutor)

    def __init__(
        self,
        examples: BaseChannel,
        transform_graph: BaseChannel,
        schema: BaseChannel,
        run_fn: str,
        feature_spec: FeatureSpec,
        trainer_config: Any,
        epochs: int | RuntimeParameter,
    ) -> None:
        """Declare the step.

        Args:
            examples: Transform's `transformed_examples`.
            transform_graph: Transform's `transform_graph`.
            schema: FeatureSchema's `schema`.
            run_fn: Dotted path of the function that trains; it finds both of the following as JSON in
                its custom_config.
            feature_spec: The features.
            trainer_config: A `TrainerConfig`, whose own epochs are not used.
            epochs: Passes over the train split; may be a RuntimeParameter.
        """
        super().__init__(
            spec=TowerTrainerSpec(
                examples=examples,
                transform_graph=transform_graph,
                schema=schema,
                run_fn=run_fn,
                feature_spec=to_json(feature_spec),
                trainer_config=drop_epochs(to_json(trainer_config)),
                epochs=epochs,
                model=Channel(type=standard_artifacts.Model),
                model_run=Channel(type=standard_artifacts.ModelRun),
            )
        )
        self.with_id(NODE_ID)
