import datetime
import hashlib
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from components.interaction_ingest import user_lookup
from pipeline.config import load_config
from pipeline.recommend.offline import recommend, recommend_items, render
from schemas.errors import ConfigError, DataError, ReleaseError
from schemas.features import FeatureSpec
from schemas.strict_config import parse

pytestmark = pytest.mark.unit

# Unit vectors, one for each item.
ITEMS = ["10", "11", "12", "13", "a b", "c,d"]
VECTORS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.6, 0.8, 0], [0.8, 0, 0.6], [0, 0.6, 0.8]], np.float32)
TITLES = ["Ten", "Eleven", "Twelve", "Thirteen", "A and B", "C, then D"]


def schema(**changes):
    content = {
        "name": "toy",
        "tables": {"items": {"display": ["title", "year"]}},
        "history": {"name": "history", "length": 3},
        "features": [
            {"name": "user_id", "dtype": "string", "tower": "user", "role": "user_id"},
            {
                "name": "age",
                "dtype": "int",
                "tower": "user",
                "encoding": {"kind": "z_score"},
                "minimum": 0,
                "maximum": 120,
            },
            {
                "name": "gender",
                "dtype": "string",
                "tower": "user",
                "encoding": {"kind": "vocabulary"},
                "values": ["F", "M"],
            },
            {
                "name": "tags",
                "dtype": "string",
                "tower": "user",
                "multi_valued": True,
                "encoding": {"kind": "vocabulary"},
            },
            {
                "name": "hour",
                "dtype": "int",
                "tower": "context",
                "encoding": {"kind": "bucketize", "buckets": 3},
                "default": 12,
            },
            {
                "name": "taste",
                "dtype": "float",
                "length": 2,
                "tower": "user",
                "encoding": {"kind": "vector"},
                "maximum": 1,
                "default": 0.5,
            },
            {
                "name": "item_id",
                "dtype": "string",
                "tower": "item",
                "role": "item_id",
                "encoding": {"kind": "vocabulary"},
            },
        ],
    }
    return content | changes


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    """A release of a tower whose embedding is history @ (1, 2, 5), newest last, at unit length."""
    import tensorflow as tf

    class UserTower(tf.Module):
        def __init__(self):
            super().__init__()
            self.vectors = tf.Variable(np.concatenate([VECTORS, np.zeros((1, 3), np.float32)]))
            self.rows = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(ITEMS, tf.range(6, dtype=tf.int64)), default_value=6
            )

        @tf.function(
            input_signature=[
                tf.TensorSpec([None], tf.int64, name="age"),
                tf.TensorSpec([None], tf.string, name="gender"),
                tf.TensorSpec([None, None], tf.string, name="tags"),
                tf.TensorSpec([None], tf.int64, name="hour"),
                tf.TensorSpec([None, 2], tf.float32, name="taste"),
                tf.TensorSpec([None, 3], tf.string, name="history"),
            ]
        )
        def call(self, age, gender, tags, hour, taste, history):
            history = tf.gather(self.vectors, self.rows.lookup(history))
            total = tf.einsum("bnd,n->bd", history, tf.constant([1.0, 2.0, 5.0]))
            # Finite inputs that overflow give an embedding that is no number.
            total += 0.0 * tf.reduce_sum(taste * taste, axis=1, keepdims=True)
            return {"embedding": tf.math.l2_normalize(total + 1e-9, axis=1)}

    folder = tmp_path_factory.mktemp("serving")
    module = UserTower()
    for part in ("user_tower", "item_tower"):
        path = folder / part / "7"
        tf.saved_model.save(module, str(path), signatures={"serving_default": module.call})
        (path / "assets.extra").mkdir()
        (path / "assets.extra" / "dssm_part.json").write_text(json.dumps({"model_id": "m", "part": part}))
    index = folder / "index" / "7"
    index.mkdir(parents=True)
    np.save(index / "embeddings.npy", VECTORS)
    catalogue = {"item_id": ITEMS, "title": TITLES, "year": pa.array([2010, 2011, 2012, 2013, None, 2015])}
    pq.write_table(pa.table(catalogue), index / "catalogue.parquet")
    (index / "dssm_part.json").write_text(
        json.dumps({"model_id": "m", "part": "index", "dim": 3, "items": 6})
    )
    manifest = {
        "version": 7,
        "created": "2026-01-01T00:00:00+00:00",
        "run_id": "run",
        "model_id": "m",
        "dim": 3,
        "temperature": 0.1,
        "items": 6,
        "schema_sha256": "s",
        "transform_sha256": "t",
        "metrics": {},
        "popularity": {},
        "parts": {part: {"path": f"{part}/7", "files": {}} for part in ("user_tower", "item_tower", "index")},
    }
    (folder / "releases" / "7").mkdir(parents=True)
    (folder / "releases" / "7" / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def make_config(tmp_path, serving):
    def make(overrides=(), **schema_changes):
        (tmp_path / "schema.yaml").write_text(yaml.safe_dump(schema(**schema_changes)))
        content = {
            "run": {"name": "toy", "directory": str(tmp_path / "run")},
            "data": {"schema": str(tmp_path / "schema.yaml"), "directory": str(tmp_path)},
            "serving": {"directory": str(serving)},
        }
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
        return load_config(str(tmp_path / "config.yaml"), tuple(overrides))

    users = {
        "user_id": [1, 2, 3],
        "age": pa.array([20, 31, None]),
        "gender": ["F", "M", None],
        "tags": pa.array([["x", "y"], [], None], pa.list_(pa.string())),
        "taste": pa.array([[0.25, 1], [0, 0], None], pa.list_(pa.float32())),
    }
    pq.write_table(pa.table(users), tmp_path / "users.parquet")
    interactions = {
        "user_id": [1, 2, 1, 1, 1, 4],
        "item_id": ["11", "10", "12", "a b", "10", "13"],
        "timestamp": [5, 1, 9, 5, 3, 1],
        "rating": [4.0, 5.0, 2.0, 5.0, 3.0, 1.0],
        "hour": [1, 2, 3, 4, 5, 6],
    }
    pq.write_table(pa.table(interactions), tmp_path / "interactions.parquet", row_group_size=2)
    return make


def expected_scores(*newest_last):
    weights = [1, 2, 5][-len(newest_last) :]
    user = sum(weight * VECTORS[ITEMS.index(item)] for weight, item in zip(weights, newest_last, strict=True))
    return VECTORS @ (user / np.linalg.norm(user))


def read_user(config, spec, user):
    """What the tables say, for a release that has every item of these tests."""
    catalogue = pa.array([*ITEMS, *(f"b{n}" for n in range(6)), "kept"])
    return user_lookup.read_user(spec, config.ingest, config.data.directory, user, catalogue)


def test_user_in_time_then_file_order_under_the_positives_rule(make_config):
    config = make_config()
    record = read_user(config, config.load_features(), "1")
    assert record.positives == ["10", "11", "a b", "12"]
    assert record.features == {
        "user_id": "1", "age": 20, "gender": "F", "tags": ["x", "y"], "taste": [0.25, 1],
    }  # fmt: skip
    config = make_config(["ingest.positives={column: rating, at_least: 4}"])
    record = read_user(config, config.load_features(), "1")
    assert record.positives == ["11", "a b"]
    assert sorted(record.interacted) == ["10", "11", "12", "a b"]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("ingest.repeated=keep_all", ["10", "11", "10", "12"]),
        ("ingest.repeated=keep_first", ["10", "11", "12"]),
        ("ingest.repeated=keep_last", ["11", "10", "12"]),
        ("ingest.max_positives_per_user=3", ["11", "10", "12"]),
        ("ingest.weight={column: hour, by_value: {'1': 1, '3': 1}}", ["11", "12"]),
        ("ingest.positives={column: item_id, one_of: ['10', '12']}", ["10", "10", "12"]),
    ],
)
def test_the_history_of_a_user_is_that_of_training(make_config, tmp_path, override, expected):
    config = make_config([override])
    path = tmp_path / "interactions.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(1, "item_id", pa.array(["11", "10", "12", "10", "10", "13"])), path)
    assert read_user(config, config.load_features(), "1").positives == expected


@pytest.mark.parametrize("ids", [["1", "01", "x"], [1, 10, 3]])
def test_ids_are_compared_as_text(make_config, tmp_path, ids):
    config = make_config()
    for name in ("users", "interactions"):
        table = pq.read_table(tmp_path / f"{name}.parquet")
        new = pa.array((ids * 2)[: table.num_rows])
        pq.write_table(table.set_column(0, "user_id", new), tmp_path / f"{name}.parquet")
    spec = config.load_features()
    assert read_user(config, spec, "1").features["age"] == 20
    assert read_user(config, spec, "1").positives == ["11", "a b"]
    assert (read_user(config, spec, "01").features is None) == (ids == [1, 10, 3])
    assert read_user(config, spec, "nobody").features is None
    assert read_user(config, spec, "9" * 30).features is None


def test_timestamps_of_a_timestamp_type(make_config, tmp_path):
    table = pq.read_table(tmp_path / "interactions.parquet")
    start = datetime.datetime(2026, 1, 1)
    times = [start + datetime.timedelta(seconds=s) for s in (1.2, 0, 1.3, 0, 1.1, 0)]
    column = pa.array(times, pa.timestamp("us"))
    pq.write_table(table.set_column(2, "timestamp", column), tmp_path / "interactions.parquet")
    config = make_config()
    assert read_user(config, config.load_features(), "1").positives == ["a b", "10", "11", "12"]


def test_the_log_is_read_as_the_ingest_reads_it(make_config, tmp_path):
    table = pq.read_table(tmp_path / "interactions.parquet")
    (tmp_path / "interactions.parquet").unlink()
    folder = tmp_path / "interactions"
    folder.mkdir()
    # Milliseconds where seconds belong, ids that are texts in one file, and a file that is cut off.
    times = pa.array([5, 1, 9_000_000_000_000, 5, 3, 1])
    pq.write_table(table.set_column(2, "timestamp", times), folder / "a.parquet", row_group_size=2)
    ids = table["user_id"].cast(pa.string())
    items = pa.array([f"b{n}" for n in range(6)])
    texts = table.set_column(0, "user_id", ids).set_column(1, "item_id", items)
    pq.write_table(texts, folder / "b.parquet", row_group_size=1)
    (folder / "c.parquet").write_bytes((folder / "b.parquet").read_bytes()[:-20])
    content = schema()
    content["tables"]["interactions"] = {"file": "interactions"}
    record = read_user(make_config(), parse(FeatureSpec, content, source="test"), "1")
    assert record.positives == ["10", "b4", "11", "a b", "b0", "b3", "b2"]
    assert sorted(record.interacted) == sorted(record.positives)


def test_known_user(make_config):
    answer = recommend(make_config(), "1", {}, [], k=2)
    # The history is the last three: 11, a b, 12; what is left are 13 and c,d.
    scores = expected_scores("11", "a b", "12")
    assert [(item.rank, item.item_id) for item in answer.items] == [(1, "c,d"), (2, "13")]
    assert [item.score for item in answer.items] == pytest.approx([scores[5], scores[3]], abs=1e-5)
    assert answer.items[0].display == {"title": "C, then D", "year": 2015}
    assert answer.recent == ["Twelve (2012)", "A and B (unknown)", "Eleven (2011)", "Ten (2010)"]
    assert answer.inputs == {
        "age": 20, "gender": "F", "tags": ["x", "y"], "hour": 12, "taste": [0.25, 1.0],
    }  # fmt: skip
    assert answer.notes == ["hour is not known: its default 12 was used."]
    assert answer.version == 7


def test_user_of_the_interactions_alone_gets_the_defaults(make_config):
    answer = recommend(make_config(), "4", {}, [], k=10)
    assert answer.inputs == {"age": 26, "gender": "", "tags": [], "hour": 12, "taste": [0.5, 0.5]}
    assert "13" not in [item.item_id for item in answer.items]
    assert len(answer.items) == 5
    assert answer.notes[-1] == "Only 5 items are left of the 6 in the catalogue."
    assert any("the median of all users, 26, was used" in note for note in answer.notes)


def test_given_values_take_the_place_of_known_ones(make_config):
    answer = recommend(make_config(), "1", {"age": "77", "tags": 'x,"y, z"'}, ["13"], k=10)
    assert answer.inputs["age"] == 77
    assert answer.inputs["tags"] == ["x", "y, z"]
    assert answer.recent == ["Thirteen (2013)"]
    # All known interactions and the given history are left out.
    assert [item.item_id for item in answer.items] == ["c,d"]


def test_what_the_user_has_is_recommended_where_all_items_are_candidates(make_config):
    config = make_config(["evaluation.candidates=all"])
    answer = recommend(config, "1", {}, [], k=10)
    # The history is 11, a b, 12.
    scores = expected_scores("11", "a b", "12")
    assert [item.item_id for item in answer.items] == [ITEMS[item] for item in np.argsort(-scores)]
    of_history = recommend(config, None, {"age": "30"}, ["10", "11"], k=10)
    assert {item.item_id for item in of_history.items} == set(ITEMS)


def test_repeats_are_asked_for_or_refused_whatever_the_evaluation_does(make_config):
    answer = recommend(make_config(), "1", {}, [], k=10, repeats=True)
    assert {item.item_id for item in answer.items} == set(ITEMS)
    config = make_config(["evaluation.candidates=all"])
    assert [item.item_id for item in recommend(config, "1", {}, [], k=10, repeats=False).items] == [
        "c,d",
        "13",
    ]


def test_an_explanation_leaves_each_item_of_the_history_out(make_config):
    answer = recommend(make_config(), "1", {}, [], k=2, explains=True)
    # The model reads 11, a b, 12; nothing takes the place of the one that is left out.
    left = {"11": ("a b", "12"), "a b": ("11", "12"), "12": ("11", "a b")}
    scores = expected_scores("11", "a b", "12")
    for item in answer.items:
        row = ITEMS.index(item.item_id)
        changes = {one.item_id: one.score_change for one in item.influences}
        assert changes == pytest.approx(
            {of: scores[row] - expected_scores(*rest)[row] for of, rest in left.items()}, abs=1e-5
        )
        assert sorted(changes.values(), reverse=True) == list(changes.values())
    text = render(answer)
    # c,d is (0, .6, .8), and 12, the newest, is (0, 0, 1).
    assert "Pulled up by, with what the score would lose without it:" in text
    assert "  c,d: Twelve (2012) +" in text


def test_an_explanation_without_a_history_says_so(make_config):
    answer = recommend(make_config(), None, {"age": "30"}, [], k=1, explains=True)
    assert answer.notes[-1] == "There is no history, so no item of it pulled a recommendation up."


def test_a_table_without_the_user_is_named(make_config):
    notes = recommend(make_config(), "4", {}, [], k=1).notes
    assert notes[0] == "User 4 has no row in users.parquet."
    assert recommend(make_config(), "3", {}, [], k=1).notes[0] == (
        "User 3 has no interaction in interactions.parquet."
    )


def test_user_never_seen(make_config):
    config = make_config()
    answer = recommend(config, None, {"age": "30"}, ["10", "no such", "10", "11", "c,d"], k=10)
    scores = expected_scores("10", "11", "c,d")
    rest = sorted((2, 3, 4), key=lambda item: -scores[item])
    assert [item.item_id for item in answer.items] == [ITEMS[item] for item in rest]
    assert [item.score for item in answer.items] == pytest.approx(scores[rest].tolist(), abs=1e-5)
    assert answer.inputs == {"age": 30, "gender": "", "tags": [], "hour": 12, "taste": [0.5, 0.5]}
    assert answer.notes[0] == (
        "1 of the 5 items of the history are not in the catalogue and were left out: no such."
    )
    assert "The model reads the newest 3 of the 4 items of the history." in answer.notes
    assert any(
        note.startswith("gender is not known: it counts as a value never seen") for note in answer.notes
    )


def test_short_history_is_padded_on_the_left(make_config):
    answer = recommend(make_config(), None, {"age": "30"}, ["10", "11"], k=10)
    scores = expected_scores("10", "11")
    assert {item.item_id: item.score for item in answer.items} == pytest.approx(
        {ITEMS[row]: scores[row] for row in (2, 3, 4, 5)}, abs=1e-5
    )


def test_without_a_history_there_is_an_answer(make_config):
    answer = recommend(make_config(), None, {"age": "30"}, [], k=6)
    assert len(answer.items) == 6
    assert answer.recent == []


def test_text_of_an_answer(make_config):
    text = recommend_items(make_config(), "1", ["hour=3"], [], k=2)
    lines = text.splitlines()
    assert lines[:3] == [
        "Recommendations for user 1, from release 7",
        "Features: age 20, gender F, tags x | y, hour 3, taste of 2 numbers",
        "Recently liked, newest first: Twelve (2012); A and B (unknown); Eleven (2011); Ten (2010)",
    ]
    assert lines[4].split() == ["rank", "score", "item", "title", "year"]
    # (0, 1, 0) + 2 (.8, 0, .6) + 5 (0, 0, 1) = (1.6, 1, 6.2), of length 6.4807;
    # its product with (0, .6, .8) is 5.56, and 5.56 / 6.4807 = 0.8579.
    assert lines[6].split() == ["1", "0.858", "c,d", "C,", "then", "D", "2015"]
    assert "Note" not in text
    assert "a user never seen" in render(recommend(make_config(), None, {"age": "30"}, [], k=1))


@pytest.mark.parametrize(
    ("user", "features", "history", "k", "error", "message"),
    [
        ("1", [], [], 0, ConfigError, "expected at least 1"),
        (None, [], [], 5, ConfigError, "Expected a user. Received: nothing"),
        ("99", [], [], 5, DataError, "'99', who is in neither.*give --history ITEM_ID"),
        ("99", ["age=3"], [], 5, DataError, "leave --user out"),
        (None, ["aeg=3"], [], 5, ConfigError, "named 'aeg'; did you mean 'age'"),
        (None, ["age"], [], 5, ConfigError, "expected NAME=VALUE"),
        (None, ["age=3", "age=4"], [], 5, ConfigError, "'age' is given twice"),
        (None, ["age=old"], [], 5, ConfigError, "expected a whole number. Received: 'old'"),
        (None, ["age=121"], [], 5, ConfigError, "from 0 to 120"),
        (None, ["taste=1"], [], 5, ConfigError, "expected 2 numbers separated by commas. Received: 1"),
        (None, ["taste=1,x"], [], 5, ConfigError, "expected a number. Received: 'x'"),
        (None, ["taste=1,2"], [], 5, ConfigError, "to 1. Received: '2'"),
        (None, ["gender=X"], [], 5, ConfigError, r"expected one of \['F', 'M'\]"),
        (None, ["user_id=1"], [], 5, ConfigError, "with --user 1"),
        (None, ["age=3", "taste=-1e30,0"], ["10"], 5, DataError, "Received: values that overflow in it"),
    ],
)
def test_requests_that_cannot_be_answered(make_config, user, features, history, k, error, message):
    with pytest.raises(error, match=message):
        recommend_items(make_config(), user, features, history, k)


def test_values_without_a_default_are_asked_for_all_at_once(make_config):
    features = schema()["features"]
    features[1] |= {"encoding": {"kind": "vocabulary"}}  # the median of labels means nothing
    del features[4]["default"]
    with pytest.raises(ConfigError, match=r"\['age', 'hour'\].*--feature age=\.\.\. --feature hour="):
        recommend(make_config(features=features), None, {}, ["10"], k=1)


def test_missing_table_is_named(make_config, tmp_path):
    (tmp_path / "users.parquet").unlink()
    with pytest.raises(DataError, match=r"users\.parquet"):
        recommend(make_config(), "1", {}, [], k=1)


def test_without_a_release_the_user_is_told_to_run(make_config, tmp_path):
    with pytest.raises(ReleaseError, match="dssm run"):
        recommend(make_config([f"serving.directory={tmp_path / 'empty'}"]), "1", {}, [], k=1)


def test_release_of_another_schema_is_refused(make_config):
    features = [feature for feature in schema()["features"] if feature["name"] != "gender"]
    with pytest.raises(ReleaseError, match=r"reads \['gender'\]"):
        recommend(make_config(features=features), "1", {}, [], k=1)


def test_history_follows_the_ingest_rules(make_config, tmp_path):
    config = make_config(["ingest.positives={column: rating, at_least: 4.1}", "ingest.window={last_days: 2}"])
    day = 86_400
    interactions = {
        "user_id": [1, 1, 1, 1, 1],
        "item_id": ["before the window", "kept", "", "line\nbreak", "rated lower"],
        "timestamp": [0, 2 * day, 3 * day, 3 * day, 3 * day],
        # A float32 of 4.1 is below the double 4.1, and yet meets the rule in the ingest.
        "rating": pa.array([5.0, 4.1, 5.0, 5.0, 4.0], pa.float32()),
        "hour": [1, 1, 1, 1, 1],
    }
    pq.write_table(pa.table(interactions), tmp_path / "interactions.parquet")
    assert read_user(config, config.load_features(), "1").positives == ["kept"]


def test_an_item_newer_than_the_release_is_in_no_history(make_config, tmp_path):
    interactions = {
        "user_id": [1, 1],
        "item_id": ["11", "newer than the release"],
        "timestamp": [1, 2],
        "rating": [5.0, 5.0],
        "hour": [1, 1],
    }
    config = make_config()
    pq.write_table(pa.table(interactions), tmp_path / "interactions.parquet")
    answer = recommend(config, "1", {"hour": "1"}, [])
    scores = expected_scores("11")
    assert [item.score for item in answer.items] == pytest.approx(
        sorted(np.delete(scores, 1))[::-1], abs=1e-6
    )


@pytest.fixture
def given_to_tower(monkeypatch):
    """What the user tower is given, in place of a tower that reads item features and gaps."""
    tables = []

    class Tower:
        inputs = dict.fromkeys(["age", "history", "history_title", "history_gap_seconds"])

        @staticmethod
        def embed(table):
            tables.append({name: column[0] for name, column in table.to_pydict().items()})
            return np.array([[1.0, 0, 0]], np.float32)

    monkeypatch.setattr("pipeline.recommend.offline.load_tower", lambda path, part: Tower)
    return tables


RICH_HISTORY = {"name": "history", "length": 3, "item_features": ["title"], "time_gap_buckets": 2}
TITLE = {
    "name": "title",
    "dtype": "string",
    "tower": "item",
    "encoding": {"kind": "text", "buckets": 5},
    "default": "untitled",
}


def test_the_history_of_a_known_user_has_the_features_and_the_time_since_each_item(
    make_config, given_to_tower, tmp_path
):
    config = make_config(history=RICH_HISTORY, features=[*schema()["features"], TITLE])
    path = tmp_path / "interactions.parquet"
    table = pq.read_table(path)
    # Another user's interaction is the newest of the log, at 23; the user's were at 3, 5, 5 and 9.
    pq.write_table(table.set_column(2, "timestamp", pa.array([5, 1, 9, 5, 3, 23])), path)
    answer = recommend(config, "1", {}, [], k=1)
    assert given_to_tower == [
        {
            "age": 20,
            "history": ["11", "a b", "12"],
            "history_title": ["Eleven", "A and B", "Twelve"],
            "history_gap_seconds": [18, 18, 14],
        }
    ]
    assert answer.notes == [
        "How long ago the items of the history were counts from the log's end, 1970-01-01 00:00:23 UTC."
    ]
    # Of the positives that the rules keep, each with its own time.
    recommend(
        make_config(
            ["ingest.max_positives_per_user=2"], history=RICH_HISTORY, features=[*schema()["features"], TITLE]
        ),
        "1",
        {},
        [],
        k=1,
    )
    assert given_to_tower[1]["history_title"] == ["", "A and B", "Twelve"]
    assert given_to_tower[1]["history_gap_seconds"] == [-1, 18, 14]


def test_a_given_history_counts_as_just_now_and_none_as_padding(make_config, given_to_tower):
    config = make_config(history=RICH_HISTORY, features=[*schema()["features"], TITLE])
    answer = recommend(config, "1", {}, ["13", "10"], k=1)
    assert given_to_tower[0]["history_title"] == ["", "Thirteen", "Ten"]
    assert given_to_tower[0]["history_gap_seconds"] == [-1, 0, 0]
    assert answer.notes == ["How long ago the given items were is not known: they count as just now."]
    recommend(config, None, {"age": "3"}, [], k=1)
    assert given_to_tower[1]["history_title"] == ["", "", ""]
    assert given_to_tower[1]["history_gap_seconds"] == [-1, -1, -1]


def test_a_history_feature_that_the_release_lacks_is_refused(make_config, given_to_tower):
    brand = {**TITLE, "name": "brand"}
    history = {**RICH_HISTORY, "item_features": ["title", "brand"]}
    config = make_config(history=history, features=[*schema()["features"], TITLE, brand])
    with pytest.raises(ReleaseError, match=r"\['brand'\], which the release's catalogue does not have"):
        recommend(config, "1", {}, [], k=1)


def test_a_damaged_release_is_refused_with_the_files_name(make_config, serving, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(serving, copy)
    file = copy / "releases" / "7" / "manifest.json"
    manifest = json.loads(file.read_text())
    for part in manifest["parts"].values():
        files = [path for path in (copy / part["path"]).rglob("*") if path.is_file()]
        names = {path: path.relative_to(copy / part["path"]).as_posix() for path in files}
        part["files"] = {names[path]: path.stat().st_size for path in files}
        part["hashes"] = {names[path]: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    file.write_text(json.dumps(manifest))
    config = make_config([f"serving.directory={copy}"])
    assert recommend(config, "1", {}, [], k=1).version == 7

    vectors = copy / "index" / "7" / "embeddings.npy"
    content = vectors.read_bytes()
    vectors.write_bytes(content[:-40] + bytes(byte ^ 0xFF for byte in content[-40:]))
    with pytest.raises(ReleaseError, match=r"Release 7 is damaged: .*/index/7/embeddings\.npy has another"):
        recommend(config, "1", {}, [], k=1)

    # The item tower takes no part in a recommendation.
    vectors.write_bytes(content)
    (copy / "item_tower" / "7" / "saved_model.pb").write_bytes(
        (copy / "item_tower" / "7" / "saved_model.pb").read_bytes()[::-1]
    )
    assert recommend(config, "1", {}, [], k=1).version == 7
