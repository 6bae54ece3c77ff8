import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import load_config
from pipeline.export.export import export_items
from schemas.errors import ConfigError, ReleaseError, TrainingError

pytestmark = pytest.mark.unit

ITEMS = [
    ("a", "A", ["x"], 2010),
    ("b", "B", ["x", "y"], 2011),
    ("c", None, [], 2012),
    ("d", "D", ["y"], 2013),
]
VECTORS = [[1, 0], [0, 1], [0.6, 0.8], [-1, 0]]


@pytest.fixture
def export(shop, tmp_path):
    """Export to the folder `out` as Parquet, if nothing else is said."""
    settings = load_config(str(shop.config), ())
    features = settings.load_features()

    def run(format_name="parquet", output=tmp_path / "out", **options):
        return export_items(settings, features, format_name, str(output), **options)

    return run


@pytest.fixture
def two_releases(shop):
    """Of one training: in the second, a has another vector, b another title, d is gone, n is new."""
    shop.release(3, ITEMS, VECTORS)
    shop.release(
        4,
        [("n", "N", [], 2014), ("c", None, [], 2012), ("b", "B!", ["x", "y"], 2011), ("a", "A", ["x"], 2010)],
        [[0.8, 0.6], [0.6, 0.8], [0, 1], [0, -1]],
    )
    return shop


def test_the_current_release_is_exported_whole(two_releases, export, tmp_path):
    manifest = export(output=tmp_path / "out")
    table = pq.read_table(tmp_path / "out" / "items").to_pydict()
    assert table["item_id"] == ["n", "c", "b", "a"]
    assert np.array_equal(
        np.array(table["embedding"], np.float32),
        np.array([[0.8, 0.6], [0.6, 0.8], [0, 1], [0, -1]], np.float32),
    )
    assert table["title"] == ["N", None, "B!", "A"]
    assert table["genres"] == [[], [], ["x", "y"], ["x"]]
    assert table["year"] == [2014, 2012, 2011, 2010]
    assert (manifest.catalogue, manifest.items, manifest.new) == (4, 4, 4)
    assert (manifest.changed, manifest.unchanged, manifest.deleted) == (0, 0, 0)
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == ["items", "manifest.json"]


def test_what_differs_is_exported_alone(two_releases, export, tmp_path):
    manifest = export(since=3)
    assert sorted(pq.read_table(tmp_path / "out" / "items")["item_id"].to_pylist()) == ["a", "b", "n"]
    assert pq.read_table(tmp_path / "out" / "deletes")["item_id"].to_pylist() == ["d"]
    assert json.loads((tmp_path / "out" / "manifest.json").read_text()) == {
        "format": "parquet",
        "format_version": 1,
        "release": 4,
        "model_id": "m",
        "since": 3,
        "since_model_id": "m",
        "dim": 2,
        "metric": "inner product",
        "item_id": "item_id",
        "columns": {"genres": "list<item: string>", "year": "int64", "title": "string"},
        "catalogue": 4,
        "items": 3,
        "new": 1,
        "changed": 2,
        "unchanged": 1,
        "deleted": 1,
    }
    assert not manifest.mixes_trainings


def test_columns_that_are_not_exported_change_nothing(two_releases, export, tmp_path):
    manifest = export(since=3, columns=["year"])
    table = pq.read_table(tmp_path / "out" / "items")
    assert table.column_names == ["item_id", "embedding", "year"]
    assert sorted(table["item_id"].to_pylist()) == ["a", "n"]
    assert (manifest.changed, manifest.unchanged) == (1, 2)


def test_the_way_back(two_releases, export, tmp_path):
    manifest = export("vertex", version=3, since=4)
    batch = tmp_path / "out" / "batch"
    lines = (batch / "00000.json").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["a", "b", "d"]
    assert (batch / "delete" / "00000.txt").read_text() == "n\n"
    # Whatever else lay in the batch would be read as data.
    assert sorted(entry.name for entry in batch.iterdir()) == ["00000.json", "delete"]
    assert (manifest.new, manifest.changed, manifest.unchanged, manifest.deleted) == (1, 2, 1, 1)


@pytest.mark.parametrize("format_name", ["milvus", "parquet", "qdrant", "vertex"])
def test_nothing_differs_from_the_release_itself(two_releases, export, tmp_path, format_name):
    manifest = export(format_name, since=4)
    assert (manifest.items, manifest.unchanged, manifest.deleted) == (0, 4, 0)
    assert [file.name for file in (tmp_path / "out").rglob("*.*")] == ["manifest.json"]


def test_another_type_of_the_same_texts_changes_nothing(shop, export):
    shop.release(3, ITEMS, VECTORS, title_type=pa.large_string())
    shop.release(4, ITEMS, VECTORS)
    assert export(since=3).unchanged == 4


def test_another_training_is_told_of(shop, export):
    shop.release(3, ITEMS, VECTORS, model_id="m1")
    shop.release(4, ITEMS, np.negative(VECTORS), model_id="m2")
    manifest = export(since=3)
    assert manifest.changed == 4
    assert manifest.mixes_trainings


def test_embeddings_of_another_width_are_refused(shop, export, tmp_path):
    shop.release(3, ITEMS, np.ones((4, 3)), model_id="m1")
    shop.release(4, ITEMS, VECTORS, model_id="m2")
    with pytest.raises(
        ReleaseError, match=r"of 2 dimensions, as those of release 4\. Received: release 3 with 3"
    ):
        export(since=3)
    assert not (tmp_path / "out").exists()


def test_a_damaged_index_is_refused(two_releases, export, tmp_path):
    file = two_releases.serving / "index" / "4" / "embeddings.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ReleaseError, match="Release 4 is damaged"):
        export()
    assert not (tmp_path / "out").exists()


def test_a_release_that_is_not_there_is_refused(two_releases, export):
    with pytest.raises(ReleaseError, match=r"No release 2 in .*: its releases are 3, 4"):
        export(since=2)


def test_an_embedding_that_is_no_number_is_refused(shop, export):
    shop.release(1, ITEMS, [[1, 0], [np.nan, 0], [0, 1], [0, 1]])
    with pytest.raises(TrainingError, match=r"for 1 of 4 .*'b'"):
        export()


def test_a_folder_that_holds_something_is_refused(two_releases, export, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    with pytest.raises(ConfigError, match="empty or not there"):
        export()


def test_another_serving_directory(shop, two_releases, export, tmp_path):
    other = shop.serving.rename(tmp_path / "elsewhere")
    assert export(serving_directory=str(other), version=3).release == 3


def test_the_scratch_folder_is_left_clean(two_releases, export, tmp_path):
    export()
    assert list((tmp_path / "run").iterdir()) == []
