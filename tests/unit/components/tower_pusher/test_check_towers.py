"""Small SavedModels held against samples; those of real towers are in tests/integration."""

import math
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from components.tower_pusher.check_towers import find_differences
from schemas.skew import ScoresSample, TowerSample, write_scores_sample, write_tower_sample

pytestmark = pytest.mark.unit

ITEMS = ["a", "b", "c", "d"]
VECTORS = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [0.6, 0.8]], np.float32)
USERS = {"x": [1.0, 0.0], "y": [0.0, 1.0], "z": [0.8, 0.6]}
ASKED = pa.table({"taste": list(USERS.values()), "plan": ["free", "free", "paid"]})


class Towers(tf.Module):
    """A user is its taste; an item stands at its own vector."""

    def __init__(self, shift=0.0, taken=(0, 1, 2, 3)):
        super().__init__()
        self.shift, self.taken = shift, list(taken)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 2], tf.float32, name="taste"),
            tf.TensorSpec([None], tf.string, name="plan"),
        ]
    )
    def embed_users(self, taste, plan):
        is_paid = tf.cast(tf.equal(plan, "paid"), tf.float32)[:, tf.newaxis]
        return {"embedding": taste + self.shift * is_paid}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="item"),
            tf.TensorSpec([None, None], tf.string, name="tags"),
        ]
    )
    def embed_items(self, item, tags):
        rows = tf.argmax(tf.cast(item[:, tf.newaxis] == tf.constant(ITEMS), tf.int32), axis=1)
        known = tf.reduce_sum(tf.cast(tags == "t", tf.float32), axis=1, keepdims=True)
        return {"embedding": tf.gather(tf.constant(VECTORS), rows) + 0.0 * known}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 2], tf.float32, name="taste"),
            tf.TensorSpec([None], tf.string, name="plan"),
            tf.TensorSpec([None, None], tf.string, name="exclude"),
            tf.TensorSpec([None], tf.int32, name="k"),
            tf.TensorSpec([None, None], tf.string, name="filter"),
        ]
    )
    def retrieve(self, taste, plan, exclude, k, filter):
        ids = tf.constant(ITEMS)
        is_kept = tf.reduce_all(exclude[:, :, tf.newaxis] != ids, axis=1)
        is_kept &= tf.reduce_all(filter == "", axis=1, keepdims=True)
        user = self.embed_users(taste, plan)["embedding"]
        scores = tf.where(is_kept, user @ tf.constant(VECTORS[self.taken].T), -math.inf)
        best, rows = tf.math.top_k(scores, tf.reduce_max(k))
        return {"item_ids": tf.gather(ids, rows), "scores": best}


def save(folder, towers):
    for part, function in (
        ("user_tower", towers.embed_users),
        ("item_tower", towers.embed_items),
        ("retriever", towers.retrieve),
    ):
        tf.saved_model.save(towers, str(folder / part), signatures={"serving_default": function})


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folders = {}
    for name, towers in (
        ("good", Towers()), ("shifted", Towers(shift=0.5)), ("mixed up", Towers(taken=(1, 0, 2, 3)))
    ):  # fmt: skip
        folders[name] = tmp_path_factory.mktemp("saved")
        save(folders[name], towers)
    return folders


# Best first, c before d, which ties with it; y does not get b, which it has.
SCORES = ScoresSample(
    ids=list(USERS),
    inputs=ASKED,
    rows=[[0, 2, 3], [2, 3, 0], [2, 3, 0]],
    items=[["a", "c", "d"], ["c", "d", "a"], ["c", "d", "a"]],
    scores=[[1.0, 0.6, 0.6], [0.8, 0.8, 0.0], [0.96, 0.96, 0.8]],
    left_out=[[], ["b"], []],
)


@pytest.fixture
def compare(saved, tmp_path):
    """Write the samples, then compare."""

    def run(
        name="good", vectors=VECTORS, ids=ITEMS, users=USERS, scores=SCORES, tolerance=1e-5, retriever=False
    ):
        index = tmp_path / "index"
        index.mkdir(exist_ok=True)
        np.save(index / "embeddings.npy", vectors)
        pq.write_table(pa.table({"item": ids}), index / "catalogue.parquet")
        expected = np.array(list(users.values()), np.float32)
        write_tower_sample(TowerSample(list(USERS), "user", ASKED, expected), tmp_path / "user.parquet")
        raw = pa.table({"item": ["d", "b"], "tags": pa.array([["t", "u"], None], pa.list_(pa.string()))})
        write_tower_sample(TowerSample(["d", "b"], "item", raw, VECTORS[[3, 1]]), tmp_path / "item.parquet")
        write_scores_sample(scores, tmp_path / "scores.parquet")
        found = find_differences(
            saved[name] / "user_tower",
            saved["good"] / "item_tower",
            index,
            tmp_path,
            tmp_path / "scores.parquet",
            saved[name] / "retriever" if retriever else None,
            tolerance,
        )
        return SimpleNamespace(
            texts=[difference.text for difference in found], against=[each.against for each in found]
        )

    return run


def test_what_was_trained_and_evaluated_has_no_difference(compare):
    assert compare(retriever=True).texts == []


def test_how_many_differ_how_far_and_which(compare):
    found = compare("shifted")
    off = "1 of 3 sampled users are up to {} off (allowed: 1e-05), most of all 'z'; they are those with plan "
    off += 'in ("paid")'
    assert found.texts == [
        f"the user_tower does not give the embeddings that training has: {off.format('0.5')}",
        # 1.3 * 0.6 + 1.1 * 0.8 instead of 0.96.
        f"user_tower times index does not give the scores that were evaluated: {off.format('0.7')}",
    ]
    assert found.against == ["training", "evaluation"]


def test_the_tolerance_is_an_allowance(compare):
    users = USERS | {"x": [1.0, 0.009]}
    assert compare(users=users, tolerance=1e-2).texts == []
    assert len(compare(users=users, tolerance=8e-3).texts) == 1


def test_what_is_not_a_number_differs(compare):
    text = compare(users=USERS | {"y": [0.0, math.nan]}).texts[0]
    assert "1 of 3 sampled users are up to nan off (allowed: 1e-05), most of all 'y'" in text


def test_another_width_is_told(compare):
    [text] = compare(users={name: [*vector, 0.0] for name, vector in USERS.items()}).texts
    assert text == "the user_tower gives users of shape [3, 2], training's have [3, 3]"


def test_an_index_of_another_tower_or_catalogue(compare):
    found = compare(vectors=VECTORS[[0, 1, 3, 0]])
    assert found.against == ["item_tower", "evaluation"]
    assert "1 of 2 sampled items are up to 0.8 off (allowed: 1e-05), most of all 'd'" in found.texts[0]
    found = compare(vectors=VECTORS[:3])
    assert found.texts[0].startswith("the index has 3 embeddings of shape [2] for 4 items, and lacks 0 of 2")
    assert found.texts[1] == "the evaluation ranked items beyond the 3 of the index"
    assert "lacks 1 of 2 sampled items" in compare(ids=["a", "b", "c", "e"]).texts[0]
    assert compare(ids=["c", "b", "a", "d"]).texts == [
        "the index has other items than the evaluation ranked in 6 places, such as that of 'a'"
    ]


def test_a_retriever_that_gives_other_items_or_scores(compare):
    found = compare("mixed up", retriever=True)
    assert found.against == ["evaluation"]
    # x gets b for a, whose score is at most that of d; y gets a as if it were b. z gets b, as good as a.
    assert found.texts[0].startswith(
        "the retriever does not give the items and scores that were evaluated: 2 of 3 sampled users are up "
        "to 0.8 off (allowed: 1e-05), most of all 'y'"
    )
    assert compare("shifted", retriever=True).against == ["training", "evaluation", "evaluation"]


def test_items_with_equal_scores_are_in_no_order(compare):
    turned = [[row[0], row[2], row[1]] if row[0] == "a" else [row[1], row[0], row[2]] for row in SCORES.items]
    rows = [[ITEMS.index(name) for name in names] for names in turned]
    scores = ScoresSample(SCORES.ids, ASKED, rows, turned, SCORES.scores, SCORES.left_out)
    assert compare(scores=scores, retriever=True).texts == []


def test_what_was_left_out_of_the_ranking_is_left_out(compare):
    scores = ScoresSample(SCORES.ids, ASKED, SCORES.rows, SCORES.items, SCORES.scores, [[], [], []])
    [text] = compare(scores=scores, retriever=True).texts
    assert "1 of 3 sampled users are up to 0.8 off (allowed: 1e-05), most of all 'y'" in text


def test_an_input_that_was_not_sampled_is_named(saved, compare, tmp_path):
    scores = ScoresSample(
        SCORES.ids, ASKED.drop_columns("plan"), SCORES.rows, SCORES.items, SCORES.scores, SCORES.left_out
    )
    with pytest.raises(ValueError, match=r"expected a sample with \['plan', 'taste'\]\. Received: no plan"):
        compare(scores=scores)
