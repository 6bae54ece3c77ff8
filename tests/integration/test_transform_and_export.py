"""The real Transform step on Beam, training, export, and the towers in a process that has TensorFlow only."""

import functools
import json
import math
import os
import subprocess
import sys
from types import SimpleNamespace

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
import tf_keras
import yaml
from tensorflow_transform.tf_metadata.dataset_metadata import DatasetMetadata

from schemas.features import FeatureSpec
from schemas.metadata import build_schema
from schemas.strict_config import parse, to_json
from trainer.config import ModelConfig, TrainerConfig
from trainer.export import export_towers
from trainer.input import read_columns
from trainer.preprocessing import preprocessing_fn
from trainer.run_fn import run_fn
from trainer.towers import build_towers
from trainer.vocabularies import EncodedSize, encoded_sizes, item_log_q, table_rows

pytestmark = pytest.mark.integration

# features comes last, so that ADDED can be put behind it.
SCHEMA = """
name: shop
history: {name: history, length: 3}
features:
  - {name: user_id, dtype: string, tower: user, role: user_id, encoding: {kind: vocabulary}}
  - {name: age, dtype: int, tower: user, encoding: {kind: bucketize, buckets: 4}}
  - {name: income, dtype: float, tower: user, encoding: {kind: z_score}}
  - {name: flat, dtype: float, tower: user, encoding: {kind: z_score}}
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
  - {name: job, dtype: string, tower: item, encoding: {kind: vocabulary, minimum_count: 3, oov_buckets: 2}}
  - {name: zip_code, dtype: string, tower: item, encoding: {kind: vocabulary, minimum_count: 9}}
"""
CUT_OFF = """
name: cut_off
history: {name: history, length: 3}
features:
  - {name: user_id, dtype: string, tower: user, role: user_id, encoding: {kind: vocabulary, minimum_count: 2}}
  - {name: income, dtype: float, tower: user, encoding: {kind: z_score}}
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

# user, item, job, year, genres, history, zip code, device
LOG = [
    ("1", "a b", "clerk", 1990, [], ["", "", ""], "123", "phone"),
    ("2", "🎬", "clerk", 2000, ["drama"], ["", "", ""], "123", "tv"),
    ("1", "a b", "clerk", 1990, [], ["", "", "a b"], "123", "phone"),
    ("3", 'x, "y"', "cook", -5, ["", "sci fi", "drama"], ["", "", ""], "9 9", "tv"),
    ("2", "🎬", "clerk", 2000, ["drama"], ["", "", "🎬"], "123", "tv"),
    ("1", "a b", "clerk", 1990, [], ["", "a b", "a b"], "123", "phone"),
    ("4 x", " lead", "cook", 2000, ["drama"], ["", "", ""], "9 9", "phone"),
    ("1", "a b", "clerk", 1990, [], ["🎬", 'x, "y"', "not seen"], "123", "phone"),
]
NAMES = ("user_id", "item_id", "job", "year", "genres", "history", "zip_code", "device")
ROWS = [
    dict(zip(NAMES, row, strict=True))
    | {"age": 10 * (i + 1), "income": float(i + 1), "flat": 0.1, "note": "n", "timestamp": i}
    for i, row in enumerate(LOG)
]
TITLES = ["Red, WOOL socks", "red wool socks!", "", " -- ", "Élan 2", "socks", "SOCKS", "red"]
WORDS = ["Hello", "TensorFlow", "2.x", "Hello", "Hello", "TensorFlow", "2.x", "2.x"]
for i, row in enumerate(ROWS):
    row |= {"title": TITLES[i], "word": WORDS[i], "taste": [i / 2, -1.0, 0.25], "weight": 0.5 * i}
# What the item table says of each item.
CATALOGUE = {
    "a b": {"genres": [], "year": 1990, "brand": "b", "price": 1.0, "look": [1.0, 0.5], "title": "Red socks"},
    "🎬": {"genres": ["drama"], "year": 2000, "brand": "b2", "price": 3.0, "look": [0.0, 2.0], "title": ""},
    'x, "y"': {
        "genres": ["sci fi", "drama"], "year": -5, "brand": "", "price": 5.0, "look": [3.0, 3.0], "title": "A"
    },
    " lead": {
        "genres": ["drama"], "year": 2000, "brand": "b2", "price": 2.0, "look": [0.0, 0.0], "title": "one two"
    },
    "not seen": {
        "genres": ["opera"], "year": 1, "brand": "b9", "price": 9.0, "look": [9.0, 9.0], "title": "Élan"
    },
}  # fmt: skip
NO_ITEM = {"genres": [], "year": 0, "brand": "", "price": 0.0, "look": [0.0, 0.0], "title": ""}
for i, row in enumerate(ROWS):
    past = [CATALOGUE.get(item, NO_ITEM) for item in row["history"]]
    item = CATALOGUE[row["item_id"]]
    row |= {"era": item["year"] // 10, **{name: item[name] for name in ("brand", "price", "look")}}
    row |= {
        f"history_{name}": [each[name] for each in past]
        for name in ("year", "brand", "price", "look", "title")
    }
    row["history_era"] = [each["year"] // 10 for each in past]
    row["history_genres"] = [(each["genres"] + ["", ""])[:2] for each in past]
    # Seconds since each: position p of row i is 100 i + p ago.
    row["history_gap_seconds"] = [100 * i + p if name else -1 for p, name in enumerate(row["history"])]
# Neither the ids nor the words were seen in training.
NEW_ROW = {
    "user_id": "stranger",
    "age": 33,
    "income": 2.5,
    "flat": 0.1,
    "job": "pilot",
    "history": ["", "", ""],
    "item_id": "new",
    "year": 2031,
    "genres": ["opera"],
    "zip_code": "0",
    "device": "watch",
}

MODEL_DIM = 4
TRAINER_CONFIG = {
    "model": {"dim": MODEL_DIM, "user_layers": [3], "item_layers": [3]},
    "training": {"per_replica_batch": 4, "epochs": 2, "replicas": 1},
}

# Run with -I, away from the repository, nothing but TensorFlow importable: what a server has.
EMBED_WITH_TENSORFLOW_ALONE = """
import json, sys
for package in ("tensorflow_transform", "tf_keras", "tfx", "tfx_bsl", "schemas", "trainer"):
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


def transform(schema_text, directory, has_weights=False):
    """Run the real Transform over ROWS; only what the schema names is given to it."""
    spec = parse(FeatureSpec, yaml.safe_load(schema_text), "test")
    schema = build_schema(spec, has_weights)
    rows = [{feature.name: row[feature.name] for feature in schema.feature} for row in ROWS]
    function = functools.partial(preprocessing_fn, custom_config={"feature_spec": to_json(spec)})
    with beam.Pipeline(runner="FnApiRunner") as pipeline, tft_beam.Context(temp_dir=str(directory / "beam")):
        raw = (pipeline | beam.Create(rows, reshuffle=False), DatasetMetadata(schema))
        (data, metadata), transform_fn = raw | tft_beam.AnalyzeAndTransformDataset(function)
        _ = (
            data
            | beam.Map(tft.coders.ExampleProtoCoder(metadata.schema).encode)
            | beam.io.WriteToTFRecord(str(directory / "train"), file_name_suffix=".gz", num_shards=1)
        )
        _ = transform_fn | tft_beam.WriteTransformFn(str(directory / "graph"))
    output = tft.TFTransformOutput(str(directory / "graph"))
    files = [str(directory / "train*.gz")]
    columns = read_columns(files, output.transformed_feature_spec())
    # In the order of ROWS: age is 10, 20, ... and income grows with it.
    order = np.argsort(columns["income"])
    return SimpleNamespace(
        spec=spec,
        output=output,
        files=files,
        graph=str(directory / "graph"),
        columns={name: column[order] for name, column in columns.items()},
    )


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


def make_fn_args(data, directory):
    """What TFX gives to run_fn."""
    return SimpleNamespace(
        custom_config={
            "feature_spec": to_json(data.spec),
            "trainer_config": to_json(parse(TrainerConfig, TRAINER_CONFIG, "test")),
            "catalogue": "",
            "validation_files": [],
            "checkpoint_directory": "",
            "serving_directory": "",
        },
        train_files=data.files,
        transform_graph_path=data.graph,
        serving_model_dir=str(directory / "serving"),
        model_run_dir=str(directory / "run"),
    )


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return transform(SCHEMA, tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def trained(shop, tmp_path_factory):
    """run_fn on the transformed examples, as TFX calls it."""
    directory = tmp_path_factory.mktemp("model")
    run_fn(make_fn_args(shop, directory))
    return directory


@pytest.fixture(scope="module")
def exported(shop, tmp_path_factory):
    """Towers that are also at hand in this process, to compare with what is served."""
    directory = tmp_path_factory.mktemp("exported")
    config = parse(TrainerConfig, TRAINER_CONFIG, "test").model
    towers = build_towers(shop.spec, config, encoded_sizes(shop.spec, shop.output), seed=3)
    export_towers(towers, shop.output, shop.spec, str(directory), "model-7")
    return SimpleNamespace(directory=directory, towers=towers)


def test_outputs_are_the_encoded_features_and_the_ids(shop):
    assert set(shop.columns) == {
        "user_id", "age", "income", "flat", "job", "item_id", "year", "genres", "history"
    }  # fmt: skip


def test_ids_are_indices_by_falling_frequency_whatever_their_characters(shop):
    # Rows per item: a b 4, 🎬 2, then 'x, "y"' before ' lead', since ties are in reverse byte order.
    np.testing.assert_array_equal(shop.columns["item_id"], [0, 1, 0, 2, 1, 0, 3, 0])
    # Rows per user: 1 4, 2 2, then "4 x" before "3".
    np.testing.assert_array_equal(shop.columns["user_id"], [0, 1, 0, 3, 1, 0, 2, 0])


def test_history_shares_the_item_vocabulary_and_tells_padding_from_unseen_items(shop):
    history = shop.columns["history"]
    np.testing.assert_array_equal(
        history[:7],
        [[-1, -1, -1], [-1, -1, -1], [-1, -1, 0], [-1, -1, -1], [-1, -1, 1], [-1, 0, 0], [-1, -1, -1]],
    )
    np.testing.assert_array_equal(history[7, :2], [1, 2])
    # 4 items in the vocabulary, then a fingerprint below 2**40.
    assert 4 <= history[7, 2] < 4 + 2**40


def test_vocabularies_of_words_and_of_integers(shop):
    # Rows per job: clerk 6, cook 2. Per year: 1990 4, 2000 3, -5 1.
    np.testing.assert_array_equal(shop.columns["job"], [0, 0, 0, 1, 0, 0, 1, 0])
    np.testing.assert_array_equal(shop.columns["year"], [0, 1, 0, 2, 1, 0, 1, 0])


def test_multi_valued_keeps_the_values_and_drops_the_empty_ones(shop):
    # drama in 4 rows, sci fi in 1.
    expected = [[-1, -1], [0, -1], [-1, -1], [1, 0], [0, -1], [-1, -1], [0, -1], [-1, -1]]
    np.testing.assert_array_equal(shop.columns["genres"], expected)


def test_numbers_are_quantiles_and_z_scores(shop):
    np.testing.assert_array_equal(shop.columns["age"], [0, 0, 1, 1, 2, 2, 3, 3])
    incomes = np.arange(1.0, 9.0)
    np.testing.assert_allclose(shop.columns["income"], (incomes - 4.5) / math.sqrt(5.25), rtol=1e-5)
    assert shop.columns["income"].dtype == np.float32


def test_constant_number_stays_small(shop):
    np.testing.assert_allclose(shop.columns["flat"], 0.0, atol=1e-6)


def test_sizes_and_item_probabilities(shop):
    sizes = encoded_sizes(shop.spec, shop.output)
    assert sizes == {
        "user_id": EncodedSize(4, 1),
        "age": EncodedSize(4, 0),
        "job": EncodedSize(2, 1),
        "item_id": EncodedSize(4, 2),
        "year": EncodedSize(3, 1),
        "genres": EncodedSize(2, 1),
    }
    expected = np.log(np.array([4, 2, 1, 1, 1, 1]) / 8)
    np.testing.assert_allclose(item_log_q(shop.spec, shop.output), expected, rtol=1e-6)


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


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    return transform(KINDS, tmp_path_factory.mktemp("kinds"), has_weights=True)


def fast_hash(texts, buckets):
    return tf.strings.to_hash_bucket_fast(tf.constant(texts), buckets).numpy()


def test_hashed_values_are_buckets_and_hashed_ids_keep_their_identity(kinds):
    # The example of TensorFlow's documentation: Hello, TensorFlow and 2.x in 3 buckets are 0, 2 and 2.
    np.testing.assert_array_equal(kinds.columns["word"], [0, 2, 2, 0, 0, 2, 2, 2])
    np.testing.assert_array_equal(
        kinds.columns["year"], fast_hash(["1990", "2000", "1990", "-5", "2000", "1990", "2000", "1990"], 1000)
    )
    drama, sci_fi = fast_hash(["drama", "sci fi"], 1000)
    np.testing.assert_array_equal(
        kinds.columns["genres"][:4], [[-1, -1], [drama, -1], [-1, -1], [sci_fi, drama]]
    )
    # 4 items in 3 buckets, and still as many keys as items.
    keys = kinds.columns["item_id"]
    np.testing.assert_array_equal(keys, fast_hash([row[1] for row in LOG], 2**40))
    assert len(set(keys)) == 4
    assert len(set(kinds.columns["user_id"])) == 4
    history = kinds.columns["history"]
    np.testing.assert_array_equal(history[0], [-1, -1, -1])
    np.testing.assert_array_equal(history[5], [-1, keys[0], keys[0]])
    np.testing.assert_array_equal(history[7], [keys[1], keys[3], *fast_hash(["not seen"], 2**40)])


def test_text_is_its_lower_cased_words_and_pairs(kinds):
    red, wool, socks, first, second = fast_hash(["red", "wool", "socks", "red wool", "wool socks"], 1000)
    title = kinds.columns["title"]
    for row in title[:2]:
        np.testing.assert_array_equal(row, [red, wool, socks, first, second])
    np.testing.assert_array_equal(title[2:4], np.full((2, 5), -1))
    np.testing.assert_array_equal(title[4], [*fast_hash(["élan", "2", "élan 2"], 1000), -1, -1])
    np.testing.assert_array_equal(title[5:, 0], [socks, socks, red])


def test_vectors_and_weights_come_through_as_they_are(kinds):
    np.testing.assert_array_equal(kinds.columns["taste"], [[i / 2, -1.0, 0.25] for i in range(8)])
    assert kinds.columns["taste"].dtype == np.float32
    np.testing.assert_array_equal(kinds.columns["weight"], [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5])


def test_rare_words_fall_out_of_a_vocabulary(kinds):
    # clerk in 6 rows, cook in 2: below 3, so in one of the two rows that follow clerk's.
    job = kinds.columns["job"]
    cook = job[3]
    assert cook in (1, 2)
    np.testing.assert_array_equal(job, [0, 0, 0, cook, 0, 0, cook, 0])
    # No zip code is in 9 rows. What TFT then puts in the vocabulary is no zip code.
    assert set(kinds.columns["zip_code"]) == {1}


def test_sizes_and_probabilities_without_a_vocabulary(kinds):
    assert encoded_sizes(kinds.spec, kinds.output) == {
        "user_id": EncodedSize(0, 5),
        "word": EncodedSize(3, 0),
        "item_id": EncodedSize(0, 3),
        "year": EncodedSize(1000, 0),
        "genres": EncodedSize(1000, 0),
        "title": EncodedSize(1000, 0),
        "job": EncodedSize(1, 2),
        "zip_code": EncodedSize(1, 1),
    }
    # Rows per bucket: that of each item's key.
    rows = np.zeros(3)
    for key in fast_hash([row[1] for row in LOG], 2**40):
        rows[key % 3] += 1
    assert rows.sum() == 8
    expected = np.log(np.maximum(rows, 1) / 8)
    np.testing.assert_allclose(item_log_q(kinds.spec, kinds.output), expected, rtol=1e-6)


def test_ids_beyond_a_cut_off_keep_their_identity_and_share_their_mean_probability(tmp_path):
    cut = transform(CUT_OFF, tmp_path)
    items = cut.columns["item_id"]
    # Only a b, in 4 rows, is in the vocabulary; 🎬 2, 'x, "y"' and ' lead' 1 each are outside.
    np.testing.assert_array_equal(items == 0, [True, False, True, False, False, True, False, True])
    np.testing.assert_array_equal(items[[1, 3, 6]], 1 + fast_hash(["🎬", 'x, "y"', " lead"], 2**40))
    np.testing.assert_array_equal(
        cut.columns["history"][7], [items[1], items[3], 1 + fast_hash(["not seen"], 2**40)[0]]
    )
    assert encoded_sizes(cut.spec, cut.output) == {"user_id": EncodedSize(2, 1), "item_id": EncodedSize(1, 2)}
    # (2 + 1 + 1) / 3 rows stand for an item outside.
    expected = np.log(np.array([4, 4 / 3, 4 / 3]) / 8)
    np.testing.assert_allclose(item_log_q(cut.spec, cut.output), expected, rtol=1e-6)


def test_the_kinds_without_a_vocabulary_train_and_serve_in_a_fresh_process(kinds, tmp_path):
    run_fn(make_fn_args(kinds, tmp_path))
    info = json.loads((tmp_path / "serving" / "model.json").read_text())
    assert math.isfinite(info["final_loss"])

    config = parse(TrainerConfig, TRAINER_CONFIG, "test").model
    towers = build_towers(kinds.spec, config, encoded_sizes(kinds.spec, kinds.output), seed=3)
    export_towers(towers, kinds.output, kinds.spec, str(tmp_path), "model-8")
    assert files_in(tmp_path / "user_tower" / "assets") == []
    assert files_in(tmp_path / "item_tower" / "assets") == ["job_vocabulary", "zip_code_vocabulary"]
    answer = serve_in_a_fresh_process(kinds, tmp_path, tmp_path)
    columns = {name: tf.constant(column) for name, column in kinds.columns.items()}
    for side, tower in (("user", towers.user), ("item", towers.item)):
        expected = tower(columns, training=False).numpy()
        np.testing.assert_allclose(answer[side]["serving_default"], expected, atol=1e-6)
        np.testing.assert_allclose(answer[side]["serving_examples"], expected, atol=1e-6)

    served = tf.saved_model.load(str(tmp_path / "user_tower")).signatures
    assert served["serving_default"].structured_input_signature[1]["taste"].shape.as_list() == [None, 3]
    # An example without the vector has the schema's default in each of its places.
    names = served_names(kinds.spec, "user")
    given = to_example(ROWS[0] | {"taste": [0.0, 0.0, 0.0]}, names)
    lacking = to_example(ROWS[0], [name for name in names if name != "taste"])
    left, right = served["serving_examples"](examples=tf.constant([given, lacking]))["embedding"].numpy()
    np.testing.assert_allclose(left, right, atol=1e-6)


@pytest.fixture(scope="module")
def past(tmp_path_factory):
    return transform(HISTORY, tmp_path_factory.mktemp("past"))


def test_features_of_the_history_are_encoded_as_the_items_own(past):
    columns = past.columns
    # Rows per era: 199 4, 200 3, -1 1; that of the item not seen, 0, is the one behind them.
    np.testing.assert_array_equal(columns["history_era"][5], [-1, 0, 0])
    np.testing.assert_array_equal(columns["history_era"][7], [1, 2, 3])
    prices = np.array([1.0] * 4 + [3.0] * 2 + [5.0, 2.0])
    expected = (np.array([3.0, 5.0, 9.0]) - prices.mean()) / prices.std()
    np.testing.assert_allclose(columns["history_price"][7], expected, rtol=1e-5)
    np.testing.assert_array_equal(columns["history_brand"][7], fast_hash(["b2", "", "b9"], 1000))
    # What an item has in a row of its own, it has in a history.
    for name in ("year", "era", "brand", "price", "look"):
        own = dict(zip([row[1] for row in LOG], columns[name], strict=True))
        for row, history in enumerate(row[5] for row in LOG):
            for position, item in enumerate(history):
                if item in own:
                    np.testing.assert_array_equal(columns[f"history_{name}"][row, position], own[item])


def test_lists_in_the_history_have_places_for_each_item(past):
    columns = past.columns
    # drama in 4 rows, sci fi in 1, opera in none.
    np.testing.assert_array_equal(columns["history_genres"][7], [[0, -1], [1, 0], [2, -1]])
    np.testing.assert_array_equal(columns["history_genres"][5], [[-1, -1], [-1, -1], [-1, -1]])
    red, socks, a, elan = fast_hash(["red", "socks", "a", "élan"], 1000)
    # The pair "red socks" has no place left.
    np.testing.assert_array_equal(columns["history_title"][5], [[-1, -1], [red, socks], [red, socks]])
    np.testing.assert_array_equal(columns["history_title"][7], [[-1, -1], [a, -1], [elan, -1]])
    np.testing.assert_array_equal(columns["history_look"][7], [[0.0, 2.0], [3.0, 3.0], [9.0, 9.0]])


def test_the_history_has_padding_where_there_is_no_item(past):
    for name in ("genres", "year", "era", "brand", "title"):
        assert (past.columns[f"history_{name}"][0] == -1).all(), name
    for name in ("price", "look"):
        assert (past.columns[f"history_{name}"][0] == 0.0).all(), name


def test_gaps_are_quantiles_of_those_that_are_there(past):
    gaps = past.columns["history_gap_seconds"]
    # 202, 402, 501, 502, 700, 701 and 702 seconds in two buckets. With the padding all were in the upper one.
    np.testing.assert_array_equal(gaps[[0, 2, 4, 7]], [[-1, -1, -1], [-1, -1, 0], [-1, -1, 0], [1, 1, 1]])
    np.testing.assert_array_equal(gaps[5, :2], [-1, 0])


def test_history_columns_are_parsed_with_a_fixed_shape(past):
    parsed = past.output.transformed_feature_spec()
    shapes = {name: tuple(parsed[name].shape) for name in past.spec.history.columns}
    assert shapes == {
        "history": (3,),
        "history_genres": (3, 2),
        "history_year": (3,),
        "history_era": (3,),
        "history_brand": (3,),
        "history_price": (3,),
        "history_look": (3, 2),
        "history_title": (3, 2),
        "history_gap_seconds": (3,),
    }


def test_rows_of_the_tables_are_named_by_what_they_stand_for(past):
    rows = table_rows(past.spec, encoded_sizes(past.spec, past.output), past.output)
    assert [value.decode() for kind, value in rows["item_id"] if kind == "token"] == [
        "a b", "🎬", 'x, "y"', " lead"
    ]  # fmt: skip
    assert rows["item_id"][4:] == [("oov", b"0/2"), ("oov", b"1/2")]
    assert rows["history_gap_seconds"] == [("bucket", b"0/2"), ("bucket", b"1/2")]


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_every_history_encoder_serves_in_a_fresh_process(past, policy, tmp_path):
    config = ModelConfig(
        dim=4,
        user_layers=(3,),
        item_layers=(3,),
        history_encoders=("mean", "position_weighted", "last", "attention", "gru"),
    )
    sizes = encoded_sizes(past.spec, past.output)
    tf_keras.mixed_precision.set_global_policy(policy)
    try:
        towers = build_towers(past.spec, config, sizes, seed=3)
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    rows = table_rows(past.spec, sizes, past.output)
    assert {name: table.shape[0] for name, table in towers.tables.items()} == {
        name: len(rows[name]) for name in towers.tables
    }
    export_towers(towers, past.output, past.spec, str(tmp_path), "model-9")
    assert files_in(tmp_path / "user_tower" / "assets") == [
        "era_vocabulary", "genres_vocabulary", "item_id_vocabulary"
    ]  # fmt: skip
    answer = serve_in_a_fresh_process(past, tmp_path, tmp_path)
    columns = {name: tf.constant(column) for name, column in past.columns.items()}
    tolerance = 1e-6 if policy == "float32" else 1e-2
    for side, tower in (("user", towers.user), ("item", towers.item)):
        expected = tower(columns, training=False)
        assert expected.dtype == tf.float32
        for signature in ("serving_default", "serving_examples"):
            np.testing.assert_allclose(answer[side][signature], expected, atol=tolerance)

    signatures = tf.saved_model.load(str(tmp_path / "user_tower")).signatures
    names = served_names(past.spec, "user")
    # Without any of the history's columns an example counts as one of an empty history.
    lacking = to_example(ROWS[0], [name for name in names if not name.startswith("history")])
    pair = tf.constant([to_example(ROWS[0], names), lacking])
    given, bare = signatures["serving_examples"](examples=pair)["embedding"].numpy()
    np.testing.assert_allclose(given, bare, atol=tolerance)
    # Every column of the history reaches the embedding.
    inputs = signatures["serving_default"].structured_input_signature[1]
    row = to_columns([ROWS[7]])
    raw = {name: tf.constant(row[name], spec.dtype) for name, spec in inputs.items()}
    plain = signatures["serving_default"](**raw)["embedding"].numpy()
    other = to_columns([ROWS[5]])
    for name in past.spec.history.columns:
        changed = raw | {name: tf.constant(other[name], inputs[name].dtype)}
        assert np.abs(signatures["serving_default"](**changed)["embedding"] - plain).max() > 1e-5, name


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
    towers = build_towers(past.spec, config, encoded_sizes(past.spec, past.output), seed=3)
    export_towers(towers, past.output, past.spec, str(tmp_path), "model-10")
    # Not where the fresh process could import it from.
    (tmp_path / "an_own_tower.py").unlink()
    answer = serve_in_a_fresh_process(past, tmp_path, tmp_path)
    columns = {name: tf.constant(column) for name, column in past.columns.items()}
    expected = towers.user(columns, training=False)
    assert np.ptp(expected, axis=0).max() > 1e-2
    for signature in ("serving_default", "serving_examples"):
        np.testing.assert_allclose(answer["user"][signature], expected, atol=1e-6)


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
    # TFT sets it, and TensorFlow then asks for tf_keras.
    environment = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads((tmp_path / "answer.json").read_text())


def test_a_fresh_process_gives_the_embeddings_of_training(shop, exported, tmp_path):
    answer = serve_in_a_fresh_process(shop, exported.directory, tmp_path)
    columns = {name: tf.constant(column) for name, column in shop.columns.items()}
    for side, tower in (("user", exported.towers.user), ("item", exported.towers.item)):
        expected = tower(columns, training=False).numpy()
        assert expected.shape == (8, MODEL_DIM)
        np.testing.assert_allclose(answer[side]["serving_default"], expected, atol=1e-6)
        np.testing.assert_allclose(answer[side]["serving_examples"], expected, atol=1e-6)


@pytest.mark.parametrize(("side", "may_lack"), [("user", ["history", "job"]), ("item", ["genres"])])
def test_what_was_never_seen_and_what_is_missing_still_embeds(trained, shop, side, may_lack):
    signatures = tf.saved_model.load(str(trained / "serving" / f"{side}_tower")).signatures
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


def test_run_fn_describes_the_model_and_logs_for_tensorboard(trained):
    info = json.loads((trained / "serving" / "model.json").read_text())
    part = json.loads((trained / "serving" / "user_tower" / "assets.extra" / "dssm_part.json").read_text())
    assert info["model_id"] == part["model_id"]
    # 8 rows, 4 in a batch, 2 epochs.
    expected = {"dim": 4, "temperature": 0.1, "steps": 4, "epochs": 2, "train_rows": 8, "global_batch": 4}
    assert {name: info[name] for name in expected} == expected
    assert info["rows_left_out_per_epoch"] == 0
    assert math.isfinite(info["final_loss"])
    assert info["examples_per_second"] > 0
    assert list((trained / "run").rglob("events.out.tfevents.*"))


def test_a_feature_added_to_the_schema_reaches_transform_towers_and_signatures(tmp_path):
    shop = transform(SCHEMA + ADDED, tmp_path)
    # Rows per zip code: 123 6, "9 9" 2. Per device: phone 5, tv 3.
    np.testing.assert_array_equal(shop.columns["zip_code"], [0, 0, 0, 1, 0, 0, 1, 0])
    np.testing.assert_array_equal(shop.columns["device"], [0, 1, 0, 1, 1, 0, 0, 0])

    config = parse(TrainerConfig, TRAINER_CONFIG, "test").model
    towers = build_towers(shop.spec, config, encoded_sizes(shop.spec, shop.output), seed=1)
    export_towers(towers, shop.output, shop.spec, str(tmp_path / "model"), "m")
    user_tower = tf.saved_model.load(str(tmp_path / "model" / "user_tower"))
    embed = user_tower.signatures["serving_default"]
    inputs = embed.structured_input_signature[1]
    assert {"zip_code", "device"} <= set(inputs)
    raw = {name: [ROWS[0][name]] for name in inputs}
    vectors = [
        embed(**{name: tf.constant(value, inputs[name].dtype) for name, value in (raw | change).items()})[
            "embedding"
        ]
        for change in ({}, {"zip_code": ["9 9"]}, {"device": ["tv"]})
    ]
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-4
    assert np.abs(vectors[0] - vectors[2]).max() > 1e-4

    item_tower = tf.saved_model.load(str(tmp_path / "model" / "item_tower"))
    assert set(item_tower.signatures["serving_default"].structured_input_signature[1]) == {
        "item_id", "year", "genres"
    }  # fmt: skip
