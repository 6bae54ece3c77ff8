"""A FeatureSpec to the TensorFlow Metadata schemas that validation and Transform read."""

from pathlib import Path

from google.protobuf import text_format

from schemas.contract import SCHEMA_FILE
from schemas.features import FeatureSpec, Tower
from schemas.metadata import build_schema


def write_schema(spec: FeatureSpec, tower: Tower, directory: Path) -> Path:
    """Write the schema of a table's raw examples as a text protocol buffer.

    Args:
        spec: The features.
        tower: The table: `user`, `item` or `context`.
        directory: The folder to write to; it is made where it does not exist.

    Returns:
        The file `schema.pbtxt`, byte for byte the same for equal features.
    """
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / SCHEMA_FILE
    file.write_text(text_format.MessageToString(build_schema(spec, tower)), encoding="utf-8")
    return file
