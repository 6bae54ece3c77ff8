import dataclasses
from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.types import standard_artifacts

from components.feature_schema.component import FeatureSchema
from schemas.feature_parts import schema_part
from schemas.features import Feature, FeatureSpec, load_feature_spec
from schemas.strict_config import from_json

pytestmark = pytest.mark.integration

SPEC = load_feature_spec("schemas/movielens_100k.yaml")


def test_the_node_writes_a_schema_for_each_table(tmp_path: Path) -> None:
    device = Feature(name="device", dtype="string", tower="context")
    node = FeatureSchema(feature_spec=dataclasses.replace(SPEC, features=(*SPEC.features, device)))
    assert node.id == "FeatureSchema"
    assert set(node.outputs) == {"user_schema", "item_schema", "context_schema"}
    assert all(channel.type is standard_artifacts.Schema for channel in node.outputs.values())

    outputs = {}
    for name in node.outputs:
        artifact = standard_artifacts.Schema()
        artifact.uri = str(tmp_path / name)
        outputs[name] = [artifact]
    node.executor_spec.executor_class().Do({}, outputs, node.exec_properties)

    written = {}
    for name in outputs:
        schema = text_format.Parse((tmp_path / name / "schema.pbtxt").read_text(), schema_pb2.Schema())
        written[name] = [feature.name for feature in schema.feature]
    assert {"user_id", "gender", "train_rows", "validation_rows"} <= set(written["user_schema"])
    assert {"item_id", "genres", "train_rows", "validation_rows"} <= set(written["item_schema"])
    assert not set(written["user_schema"]) & {"item_id", "device"}
    assert written["context_schema"] == ["device"]


def test_without_context_features_there_is_no_context_schema() -> None:
    node = FeatureSchema(feature_spec=SPEC)
    assert set(node.outputs) == {"user_schema", "item_schema"}
    assert from_json(FeatureSpec, node.exec_properties["feature_spec"]) == schema_part(SPEC)
