"""The real Transform of each table, a training's batches, export, and towers where TensorFlow is alone."""

import functools
import itertools
import json
import logging
import math
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import tensorflow_transform.beam as tft_beam
import tf_keras
import yaml
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
from tensorflow_transform.tf_metadata.dataset_metadata import DatasetMetadata

from components.candidate_indexer.logic import build_index
from components.candidate_indexer.retriever import build_retriever
from components.tower_pusher import skew
from components.tower_pusher.check_towers import find_differences
from components.tower_pusher.compose import PushInputs, TableInputs
from components.tower_pusher.logic import push_release
from components.tower_pusher.skew import Samples, check_parts
from components.towers import load_tower
from schemas.errors import DataError, ReleaseError
from schemas.feature_parts import model_part
from schemas.features import FeatureSpec
from schemas.metadata import build_schema
from schemas.sequences import sequences_schema, value_type, write_sequences
from schemas.skew import ScoresSample, read_scores_sample, read_tower_sample, write_scores_sample
from schemas.strict_config import parse, to_short_json
from trainer import export as export_module
from trainer.config import ModelConfig, TrainerConfig
from trainer.data.batches import FEATURES, BatchMaker
from trainer.data.entities import transform_table
from trainer.data.load import InputFolders, load_training_data
from trainer.data.transform_graphs import TransformGraphs
from trainer.export import export_towers
from trainer.job import TrainingJob, train_and_export
from trainer.preprocessing import preprocessing_fn
from trainer.skew_sample import write_skew_sample
from trainer.towers import build_towers
from trainer.vocabularies import EncodedSize, encoded_sizes, table_rows

pytestmark = pytest.mark.integration

# features comes last, so that ADDED can be put behind it.
SCHEMA = """
name: shop
history: {name: history, length: 3}
features:
  - {name: user_id, dtype: string, tower: user, role: user_id, encoding: {kind: vocabulary}}
  - {name: age, dtype: int, tower: user, encoding: {kind: bucketize, buckets: 2}}
  - {name: income, dtype: float, tower: user, encoding: {kind: z_score}}
  - {name: flat, dtype: float, tower: user, encoding: {kind: z_score}}
  - {name: born, dtype: int, tower: user, encoding: {kind: z_score}}
  - {name: job, dtype: string, tower: user, encoding: {kind: vocabulary}, default: none}
  - {name: item_id, dtype: string, tower: item, role: item_id, encoding: {kind: vocabulary, oov_buckets: 2}}
  - {name: year, dtype: int, tower: item, encoding: {kind: vocabulary}}
  - {name: genres, dtype: string, tower: item, multi_valued: true, encoding: {kind: vocabulary}}
  - {name: note, dtype: string, tower: item}
"""
ADDED = """
  - {name: zip_code, dtype: string, tower: user, encoding: {kind: vocabulary}}
  - {name: device, dtype: string, tower: context, encoding: {kind: vocabulary}}
"""

# Every kind that needs no vocabulary, ids included, and cut-offs of vocabularies.
KINDS = """
name: kinds
history: {name: history, length: 3}
features:
  - {name: user_id, dtype: string, tower: user, role: user_id, encoding: {kind: hashed, buckets: 5}}
  - {name: income, dtype: float, tower: user, encoding: {kind: z_score}}
  - {name: taste, dtype: float, length: 3, tower: user, encoding: {kind: vector}, default: 0}
  - {name: word, dtype: string, tower: context, encoding: {kind: hashed, buckets: 3}}
  - {name: item_id, dtype: string, tower: item, role: item_id, encoding: {kind: hashed, buckets: 3}}
  - {name: year, dtype: int, tower: item, encoding: {kind: hashed, buckets: 1000}}
  - {name: genres, dtype: string, tower: item, multi_valued: true, encoding: {kind: hashed, buckets: 1000}}
  - {name: title, dtype: string, tower: item, encoding: {kind: text, ngrams: 2, buckets: 1000}, default: ''}
  - {name: maker, dtype: string, tower: item, encoding: {kind: vocabulary, minimum_count: 3, oov_buckets: 2}}
  - {name: seller, dtype: string, tower: item, encoding: {kind: vocabulary, minimum_count: 9}}
"""
CUT_OFF = """
name: cut_off
history: {name: history, length: 3}
features:
  - {name: user_id, dtype: string, tower: user, role: user_id}
  - {name: item_id, dtype: string, tower: item, role: item_id,
     encoding: {kind: vocabulary, top_k: 1, oov_buckets: 2}}
"""

# A history with every kind of item feature beside its ids, and the time since each.
HISTORY = """
name: history
history:
  name: history
  length: 3
  item_features: [genres, year, era, brand, price, look, title]
  values_per_item: 2
  time_gap_buckets: 2
features:
  - {name: user_id, dtype: string, tower: user, role: user_id}
  - {name: income, dtype: float, tower: user, encoding: {kind: z_score}}
  - {name: item_id, dtype: string, tower: item, role: item_id, encoding: {kind: vocabulary, oov_buckets: 2}}
  - {name: genres, dtype: string, tower: item, multi_valued: true, encoding: {kind: vocabulary}}
  - {name: year, dtype: int, tower: item, encoding: {kind: bucketize, buckets: 2}}
  - {name: era, dtype: int, tower: item, encoding: {kind: vocabulary}}
  - {name: brand, dtype: string, tower: item, encoding: {kind: hashed, buckets: 1000}}
  - {name: price, dtype: float, tower: item, encoding: {kind: z_score}}
  - {name: look, dtype: float, length: 2, tower: item, encoding: {kind: vector}}
  - {name: title, dtype: string, tower: item, encoding: {kind: text, ngrams: 2, buckets: 1000}, default: ''}
"""

# What the tables say. 1 has 4 train rows, 2 has 2, the next two have one each, and the last none.
USERS = {
    "1": {"age": 10, "income": 1.0, "job": "clerk", "zip_code": "123", "taste": [0.5, -1.0, 0.25]},
    "2": {"age": 20, "income": 2.0, "job": "clerk", "zip_code": "123", "taste": [1.5, -1.0, 0.25]},
    "3": {"age": 30, "income": 3.0, "job": "cook", "zip_code": "9 9", "taste": [2.5, -1.0, 0.25]},
    "4 x": {"age": 40, "income": 4.0, "job": "cook", "zip_code": "9 9", "taste": [3.5, -1.0, 0.25]},
    "idle": {"age": 99, "income": 1e6, "job": "pilot", "zip_code": "0", "taste": [4.5, -1.0, 0.25]},
}
for number, (name, user) in enumerate(USERS.items()):
    # Seconds since 1970: of a mean a billion times as large as their deviation.
    user |= {"user_id": name, "flat": 0.1, "born": 1_700_000_000 + number}
# Train rows: a b 4, the film 2, the next two one each, and the last none.
ITEMS = {
    "a b": {
        "genres": [], "year": 1990, "brand": "b", "price": 1.0, "look": [1.0, 0.5], "title": "Red, WOOL socks"
    },
    "🎬": {"genres": ["drama"], "year": 2000, "brand": "b2", "price": 3.0, "look": [0.0, 2.0], "title": ""},
    'x, "y"': {
        "genres": ["", "sci fi", "drama", "crime"], "year": -5, "brand": "", "price": 5.0, "look": [3.0, 3.0],
        "title": "A -- ",
    },
    " lead": {
        "genres": ["drama"], "year": 2000, "brand": "b2", "price": 2.0, "look": [0.0, 0.0],
        "title": "red wool socks!",
    },
    "not seen": {
        "genres": ["opera"], "year": 1, "brand": "b9", "price": 9.0, "look": [9.0, 9.0], "title": "Élan 2"
    },
}  # fmt: skip
for name, item in ITEMS.items():
    item |= {"item_id": name, "era": item["year"] // 10, "note": "n", "seller": "s"}
    item["maker"] = "acme" if name in ("a b", "not seen") else "other " + name
# By user: items and words in their order, then how many of them are train rows. The rest is validation.
LOG = {
    "1": (
        ["a b", "🎬", "a b", "a b", "not seen", 'x, "y"'],
        ["Hello", "TensorFlow", "2.x", "Hello", "new", "Hello"],
        4,
    ),
    "2": (["🎬", "a b"], ["Hello", "TensorFlow"], 2),
    "3": (['x, "y"'], ["2.x"], 1),
    "4 x": ([" lead"], ["2.x"], 1),
    "idle": (["not seen"], ["Hello"], 0),
}
LENGTH = 3
TRAIN_ROWS = [0, 1, 2, 3, 6, 7, 8, 9]
"""Those of ROWS that are train rows."""


def make_rows():
    """What is asked for at each position: the user, the context, the history before it, and the item."""
    rows = []
    for user, (items, words, _) in LOG.items():
        for position, (item, word) in enumerate(zip(items, words, strict=True)):
            first = max(0, position - LENGTH)
            empty = LENGTH - (position - first)
            past = [ITEMS[name] for name in items[first:position]]
            row = USERS[user] | ITEMS[item] | {"word": word, "device": "tv" if word == "Hello" else "phone"}
            row["history"] = [""] * empty + items[first:position]
            for name, nothing in (("year", 0), ("era", 0), ("brand", ""), ("price", 0.0), ("title", "")):
                row[f"history_{name}"] = [nothing] * empty + [each[name] for each in past]
            row["history_look"] = [[0.0, 0.0]] * empty + [each["look"] for each in past]
            # Two places for each item, its first values that are not empty.
            genres = [[name for name in each["genres"] if name] for each in past]
            row["history_genres"] = [["", ""]] * empty + [[*each, "", ""][:2] for each in genres]
            seconds = to_seconds(user, len(items))
            gaps = [seconds[position] - each for each in seconds[first:position]]
            row["history_gap_seconds"] = [-1] * empty + gaps
            rows.append(row)
    return rows


def to_seconds(user, count):
    """Each interaction comes later after the one before it: gaps of 1, 2, 3 and so on, times ten."""
    return [1_700_000_000 + 5 * n * (n + 1) for n in range(count)]


ROWS = make_rows()
# Neither the ids nor the words were seen in training.
NEW_ROW = {
    "user_id": "stranger",
    "age": 33,
    "income": 2.5,
    "flat": 0.1,
    "born": 1_700_000_000,
    "job": "pilot",
    "history": ["", "", ""],
    "item_id": "new",
    "year": 2031,
    "genres": ["opera"],
}

MODEL_DIM = 4
# Every operation of TensorFlow 2.20 with its attributes, as TF_GetAllOpList of its wheel lists them.
TENSORFLOW_2_20_OPS = Path(__file__).with_name("tensorflow_2_20_ops.txt")
TRAINER_CONFIG = {
    "model": {"dim": MODEL_DIM, "user_layers": [3], "item_layers": [3]},
    "training": {"per_replica_batch": 4, "epochs": 2, "replicas": 1},
}
# Run with -I, away from the repository, nothing but TensorFlow importable: what a server has.
EMBED_WITH_TENSORFLOW_ALONE = """
import json, sys
for package in ("tensorflow_transform", "keras", "tf_keras", "tfx", "tfx_bsl", "schemas", "trainer"):
    sys.modules[package] = None
import tensorflow as tf

request_file, answer_file = sys.argv[1:]
answers = {}
for side, request in json.load(open(request_file)).items():
    signatures = tf.saved_model.load(request["directory"]).signatures
    inputs = signatures["serving_default"].structured_input_signature[1]
    raw = {name: tf.constant(request["raw"][name], spec.dtype) for name, spec in inputs.items()}
    examples = tf.constant([bytes.fromhex(text) for text in request["examples"]])
    vectors = {
        "serving_default": signatures["serving_default"](**raw)["embedding"],
        "serving_examples": signatures["serving_examples"](examples=examples)["embedding"],
    }
    answers[side] = {signature: vector.numpy().tolist() for signature, vector in vectors.items()}
json.dump(answers, open(answer_file, "w"))
"""


def count_rows():
    """How many train and other rows hold each user and each item."""
    users, items = ({name: [0, 0] for name in names} for names in (USERS, ITEMS))
    for user, (names, _, train) in LOG.items():
        for position, item in enumerate(names):
            for counts, name in ((users, user), (items, item)):
                counts[name][position >= train] += 1
    return {"user": users, "item": items}


def learn(spec, tower, rows, folder):
    """Run the real Transform over a table."""
    schema = build_schema(spec, tower)
    rows = [{feature.name: row[feature.name] for feature in schema.feature} for row in rows]
    function = functools.partial(
        preprocessing_fn,
        custom_config={
            "feature_spec": to_short_json(model_part(spec)), "tower": tower, "counted_splits": ["train"],
        },
    )  # fmt: skip
    with beam.Pipeline(runner="FnApiRunner") as pipeline, tft_beam.Context(temp_dir=str(folder / "beam")):
        raw = (pipeline | beam.Create(rows, reshuffle=False), DatasetMetadata(schema))
        _ = raw | tft_beam.AnalyzeDataset(function) | tft_beam.WriteTransformFn(str(folder / tower))
    return str(folder / tower)


def transform(schema_text, folder):
    """Make what the steps before a training give it, and the batch of all rows as it sees them."""
    spec = parse(FeatureSpec, yaml.safe_load(schema_text), "test")
    graphs = {}
    for tower, table in (("user", USERS), ("item", ITEMS)):
        counts = count_rows()[tower]
        rows = [
            row | dict(zip(("train_rows", "validation_rows"), counts[name], strict=True))
            for name, row in table.items()
        ]
        graphs[tower] = learn(spec, tower, rows, folder)
    if spec.table_features("context"):
        graphs["context"] = learn(spec, "context", [ROWS[number] for number in TRAIN_ROWS], folder)
    write_tables(spec, folder)
    inputs = InputFolders(str(folder / "sequences"), str(folder / "catalogue"), TransformGraphs(**graphs))
    data = load_training_data(inputs, model_part(spec), read_validation=True, fits_validation=False)
    batch = BatchMaker(data, spec).of_rows(data.fitted)(tf.range(len(ROWS), dtype=tf.int64))
    return SimpleNamespace(
        spec=spec,
        graphs=inputs.graphs,
        inputs=inputs,
        training=data,
        gap_boundaries=data.gap_boundaries,
        columns={name: values.numpy() for name, values in batch[FEATURES].items()},
    )


def write_tables(spec, folder):
    (folder / "catalogue").mkdir()
    items = pa.schema({feature.name: value_type(feature) for feature in spec.table_features("item")})
    table = pa.Table.from_pylist([{name: row[name] for name in items.names} for row in ITEMS.values()], items)
    pq.write_table(table, folder / "catalogue" / "catalogue.parquet")
    users = []
    for user, (names, _, train) in LOG.items():
        rows = [row for row in ROWS if row["user_id"] == user]
        context = {f.name: [row[f.name] for row in rows] for f in spec.table_features("context")}
        ends = {"train_end": train, "validation_end": len(names), "eval_end": len(names)}
        lists = {spec.item_id.name: names, spec.timestamp: to_seconds(user, len(names))}
        users.append(USERS[user] | lists | context | ends)
    schema = sequences_schema(spec, has_weights=False)
    table = pa.Table.from_pylist([{name: row[name] for name in schema.names} for row in users], schema)
    (folder / "sequences").mkdir()
    write_sequences(table, folder / "sequences" / "sequences-00000-of-00001.parquet")


def to_example(row, names):
    example = tf.train.Example()
    for name in names:
        values = np.ravel(np.array(row[name], object)).tolist()
        feature = example.features.feature[name]
        if isinstance(values[0] if values else "", str):
            feature.bytes_list.value.extend(value.encode() for value in values)
        elif isinstance(values[0], int):
            feature.int64_list.value.extend(values)
        else:
            feature.float_list.value.extend(values)
    return example.SerializeToString()


def to_columns(rows):
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    longest = max(len(genres) for genres in columns["genres"])
    columns["genres"] = [genres + [""] * (longest - len(genres)) for genres in columns["genres"]]
    return columns


def served_names(spec, side):
    history = spec.history.columns if side == "user" else ()
    return [*(feature.name for feature in spec.tower_features(side)), *history]


def files_in(directory):
    return sorted(path.name for path in directory.iterdir())


def fast_hash(texts, buckets):
    return tf.strings.to_hash_bucket_fast(tf.constant(texts), buckets).numpy()


def serve_in_a_fresh_process(shop, directory, tmp_path):
    request = {
        side: {
            "directory": str(directory / f"{side}_tower"),
            "raw": to_columns(ROWS),
            "examples": [to_example(row, served_names(shop.spec, side)).hex() for row in ROWS],
        }
        for side in ("user", "item")
    }
    (tmp_path / "request.json").write_text(json.dumps(request))
    files = [str(tmp_path / "request.json"), str(tmp_path / "answer.json")]
    command = [sys.executable, "-I", "-c", EMBED_WITH_TENSORFLOW_ALONE, *files]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads((tmp_path / "answer.json").read_text())


def ops_beyond_tensorflow_2_20(folder):
    """What a SavedModel holds that the newest TensorFlow Serving does not know: operations, attributes."""
    known = dict(line.partition(" ")[::2] for line in TENSORFLOW_2_20_OPS.read_text().splitlines())
    [graph] = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs
    functions = graph.graph_def.library.function
    own = {function.signature.name for function in functions}
    beyond = set()
    for node in itertools.chain(graph.graph_def.node, *(function.node_def for function in functions)):
        if node.op not in known and node.op not in own:
            beyond.add(node.op)
        elif node.op in known:
            public = {name for name in node.attr if not name.startswith("_")}
            beyond |= {f"{node.op}.{name}" for name in public - set(known[node.op].split())}
    return sorted(beyond)


def build_and_export(data, config, folder, model_id="m", seed=3):
    towers = build_towers(data.spec, config, encoded_sizes(data.spec, data.graphs), seed=seed)
    export_towers(towers, data.graphs, model_part(data.spec), data.gap_boundaries, str(folder), model_id)
    return towers


def check_served(data, towers, directory, tmp_path, tolerance=1e-6, dim=MODEL_DIM):
    """The embeddings of a fresh process are those of the batches that a training is made of."""
    for side in ("user", "item"):
        assert ops_beyond_tensorflow_2_20(directory / f"{side}_tower") == []
    answer = serve_in_a_fresh_process(data, directory, tmp_path)
    columns = {name: tf.constant(column) for name, column in data.columns.items()}
    for side, tower in (("user", towers.user), ("item", towers.item)):
        expected = tower(columns, training=False).numpy()
        assert expected.shape == (len(ROWS), dim)
        assert np.ptp(expected, axis=0).max() > 1e-2
        for signature in ("serving_default", "serving_examples"):
            np.testing.assert_allclose(answer[side][signature], expected, atol=tolerance)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return transform(SCHEMA, tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def trained(shop, tmp_path_factory):
    """A whole training on the files."""
    directory = tmp_path_factory.mktemp("model")
    job = TrainingJob(shop.inputs, "", "", str(directory), str(directory / "logs"))
    config = parse(TrainerConfig, TRAINER_CONFIG, "test")
    train_and_export(job, model_part(shop.spec), config, tf.distribute.get_strategy())
    return directory


@pytest.fixture(scope="module")
def exported(shop, tmp_path_factory):
    """Towers that are also at hand in this process, to compare with what is served."""
    directory = tmp_path_factory.mktemp("exported")
    config = parse(TrainerConfig, TRAINER_CONFIG, "test").model
    return SimpleNamespace(directory=directory, towers=build_and_export(shop, config, directory, "model-7"))


def test_columns_are_the_encoded_features_the_ids_and_the_history(shop):
    assert set(shop.columns) == {
        "user_id", "age", "income", "flat", "born", "job", "item_id", "year", "genres", "history"
    }  # fmt: skip


def test_ids_are_indices_by_falling_frequency_whatever_their_characters(shop):
    # Train rows per item: a b 4, 🎬 2, then 'x, "y"' before ' lead', since ties are in reverse byte order.
    # One that is not in the train split shares one of two rows behind them.
    unseen = 4 + fast_hash(["not seen"], 2)[0]
    np.testing.assert_array_equal(shop.columns["item_id"], [0, 1, 0, 0, unseen, 2, 1, 0, 2, 3, unseen])
    # Train rows per user: 1 4, 2 2, then "4 x" before "3"; idle has none.
    np.testing.assert_array_equal(shop.columns["user_id"], [0, 0, 0, 0, 0, 0, 1, 1, 3, 2, 4])


def test_history_is_rows_of_the_items_and_tells_padding_from_unseen_items(shop):
    unseen = 4 + fast_hash(["not seen"], 2)[0]
    np.testing.assert_array_equal(
        shop.columns["history"],
        [
            [-1, -1, -1], [-1, -1, 0], [-1, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, unseen],
            [-1, -1, -1], [-1, -1, 1], [-1, -1, -1], [-1, -1, -1], [-1, -1, -1],
        ],
    )  # fmt: skip


def test_vocabularies_of_words_and_of_integers(shop):
    # Train rows per job: clerk 6, cook 2; none has a pilot. Per year: 1990 4, 2000 3, -5 1; none 1.
    np.testing.assert_array_equal(shop.columns["job"], [0] * 8 + [1, 1, 2])
    np.testing.assert_array_equal(shop.columns["year"], [0, 1, 0, 0, 3, 2, 1, 0, 2, 1, 3])


def test_multi_valued_keeps_the_values_and_drops_the_empty_ones(shop):
    # Values in train rows: drama 4, then sci fi before crime, once each; opera none.
    nothing, drama, opera, mixed = [-1] * 3, [0, -1, -1], [3, -1, -1], [1, 0, 2]
    expected = [nothing, drama, nothing, nothing, opera, mixed, drama, nothing, mixed, drama, opera]
    # As wide as the longest list as it came, with an empty value in it.
    assert (shop.columns["genres"][:, 3:] == -1).all()
    np.testing.assert_array_equal(shop.columns["genres"][:, :3], expected)


def test_numbers_are_quantiles_and_z_scores_of_the_train_rows(shop):
    # Ages of the 8 train rows: 10 four times, 20 twice, 30 and 40. The median is the 4th or the 5th.
    ages = shop.columns["age"]
    assert set(ages[6:]) == {1}
    incomes = np.array([1.0] * 4 + [2.0] * 2 + [3.0, 4.0])
    given = np.array([row["income"] for row in ROWS])
    np.testing.assert_allclose(shop.columns["income"], (given - incomes.mean()) / incomes.std(), rtol=1e-5)
    assert shop.columns["income"].dtype == np.float32


def test_a_deviation_far_below_the_mean_is_exact(shop):
    born = np.array([0.0] * 4 + [1.0] * 2 + [2.0, 3.0])
    given = np.array([row["born"] - 1_700_000_000 for row in ROWS])
    np.testing.assert_allclose(shop.columns["born"], (given - born.mean()) / born.std(), atol=1e-5)


def test_constant_number_stays_small(shop):
    np.testing.assert_allclose(shop.columns["flat"], 0.0, atol=1e-6)


def test_sizes(shop):
    assert encoded_sizes(shop.spec, shop.graphs) == {
        "user_id": EncodedSize(4, 1),
        "age": EncodedSize(2, 0),
        "job": EncodedSize(2, 1),
        "item_id": EncodedSize(4, 2),
        "year": EncodedSize(3, 1),
        "genres": EncodedSize(3, 1),
    }


def test_each_tower_carries_only_the_vocabularies_it_reads(exported):
    assert files_in(exported.directory / "user_tower" / "assets") == [
        "item_id_vocabulary", "job_vocabulary", "user_id_vocabulary"
    ]  # fmt: skip
    assert files_in(exported.directory / "item_tower" / "assets") == [
        "genres_vocabulary", "item_id_vocabulary", "year_vocabulary"
    ]  # fmt: skip


def test_each_part_names_its_training(exported):
    for part in ("user_tower", "item_tower"):
        text = (exported.directory / part / "assets.extra" / "dssm_part.json").read_text()
        assert json.loads(text) == {"model_id": "model-7", "part": part}


def test_a_fresh_process_gives_the_embeddings_of_training(shop, exported, tmp_path):
    check_served(shop, exported.towers, exported.directory, tmp_path)


@pytest.mark.parametrize(("side", "may_lack"), [("user", ["history", "job"]), ("item", ["genres"])])
def test_what_was_never_seen_and_what_is_missing_still_embeds(trained, shop, side, may_lack):
    signatures = tf.saved_model.load(str(trained / f"{side}_tower")).signatures
    # A missing job is the schema's default, a missing history or genre is none.
    bare = NEW_ROW | {"job": "none", "genres": []}
    inputs = signatures["serving_default"].structured_input_signature[1]
    columns = to_columns([NEW_ROW, bare])
    raw = {name: tf.constant(columns[name], spec.dtype) for name, spec in inputs.items()}
    vectors = signatures["serving_default"](**raw)["embedding"].numpy()
    assert vectors.shape == (2, MODEL_DIM)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)

    example = to_example(bare, [name for name in served_names(shop.spec, side) if name not in may_lack])
    parsed = signatures["serving_examples"](examples=tf.constant([example]))["embedding"].numpy()
    np.testing.assert_allclose(parsed, vectors[1:], atol=1e-6)


def test_training_describes_the_model_and_logs_for_tensorboard(trained):
    info = json.loads((trained / "model.json").read_text())
    part = json.loads((trained / "user_tower" / "assets.extra" / "dssm_part.json").read_text())
    assert info["model_id"] == part["model_id"]
    # 8 rows, 4 in a batch, 2 epochs.
    expected = {"dim": 4, "temperature": 0.1, "steps": 4, "epochs": 2, "train_rows": 8, "global_batch": 4}
    assert {name: info[name] for name in expected} == expected
    assert info["rows_left_out_per_epoch"] == 0
    assert math.isfinite(info["final_loss"])
    assert info["examples_per_second"] > 0
    assert list((trained / "logs").rglob("events.out.tfevents.*"))


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    return transform(KINDS, tmp_path_factory.mktemp("kinds"))


def test_hashed_values_and_ids_are_buckets(kinds):
    # The example of TensorFlow's documentation: Hello, TensorFlow and 2.x in 3 buckets are 0, 2 and 2.
    np.testing.assert_array_equal(kinds.columns["word"][[0, 1, 2, 3, 6, 7, 8, 9]], [0, 2, 2, 0, 0, 2, 2, 2])
    years = fast_hash([str(row["year"]) for row in ROWS], 1000)
    np.testing.assert_array_equal(kinds.columns["year"], years)
    drama, sci_fi, crime = fast_hash(["drama", "sci fi", "crime"], 1000)
    np.testing.assert_array_equal(
        kinds.columns["genres"][[0, 1, 8], :3], [[-1] * 3, [drama, -1, -1], [sci_fi, drama, crime]]
    )
    # Ids by way of 2**40 fingerprints, as in releases before.
    items = fast_hash([row["item_id"] for row in ROWS], 2**40) % 3
    np.testing.assert_array_equal(kinds.columns["item_id"], items)
    users = fast_hash([row["user_id"] for row in ROWS], 2**40) % 5
    np.testing.assert_array_equal(kinds.columns["user_id"], users)
    np.testing.assert_array_equal(kinds.columns["history"][5], items[[2, 3, 4]])
    np.testing.assert_array_equal(kinds.columns["history"][7], [-1, -1, items[1]])


def test_text_is_its_lower_cased_words_and_pairs(kinds):
    red, wool, socks, first, second = fast_hash(["red", "wool", "socks", "red wool", "wool socks"], 1000)
    title = kinds.columns["title"]
    for row in (0, 9):
        np.testing.assert_array_equal(title[row], [red, wool, socks, first, second])
    np.testing.assert_array_equal(title[1], [-1] * 5)
    np.testing.assert_array_equal(title[4], [*fast_hash(["élan", "2", "élan 2"], 1000), -1, -1])
    np.testing.assert_array_equal(title[8], [fast_hash(["a"], 1000)[0], -1, -1, -1, -1])


def test_vectors_come_through_as_they_are(kinds):
    np.testing.assert_array_equal(kinds.columns["taste"], [row["taste"] for row in ROWS])
    assert kinds.columns["taste"].dtype == np.float32


def test_rare_words_fall_out_of_a_vocabulary(kinds):
    # acme in 4 train rows; the others in less than 3, so in one of the two rows that follow.
    maker = kinds.columns["maker"]
    np.testing.assert_array_equal(maker[[0, 2, 3, 4, 7, 10]], [0] * 6)
    assert set(maker[[1, 5, 6, 8, 9]]) <= {1, 2}
    # No seller is in 9 rows. What TFT then puts in the vocabulary is no seller.
    assert set(kinds.columns["seller"]) == {1}


def test_sizes_without_a_vocabulary(kinds):
    assert encoded_sizes(kinds.spec, kinds.graphs) == {
        "user_id": EncodedSize(0, 5),
        "word": EncodedSize(3, 0),
        "item_id": EncodedSize(0, 3),
        "year": EncodedSize(1000, 0),
        "genres": EncodedSize(1000, 0),
        "title": EncodedSize(1000, 0),
        "maker": EncodedSize(1, 2),
        "seller": EncodedSize(1, 1),
    }


def test_the_kinds_without_a_vocabulary_serve_in_a_fresh_process(kinds, tmp_path):
    config = parse(TrainerConfig, TRAINER_CONFIG, "test").model
    towers = build_and_export(kinds, config, tmp_path)
    assert files_in(tmp_path / "user_tower" / "assets") == []
    assert files_in(tmp_path / "item_tower" / "assets") == ["maker_vocabulary", "seller_vocabulary"]
    check_served(kinds, towers, tmp_path, tmp_path)

    served = tf.saved_model.load(str(tmp_path / "user_tower")).signatures
    assert served["serving_default"].structured_input_signature[1]["taste"].shape.as_list() == [None, 3]
    # An example without the vector has the schema's default in each of its places.
    names = served_names(kinds.spec, "user")
    given = to_example(ROWS[0] | {"taste": [0.0, 0.0, 0.0]}, names)
    lacking = to_example(ROWS[0], [name for name in names if name != "taste"])
    left, right = served["serving_examples"](examples=tf.constant([given, lacking]))["embedding"].numpy()
    np.testing.assert_allclose(left, right, atol=1e-6)


def test_a_user_side_without_any_encoded_feature_and_ids_beyond_a_cut_off(tmp_path):
    cut = transform(CUT_OFF, tmp_path)
    assert set(cut.columns) == {"item_id", "history"}
    # Only a b, in 4 train rows, is in the vocabulary. The others share two rows.
    others = ["🎬", "not seen", 'x, "y"', " lead"]
    film, unseen, x, lead = 1 + fast_hash(others, 2)
    np.testing.assert_array_equal(
        cut.columns["item_id"], [0, film, 0, 0, unseen, x, film, 0, x, lead, unseen]
    )
    assert encoded_sizes(cut.spec, cut.graphs)["item_id"] == EncodedSize(1, 2)
    config = parse(TrainerConfig, TRAINER_CONFIG, "test").model
    towers = build_and_export(cut, config, tmp_path / "model")
    check_served(cut, towers, tmp_path / "model", tmp_path)


@pytest.fixture(scope="module")
def past(tmp_path_factory):
    return transform(HISTORY, tmp_path_factory.mktemp("past"))


def test_features_of_the_history_are_the_items_own(past):
    columns = past.columns
    # Train rows per era: 199 4, 200 3, -1 1; that of the item not seen, 0, is the one behind them.
    np.testing.assert_array_equal(columns["history_era"][5], [0, 0, 3])
    np.testing.assert_array_equal(columns["history_era"][2], [-1, 0, 1])
    prices = np.array([1.0] * 4 + [3.0] * 2 + [5.0, 2.0])
    expected = (np.array([1.0, 1.0, 9.0]) - prices.mean()) / prices.std()
    np.testing.assert_allclose(columns["history_price"][5], expected, rtol=1e-5)
    np.testing.assert_array_equal(columns["history_brand"][5], fast_hash(["b", "b", "b9"], 1000))
    # What an item has in a row of its own, it has in a history.
    for name in ("year", "era", "brand", "price", "look"):
        own = {row["item_id"]: columns[name][number] for number, row in enumerate(ROWS)}
        for number, row in enumerate(ROWS):
            for position, item in enumerate(row["history"]):
                if item:
                    np.testing.assert_array_equal(columns[f"history_{name}"][number, position], own[item])


def test_lists_in_the_history_have_places_for_each_item(past):
    columns = past.columns
    # Values in train rows: drama 4, then sci fi before crime, once each; opera none.
    np.testing.assert_array_equal(columns["history_genres"][5], [[-1, -1], [-1, -1], [3, -1]])
    np.testing.assert_array_equal(columns["history_genres"][3], [[-1, -1], [0, -1], [-1, -1]])
    red, wool, elan, two = fast_hash(["red", "wool", "élan", "2"], 1000)
    # What follows the first two n-grams has no place left.
    np.testing.assert_array_equal(columns["history_title"][5], [[red, wool], [red, wool], [elan, two]])
    np.testing.assert_array_equal(columns["history_title"][2], [[-1, -1], [red, wool], [-1, -1]])
    np.testing.assert_array_equal(columns["history_look"][5], [[1.0, 0.5], [1.0, 0.5], [9.0, 9.0]])


def test_the_history_has_padding_where_there_is_no_item(past):
    for name in ("genres", "year", "era", "brand", "title"):
        assert (past.columns[f"history_{name}"][0] == -1).all(), name
    for name in ("price", "look"):
        assert (past.columns[f"history_{name}"][0] == 0.0).all(), name


def test_gaps_are_quantiles_of_those_that_are_there(past):
    # Gaps of train rows: of user 1 10, 20 and 30, 30, 50 and 60, of user 2 10; the median is 30.
    np.testing.assert_array_equal(past.gap_boundaries, [30])
    gaps = past.columns["history_gap_seconds"]
    np.testing.assert_array_equal(gaps[[0, 1, 2, 3]], [[-1, -1, -1], [-1, -1, 0], [-1, 1, 0], [1, 1, 1]])


def test_rows_of_the_tables_are_named_by_what_they_stand_for(past):
    rows = table_rows(past.spec, encoded_sizes(past.spec, past.graphs), past.graphs)
    assert [value.decode() for kind, value in rows["item_id"] if kind == "token"] == [
        "a b", "🎬", 'x, "y"', " lead"
    ]  # fmt: skip
    assert rows["item_id"][4:] == [("oov", b"0/2"), ("oov", b"1/2")]
    assert rows["history_gap_seconds"] == [("bucket", b"0/2"), ("bucket", b"1/2")]


@pytest.mark.parametrize(("policy", "members"), [("float32", 1), ("float32", 2), ("mixed_bfloat16", 1)])
def test_every_history_encoder_serves_in_a_fresh_process(past, policy, members, tmp_path):
    config = ModelConfig(
        dim=4 * members,
        members=members,
        user_layers=(3,),
        item_layers=(3,),
        history_encoders=("mean", "position_weighted", "last", "attention", "gru", "transformer"),
    )
    sizes = encoded_sizes(past.spec, past.graphs)
    tf_keras.mixed_precision.set_global_policy(policy)
    try:
        towers = build_towers(past.spec, config, sizes, seed=3)
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    rows = table_rows(past.spec, sizes, past.graphs)
    assert {name: table.shape[0] for name, table in towers.tables.items()} == {
        name: len(rows[name]) for name in towers.tables
    }
    export_towers(towers, past.graphs, model_part(past.spec), past.gap_boundaries, str(tmp_path), "model-9")
    assert files_in(tmp_path / "user_tower" / "assets") == [
        "era_vocabulary", "genres_vocabulary", "item_id_vocabulary"
    ]  # fmt: skip
    tolerance = 1e-6 if policy == "float32" else 1e-2
    check_served(past, towers, tmp_path, tmp_path, tolerance, config.dim)

    signatures = tf.saved_model.load(str(tmp_path / "user_tower")).signatures
    names = served_names(past.spec, "user")
    # Without any of the history's columns an example counts as one of an empty history.
    lacking = to_example(ROWS[0], [name for name in names if not name.startswith("history")])
    pair = tf.constant([to_example(ROWS[0], names), lacking])
    given, bare = signatures["serving_examples"](examples=pair)["embedding"].numpy()
    np.testing.assert_allclose(given, bare, atol=tolerance)
    # Every column of the history reaches the embedding.
    inputs = signatures["serving_default"].structured_input_signature[1]
    row = to_columns([ROWS[5]])
    raw = {name: tf.constant(row[name], spec.dtype) for name, spec in inputs.items()}
    plain = signatures["serving_default"](**raw)["embedding"].numpy()
    other = to_columns([ROWS[2]])
    for name in past.spec.history.columns:
        changed = raw | {name: tf.constant(other[name], inputs[name].dtype)}
        assert np.abs(signatures["serving_default"](**changed)["embedding"] - plain).max() > 1e-5, name


@pytest.fixture(scope="module")
def servables(past, tmp_path_factory):
    """The three folders that a server loads, with every kind of input that the history has."""
    folder = tmp_path_factory.mktemp("servables")
    encoders = ("mean", "position_weighted", "last", "attention", "gru", "transformer")
    config = ModelConfig(dim=4, user_layers=(3,), item_layers=(3,), history_encoders=encoders)
    towers = build_and_export(past, config, folder)
    build_index(folder / "item_tower", Path(past.inputs.catalogue), folder / "index", "item_id")
    build_retriever(
        folder / "user_tower", folder / "index", folder / "retriever", "item_id", "genres", "history"
    )
    columns = {name: tf.constant(column) for name, column in past.columns.items()}
    users = towers.user(columns, training=False).numpy()
    items = np.load(folder / "index" / "embeddings.npy")
    return SimpleNamespace(spec=past.spec, folder=folder, users=users, items=items)


# What is asked for each of ROWS: the first row has no filter, and the third one leaves out all but one.
EXCLUDE = [["", ""], ["🎬", "nobody's"], ["🎬", " lead"]] + [["", "a b"]] * (len(ROWS) - 3)
FILTER = [["", ""], ["drama", ""], ["drama", ""]] + [["opera", "crime"]] * (len(ROWS) - 3)


def retriever_request():
    raw = to_columns(ROWS)
    return raw | {"exclude": EXCLUDE, "filter": FILTER, "k": [len(ITEMS)] * len(ROWS)}


def check_recommended(servables, ids, scores):
    names = list(ITEMS)
    products = servables.users @ servables.items.T
    for row, user in enumerate(ROWS):
        allowed = [
            name not in EXCLUDE[row] + user["history"]
            and (not any(FILTER[row]) or bool(set(FILTER[row]) & set(ITEMS[name]["genres"]) - {""}))
            for name in names
        ]
        kept = np.flatnonzero(allowed)
        expected = kept[np.argsort(-products[row, kept], kind="stable")]
        missing = len(names) - len(kept)
        assert ids[row] == [names[item] for item in expected] + [""] * missing
        np.testing.assert_allclose(scores[row][: len(kept)], products[row, expected], atol=1e-6)
        assert np.isneginf(scores[row][len(kept) :]).all()


# As EMBED_WITH_TENSORFLOW_ALONE.
RECOMMEND_WITH_TENSORFLOW_ALONE = """
import json, sys
for package in (
    "tensorflow_transform", "keras", "tf_keras", "tfx", "tfx_bsl", "schemas", "trainer", "components",
):
    sys.modules[package] = None
import tensorflow as tf

directory, request_file, answer_file = sys.argv[1:]
signature = tf.saved_model.load(directory).signatures["serving_default"]
request = json.load(open(request_file))
inputs = signature.structured_input_signature[1]
answer = signature(**{name: tf.constant(request[name], spec.dtype) for name, spec in inputs.items()})
ids = [[text.decode() for text in row] for row in answer["item_ids"].numpy()]
others = [answer[name].numpy().tolist() for name in ("scores", "version")]
json.dump([ids, *others], open(answer_file, "w"))
"""


def test_the_retriever_answers_where_tensorflow_is_alone(servables, tmp_path):
    (tmp_path / "request.json").write_text(json.dumps(retriever_request()))
    # The release copies it to another place, with its version.
    shutil.copytree(servables.folder / "retriever", tmp_path / "retriever" / "5")
    (tmp_path / "retriever" / "5" / "assets" / "release_version.txt").write_text("5")
    files = [str(tmp_path / name) for name in ("retriever/5", "request.json", "answer.json")]
    command = [sys.executable, "-I", "-c", RECOMMEND_WITH_TENSORFLOW_ALONE, *files]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ids, scores, versions = json.loads((tmp_path / "answer.json").read_text())
    check_recommended(servables, ids, scores)
    assert versions == [5] * len(ROWS)


def test_a_predict_request_gives_a_predict_response(servables):
    signature = tf.saved_model.load(str(servables.folder / "retriever")).signatures["serving_default"]
    inputs = signature.structured_input_signature[1]
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "retriever", "serving_default"
    asked = retriever_request()
    for name, spec in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(asked[name], spec.dtype))

    received = predict_pb2.PredictRequest.FromString(request.SerializeToString())
    answer = signature(**{name: tf.make_ndarray(proto) for name, proto in received.inputs.items()})
    response = predict_pb2.PredictResponse()
    for name, tensor in answer.items():
        response.outputs[name].CopyFrom(tf.make_tensor_proto(tensor.numpy()))

    outputs = predict_pb2.PredictResponse.FromString(response.SerializeToString()).outputs
    ids, scores = tf.make_ndarray(outputs["item_ids"]), tf.make_ndarray(outputs["scores"])
    check_recommended(servables, [[text.decode() for text in row] for row in ids], scores)
    assert tf.make_ndarray(outputs["version"]).tolist() == [0] * len(ROWS)


@pytest.mark.parametrize("part", ["user_tower", "item_tower", "retriever"])
def test_warm_up_requests_are_answered(servables, part):
    folder = servables.folder / part
    signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
    file = folder / "assets.extra" / "tf_serving_warmup_requests"
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record)
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
    ]
    assert 0 < len(logs) < 5
    for log in logs:
        request = log.predict_log.request
        assert (request.model_spec.name, request.model_spec.signature_name) == (part, "serving_default")
        assert set(request.inputs) == set(signature.structured_input_signature[1])
        signature(**{name: tf.constant(tf.make_ndarray(proto)) for name, proto in request.inputs.items()})


@pytest.mark.parametrize("part", ["user_tower", "item_tower", "retriever"])
def test_tensorflow_serving_knows_every_operation(servables, part):
    assert ops_beyond_tensorflow_2_20(servables.folder / part) == []


def test_an_operation_of_a_later_tensorflow_is_seen(tmp_path):
    module = tf.Module()
    module.call = tf.function(
        lambda image: {"pixels": tf.raw_ops.DecodeJxl(contents=image)},
        input_signature=[tf.TensorSpec([], tf.string)],
    )
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.call})
    assert ops_beyond_tensorflow_2_20(tmp_path) == ["DecodeJxl"]


@pytest.mark.parametrize("part", ["user_tower", "item_tower", "retriever"])
def test_saved_model_cli_shows_and_runs_every_signature(servables, part, tmp_path):
    folder = str(servables.folder / part)

    def call(*arguments):
        command = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    signatures = tf.saved_model.load(folder).signatures
    assert set(signatures) == {
        "serving_default", *([] if part == "retriever" else ["serving_examples"])
    }  # fmt: skip
    shown = call("show", "--dir", folder, "--tag_set", "serve", "--signature_def", "serving_default")
    for name in signatures["serving_default"].structured_input_signature[1]:
        assert f"inputs['{name}'] tensor_info:" in shown
    request = retriever_request()
    for name, signature in signatures.items():
        inputs = signature.structured_input_signature[1]
        raw = {each: request[each] for each in inputs if each in request}
        if name == "serving_examples":
            side = part.partition("_")[0]
            names = [feature.name for feature in servables.spec.tower_features(side)]
            raw = {"examples": [to_example(row, names) for row in ROWS]}
        expressions = ";".join(f"{each}={value!r}" for each, value in raw.items())
        answer = call(
            "run", "--dir", folder, "--tag_set", "serve", "--signature_def", name,
            "--input_exprs", expressions,
        )  # fmt: skip
        for output in signature.structured_outputs:
            assert f"Result for output key {output}:" in answer


def test_a_gap_at_a_boundary_is_in_the_bucket_above(past, tmp_path):
    config = parse(TrainerConfig, TRAINER_CONFIG, "test").model
    build_and_export(past, config, tmp_path)
    embed = tf.saved_model.load(str(tmp_path / "user_tower")).signatures["serving_default"]
    inputs = embed.structured_input_signature[1]
    row = to_columns([ROWS[3]])
    raw = {name: tf.constant(row[name], spec.dtype) for name, spec in inputs.items()}
    boundary = int(past.gap_boundaries[0])

    def embed_gap(seconds):
        return embed(**raw | {"history_gap_seconds": tf.constant([[seconds] * 3], tf.int64)})[
            "embedding"
        ].numpy()

    np.testing.assert_array_equal(embed_gap(boundary), embed_gap(boundary + 1))
    assert np.abs(embed_gap(boundary) - embed_gap(boundary - 1)).max() > 1e-5


OWN_TOWER = """
import tensorflow as tf
import tf_keras


class OwnTower(tf_keras.layers.Layer):
    def __init__(self, inputs):
        super().__init__()
        self._history = inputs.history_embedding
        self._encoders = inputs.build_history_encoders()
        self._last = tf_keras.layers.Dense(inputs.config.dim, bias_initializer="ones")

    def call(self, features, training=False):
        embedded, mask = self._history(features)
        vectors = [encoder(embedded, mask) for encoder in self._encoders]
        outputs = self._last(tf.concat([features["income"][:, None], *vectors], axis=1))
        return tf.math.l2_normalize(outputs, axis=1, epsilon=1e-12)


build = OwnTower
"""


def test_own_user_tower_serves_in_a_fresh_process(past, tmp_path, monkeypatch):
    (tmp_path / "an_own_tower.py").write_text(OWN_TOWER)
    monkeypatch.syspath_prepend(tmp_path)
    config = ModelConfig(dim=4, item_layers=(3,), history_encoders=("gru",), user_tower="an_own_tower.build")
    towers = build_and_export(past, config, tmp_path)
    # Not where the fresh process could import it from.
    (tmp_path / "an_own_tower.py").unlink()
    check_served(past, towers, tmp_path, tmp_path)


def test_a_feature_added_to_the_schema_reaches_transform_towers_and_signatures(tmp_path):
    shop = transform(SCHEMA + ADDED, tmp_path)
    # Train rows per zip code: 123 6, "9 9" 2, 0 none. Per device: phone 5, tv 3.
    np.testing.assert_array_equal(shop.columns["zip_code"], [0] * 8 + [1, 1, 2])
    np.testing.assert_array_equal(shop.columns["device"], [1, 0, 0, 1, 0, 1, 1, 0, 0, 0, 1])

    config = parse(TrainerConfig, TRAINER_CONFIG, "test").model
    towers = build_and_export(shop, config, tmp_path / "model", seed=1)
    check_served(shop, towers, tmp_path / "model", tmp_path)
    user_tower = tf.saved_model.load(str(tmp_path / "model" / "user_tower"))
    embed = user_tower.signatures["serving_default"]
    inputs = embed.structured_input_signature[1]
    assert {"zip_code", "device"} <= set(inputs)
    raw = {name: [ROWS[0][name]] for name in inputs}
    vectors = [
        embed(**{name: tf.constant(value, inputs[name].dtype) for name, value in (raw | change).items()})[
            "embedding"
        ]
        for change in ({}, {"zip_code": ["9 9"]}, {"device": ["phone"]})
    ]
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-4
    assert np.abs(vectors[0] - vectors[2]).max() > 1e-4

    item_tower = tf.saved_model.load(str(tmp_path / "model" / "item_tower"))
    assert set(item_tower.signatures["serving_default"].structured_input_signature[1]) == {
        "item_id", "year", "genres"
    }  # fmt: skip


def make_batch(past, rows):
    features = past.spec.tower_features("item")
    schema = pa.schema({feature.name: value_type(feature) for feature in features})
    return pa.RecordBatch.from_pylist([{name: row[name] for name in schema.names} for row in rows], schema)


@pytest.mark.parametrize("batch_rows", [1, 3, 100])
def test_a_table_is_encoded_alike_in_batches_of_any_size(past, batch_rows):
    rows = list(ITEMS.values())
    features = past.spec.table_features("item")
    batches = [make_batch(past, rows[:2]), make_batch(past, []), make_batch(past, rows[2:])]
    columns = transform_table(batches, features, past.graphs.item, batch_rows)
    assert {name: column.dtype.name for name, column in columns.items()} == {
        "item_id": "int64", "genres": "int64", "year": "int64", "era": "int64", "brand": "int64",
        "price": "float32", "look": "float32", "title": "int64",
    }  # fmt: skip
    first_rows = [next(n for n, row in enumerate(ROWS) if row["item_id"] == name) for name in ITEMS]
    for name, column in columns.items():
        np.testing.assert_array_equal(column, past.columns[name][first_rows])


def test_a_table_without_rows_has_its_columns(past):
    columns = transform_table([], past.spec.table_features("item"), past.graphs.item)
    assert columns["price"].shape == (0,)
    assert columns["look"].shape == (0, 2)
    assert columns["genres"].ndim == 2


def test_dictionaries_are_read_as_their_values(past):
    batch = make_batch(past, [ITEMS["a b"]])
    place = batch.schema.get_field_index("brand")
    encoded = batch.set_column(place, "brand", batch.column("brand").dictionary_encode())
    features = past.spec.table_features("item")
    [brand] = transform_table([encoded], features, past.graphs.item)["brand"]
    assert brand == fast_hash(["b"], 1000)[0]


def test_a_missing_column_is_named(past):
    batch = make_batch(past, [ITEMS["a b"]]).drop_columns(["look"])
    with pytest.raises(DataError, match=r"Received: no look"):
        transform_table([batch], past.spec.table_features("item"), past.graphs.item)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"year": None}, r"Column year of the item table: expected no missing value\. Received: 1"),
        (
            {"look": [1.0]},
            r"Column look of the item table: expected lists of 2 values\. Received: a list of 1",
        ),
        ({"genres": [None]}, r"Column genres of the item table: expected no missing value\. Received: 1"),
    ],
)
def test_values_that_cannot_be_used_are_named(past, change, match):
    with pytest.raises(DataError, match=match):
        transform_table(
            [make_batch(past, [ITEMS["a b"] | change])], past.spec.table_features("item"), past.graphs.item
        )


# What a push holds a release against, on the towers of every kind of feature.


def as_sampled(data, side, rows):
    """The raw inputs of some of ROWS, with lists of lists one after the other."""
    return {
        name: [
            np.ravel(np.array(ROWS[row][name], object)).tolist()
            if isinstance(ROWS[row][name], list)
            else ROWS[row][name]
            for row in rows
        ]
        for name in served_names(data.spec, side)
    }


def sample(data, towers, folder):
    """Write beside exported towers what the Trainer, the indexer and the evaluation write."""
    counts = write_skew_sample(
        towers, data.training, data.inputs, model_part(data.spec), folder / "skew_sample"
    )
    (folder / "model.json").write_text(json.dumps({"skew_sample": counts | {"tolerance": 1e-5}}))
    index_and_evaluate(data, folder)


def index_and_evaluate(data, folder):
    item_id = data.spec.item_id.name
    build_index(folder / "item_tower", Path(data.inputs.catalogue), folder / "index", item_id)
    asked = pa.table(as_sampled(data, "user", range(len(ROWS))))
    users = load_tower(folder / "user_tower", "user_tower").embed(asked)
    scores = users @ np.load(folder / "index" / "embeddings.npy").T
    best = np.argsort(-scores, axis=1)[:, :3]
    ids = pq.read_table(folder / "index" / "catalogue.parquet")[item_id].to_pylist()
    evaluated = ScoresSample(
        ids=[row["user_id"] for row in ROWS],
        inputs=asked,
        rows=best.tolist(),
        items=[[ids[row] for row in rows] for rows in best],
        scores=np.take_along_axis(scores, best, axis=1).tolist(),
        left_out=[[]] * len(ROWS),
    )
    write_scores_sample(evaluated, folder / "scores_sample.parquet")


def parts_in(folder):
    return {part: folder / part for part in ("user_tower", "item_tower", "index")}


def differences_of(folder, **others):
    parts = parts_in(folder) | others
    files = (folder / "skew_sample", folder / "scores_sample.parquet")
    found = find_differences(
        parts["user_tower"], parts["item_tower"], parts["index"], *files, None, tolerance=1e-5
    )
    return {difference.text.split(": ")[0]: difference.text for difference in found}


USER_DIFFERS = "the user_tower does not give the embeddings that training has"
ITEM_DIFFERS = "the item_tower does not give the embeddings that training has"
INDEX_DIFFERS = "the index does not hold the embeddings that the item_tower gives"
SCORES_DIFFER = "user_tower times index does not give the scores that were evaluated"


ORDERED = {"dim": 4, "user_layers": [3], "item_layers": [3], "history_encoders": ["gru", "last"]}


@pytest.fixture(scope="module")
def sampled(past, tmp_path_factory):
    """Towers that see the order of the history, an index and both samples; not to be changed."""
    folder = tmp_path_factory.mktemp("sampled")
    towers = build_and_export(past, parse(ModelConfig, ORDERED, "test"), folder)
    sample(past, towers, folder)
    return folder


@pytest.fixture
def release(sampled, tmp_path):
    """A copy of them, to be changed."""
    return Path(shutil.copytree(sampled, tmp_path / "release"))


def messages_of(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "dssm.progress"]


@pytest.mark.parametrize("name", ["shop", "kinds", "past"])
def test_towers_of_every_kind_of_feature_agree_with_their_sample(name, request, tmp_path, caplog):
    data = request.getfixturevalue(name)
    towers = build_and_export(data, parse(TrainerConfig, TRAINER_CONFIG, "test").model, tmp_path)
    sample(data, towers, tmp_path)
    retriever = tmp_path / "retriever"
    build_retriever(tmp_path / "user_tower", tmp_path / "index", retriever, "item_id", None, None)
    with caplog.at_level(logging.INFO, logger="dssm.progress"):
        check_parts(parts_in(tmp_path) | {"retriever": retriever}, Samples(tmp_path, tmp_path))
    assert messages_of(caplog) == [
        "The towers give training's embeddings of 6 users and 5 items, and the evaluated scores, within 1e-05"
    ]
    # Of the users with train rows the first one and the newest; idle has none. And all items.
    users = read_tower_sample(tmp_path / "skew_sample" / "user.parquet")
    assert users.ids == ["1", "1", "2", "2", "3", "4 x"]
    expected = as_sampled(data, "user", [0, 3, 6, 7, 8, 9])
    assert set(users.inputs.column_names) == set(expected)
    for column, values in expected.items():
        # The files hold float32.
        assert pa.array(values).cast(users.inputs[column].type) == users.inputs[column].chunk(0), column
    items = read_tower_sample(tmp_path / "skew_sample" / "item.parquet")
    assert items.ids == list(ITEMS)


def test_the_process_that_compares_knows_nothing_of_how_towers_are_made(sampled, tmp_path):
    command = skew._compose_command(parts_in(sampled), Samples(sampled, sampled), 1e-5)
    command[2] += "; import sys; print(*sys.modules, file=sys.stderr)"
    environment = skew._environment()
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
    modules = done.stderr.splitlines()[-1].split()
    ours = ("schemas", "components", "trainer", "pipeline")
    assert {name for name in modules if name.split(".")[0] in ours} == {
        "schemas", "schemas.contract", "schemas.errors", "schemas.skew", "schemas.tensorflow_alone",
        "components", "components.tower_pusher", "components.tower_pusher.check_towers",
    }  # fmt: skip
    others = {name.split(".")[0] for name in modules}
    assert not others & {
        "apache_beam", "keras", "ml_metadata", "pydantic", "scipy", "sklearn", "tensorflow_transform",
        "tf_keras", "tfx", "tfx_bsl",
    }  # fmt: skip


def test_an_own_user_tower_agrees_with_its_sample(past, tmp_path, monkeypatch):
    (tmp_path / "an_own_tower.py").write_text(OWN_TOWER)
    monkeypatch.syspath_prepend(tmp_path)
    config = ModelConfig(dim=4, item_layers=(3,), history_encoders=("gru",), user_tower="an_own_tower.build")
    sample(past, build_and_export(past, config, tmp_path), tmp_path)
    assert differences_of(tmp_path) == {}


@pytest.mark.parametrize(
    ("part", "vocabulary", "differing"),
    [
        ("user_tower", "era", [USER_DIFFERS, SCORES_DIFFER]),
        ("user_tower", "item_id", [USER_DIFFERS, SCORES_DIFFER]),
        ("item_tower", "item_id", [ITEM_DIFFERS, INDEX_DIFFERS]),
        ("item_tower", "genres", [ITEM_DIFFERS, INDEX_DIFFERS]),
    ],
)
def test_an_altered_vocabulary_is_found(sampled, release, part, vocabulary, differing):
    assert differences_of(sampled) == {}
    asset = release / part / "assets" / f"{vocabulary}_vocabulary"
    words = asset.read_bytes().splitlines()
    asset.write_bytes(b"\n".join(words[::-1]) + b"\n")
    assert list(differences_of(release)) == differing


def test_the_values_that_differ_are_named(release):
    asset = release / "item_tower" / "assets" / "era_vocabulary"
    assert asset.read_bytes().split() == [b"199", b"200", b"-1"]
    asset.write_bytes(b"199\n201\n-1\n")
    # Of the film and of lead, the only ones of 2000; they have more in common that no other item has.
    text = differences_of(release)[ITEM_DIFFERS]
    assert ": 2 of 5 sampled items are up to 0." in text
    assert text.endswith(
        '; they are those with genres in (["drama"]) or year in (2000) or era in (200) or brand in ("b2")'
    )


@pytest.mark.parametrize("change", [0.01, float("nan")])
def test_an_altered_weight_is_found(past, release, change):
    towers = build_towers(
        past.spec, parse(ModelConfig, ORDERED, "test"), encoded_sizes(past.spec, past.graphs), seed=3
    )
    towers.user.trainable_variables[-1].assign_add([change, 0.0, 0.0, 0.0])
    for part in ("user_tower", "item_tower"):
        shutil.rmtree(release / part)
    export_towers(towers, past.graphs, model_part(past.spec), past.gap_boundaries, str(release), "m")
    assert list(differences_of(release)) == [USER_DIFFERS, SCORES_DIFFER]


def test_parts_of_two_trainings_are_found_whatever_their_model_ids(past, sampled, tmp_path):
    other = tmp_path / "other"
    sample(past, build_and_export(past, parse(ModelConfig, ORDERED, "test"), other, seed=4), other)
    for part, differing in (
        ("user_tower", [USER_DIFFERS, SCORES_DIFFER]),
        ("item_tower", [ITEM_DIFFERS, INDEX_DIFFERS]),
        ("index", [INDEX_DIFFERS, SCORES_DIFFER]),
    ):
        assert list(differences_of(sampled, **{part: other / part})) == differing


def test_rows_of_the_index_that_were_swapped_are_found(release):
    file = release / "index" / "embeddings.npy"
    np.save(file, np.load(file)[[1, 0, 2, 3, 4]])
    assert list(differences_of(release)) == [INDEX_DIFFERS, SCORES_DIFFER]
    # With their ids, it is a good index of this tower, but not the one that was evaluated.
    catalogue = pq.read_table(release / "index" / "catalogue.parquet")
    pq.write_table(catalogue.take([1, 0, 2, 3, 4]), release / "index" / "catalogue.parquet")
    [text] = differences_of(release).values()
    assert text.startswith("the index has other items than the evaluation ranked in ")


def test_a_history_that_is_served_in_reverse_is_found(past, release, monkeypatch):
    forwards = export_module._to_history
    monkeypatch.setattr(export_module, "_to_history", lambda *args: tf.reverse(forwards(*args), [1]))
    for part in ("user_tower", "item_tower"):
        shutil.rmtree(release / part)
    build_and_export(past, parse(ModelConfig, ORDERED, "test"), release)
    found = differences_of(release)
    assert list(found) == [USER_DIFFERS, SCORES_DIFFER]
    # The newest item of 2 is the oldest place now. The history of 1, a b, film, a b, is its own reverse.
    assert ": 1 of 6 sampled users" in found[USER_DIFFERS]


def test_an_evaluation_that_asked_with_histories_in_reverse_is_found(past, release):
    file = release / "scores_sample.parquet"
    evaluated = read_scores_sample(file)
    names = evaluated.inputs.column_names
    turned = [row[::-1] for row in evaluated.inputs["history"].to_pylist()]
    inputs = evaluated.inputs.set_column(names.index("history"), "history", pa.array(turned))
    write_scores_sample(replace(evaluated, inputs=inputs), file)
    assert list(differences_of(release)) == [SCORES_DIFFER]


def push_inputs(release, folder):
    """What a push takes beside the model, the index and the evaluation's sample."""
    info = json.loads((release / "model.json").read_text())
    write_json(
        release / "model.json", info | {"model_id": "m", "dim": 4, "temperature": 0.1, "warm_start": None}
    )
    write_json(release / "state" / "training_state.json", {"model_id": "m"})
    metrics = {"recall_at_10": 0.24}
    report = {"model_id": "m", "metrics": metrics, "popularity": metrics, "trained_on": None}
    write_json(release / "evaluation_report.json", report)
    (release / "per_user_metrics.parquet").write_bytes(b"users")
    write_json(folder / "ingest_report.json", {"sequence_figures": {}, "day_fingerprints": {}})
    write_json(folder / "Split-all" / "FeatureStats.pb", {})
    table = TableInputs(folder, folder, folder)
    return PushInputs(release, release / "index", release, folder, user=table, item=table)


def write_json(file, content):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def test_a_mismatch_stops_the_push_and_leaves_the_old_release(release, tmp_path):
    inputs = push_inputs(release, tmp_path / "rest")
    serving = tmp_path / "serving"
    check = functools.partial(check_parts, samples=Samples(release, release))
    assert push_release(inputs, serving, "first", check).version == 1
    before = {path: path.read_bytes() for path in serving.rglob("*") if path.is_file()}
    asset = release / "item_tower" / "assets" / "item_id_vocabulary"
    asset.write_bytes(b"\n".join(asset.read_bytes().splitlines()[::-1]) + b"\n")
    with pytest.raises(
        ReleaseError, match=r"Nothing was released: the item_tower does not give .* train again"
    ):
        push_release(inputs, serving, "second", check)
    assert {path: path.read_bytes() for path in serving.rglob("*") if path.is_file()} == before
    assert not list(serving.rglob("2"))
