from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from components.feature_schema.logic import write_schema
from schemas.features import load_feature_spec
from schemas.metadata import build_schema

pytestmark = pytest.mark.unit


def test_the_file_holds_the_schema(tmp_path: Path) -> None:
    spec = load_feature_spec("schemas/movielens_100k.yaml")
    file = write_schema(spec, tmp_path / "schema")

    assert file == tmp_path / "schema" / "schema.pbtxt"
    schema = text_format.Parse(file.read_text(), schema_pb2.Schema())
    assert schema == build_schema(spec)
    assert {"user_id", "gender", "genres", "history", "timestamp"} <= {
        feature.name for feature in schema.feature
    }
    assert write_schema(spec, tmp_path / "again").read_bytes() == file.read_bytes()
