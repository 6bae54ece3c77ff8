"""CandidateIndexer and RetrievalEvaluator through their executors, on real artifacts."""

import json
import logging
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.channel_utils import as_channel

from components.artifacts import CandidateIndex, Catalogue, Report
from components.candidate_indexer.component import CandidateIndexer, CandidateIndexerExecutor
from components.retrieval_evaluator.component import RetrievalEvaluator, RetrievalEvaluatorExecutor
from components.retrieval_evaluator.config import EvaluationConfig
from schemas.errors import ReleaseError
from schemas.features import FeatureSpec
from schemas.strict_config import parse

pytestmark = pytest.mark.integration

ITEMS = 12
USERS = 9


def make_features():
    return parse(
        FeatureSpec,
        {
            "name": "toy",
            "history": {"length": 2},
            "features": [
                {"name": "user", "dtype": "string", "tower": "user", "role": "user_id"},
                {
                    "name": "item",
                    "dtype": "string",
                    "tower": "item",
                    "role": "item_id",
                    "encoding": {"kind": "vocabulary"},
                },
            ],
        },
        source="test",
    )


class Towers(tf.Module):
    """Item n is the unit vector at angle n; a user stands a little beyond the newest item of the history."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="item")])
    def embed_items(self, item):
        return {"embedding": self.at_angle(tf.strings.to_number(item))}

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.string, name="history")])
    def embed_users(self, history):
        newest = history[:, -1]
        known = tf.where(tf.equal(newest, ""), "0", newest)
        return {"embedding": self.at_angle(tf.strings.to_number(known) + 0.75)}

    @staticmethod
    def at_angle(numbers):
        angles = numbers * (np.pi / ITEMS)
        return tf.stack([tf.cos(angles), tf.sin(angles)], axis=1)


def write_examples(folder, rows):
    folder.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / "examples-00000-of-00001.gz"), "GZIP") as writer:
        for user, item, timestamp, history in rows:
            example = tf.train.Example()
            feature = example.features.feature
            feature["user"].bytes_list.value.append(user.encode())
            feature["item"].bytes_list.value.append(item.encode())
            feature["timestamp"].int64_list.value.append(timestamp)
            feature["history"].bytes_list.value.extend(one.encode() for one in history)
            writer.write(example.SerializeToString())


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """Every user u saw item u and holds out item u + 1; u0 holds out one outside the catalogue too."""
    root = tmp_path_factory.mktemp("artifacts")
    towers = Towers()
    for part, function in (("user_tower", towers.embed_users), ("item_tower", towers.embed_items)):
        folder = root / "model" / "Format-Serving" / part
        tf.saved_model.save(towers, str(folder), signatures={"serving_default": function})
        (folder / "assets.extra").mkdir()
        (folder / "assets.extra" / "dssm_part.json").write_text(json.dumps({"model_id": "m1", "part": part}))
    write_examples(root / "examples" / "Split-train", [(f"u{u}", f"{u}", 1, ["", ""]) for u in range(USERS)])
    held_out = [(f"u{u}", f"{u + 1}", 2, ["", f"{u}"]) for u in range(USERS)]
    write_examples(root / "examples" / "Split-eval", [*held_out, ("u0", "unknown", 3, ["0", "1"])])
    (root / "catalogue").mkdir()
    order = np.random.default_rng(0).permutation(ITEMS)
    catalogue = pa.table({"item": [str(item) for item in order], "title": [f"T{item}" for item in order]})
    pq.write_table(catalogue, root / "catalogue" / "catalogue.parquet")

    def make(kind, name):
        artifact = kind()
        artifact.uri = str(root / name)
        return [artifact]

    made = {
        "model": make(standard_artifacts.Model, "model"),
        "catalogue": make(Catalogue, "catalogue"),
        "examples": make(standard_artifacts.Examples, "examples"),
        "index": make(CandidateIndex, "index"),
    }
    made["examples"][0].split_names = artifact_utils.encode_split_names(["train", "eval"])
    component = CandidateIndexer(
        model=as_channel(made["model"]), catalogue=as_channel(made["catalogue"]), feature_spec=make_features()
    )
    executor = pickle.loads(pickle.dumps(CandidateIndexerExecutor))()
    inputs = {name: made[name] for name in component.spec.inputs}
    executor.Do(inputs, {"index": made["index"]}, component.exec_properties)
    return made


def evaluate(artifacts, tmp_path, **config):
    component = RetrievalEvaluator(
        examples=as_channel(artifacts["examples"]),
        model=as_channel(artifacts["model"]),
        index=as_channel(artifacts["index"]),
        feature_spec=make_features(),
        evaluation_config=EvaluationConfig(**config),
    )
    outputs = {"blessing": [standard_artifacts.ModelBlessing()], "report": [Report()]}
    for name, (artifact,) in outputs.items():
        artifact.uri = str(tmp_path / name)
    executor = pickle.loads(pickle.dumps(RetrievalEvaluatorExecutor))()
    inputs = {name: artifacts[name] for name in component.spec.inputs}
    executor.Do(inputs, outputs, component.exec_properties)
    report = json.loads((tmp_path / "report" / "evaluation_report.json").read_text())
    return report, outputs["blessing"][0]


def test_index_of_every_item(artifacts):
    folder = artifacts["index"][0].uri
    embeddings = np.load(f"{folder}/embeddings.npy")
    angles = np.array(
        [int(item) for item in pq.read_table(f"{folder}/catalogue.parquet")["item"].to_pylist()]
    )
    angles = angles * np.pi / ITEMS
    np.testing.assert_allclose(embeddings, np.stack([np.cos(angles), np.sin(angles)], axis=1), atol=1e-6)


def test_report_and_blessing_of_a_good_model(artifacts, tmp_path):
    report, blessing = evaluate(
        artifacts, tmp_path, ks=(1, 2), blessing_metric="recall_at_1", blessing_minimum=0.9
    )
    # The nearest item to u + 0.75 is u + 1, so that each known target is first. u0 holds out two.
    assert report["metrics"]["recall_at_1"] == 1
    assert report["metrics"]["recall_at_2"] == pytest.approx((USERS - 0.5) / USERS)
    # Each item occurs at most once in train, so that every target ties with many others.
    assert report["popularity"]["recall_at_2"] == 0
    assert (report["users"], report["held_out"], report["held_out_not_in_catalogue"]) == (USERS, USERS + 1, 1)
    assert (report["catalogue_items"], report["model_id"], report["blessed"]) == (ITEMS, "m1", True)
    assert report["seen_splits"] == ["train"]
    assert report["blessing"] == {"metric": "recall_at_1", "value": 1.0, "popularity": 0.0, "minimum": 0.9}
    assert blessing.get_int_custom_property("blessed") == 1
    assert [file.name for file in (tmp_path / "blessing").iterdir()] == ["BLESSED"]


def test_what_users_have_in_validation_is_no_candidate(artifacts, tmp_path, caplog):
    examples = standard_artifacts.Examples()
    examples.uri = str(tmp_path / "examples")
    examples.split_names = artifact_utils.encode_split_names(["train", "validation", "eval"])
    earlier = Path(artifacts["examples"][0].uri)
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "Split-train").symlink_to(earlier / "Split-train")
    held_out = [(f"u{u}", f"{u + 2}", 2, ["", f"{u}"]) for u in range(USERS)]
    write_examples(tmp_path / "examples" / "Split-eval", held_out)
    between = [(f"u{u}", f"{u + 1}", 2, ["", f"{u}"]) for u in range(USERS)]
    write_examples(tmp_path / "examples" / "Split-validation", between)
    with caplog.at_level(logging.INFO, logger="dssm.progress"):
        report, _ = evaluate(
            {**artifacts, "examples": [examples]}, tmp_path, ks=(1,), blessing_metric="recall_at_1"
        )
    # Nearest to u + 0.75 are u + 1 and u, both known; then u + 2.
    assert report["metrics"]["recall_at_1"] == 1
    assert report["seen_splits"] == ["train", "validation"]
    assert "What the users have in train and validation is left out of the ranking." in caplog.text


@pytest.mark.parametrize(
    "config",
    [
        {"ks": (2,), "blessing_metric": "recall_at_2", "blessing_minimum": 0.95},  # 0.944 is too little
        {"ks": (12,), "blessing_metric": "recall_at_12"},  # popularity is as good
    ],
)
def test_model_that_is_not_good_enough_is_not_blessed(artifacts, tmp_path, config):
    report, blessing = evaluate(artifacts, tmp_path, **config)
    assert report["blessed"] is False
    assert blessing.get_int_custom_property("blessed") == 0
    assert [file.name for file in (tmp_path / "blessing").iterdir()] == ["NOT_BLESSED"]


def test_index_of_another_training_is_refused(artifacts, tmp_path):
    import shutil

    other = CandidateIndex()
    other.uri = str(tmp_path / "index")
    shutil.copytree(artifacts["index"][0].uri, other.uri)
    (tmp_path / "index" / "dssm_part.json").write_text('{"model_id": "m2", "part": "index"}')
    with pytest.raises(ReleaseError, match="'m1' and the index from 'm2'"):
        evaluate({**artifacts, "index": [other]}, tmp_path, ks=(1,), blessing_metric="recall_at_1")
