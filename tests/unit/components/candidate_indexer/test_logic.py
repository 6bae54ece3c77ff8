import json
import logging

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.candidate_indexer.logic import KnownEmbeddings, build_index, read_index
from schemas.errors import DataError, ReleaseError, TrainingError

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def item_tower(tmp_path_factory):
    """Embeds a price as (cos price, sin price)."""
    import tensorflow as tf

    module = tf.Module()
    module.call = tf.function(
        lambda price: {"embedding": tf.stack([tf.cos(price), tf.sin(price)], axis=1)},
        input_signature=[tf.TensorSpec([None], tf.float32, name="price")],
    )
    folder = tmp_path_factory.mktemp("item_tower")
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.call})
    (folder / "assets.extra").mkdir()
    part = {"model_id": "m1", "part": "item_tower"}
    (folder / "assets.extra" / "dssm_part.json").write_text(json.dumps(part))
    return folder


def write_catalogue(folder, prices):
    folder.mkdir()
    ids = [f"item {number}" for number in range(len(prices))]
    table = pa.table(
        {
            "item_id": pa.array(ids, pa.string()),
            "price": pa.array(prices, pa.float32()),
            "title": pa.array([f"Title, {one}" for one in ids], pa.string()),
        }
    )
    pq.write_table(table, folder / "catalogue.parquet", row_group_size=3)
    return folder


def test_index_holds_every_item_in_the_catalogue_order(item_tower, tmp_path, caplog):
    prices = np.linspace(0, 3, 11)
    catalogue = write_catalogue(tmp_path / "catalogue", prices)
    with caplog.at_level(logging.INFO, "dssm.progress"):
        build_index(item_tower, catalogue, tmp_path / "index", "item_id", batch_rows=4)
    embeddings = np.load(tmp_path / "index" / "embeddings.npy")
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(embeddings, np.stack([np.cos(prices), np.sin(prices)], axis=1), atol=1e-6)
    assert pq.read_table(tmp_path / "index" / "catalogue.parquet") == pq.read_table(
        catalogue / "catalogue.parquet"
    )
    assert json.loads((tmp_path / "index" / "dssm_part.json").read_text()) == {
        "model_id": "m1",
        "part": "index",
        "dim": 2,
        "items": 11,
    }
    assert "Indexed 11 items, 2 dimensions each." in caplog.messages

    index = read_index(tmp_path / "index", columns=["item_id"])
    assert index.model_id == "m1"
    assert index.catalogue.column_names == ["item_id"]
    np.testing.assert_array_equal(index.embeddings, embeddings)


def test_columns_to_show_are_joined_by_id(item_tower, tmp_path):
    catalogue = write_catalogue(tmp_path / "catalogue", [0, 1, 2, 3, 4])
    brands = ["B4", "B0", "none of ours", "B3"]
    shown = pa.table(
        {
            "brand": pa.chunked_array([brands[:1], brands[1:]]),
            "item_id": ["item 4", "item 0", "another", "item 3"],
            "sizes": [[1, 2], [], [3], None],
        }
    )
    build_index(item_tower, catalogue, tmp_path / "index", "item_id", shown, batch_rows=2)
    table = pq.read_table(tmp_path / "index" / "catalogue.parquet")
    assert table.column_names == ["item_id", "price", "title", "brand", "sizes"]
    assert table["brand"].to_pylist() == ["B0", None, None, "B3", "B4"]
    assert table["sizes"].to_pylist() == [[], None, None, None, [1, 2]]
    assert table.select(["item_id", "price", "title"]) == pq.read_table(catalogue / "catalogue.parquet")


def test_items_with_a_non_finite_embedding_are_named(item_tower, tmp_path):
    catalogue = write_catalogue(tmp_path / "catalogue", [0, np.inf, 1])
    with pytest.raises(TrainingError, match="'item 1'"):
        build_index(item_tower, catalogue, tmp_path / "index", "item_id")


def test_empty_catalogue_is_refused(item_tower, tmp_path):
    with pytest.raises(DataError, match="at least one item"):
        build_index(item_tower, write_catalogue(tmp_path / "catalogue", []), tmp_path / "index", "item_id")


def test_index_with_lost_items_is_refused(item_tower, tmp_path):
    catalogue = write_catalogue(tmp_path / "catalogue", [0, 1, 2])
    build_index(item_tower, catalogue, tmp_path / "index", "item_id")
    np.save(tmp_path / "index" / "embeddings.npy", np.zeros((2, 2), np.float32))
    with pytest.raises(ReleaseError, match="2 embeddings for 3 items"):
        read_index(tmp_path / "index")


def test_known_embeddings_are_taken_over_and_the_others_computed(item_tower, tmp_path):
    prices = np.linspace(0, 3, 7)
    catalogue = write_catalogue(tmp_path / "catalogue", prices)
    # No tower gives these, so that it is seen where they go.
    known = KnownEmbeddings(
        np.array([[5, 6], [7, 8], [9, 10]], np.float32), np.array([-1, 2, -1, -1, 0, 0, -1])
    )
    build_index(item_tower, catalogue, tmp_path / "index", "item_id", batch_rows=3, known=known)
    expected = np.stack([np.cos(prices), np.sin(prices)], axis=1)
    expected[[1, 4, 5]] = [[9, 10], [5, 6], [5, 6]]
    np.testing.assert_allclose(np.load(tmp_path / "index" / "embeddings.npy"), expected, atol=1e-6)


def test_a_column_that_the_tower_reads_must_be_there_also_where_every_embedding_is_known(
    item_tower, tmp_path
):
    folder = tmp_path / "catalogue"
    folder.mkdir()
    pq.write_table(pa.table({"item_id": ["a"]}), folder / "catalogue.parquet")
    known = KnownEmbeddings(np.zeros((1, 2), np.float32), np.array([0]))
    with pytest.raises(DataError, match=r"reads \['price'\]"):
        build_index(item_tower, folder, tmp_path / "index", "item_id", known=known)
