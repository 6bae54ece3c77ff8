"""The executor of FeatureSchema."""

from collections.abc import Mapping
from typing import Any, Final

from components.execution import Artifacts, PlainExecutor, get_path
from components.feature_schema.logic import write_schema
from schemas.features import FeatureSpec, Tower
from schemas.strict_config import from_json

OUTPUTS: Final[dict[str, Tower]] = {
    "user_schema": "user",
    "item_schema": "item",
    "context_schema": "context",
}
"""The table that each output describes."""


class FeatureSchemaExecutor(PlainExecutor):
    """Writes the schema artifacts."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Mapping[str, Any]
    ) -> None:
        """Unpack the properties and write a schema.pbtxt for each table.

        Args:
            input_dict: Nothing.
            output_dict: `user_schema`, `item_schema` and, where there are context features, `context_schema`.
            exec_properties: `feature_spec`, JSON; the fingerprint only changes the cache's key.
        """
        spec = from_json(FeatureSpec, exec_properties["feature_spec"])
        for name in output_dict:
            write_schema(spec, OUTPUTS[name], get_path(output_dict, name))
