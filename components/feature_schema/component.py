"""The TFX adapter of FeatureSchema."""

from pathlib import Path
from typing import Any, ClassVar, Final

from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.artifact import Artifact
from tfx.types.channel import Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.feature_schema.logic import write_schema
from schemas.feature_parts import schema_part
from schemas.features import FeatureSpec, Tower
from schemas.strict_config import from_json, to_short_json

_OUTPUTS: Final[dict[str, Tower]] = {
    "user_schema": "user",
    "item_schema": "item",
    "context_schema": "context",
}


class FeatureSchemaSpec(ComponentSpec):
    """Parameters and artifacts of FeatureSchema."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        "feature_spec": ExecutionParameter(type=str),
        "code_fingerprint": ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {}
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {
        "user_schema": ChannelParameter(type=standard_artifacts.Schema),
        "item_schema": ChannelParameter(type=standard_artifacts.Schema),
        "context_schema": ChannelParameter(type=standard_artifacts.Schema, optional=True),
    }


class FeatureSchemaExecutor(base_executor.BaseExecutor):
    """Writes the schema artifacts."""

    def Do(  # noqa: N802 (TFX's name)
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Unpack the properties and write a schema.pbtxt for each table.

        Args:
            input_dict: Nothing.
            output_dict: `user_schema`, `item_schema` and, where there are context features, `context_schema`.
            exec_properties: `feature_spec`, JSON; the fingerprint only changes the cache's key.
        """
        spec = from_json(FeatureSpec, exec_properties["feature_spec"])
        for name, artifacts in output_dict.items():
            write_schema(spec, _OUTPUTS[name], Path(artifact_utils.get_single_uri(artifacts)))


class FeatureSchema(base_component.BaseComponent):
    """Turns the declared features into a schema for each table; nothing is inferred from the data."""

    SPEC_CLASS = FeatureSchemaSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(FeatureSchemaExecutor)

    def __init__(self, feature_spec: FeatureSpec, code_fingerprint: str = "") -> None:
        """Build the node.

        Args:
            feature_spec: The features.
            code_fingerprint: Hash of the code, so that TFX's cache sees a changed version.
        """
        tables = [name for name, tower in _OUTPUTS.items() if feature_spec.table_features(tower)]
        super().__init__(
            FeatureSchemaSpec(
                feature_spec=to_short_json(schema_part(feature_spec)),
                code_fingerprint=code_fingerprint,
                **{name: Channel(type=standard_artifacts.Schema) for name in tables},
            )
        )
