import json

import numpy as np
import pyarrow as pa
import pytest

from components.towers import load_tower, refuse_non_finite
from schemas.errors import DataError, ReleaseError, TrainingError

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def tower_folder(tmp_path_factory):
    """A tower whose embedding shows what it was given: price, lengths and a count."""
    import tensorflow as tf

    def call(item, price, tags, places):
        return {
            "embedding": tf.stack(
                [
                    price,
                    tf.cast(tf.strings.length(item, unit="UTF8_CHAR"), tf.float32),
                    tf.reduce_sum(tf.cast(tf.not_equal(tags, ""), tf.float32), axis=1),
                    tf.cast(tf.strings.length(places[:, 1]), tf.float32),
                ],
                axis=1,
            )
        }

    module = tf.Module()
    module.call = tf.function(
        call,
        input_signature=[
            tf.TensorSpec([None], tf.string, name="item"),
            tf.TensorSpec([None], tf.float32, name="price"),
            tf.TensorSpec([None, None], tf.string, name="tags"),
            tf.TensorSpec([None, 2], tf.string, name="places"),
        ],
    )
    folder = tmp_path_factory.mktemp("tower")
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.call})
    (folder / "assets.extra").mkdir()
    part = {"model_id": "m1", "part": "item_tower"}
    (folder / "assets.extra" / "dssm_part.json").write_text(json.dumps(part))
    return folder


def make_table(**changes):
    columns = {
        "item": pa.array(["a", "bö", "", "d", "🎬🎬"]),
        "price": pa.array([1.5, 2, 3, 4, 5], pa.float64()),
        "tags": pa.array([["x"], [], None, ["x", "y", "z"], ["x"]], pa.list_(pa.string())),
        "places": pa.array([["", "p"]] * 4 + [["p", "long"]], pa.list_(pa.string())),
        "not read": pa.array([None] * 5),
    }
    return pa.table(columns | changes)


@pytest.mark.parametrize("batch_rows", [1, 2, 100])
def test_embeddings_of_every_row_in_order(tower_folder, batch_rows):
    tower = load_tower(tower_folder, "item_tower")
    embeddings = tower.embed(make_table(), batch_rows)
    assert embeddings.dtype == np.float32
    assert embeddings.tolist() == [[1.5, 1, 1, 1], [2, 2, 0, 1], [3, 0, 0, 1], [4, 1, 3, 1], [5, 2, 1, 4]]


def test_binary_and_large_list_columns_as_decoders_give_them(tower_folder):
    table = make_table(
        item=pa.array([b"a", "bö".encode(), b"", b"d", b"ee"], pa.large_binary()),
        tags=pa.array([[b"x"], [], [], [], []], pa.large_list(pa.large_binary())),
        price=pa.array([1, 2, 3, 4, 5], pa.int64()),
    )
    embeddings = load_tower(tower_folder, "item_tower").embed(table)
    assert embeddings[:, :3].tolist() == [[1, 1, 1], [2, 2, 0], [3, 0, 0], [4, 1, 0], [5, 2, 0]]


def test_lists_of_numbers(tmp_path):
    import tensorflow as tf

    module = tf.Module()
    module.call = tf.function(
        lambda look: {"embedding": look[:, ::-1]},
        input_signature=[tf.TensorSpec([None, 2], tf.float32, "look")],
    )
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.call})
    (tmp_path / "assets.extra").mkdir()
    part = {"model_id": "m1", "part": "item_tower"}
    (tmp_path / "assets.extra" / "dssm_part.json").write_text(json.dumps(part))
    tower = load_tower(tmp_path, "item_tower")
    for kind in (pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.float32(), 2)):
        table = pa.table({"look": pa.array([[1, 2], [3, 4], [5, 6]], kind)})
        assert tower.embed(table, batch_rows=2).tolist() == [[2, 1], [4, 3], [6, 5]]
    with pytest.raises(DataError, match=r"'look': expected lists of 2 values\. Received: a list of 1"):
        tower.embed(pa.table({"look": pa.array([[1.0]], pa.list_(pa.float32()))}))


def test_lists_of_lists_are_read_row_after_row(tmp_path):
    import tensorflow as tf

    def call(words, numbers, looks):
        return {
            "embedding": tf.stack(
                [
                    tf.cast(tf.strings.length(words[:, 1, 0]), tf.float32),
                    tf.cast(numbers[:, 1], tf.float32),
                    looks[:, 1, 2],
                ],
                axis=1,
            )
        }

    module = tf.Module()
    module.call = tf.function(
        call,
        input_signature=[
            tf.TensorSpec([None, 2, 2], tf.string, "words"),
            tf.TensorSpec([None, 2], tf.int64, "numbers"),
            tf.TensorSpec([None, 2, 3], tf.float32, "looks"),
        ],
    )
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.call})
    (tmp_path / "assets.extra").mkdir()
    part = {"model_id": "m1", "part": "user_tower"}
    (tmp_path / "assets.extra" / "dssm_part.json").write_text(json.dumps(part))
    table = pa.table(
        {
            "words": [["", "", "abc", ""], ["x", "", "z", "zz"], ["", "", "", ""]],
            "numbers": [[0, 2**24], [3, 4], [5, 6]],
            "looks": pa.array([[0, 1, 2, 3, 4, 5.5], [0] * 6, [9] * 6], pa.list_(pa.float32())),
        }
    )
    tower = load_tower(tmp_path, "user_tower")
    expected = [[3, 2**24, 5.5], [1, 4, 0], [0, 6, 9]]
    assert tower.embed(table, batch_rows=2).tolist() == expected
    short = table.set_column(2, "looks", pa.array([[0] * 6, [0] * 5, [0] * 6], pa.list_(pa.float32())))
    with pytest.raises(DataError, match=r"'looks': expected lists of 6 values\. Received: a list of 5"):
        tower.embed(short)


def test_no_rows_give_no_embeddings(tower_folder):
    assert load_tower(tower_folder, "item_tower").embed(make_table().slice(0, 0)).shape == (0, 4)


def test_what_the_tower_says_of_itself(tower_folder):
    tower = load_tower(tower_folder, "item_tower")
    assert (tower.model_id, tower.part, tower.dim) == ("m1", "item_tower", 4)
    assert sorted(tower.inputs) == ["item", "places", "price", "tags"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"price": pa.array([1, None, 3, 4, 5], pa.float32())}, "'price': expected no missing value"),
        ({"places": pa.array([["p"]] * 5)}, "'places': expected lists of 2 values. Received: a list of 1"),
        ({"tags": pa.array([["x", None]] * 5)}, "'tags': expected no missing value in its lists"),
    ],
)
def test_data_that_do_not_fit_are_refused(tower_folder, changes, message):
    with pytest.raises(DataError, match=message):
        load_tower(tower_folder, "item_tower").embed(make_table(**changes))


def test_missing_column_is_named(tower_folder):
    with pytest.raises(DataError, match=r"\['price'\] are not in the data"):
        load_tower(tower_folder, "item_tower").embed(make_table().drop(["price"]))


def test_another_part_is_refused(tower_folder):
    with pytest.raises(ReleaseError, match="expected the part 'user_tower'"):
        load_tower(tower_folder, "user_tower")


def test_folder_without_a_model_is_refused(tmp_path):
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra" / "dssm_part.json").write_text('{"model_id": "m", "part": "item_tower"}')
    with pytest.raises(ReleaseError, match="holds no SavedModel"):
        load_tower(tmp_path, "item_tower")


def test_non_finite_rows_are_named():
    embeddings = np.array([[1, 0], [np.nan, 0], [0, 1], [0, np.inf]])
    with pytest.raises(TrainingError, match="2 of 4 items: 'b', 'd'"):
        refuse_non_finite(embeddings, ["a", "b", "c", "d"], "items")
    refuse_non_finite(embeddings[:1], ["a"], "items")
