"""The executor of TowerTrainer."""

from collections.abc import Mapping
from typing import Any

from components.execution import MODEL_FOLDER, Artifacts, PlainExecutor, get_optional_path, get_path
from components.tower_trainer.logic import import_run_fn, restore_run_parameters


class TowerTrainerExecutor(PlainExecutor):
    """Calls the run_fn with plain values."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Mapping[str, Any]
    ) -> None:
        """Call the run_fn.

        Args:
            input_dict: `sequences`, `catalogue`, `user_transform_graph`, `item_transform_graph` and, with
                context features, `context_transform_graph`.
            output_dict: `model` and `model_run`.
            exec_properties: `run_fn`, `feature_spec`, `trainer_config`, `epochs`, `start`,
                `checkpoint_directory` and `serving_directory`; the fingerprint only changes the cache's key.

        Raises:
            ConfigError: The epochs are no whole number from 1 on, or the start is not one of those.
            DssmError: As the run_fn says.
        """
        trainer_config = restore_run_parameters(
            exec_properties["trainer_config"],
            epochs=exec_properties["epochs"],
            start=exec_properties["start"],
        )
        folders = {
            key: str(get_path(input_dict, key))
            for key in ("sequences", "catalogue", "user_transform_graph", "item_transform_graph")
        }
        run_fn = import_run_fn(exec_properties["run_fn"])
        run_fn(
            {
                **folders,
                "context_transform_graph": str(
                    get_optional_path(input_dict, "context_transform_graph") or ""
                ),
                "feature_spec": exec_properties["feature_spec"],
                "trainer_config": trainer_config,
                # An orchestrator can hand an empty text on as None.
                "checkpoint_directory": exec_properties["checkpoint_directory"] or "",
                "serving_directory": exec_properties["serving_directory"] or "",
                "model": str(get_path(output_dict, "model") / MODEL_FOLDER),
                "logs": str(get_path(output_dict, "model_run")),
            }
        )
