"""The TFX adapter of the training."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

from tfx.components.trainer.executor import GenericExecutor
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.artifact import Artifact
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import io_utils

from components.artifacts import Catalogue
from components.tower_trainer.logic import compose_custom_config, drop_run_parameters
from schemas.contract import TRAIN_SPLIT, VALIDATION_SPLIT
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
        "checkpoint_directory": ExecutionParameter(type=str),
        "serving_directory": ExecutionParameter(type=str),
    }
    INPUTS: ClassVar = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph),
        "schema": ChannelParameter(type=standard_artifacts.Schema),
        "catalogue": ChannelParameter(type=Catalogue),
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
            input_dict: `examples`, `transform_graph`, `schema` and `catalogue`. Of the examples the train
                split is read, and the validation split where there is one.
            output_dict: `model` and `model_run`.
            exec_properties: `run_fn`, `feature_spec`, `trainer_config`, `epochs`, `checkpoint_directory` and
                `serving_directory`.

        Raises:
            ConfigError: The epochs are no whole number from 1 on.
            DssmError: As the run_fn says.
        """
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        validation_files = []
        if VALIDATION_SPLIT in artifact_utils.decode_split_names(examples.split_names):
            uri = artifact_utils.get_split_uri([examples], VALIDATION_SPLIT)
            validation_files.append(io_utils.all_files_pattern(uri))
        properties = {
            "run_fn": exec_properties["run_fn"],
            "custom_config": compose_custom_config(
                exec_properties["feature_spec"],
                exec_properties["trainer_config"],
                epochs=exec_properties["epochs"],
                checkpoint_directory=exec_properties["checkpoint_directory"] or "",
                serving_directory=exec_properties["serving_directory"] or "",
                catalogue=artifact_utils.get_single_uri(input_dict["catalogue"]),
                validation_files=validation_files,
            ),
            # TFX reads both; the epochs above say how long.
            "train_args": "{}",
            # By default TFX would hand over the eval split, which no training may see.
            "eval_args": json.dumps({"splits": [TRAIN_SPLIT]}),
        }
        super().Do(input_dict, output_dict, properties)


class TowerTrainer(BaseComponent):
    """Trains both towers.

    TFX's Trainer takes settings as one JSON text, in which a run parameter would silently be a
    constant; here each is an execution property of its own. The node's id is Trainer.
    """

    SPEC_CLASS = TowerTrainerSpec
    EXECUTOR_SPEC = ExecutorClassSpec(TowerTrainerExecutor)

    def __init__(
        self,
        examples: BaseChannel,
        transform_graph: BaseChannel,
        schema: BaseChannel,
        catalogue: BaseChannel,
        run_fn: str,
        feature_spec: FeatureSpec,
        trainer_config: Any,
        epochs: int | RuntimeParameter,
        checkpoint_directory: str | RuntimeParameter,
        serving_directory: str | RuntimeParameter,
    ) -> None:
        """Declare the step.

        Args:
            examples: Transform's `transformed_examples`.
            transform_graph: Transform's `transform_graph`.
            schema: FeatureSchema's `schema`.
            catalogue: InteractionIngest's `catalogue`.
            run_fn: Dotted path of the function that trains; it finds what follows in its
                custom_config.
            feature_spec: The features.
            trainer_config: A `TrainerConfig`, whose own epochs and checkpoint directory are not used.
            epochs: Passes over the train split; may be a RuntimeParameter.
            checkpoint_directory: Folder of the checkpoints of all trainings, a path or URI; '' for none.
            serving_directory: Where the releases are that a warm start begins from, a path or URI; '' where
                none is wanted.
        """
        super().__init__(
            spec=TowerTrainerSpec(
                examples=examples,
                transform_graph=transform_graph,
                schema=schema,
                catalogue=catalogue,
                run_fn=run_fn,
                feature_spec=to_short_json(feature_spec),
                trainer_config=drop_run_parameters(to_json(trainer_config)),
                epochs=epochs,
                checkpoint_directory=checkpoint_directory,
                serving_directory=serving_directory,
                model=Channel(type=standard_artifacts.Model),
                model_run=Channel(type=standard_artifacts.ModelRun),
            )
        )
        self.with_id(NODE_ID)
