"""`dssm export` from releases in an object store to a folder of it."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import load_config
from pipeline.export.export import export_items
from schemas import storage
from schemas.errors import ConfigError, StorageError

pytestmark = pytest.mark.integration

VECTORS = np.eye(3, dtype=np.float32)


@pytest.fixture
def export(bucket: Any, shop: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Export what release 4 of a bucket has otherwise than release 3, to a folder of the bucket."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(shop.config.parent / "cache-home"))
    items = [("a", "A", ["x"], 2010), ("b", "B", [], 2011), ("c", "C", [], 2012)]
    shop.release(3, items, VECTORS)
    shop.release(4, items[:2], VECTORS[[0, 2]])
    storage.copy_tree(shop.serving, f"{bucket.uri}/serving")
    settings = load_config(str(shop.config), (f"serving.directory={bucket.uri}/serving",))

    def run(format_name: str) -> Any:
        return export_items(
            settings, settings.load_features(), format_name, f"{bucket.uri}/exports/today", since=3
        )

    return run


def test_the_files_are_in_the_store(bucket: Any, shop: Any, export: Any) -> None:
    manifest = export("parquet")
    folder = "exports/today"
    assert bucket.keys(folder) == [
        f"{folder}/deletes/00000.parquet",
        f"{folder}/items/00000.parquet",
        f"{folder}/manifest.json",
    ]
    table = pq.read_table(pa.BufferReader(bucket.read(f"{folder}/items/00000.parquet")))
    assert table.select(["item_id", "embedding"]).to_pylist() == [{"item_id": "b", "embedding": [0, 0, 1]}]
    deleted = pq.read_table(pa.BufferReader(bucket.read(f"{folder}/deletes/00000.parquet")))
    assert deleted.to_pylist() == [{"item_id": "c"}]
    content = json.loads(bucket.read(f"{folder}/manifest.json"))
    assert (content["items"], content["unchanged"], content["deleted"]) == (1, 1, 1)
    assert manifest.items == 1
    # Neither the copies of the releases nor what was written stays here.
    assert list((shop.config.parent / "run").iterdir()) == []


def test_a_copy_that_ends_early_has_no_manifest(
    bucket: Any, export: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = storage.copy_files

    def fail(files: Any, target: str) -> None:
        real(files, target)
        raise StorageError("The network is gone.")

    monkeypatch.setattr(storage, "copy_files", fail)
    with pytest.raises(StorageError, match="network is gone"):
        export("vertex")
    assert bucket.keys("exports") == [
        "exports/today/batch/00000.json",
        "exports/today/batch/delete/00000.txt",
    ]
    # What was copied is not taken for another export's.
    with pytest.raises(ConfigError, match=r"empty or not there\. Received: s3://.*holds batch"):
        export("vertex")
