"""CandidateIndexer, AnnIndexer and RetrievalEvaluator through their executors, on real artifacts."""

import json
import logging
import pickle
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import yaml
from pydantic import TypeAdapter
from tfx.types import standard_artifacts
from tfx.types.channel_utils import as_channel

from components.ann_index.component import AnnIndexer, AnnIndexerExecutor
from components.ann_index.config import AnnConfig
from components.ann_index.search import read_ann, search
from components.artifacts import AnnIndex, CandidateIndex, Catalogue, Report, Sequences
from components.candidate_indexer.component import CandidateIndexer, CandidateIndexerExecutor
from components.interaction_ingest.config import LatestPerUserSplit
from components.retrieval_evaluator.component import RetrievalEvaluator, RetrievalEvaluatorExecutor
from components.retrieval_evaluator.config import EvaluationConfig
from components.tower_pusher.compose import PushInputs, TableInputs
from components.tower_pusher.logic import push_release
from pipeline.config import load_config
from pipeline.recommend.offline import recommend
from schemas.errors import ReleaseError
from schemas.features import FeatureSpec, ItemTable
from schemas.release import hash_folder, roll_back
from schemas.sequences import FILE_NAME, sequences_schema, write_sequences
from schemas.skew import read_scores_sample
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


def write_users(folder, *, train, validation=(), held_out):
    """Write a row for each user: the item numbers of each split, from the user's own number on."""
    folder.mkdir(parents=True)
    rows = []
    for user in range(USERS):
        items = [str(user + number) for number in (*train, *validation, *held_out)]
        ends = (len(train), len(train) + len(validation), len(items))
        row = {"user": f"u{user}", "item": items, "timestamp": list(range(len(items)))}
        rows.append(row | dict(zip(("train_end", "validation_end", "eval_end"), ends, strict=True)))
    table = pa.Table.from_pylist(rows, sequences_schema(make_features(), has_weights=False))
    write_sequences(table, folder / FILE_NAME.format(number=0, files=1))


def make(kind, folder):
    artifact = kind()
    artifact.uri = str(folder)
    return [artifact]


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """Every user u saw item u and holds out item u + 1."""
    root = tmp_path_factory.mktemp("artifacts")
    towers = Towers()
    for part, function in (("user_tower", towers.embed_users), ("item_tower", towers.embed_items)):
        folder = root / "model" / "Format-Serving" / part
        tf.saved_model.save(towers, str(folder), signatures={"serving_default": function})
        (folder / "assets.extra").mkdir()
        (folder / "assets.extra" / "dssm_part.json").write_text(json.dumps({"model_id": "m1", "part": part}))
    (root / "model" / "Format-Serving" / "model.json").write_text('{"refitted": false, "warm_start": null}')
    write_users(root / "sequences", train=[0], held_out=[1])
    (root / "catalogue").mkdir()
    items = [str(item) for item in np.random.default_rng(0).permutation(ITEMS)]
    pq.write_table(pa.table({"item": items}), root / "catalogue" / "catalogue.parquet")
    titles = pa.table({"item": range(1, ITEMS), "name": [f"T{item}" for item in range(1, ITEMS)]})
    pq.write_table(titles, root / "items.parquet")

    made = {
        "model": make(standard_artifacts.Model, root / "model"),
        "catalogue": make(Catalogue, root / "catalogue"),
        "sequences": make(Sequences, root / "sequences"),
        "index": make(CandidateIndex, root / "index"),
        "ann": make(AnnIndex, root / "ann"),
        "retriever": make(standard_artifacts.Model, root / "retriever"),
    }
    component = CandidateIndexer(
        model=as_channel(made["model"]),
        catalogue=as_channel(made["catalogue"]),
        item_id="item",
        items=ItemTable(display=("title",), columns={"title": "name"}),
        data_directory=str(root),
        left_out_history="history",
    )
    executor = pickle.loads(pickle.dumps(CandidateIndexerExecutor))()
    inputs = {name: made[name] for name in component.spec.inputs}
    outputs = {name: made[name] for name in component.spec.outputs}
    executor.Do(inputs, outputs, component.exec_properties)
    run_ann_indexer(made, made["ann"])
    return made


def run_ann_indexer(artifacts, ann, **config):
    component = AnnIndexer(
        model=as_channel(artifacts["model"]),
        index=as_channel(artifacts["index"]),
        sequences=as_channel(artifacts["sequences"]),
        feature_spec=make_features(),
        ann_config=AnnConfig(**config),
    )
    executor = pickle.loads(pickle.dumps(AnnIndexerExecutor))()
    inputs = {name: artifacts[name] for name in component.spec.inputs}
    executor.Do(inputs, {"ann": ann}, component.exec_properties)


def evaluate(artifacts, tmp_path, serving=None, **config):
    component = RetrievalEvaluator(
        sequences=as_channel(artifacts["sequences"]),
        model=as_channel(artifacts["model"]),
        index=as_channel(artifacts["index"]),
        ann=as_channel(artifacts["ann"]),
        feature_spec=make_features(),
        evaluation_config=EvaluationConfig(baselines=(), blessing_minimum_users=USERS - 5, **config),
        split=LatestPerUserSplit(kind="latest_per_user"),
        display=("title",),
        serving_directory=str(serving or tmp_path / "serving"),
        run_id="today",
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
    catalogue = pq.read_table(f"{folder}/catalogue.parquet").to_pydict()
    # The item table calls the column another name, and does not have the first item.
    assert catalogue["title"] == [None if item == "0" else f"T{item}" for item in catalogue["item"]]
    angles = np.array([int(item) for item in catalogue["item"]])
    angles = angles * np.pi / ITEMS
    np.testing.assert_allclose(embeddings, np.stack([np.cos(angles), np.sin(angles)], axis=1), atol=1e-6)


def test_report_and_blessing_of_a_good_model(artifacts, tmp_path):
    report, blessing = evaluate(
        artifacts, tmp_path, ks=(1, 2), blessing_metric="recall_at_1", blessing_minimum=0.9
    )
    # The nearest item to u + 0.75 is u + 1.
    assert report["metrics"]["recall_at_1"] == 1
    # Items 0 to 8 are once in train, 9 to 11 never. Up to user 7, eight of the items that the user has not
    # seen tie, the target u + 1 among them; that of user 8 is one of the three below.
    assert report["popularity"]["recall_at_2"] == pytest.approx(8 * (2 / 8) / USERS)
    assert (report["users"], report["users_sampled_of"], report["held_out"]) == (USERS, None, USERS)
    assert (report["catalogue_items"], report["model_id"], report["blessed"]) == (ITEMS, "m1", True)
    assert report["seen_splits"] == ["train"]
    assert report["gate"]["metric"] == "recall_at_1"
    assert [(rule["name"], rule["passed"]) for rule in report["gate"]["rules"]] == [
        ("users", True), ("floor", True), ("baseline:chance", True), ("baseline:popularity", True),
        ("released", None), ("ann", None),
    ]  # fmt: skip
    _, floor, _, baseline, released, ann = report["gate"]["rules"]
    assert ann["reason"] == "search is exact: the catalogue has 12 items, fewer than 20,000"
    assert (report["ann"]["kind"], report["ann"]["recall"]) == ("exact", 1.0)
    assert (floor["value"], floor["bound"]) == (1.0, 0.9)
    assert baseline["value"] == pytest.approx(1 - 8 * (1 / 8) / USERS)
    assert 0 < baseline["low"] < baseline["value"] <= baseline["high"] <= 1
    assert released["reason"] == "there is no release yet, and nothing to compare with"
    assert (report["released"], report["changes"]) == (None, None)
    assert blessing.get_string_custom_property("rule_floor").startswith("kept: recall@1 is at least 0.9")
    assert blessing.get_int_custom_property("blessed") == 1
    assert [file.name for file in (tmp_path / "blessing").iterdir()] == ["BLESSED"]


def test_scores_of_some_users_are_kept_for_the_release_to_be_held_against(artifacts, tmp_path):
    evaluate(artifacts, tmp_path, ks=(1, 3), blessing_metric="recall_at_1")
    sample = read_scores_sample(tmp_path / "report" / "scores_sample.parquet")
    assert sample.ids == [f"u{user}" for user in range(USERS)]
    assert sample.inputs.to_pydict() == {"history": [["", str(user)] for user in range(USERS)]}
    # Nearest to u + 0.75 are u + 1, then u, which the user has, u + 2, and u - 1, or of user 0 3.
    assert sample.items == [["1", "2", "3"]] + [
        [str(user + step) for step in (1, 2, -1)] for user in range(1, USERS)
    ]
    cosines = np.cos(np.array([0.25, 1.25, 1.75]) * np.pi / ITEMS)
    np.testing.assert_allclose(sample.scores[1:], np.tile(cosines, (USERS - 1, 1)), atol=1e-6)
    assert sample.left_out == [[str(user)] for user in range(USERS)]
    ids = pq.read_table(f"{artifacts['index'][0].uri}/catalogue.parquet")["item"].to_pylist()
    assert [[ids[row] for row in rows] for rows in sample.rows] == sample.items


def test_what_users_have_in_validation_is_no_candidate(artifacts, tmp_path, caplog):
    write_users(tmp_path / "sequences", train=[0], validation=[1], held_out=[2])
    sequences = make(Sequences, tmp_path / "sequences")
    with caplog.at_level(logging.INFO, logger="dssm.progress"):
        report, _ = evaluate(
            {**artifacts, "sequences": sequences}, tmp_path, ks=(1,), blessing_metric="recall_at_1"
        )
    # Nearest to u + 0.75 are u + 1 and u, both known; then u + 2.
    assert report["metrics"]["recall_at_1"] == 1
    assert report["seen_splits"] == ["train", "validation"]
    assert "What the users have in train and validation is left out of the ranking." in caplog.text


def test_a_sample_of_the_users_is_evaluated(artifacts, tmp_path):
    report, _ = evaluate(artifacts, tmp_path, users=4, ks=(1,), blessing_metric="recall_at_1")
    assert (report["users"], report["users_sampled_of"], report["held_out"]) == (4, USERS, 4)
    assert report["metrics"]["recall_at_1"] == 1


@pytest.mark.parametrize(
    "config",
    [
        # Between u + 1 and u + 3 are u + 2 and u - 1: one of the two targets is among the first two.
        {"ks": (2,), "blessing_metric": "recall_at_2", "blessing_minimum": 0.6},
        # Popularity finds as much: nearly every item is in so long a list.
        {"ks": (11,), "blessing_metric": "recall_at_11"},
    ],
)
def test_model_that_is_not_good_enough_is_not_blessed(artifacts, tmp_path, config):
    write_users(tmp_path / "sequences", train=[0], held_out=[1, 3])
    sequences = make(Sequences, tmp_path / "sequences")
    report, blessing = evaluate({**artifacts, "sequences": sequences}, tmp_path, **config)
    assert report["gate"]["rules"][1]["value"] == (0.5 if config["ks"] == (2,) else 1)
    assert report["blessed"] is False
    assert blessing.get_int_custom_property("blessed") == 0
    assert [file.name for file in (tmp_path / "blessing").iterdir()] == ["NOT_BLESSED"]


def publish(artifacts, report, serving, **trained_on):
    """Push the artifacts' model as a release that says what it was trained on."""
    base = serving.parent
    model = Path(artifacts["model"][0].uri) / "Format-Serving"
    info = {"model_id": "m1", "dim": 2, "temperature": 1, "warm_start": None, "refitted": False}
    (model / "model.json").write_text(json.dumps(info))
    (model / "state").mkdir(exist_ok=True)
    (model / "state" / "training_state.json").write_text('{"model_id": "m1"}')
    (base / "pushed").mkdir()
    report = report | {"trained_on": report["trained_on"] | trained_on}
    (base / "pushed" / "evaluation_report.json").write_text(json.dumps(report))
    (base / "pushed" / "per_user_metrics.parquet").write_bytes(b"")
    (base / "ingest").mkdir()
    (base / "ingest" / "ingest_report.json").write_text('{"sequence_figures": {}, "day_fingerprints": {}}')
    for table in ("user", "item"):
        for name in ("schema/schema.pbtxt", "graph/graph.pb", "statistics/Split-all/FeatureStats.pb"):
            (base / table / name).parent.mkdir(parents=True)
            (base / table / name).write_text(table)
    tables = {
        table: TableInputs(base / table / "schema", base / table / "graph", base / table / "statistics")
        for table in ("user", "item")
    }
    index = Path(artifacts["index"][0].uri)
    push_release(PushInputs(model, index, base / "pushed", base / "ingest", **tables), serving, run_id="r1")


def test_the_released_model_is_ranked_on_the_same_users(artifacts, tmp_path):
    serving = tmp_path / "a" / "serving"
    serving.mkdir(parents=True)
    first, _ = evaluate(artifacts, tmp_path, ks=(1, 2), blessing_metric="recall_at_1")
    publish(artifacts, first, serving)
    # This run's catalogue has another order, and an item more, which the release ranks last.
    catalogue = pq.read_table(f"{artifacts['index'][0].uri}/catalogue.parquet")
    other = tmp_path / "index"
    shutil.copytree(artifacts["index"][0].uri, other)
    order = np.random.default_rng(1).permutation(ITEMS)
    more = pa.concat_tables(
        [catalogue.take(pa.array(order)), pa.table({"item": ["99"], "title": ["T99"]}, catalogue.schema)]
    )
    pq.write_table(more, other / "catalogue.parquet")
    embeddings = np.load(other / "embeddings.npy")[order]
    np.save(other / "embeddings.npy", np.concatenate([embeddings, [[-1.0, 0.0]]]).astype(np.float32))
    report, blessing = evaluate(
        {**artifacts, "index": make(CandidateIndex, other)}, tmp_path, serving, ks=(1, 2),
        blessing_metric="recall_at_1",
    )  # fmt: skip
    assert report["released"] == {"version": 1, "model_id": "m1", "is_compared": True, "reason": None}
    by_name = {model["name"]: model for model in report["models"]}
    assert by_name["released"]["metrics"] == by_name["model"]["metrics"]
    assert "without 1 items of today's catalogue" in by_name["released"]["note"]
    rule = next(rule for rule in report["gate"]["rules"] if rule["name"] == "released")
    assert (rule["passed"], rule["value"], rule["low"], rule["high"]) == (True, 0.0, 0.0, 0.0)
    assert report["changes"]["overlap"] == 1.0
    assert report["changes"]["gained"] == report["changes"]["lost"] == []
    [sample] = [sample for sample in report["samples"] if sample["user"] == "u3"]
    # Item 3 is known, 4 the nearest to 3.75; u3's title comes from the item table.
    assert sample["held_out"] == [{"item": "4", "title": "T4"}]
    assert sample["recommended"][0] == sample["released"][0] == {"item": "4", "title": "T4"}
    assert sample["history"] == [{"item": "3", "title": "T3"}]
    assert report["blessed"]
    assert blessing.get_string_custom_property("rule_released").startswith("kept: recall@1 is not worse")


def test_the_rival_is_the_release_that_was_rolled_back_to(artifacts, tmp_path):
    serving = tmp_path / "a" / "serving"
    serving.mkdir(parents=True)
    first, _ = evaluate(artifacts, tmp_path, ks=(1,), blessing_metric="recall_at_1")
    assert first["trained_on"]["fingerprints"] == {
        "sequences": hash_folder(Path(artifacts["sequences"][0].uri))
    }
    publish(artifacts, first, serving)
    newest = serving / "releases" / "2"
    newest.mkdir()
    manifest = json.loads((serving / "releases" / "1" / "manifest.json").read_text())
    (newest / "manifest.json").write_text(json.dumps(manifest | {"version": 2, "model_id": "m2"}))
    roll_back(serving, 1)
    report, _ = evaluate(artifacts, tmp_path, serving, ks=(1,), blessing_metric="recall_at_1")
    assert (report["released"]["version"], report["released"]["is_compared"]) == (1, True)


@pytest.mark.parametrize(("choice", "blessed"), [("baselines", True), ("refuse", False)])
def test_a_release_that_has_seen_the_held_out_rows_is_no_rival(artifacts, tmp_path, choice, blessed):
    serving = tmp_path / "a" / "serving"
    serving.mkdir(parents=True)
    first, _ = evaluate(artifacts, tmp_path, ks=(1,), blessing_metric="recall_at_1")
    publish(artifacts, first, serving, splits=[{"kind": "last_days", "days": 1}], until=7)
    report, _ = evaluate(
        artifacts, tmp_path, serving, ks=(1,), blessing_metric="recall_at_1", unfair_release=choice
    )
    assert (report["released"]["version"], report["released"]["is_compared"]) == (1, False)
    assert (
        "it was trained on the log until 7, and rows from 1 on are held out now"
        in report["released"]["reason"]
    )
    assert report["changes"] is None
    assert report["blessed"] is blessed


def test_a_release_that_does_not_say_what_it_has_seen_is_no_rival(artifacts, tmp_path):
    serving = tmp_path / "a" / "serving"
    serving.mkdir(parents=True)
    first, _ = evaluate(artifacts, tmp_path, ks=(1,), blessing_metric="recall_at_1")
    publish(artifacts, first | {"trained_on": {}}, serving, **first["trained_on"])
    manifest = serving / "releases" / "1" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "trained_on": None}))
    report, _ = evaluate(artifacts, tmp_path, serving, ks=(1,), blessing_metric="recall_at_1")
    assert report["released"]["reason"].endswith("its manifest does not say what it was trained on")


def test_a_broken_release_does_not_stop_the_evaluation(artifacts, tmp_path):
    serving = tmp_path / "a" / "serving"
    serving.mkdir(parents=True)
    first, _ = evaluate(artifacts, tmp_path, ks=(1,), blessing_metric="recall_at_1")
    publish(artifacts, first, serving)
    (serving / "index" / "1" / "embeddings.npy").unlink()
    report, _ = evaluate(artifacts, tmp_path, serving, ks=(1,), blessing_metric="recall_at_1")
    assert "the current release cannot be evaluated" in report["released"]["reason"]


def test_index_of_another_training_is_refused(artifacts, tmp_path):
    other = CandidateIndex()
    other.uri = str(tmp_path / "index")
    shutil.copytree(artifacts["index"][0].uri, other.uri)
    (tmp_path / "index" / "dssm_part.json").write_text('{"model_id": "m2", "part": "index"}')
    with pytest.raises(ReleaseError, match="'m1' and the index from 'm2'"):
        evaluate({**artifacts, "index": [other]}, tmp_path, ks=(1,), blessing_metric="recall_at_1")


def test_approximate_index_of_another_training_is_refused(artifacts, tmp_path):
    other = tmp_path / "ann"
    shutil.copytree(artifacts["ann"][0].uri, other)
    for name in ("ann.json", "dssm_part.json"):
        (other / name).write_text((other / name).read_text().replace('"m1"', '"m2"'))
    with pytest.raises(ReleaseError, match="'m1' and the approximate index from 'm2'"):
        evaluate(
            {**artifacts, "ann": make(AnnIndex, other)}, tmp_path, ks=(1,), blessing_metric="recall_at_1"
        )


@pytest.fixture(scope="module")
def large(artifacts, tmp_path_factory):
    """Item n of 6,000 at its own angle, and 300 users who had item 20 u and hold out the next one."""
    root = tmp_path_factory.mktemp("large")
    ids = [str(item) for item in np.random.default_rng(0).permutation(6000)]
    (root / "index").mkdir()
    pq.write_table(pa.table({"item": ids, "title": ids}), root / "index" / "catalogue.parquet")
    angles = np.array([float(item) for item in ids]) * (np.pi / ITEMS)
    embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    np.save(root / "index" / "embeddings.npy", embeddings)
    (root / "index" / "dssm_part.json").write_text('{"model_id": "m1", "part": "index"}')
    rows = [
        {"user": f"u{user}", "item": [str(20 * user), str(20 * user + 1)], "timestamp": [0, 1],
         "train_end": 1, "validation_end": 1, "eval_end": 2}
        for user in range(300)
    ]  # fmt: skip
    (root / "sequences").mkdir()
    for number in range(2):
        part = pa.Table.from_pylist(rows[150 * number :][:150], sequences_schema(make_features(), False))
        write_sequences(part, root / "sequences" / FILE_NAME.format(number=number, files=2))
    return {
        **artifacts,
        "index": make(CandidateIndex, root / "index"),
        "sequences": make(Sequences, root / "sequences"),
    }


def test_an_index_is_tuned_on_the_users_own_embeddings(large, tmp_path, caplog):
    ann = make(AnnIndex, tmp_path / "ann")
    with caplog.at_level(logging.INFO, logger="dssm.progress"):
        run_ann_indexer(large, ann, minimum_items=5000, kinds=["ivf_flat"], queries=200, k=5)
    document = json.loads((tmp_path / "ann" / "ann.json").read_text())
    assert (document["kind"], document["items"], document["queries"]) == ("ivf_flat", 6000, 100)
    assert document["recall"] >= 0.95
    assert ann[0].get_string_custom_property("kind") == "ivf_flat"
    assert ann[0].get_float_custom_property("recall") == document["recall"]
    assert "Search by ivf_flat (nlist " in caplog.text
    embeddings = np.load(f"{large['index'][0].uri}/embeddings.npy")
    # Where a user stands who had item 20: between 20 and 21 on the circle, and 24 items later again.
    queries = Towers.at_angle(tf.constant([20.75])).numpy()
    found = search(read_ann(tmp_path / "ann", embeddings, "m1"), queries, 5)
    assert found.scores[0] == pytest.approx(np.full(5, np.cos(0.25 * np.pi / ITEMS)), abs=1e-5)

    report, blessing = evaluate({**large, "ann": ann}, tmp_path, ks=(1,), blessing_metric="recall_at_1")
    assert report["ann"] == {name: value for name, value in document.items() if name != "part"}
    assert report["gate"]["rules"][-1]["passed"] is True
    assert blessing.get_string_custom_property("rule_ann").startswith("kept: the approximate index finds at")


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"minimum_items": 6001}, "the catalogue has 6,000 items, fewer than 6,001"),
        ({"minimum_items": 1, "k": 7000}, "the catalogue has 6,000 items, fewer than 7,000"),
        ({"minimum_items": 1, "kinds": []}, "ann.kinds names no index"),
    ],
)
def test_search_is_exact_where_no_index_is_asked_for(large, tmp_path, config, reason):
    run_ann_indexer(large, make(AnnIndex, tmp_path / "ann"), **config)
    document = json.loads((tmp_path / "ann" / "ann.json").read_text())
    assert (document["kind"], document["reason"], document["speedup"]) == ("exact", reason, None)
    assert not (tmp_path / "ann" / "index.faiss").exists()


def test_search_is_exact_where_too_few_users_tell_a_recall(large, artifacts, tmp_path):
    few = {**large, "sequences": artifacts["sequences"]}
    run_ann_indexer(few, make(AnnIndex, tmp_path / "ann"), minimum_items=1)
    document = json.loads((tmp_path / "ann" / "ann.json").read_text())
    assert document["reason"] == "9 users have held-out items, and it takes 100 to tell a recall"


def test_tower_of_another_training_is_refused_by_the_ann_indexer(large, tmp_path):
    index = tmp_path / "index"
    shutil.copytree(large["index"][0].uri, index)
    (index / "dssm_part.json").write_text('{"model_id": "m2", "part": "index"}')
    other = {**large, "index": make(CandidateIndex, index)}
    with pytest.raises(ReleaseError, match=r"expected model id 'm2'\. Received: 'm1'"):
        run_ann_indexer(other, make(AnnIndex, tmp_path / "ann"))


def configure(tmp_path, serving):
    """A configuration whose log holds interactions of two users with the items of the release."""
    content = TypeAdapter(FeatureSpec).dump_python(make_features(), mode="json", exclude_defaults=True)
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(content))
    log = {"user": ["a", "a", "a", "b"], "item": ["3", "7", "4", "11"], "timestamp": [1, 2, 3, 1]}
    pq.write_table(pa.table(log), tmp_path / "interactions.parquet")
    pq.write_table(pa.table({"user": ["a", "b"]}), tmp_path / "users.parquet")
    config = {
        "run": {"name": "toy", "directory": str(tmp_path / "run")},
        "data": {"schema": str(tmp_path / "schema.yaml"), "directory": str(tmp_path)},
        "serving": {"directory": str(serving)},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    return load_config(str(tmp_path / "config.yaml"))


def test_the_retriever_recommends_what_dssm_recommend_does(artifacts, tmp_path):
    serving = tmp_path / "a" / "serving"
    serving.mkdir(parents=True)
    first, _ = evaluate(artifacts, tmp_path, ks=(1,), blessing_metric="recall_at_1")
    publish(artifacts, first, serving)
    config = configure(tmp_path, serving)
    retriever = tf.saved_model.load(artifacts["retriever"][0].uri)
    # User a has three items, of which the tower reads two; b one; the last is nobody that is known.
    answer = retriever.signatures["serving_default"](
        history=tf.constant([["7", "4"], ["", "11"], ["0", "5"]]),
        exclude=tf.constant([["3"], [""], [""]]),
        k=tf.constant([4, ITEMS, 1]),
    )
    expected = [
        recommend(config, "a", {}, [], k=4),
        recommend(config, "b", {}, [], k=ITEMS),
        recommend(config, None, {}, ["0", "5"], k=1),
    ]
    for ids, scores, recommended in zip(
        answer["item_ids"].numpy(), answer["scores"].numpy(), expected, strict=True
    ):
        count = len(recommended.items)
        assert [text.decode() for text in ids[:count]] == [item.item_id for item in recommended.items]
        np.testing.assert_allclose(scores[:count], [item.score for item in recommended.items], atol=1e-6)
        assert set(ids[count:]) <= {b""}
    assert [item.item_id for item in expected[0].items] == ["5", "6", "2", "8"]
    assert len(expected[1].items) == ITEMS - 1
