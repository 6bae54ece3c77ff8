"""A FeatureSpec to the TensorFlow Metadata schema that validation and Transform read."""

from pathlib import Path

from google.protobuf import text_format

from schemas.contract import SCHEMA_FILE
from schemas.features import FeatureSpec
from schemas.metadata import build_schema


def write_schema(spec: FeatureSpec, directory: Path, has_weights: bool = False) -> Path:
    """Write the schema of the raw examples as a text protocol buffer.

    Args:
        spec: The features.
        directory: The folder to write to; it is made where it does not exist.
        has_weights: Whether the examples hold the column `weight`.

    Returns:
        The file `schema.pbtxt`, byte for byte the same for equal features.
    """
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / SCHEMA_FILE
    file.write_text(text_format.MessageToString(build_schema(spec, has_weights)), encoding="utf-8")
    return file
