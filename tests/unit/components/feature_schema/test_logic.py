from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from components.feature_schema.logic import write_schema
from schemas.features import load_feature_spec

pytestmark = pytest.mark.unit


def test_the_file_holds_the_schema(tmp_path: Path) -> None:
    spec = load_feature_spec("schemas/movielens_100k.yaml")
    file = write_schema(spec, "user", tmp_path / "schema")

    assert file == tmp_path / "schema" / "schema.pbtxt"
    schema = text_format.Parse(file.read_text(), schema_pb2.Schema())
    [gender] = [feature for feature in schema.feature if feature.name == "gender"]
    assert gender.type == schema_pb2.BYTES
    assert list(gender.string_domain.value) == ["F", "M"]
    assert {"user_id", "gender", "train_rows"} <= {feature.name for feature in schema.feature}
    assert write_schema(spec, "user", tmp_path / "again").read_bytes() == file.read_bytes()
