"""The TFX adapter of FeatureSchema."""

from pathlib import Path
from typing import Any, ClassVar

from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.artifact import Artifact
from tfx.types.channel import Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.feature_schema.logic import write_schema
from schemas.features import FeatureSpec
from schemas.strict_config import from_json, to_short_json


class FeatureSchemaSpec(ComponentSpec):
    """Parameters and artifacts of FeatureSchema."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        "feature_spec": ExecutionParameter(type=str),
        "has_weights": ExecutionParameter(type=int),
        "code_fingerprint": ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {}
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {
        "schema": ChannelParameter(type=standard_artifacts.Schema)
    }


class FeatureSchemaExecutor(base_executor.BaseExecutor):
    """Writes the schema artifact."""

    def Do(  # noqa: N802 (TFX's name)
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Unpack the properties and write schema.pbtxt.

        Args:
            input_dict: Nothing.
            output_dict: `schema`.
            exec_properties: `feature_spec`, JSON, and `has_weights`, 1 or 0; the fingerprint only changes the
                cache's key.
        """
        spec = from_json(FeatureSpec, exec_properties["feature_spec"])
        directory = Path(artifact_utils.get_single_uri(output_dict["schema"]))
        write_schema(spec, directory, has_weights=bool(exec_properties["has_weights"]))


class FeatureSchema(base_component.BaseComponent):
    """Turns the declared features into a schema artifact; nothing is inferred from the data."""

    SPEC_CLASS = FeatureSchemaSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(FeatureSchemaExecutor)

    def __init__(
        self, feature_spec: FeatureSpec, has_weights: bool = False, code_fingerprint: str = ""
    ) -> None:
        """Build the node.

        Args:
            feature_spec: The features.
            has_weights: Whether the ingest gives every row a weight.
            code_fingerprint: Hash of the code, so that TFX's cache sees a changed version.
        """
        super().__init__(
            FeatureSchemaSpec(
                feature_spec=to_short_json(feature_spec),
                has_weights=int(has_weights),
                code_fingerprint=code_fingerprint,
                schema=Channel(type=standard_artifacts.Schema),
            )
        )
