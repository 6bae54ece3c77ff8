import json
from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.types import standard_artifacts

from components.feature_schema.component import FeatureSchema
from schemas.features import load_feature_spec

pytestmark = pytest.mark.unit


def test_the_node_writes_the_schema_of_its_feature_spec(tmp_path: Path) -> None:
    node = FeatureSchema(feature_spec=load_feature_spec("schemas/movielens_100k.yaml"))
    assert node.id == "FeatureSchema"
    assert node.outputs["schema"].type is standard_artifacts.Schema
    assert json.loads(node.exec_properties["feature_spec"])["name"] == "movielens_100k"

    schema = standard_artifacts.Schema()
    schema.uri = str(tmp_path / "schema")
    node.executor_spec.executor_class().Do({}, {"schema": [schema]}, node.exec_properties)

    written = text_format.Parse((tmp_path / "schema" / "schema.pbtxt").read_text(), schema_pb2.Schema())
    assert "gender" in {feature.name for feature in written.feature}
