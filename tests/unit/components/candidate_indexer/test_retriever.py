"""The retriever against the same computation in numpy, on embeddings whose products are exact."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.candidate_indexer.retriever import build_retriever
from schemas.errors import ReleaseError

pytestmark = pytest.mark.unit

ITEMS, DIM, LENGTH = 23, 4, 3
GENERATOR = np.random.default_rng(5)
# Quarters, so that every sum is exact, and so few values that many scores are equal.
EMBEDDINGS = (GENERATOR.integers(-2, 3, (ITEMS, DIM)) / 4).astype(np.float32)
IDS = [f"item\n{number}" for number in GENERATOR.permutation(ITEMS)]
GENRES = [[f"g{genre}" for genre in range(4) if (number >> genre) % 2] for number in range(ITEMS)]
YEARS = [1990 + number % 3 if number % 5 else None for number in range(ITEMS)]


def write_index(folder, model_id="m"):
    folder.mkdir()
    np.save(folder / "embeddings.npy", EMBEDDINGS)
    columns = {"item": IDS, "genres": GENRES, "year": YEARS, "title": ["t"] * ITEMS}
    pq.write_table(pa.table(columns), folder / "catalogue.parquet")
    (folder / "dssm_part.json").write_text(json.dumps({"model_id": model_id, "part": "index"}))
    return folder


def save_tower(folder, module, signature):
    import tensorflow as tf

    tf.saved_model.save(module, str(folder), signatures={"serving_default": signature})
    (folder / "assets.extra").mkdir()
    part = {"model_id": "m", "part": "user_tower"}
    (folder / "assets.extra" / "dssm_part.json").write_text(json.dumps(part))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """An index, and a user tower that takes the embedding as it is."""
    import tensorflow as tf

    root = tmp_path_factory.mktemp("retriever")
    module = tf.Module()
    module.call = tf.function(
        lambda vector, history: {"embedding": vector},
        input_signature=[
            tf.TensorSpec([None, DIM], tf.float32, name="vector"),
            tf.TensorSpec([None, LENGTH], tf.string, name="history"),
        ],
    )
    return save_tower(root / "user_tower", module, module.call), write_index(root / "index")


@pytest.fixture(scope="module")
def load(folders, tmp_path_factory):
    """Build a retriever and load it, once for each choice of settings."""
    import tensorflow as tf

    made = {}

    def load(filter_by=None, history=None, block_items=100):
        key = (filter_by, history, block_items)
        if key not in made:
            output = tmp_path_factory.mktemp("made") / "retriever"
            build_retriever(*folders, output, "item", filter_by, history, block_items)
            # The signature alone does not keep what it was loaded from.
            made[key] = tf.saved_model.load(str(output))
        return made[key].signatures["serving_default"]

    return load


def ask(signature, users, k, exclude=None, history=None, **more):
    import tensorflow as tf

    rows = len(users)
    answer = signature(
        vector=tf.constant(users, tf.float32),
        history=tf.constant(history or [[""] * LENGTH] * rows, tf.string, (rows, LENGTH)),
        exclude=tf.constant(np.full((rows, 1), "", object) if exclude is None else exclude, tf.string),
        k=tf.constant([k] * rows if isinstance(k, int) else k, tf.int32),
        **{name: tf.constant(value, tf.string) for name, value in more.items()},
    )
    ids = [[text.decode() for text in row] for row in answer["item_ids"].numpy()]
    return ids, answer["scores"].numpy(), answer["version"].numpy()


def expect(users, k, candidates):
    """The best of each user's candidates; of equal scores the first item."""
    ids, scores = [], []
    for user, allowed in zip(np.asarray(users, np.float32), candidates, strict=True):
        products = np.where(allowed, EMBEDDINGS @ user, -np.inf)
        best = np.argsort(-products, kind="stable")[:k]
        ids.append([IDS[item] if allowed[item] else "" for item in best])
        scores.append(products[best])
    return ids, np.array(scores)


def check(answer, expected):
    assert answer[0] == expected[0]
    np.testing.assert_array_equal(answer[1], expected[1])


def draw_users(rows):
    return GENERATOR.integers(-2, 3, (rows, DIM)) / 4


def without(*lists):
    return np.array([[one not in left_out for one in IDS] for left_out in lists])


@pytest.mark.parametrize("block_items", [4, ITEMS - 1, 100])
@pytest.mark.parametrize("k", [1, 5, ITEMS - 1, ITEMS])
def test_ties_come_in_the_order_of_the_index_in_blocks_of_any_size(load, k, block_items):
    users = [*draw_users(4), [0, 0, 0, 0]]
    products = np.sort(np.array(users, np.float32) @ EMBEDDINGS.T, axis=1)
    assert (np.diff(products, axis=1) == 0).any(axis=1).all()
    check(ask(load(block_items=block_items), users, k), expect(users, k, np.ones((5, ITEMS), bool)))


@pytest.mark.parametrize("block_items", [4, 100])
def test_excluded_items_are_left_out_and_unknown_ids_do_nothing(load, block_items):
    users = draw_users(4)
    exclude = [
        ["", "", "nobody's", "item"],
        [IDS[0], IDS[0], "", IDS[22]],
        ["item\n", "", IDS[7], IDS[4]],
        IDS[3:7],
    ]
    for k in (3, ITEMS):
        answer = ask(load(block_items=block_items), users, k, exclude)
        check(answer, expect(users, k, without(*exclude)))


@pytest.mark.parametrize("block_items", [4, 100])
@pytest.mark.parametrize("left", [0, 2])
def test_where_fewer_items_are_left_nothing_follows(load, left, block_items):
    users = draw_users(2)
    exclude = [IDS[left:], [""] * (ITEMS - left)]
    ids, scores, _ = answer = ask(load(block_items=block_items), users, 5, exclude)
    check(answer, expect(users, 5, without(*exclude)))
    assert ids[0][left:] == [""] * (5 - left)
    assert (scores[0, left:] == -np.inf).all()
    assert "" not in ids[1]


def test_the_history_is_left_out_only_where_what_a_user_has_is(load):
    users = draw_users(2)
    history = [["", IDS[2], IDS[9]], [IDS[1], "unknown", IDS[3]]]
    exclude = [[IDS[5]], [""]]
    answer = ask(load(history="history"), users, ITEMS, exclude, history)
    both = [[*left_out, *past] for left_out, past in zip(exclude, history, strict=True)]
    check(answer, expect(users, ITEMS, without(*both)))
    check(ask(load(), users, ITEMS, exclude, history), expect(users, ITEMS, without(*exclude)))


@pytest.mark.parametrize("block_items", [4, 100])
def test_filter_on_a_feature_with_many_values(load, block_items):
    users = draw_users(5)
    wanted = [["", ""], ["g1", ""], ["g0", "g3"], ["g9", ""], ["", "g2"]]
    allowed = [
        [not any(names) or any(genre in names for genre in genres) for genres in GENRES] for names in wanted
    ]
    assert [sum(row) for row in allowed] == [23, 11, 15, 0, 11]
    exclude = [[IDS[1]]] * 5
    answer = ask(load("genres", block_items=block_items), users, ITEMS, exclude, filter=wanted)
    check(answer, expect(users, ITEMS, np.array(allowed) & without(*exclude)))


def test_filter_on_a_feature_with_one_value(load):
    users = draw_users(3)
    wanted = [["1990", "1992"], ["1991", "x"], ["", ""]]
    allowed = [[not any(years) or str(year) in years for year in YEARS] for years in wanted]
    answer = ask(load("year", "history"), users, 9, filter=wanted)
    check(answer, expect(users, 9, np.array(allowed)))


def test_each_row_has_its_own_k_and_none_makes_the_answer_larger_than_the_catalogue(load):
    users = draw_users(3)
    ids, scores, version = ask(load(), users, [2, 5, 1])
    expected = expect(users, 5, np.ones((3, ITEMS), bool))
    assert ids == [[*row[:k], *[""] * (5 - k)] for row, k in zip(expected[0], (2, 5, 1), strict=True)]
    np.testing.assert_array_equal(scores[1], expected[1][1])
    assert np.isneginf(scores).sum(axis=1).tolist() == [3, 0, 4]
    assert version.tolist() == [0, 0, 0]
    check(ask(load(), users, 2**31 - 1), expect(users, ITEMS, np.ones((3, ITEMS), bool)))


def test_no_rows_and_no_places(load):
    assert ask(load(), np.zeros((0, DIM)), 5)[1].shape == (0, 0)
    users = draw_users(1)
    answer = ask(load("genres"), users, 3, np.zeros((1, 0), object), filter=np.zeros((1, 0), object))
    check(answer, expect(users, 3, np.ones((1, ITEMS), bool)))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"k": [0, 3]}, "Expected k of at least 1"),
        ({"k": [3]}, "Expected k with a row for each user"),
        ({"exclude": [["1"]] * 3}, "Expected exclude with a row for each user"),
        ({"filter": [["g1"]]}, "Expected filter with a row for each user"),
    ],
)
def test_requests_that_cannot_be_meant_are_refused(load, change, match):
    import tensorflow as tf

    with pytest.raises(tf.errors.InvalidArgumentError, match=match):
        ask(load("genres"), draw_users(2), **{"k": 3, "filter": [[""], [""]]} | change)


def test_the_version_is_what_the_file_held_when_the_model_was_loaded(folders, tmp_path):
    import tensorflow as tf

    build_retriever(*folders, tmp_path / "1", "item", None, None)
    file = tmp_path / "1" / "assets" / "release_version.txt"
    assert file.read_text() == "0\n"
    loaded = []
    for version in ("7", "12345678901\n"):
        file.write_text(version)
        loaded.append(tf.saved_model.load(str(tmp_path / "1")))
    file.unlink()
    # Both are in this process at once, as while a server goes from one to the next.
    versions = [ask(one.signatures["serving_default"], draw_users(2), 1)[2].tolist() for one in loaded]
    assert versions == [[7, 7], [12345678901, 12345678901]]


def test_inputs_keep_their_capitals(folders, tmp_path):
    import tensorflow as tf

    specs = {
        "CustomerID": tf.TensorSpec([None, DIM], tf.float32, "CustomerID"),
        "Past_Items": tf.TensorSpec([None, LENGTH], tf.string, "Past_Items"),
    }
    module = tf.Module()
    call = tf.function(lambda **inputs: {"embedding": inputs["CustomerID"]})
    tower = save_tower(tmp_path / "user_tower", module, call.get_concrete_function(**specs))
    build_retriever(tower, folders[1], tmp_path / "retriever", "item", None, "Past_Items")
    loaded = tf.saved_model.load(str(tmp_path / "retriever"))
    inputs = loaded.signatures["serving_default"].structured_input_signature[1]
    assert set(inputs) == {"CustomerID", "Past_Items", "exclude", "k"}


def test_it_names_its_training_and_refuses_a_mixed_pair(folders, tmp_path):
    tower, _ = folders
    build_retriever(*folders, tmp_path / "retriever", "item", None, None)
    part = json.loads((tmp_path / "retriever" / "assets.extra" / "dssm_part.json").read_text())
    assert part == {"model_id": "m", "part": "retriever"}
    other = write_index(tmp_path / "index", model_id="n")
    with pytest.raises(ReleaseError, match="user tower from 'm' and the index from 'n'"):
        build_retriever(tower, other, tmp_path / "mixed", "item", None, None)
