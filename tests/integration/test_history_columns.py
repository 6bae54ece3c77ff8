"""A history with item features and time gaps, and a third split, through the ingest and TFX's own steps."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.protobuf import json_format
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.components.example_validator.executor import Executor as ExampleValidator
from tfx.components.statistics_gen.executor import Executor as StatisticsGen
from tfx.components.util import tfxio_utils
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import artifact_utils, standard_artifacts

import components
from components.feature_schema.logic import write_schema
from components.interaction_ingest.component import InteractionIngest, InteractionIngestExecutor
from components.interaction_ingest.config import IngestConfig
from schemas.features import FeatureSpec
from schemas.metadata import build_schema
from schemas.strict_config import parse
from schemas.yaml_files import parse_yaml

pytestmark = pytest.mark.integration

SPEC = """
name: shop
history:
  length: 3
  item_features: [brand, tags, shelf, year, price, look, title, maker]
  values_per_item: 2
  time_gap_buckets: 4
features:
  - {name: user, dtype: string, tower: user, role: user_id, encoding: {kind: vocabulary}}
  - {name: item, dtype: string, tower: item, role: item_id, encoding: {kind: vocabulary}}
  - {name: brand, dtype: string, tower: item, encoding: {kind: vocabulary}, values: [a, b]}
  - {name: tags, dtype: string, tower: item, multi_valued: true, encoding: {kind: vocabulary}}
  - {name: shelf, dtype: int, tower: item, encoding: {kind: vocabulary}, minimum: 1}
  - {name: year, dtype: int, tower: item, encoding: {kind: bucketize, buckets: 2}, minimum: 1990}
  - {name: price, dtype: float, tower: item, encoding: {kind: z_score}, minimum: 0.5}
  - {name: look, dtype: float, length: 4, tower: item, encoding: {kind: vector}, minimum: 1}
  - {name: title, dtype: string, tower: item, encoding: {kind: text, buckets: 20}}
  - {name: maker, dtype: string, tower: item, encoding: {kind: hashed, buckets: 20}}
"""
ITEMS = 6
USERS = 5


@pytest.fixture(scope="module")
def spec():
    return parse(FeatureSpec, parse_yaml(SPEC), "test")


def write_tables(folder: Path) -> None:
    folder.mkdir()
    pairs = [(f"u{user}", str((user + n) % ITEMS), 100 * n + user) for user in range(USERS) for n in range(5)]
    names = ("user", "item", "timestamp")
    log = dict(zip(names, map(list, zip(*pairs, strict=True)), strict=True))
    pq.write_table(pa.table(log), folder / "interactions.parquet")
    pq.write_table(pa.table({"user": [f"u{user}" for user in range(USERS)]}), folder / "users.parquet")
    items = {
        "item": [str(item) for item in range(ITEMS)],
        "brand": ["a", "b"] * 3,
        "tags": [[f"t{tag}" for tag in range(item)] for item in range(ITEMS)],
        "shelf": [1 + item % 3 for item in range(ITEMS)],
        "year": [1990 + item for item in range(ITEMS)],
        "price": [0.5 + item for item in range(ITEMS)],
        "look": [[1.0 + item] * 4 for item in range(ITEMS)],
        "title": [f"item {item}" for item in range(ITEMS)],
        "maker": [f"m{item}" for item in range(ITEMS)],
    }
    pq.write_table(pa.table(items), folder / "items.parquet")


def make(kind, uri: Path):
    artifact = kind()
    artifact.uri = str(uri)
    return artifact


@pytest.fixture(scope="module")
def examples(spec, tmp_path_factory):
    root = tmp_path_factory.mktemp("shop")
    write_tables(root / "data")
    component = InteractionIngest(spec, IngestConfig(validation=True), str(root / "data"))
    outputs = {
        "examples": make(standard_artifacts.Examples, root / "examples"),
        "catalogue": make(components.Catalogue, root / "catalogue"),
        "report": make(components.Report, root / "report"),
        "dead_letters": make(components.DeadLetters, root / "dead_letters"),
    }
    executor = InteractionIngestExecutor(make_context(root))
    executor.Do({}, {name: [one] for name, one in outputs.items()}, {**component.exec_properties})
    return outputs["examples"]


def make_context(folder: Path):
    options = ["--runner=FnApiRunner"]
    return BaseBeamExecutor.Context(beam_pipeline_args=options, tmp_dir=str(folder / "tmp"), unique_id="1")


def test_three_splits_pass_statistics_and_validation(spec, examples, tmp_path):
    schema = make(standard_artifacts.Schema, tmp_path / "schema")
    write_schema(spec, tmp_path / "schema")
    statistics = make(standard_artifacts.ExampleStatistics, tmp_path / "statistics")
    StatisticsGen(make_context(tmp_path)).Do(
        {"examples": [examples], "schema": [schema]}, {"statistics": [statistics]}, {"exclude_splits": "[]"}
    )
    splits = artifact_utils.decode_split_names(statistics.split_names)
    assert splits == ["train", "validation", "eval"]
    anomalies = make(standard_artifacts.ExampleAnomalies, tmp_path / "anomalies")
    ExampleValidator().Do(
        {"statistics": [statistics], "schema": [schema]}, {"anomalies": [anomalies]}, {"exclude_splits": "[]"}
    )
    for split in splits:
        file = tmp_path / "anomalies" / f"Split-{split}" / "SchemaDiff.pb"
        found = anomalies_pb2.Anomalies.FromString(file.read_bytes())
        assert json_format.MessageToDict(found).get("anomalyInfo", {}) == {}


@pytest.mark.parametrize("split", ["train", "validation", "eval"])
def test_columns_are_tensors_of_the_schemas_shapes(spec, examples, split):
    rows = {"train": 3 * USERS, "validation": USERS, "eval": USERS}[split]
    pattern = f"{artifact_utils.get_split_uri([examples], split)}/*"
    tfxio = tfxio_utils.get_tfxio_factory_from_artifact(
        [examples], ["test"], build_schema(spec), read_as_raw_records=False
    )([pattern])
    from tfx_bsl.tfxio.dataset_options import TensorFlowDatasetOptions

    [batch] = tfxio.TensorFlowDataset(TensorFlowDatasetOptions(batch_size=rows, num_epochs=1))
    shapes = {name: tuple(batch[name].shape) for name in batch if name.startswith("history")}
    assert shapes == {
        "history": (rows, 3),
        "history_brand": (rows, 3),
        "history_tags": (rows, 3, 2),
        "history_shelf": (rows, 3),
        "history_year": (rows, 3),
        "history_price": (rows, 3),
        "history_look": (rows, 3, 4),
        "history_title": (rows, 3),
        "history_maker": (rows, 3),
        "history_gap_seconds": (rows, 3),
    }
    # Each user's items follow one another, 100 seconds apart; tags of item n: t0, t1, .. of which two stay.
    for row in range(rows):
        assert batch["history_gap_seconds"][row].numpy().tolist()[::-1] == [
            100 * (n + 1) if name else -1 for n, name in enumerate(batch["history"][row].numpy()[::-1])
        ]
        for place, name in enumerate(batch["history"][row].numpy()):
            item = int(name) if name else 0
            assert batch["history_tags"][row, place].numpy().tolist() == [
                b"t0" if item > 0 else b"", b"t1" if item > 1 else b""
            ]  # fmt: skip
            assert batch["history_look"][row, place].numpy().tolist() == [1.0 + item if name else 0.0] * 4
