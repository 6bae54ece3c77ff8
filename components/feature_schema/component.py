"""The TFX adapter of FeatureSchema."""

from typing import ClassVar

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.channel import Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.feature_schema.executor import OUTPUTS, FeatureSchemaExecutor
from schemas.feature_parts import schema_part
from schemas.features import FeatureSpec
from schemas.strict_config import to_short_json


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
        tables = [name for name, tower in OUTPUTS.items() if feature_spec.table_features(tower)]
        super().__init__(
            FeatureSchemaSpec(
                feature_spec=to_short_json(schema_part(feature_spec)),
                code_fingerprint=code_fingerprint,
                **{name: Channel(type=standard_artifacts.Schema) for name in tables},
            )
        )
