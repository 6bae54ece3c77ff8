"""The executor of AnnIndexer."""

from collections.abc import Mapping
from typing import Any

from components.ann_index.config import AnnConfig
from components.ann_index.logic import AnnInputs, build_ann
from components.execution import MODEL_FOLDER, Artifacts, PlainExecutor, get_path
from schemas.contract import ANN, USER_TOWER
from schemas.features import FeatureSpec
from schemas.strict_config import from_json


class AnnIndexerExecutor(PlainExecutor):
    """Unpacks the artifacts for `build_ann`."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Mapping[str, Any]
    ) -> None:
        """Write the approximate index, and note its kind and recall in the artifact.

        Args:
            input_dict: `model`, `index` and `sequences`.
            output_dict: `ann`.
            exec_properties: `feature_spec` and `ann_config`, as JSON.

        Raises:
            DataError: The sequences are not those of the features and the catalogue.
            ReleaseError: The model and the index come from different trainings.
            TrainingError: A user's embedding is not finite.
        """
        document = build_ann(
            AnnInputs(
                user_tower=get_path(input_dict, "model") / MODEL_FOLDER / USER_TOWER,
                index=get_path(input_dict, "index"),
                sequences=get_path(input_dict, "sequences"),
            ),
            get_path(output_dict, ANN),
            from_json(FeatureSpec, exec_properties["feature_spec"]),
            from_json(AnnConfig, exec_properties["ann_config"]),
        )
        [artifact] = output_dict[ANN]
        artifact.set_string_custom_property("kind", document.kind)
        artifact.set_float_custom_property("recall", document.recall)
