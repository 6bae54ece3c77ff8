"""Items to export, and releases whose index is small enough to read."""

import hashlib
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline.export.changes import ItemChanges
from pipeline.export.content import ExportedItems

SCHEMA = {
    "name": "shop",
    "tables": {"items": {"display": ["title"]}},
    "features": [
        {"name": "user_id", "dtype": "string", "tower": "user", "role": "user_id"},
        {"name": "age", "dtype": "int", "tower": "user", "encoding": {"kind": "z_score"}},
        {"name": "item_id", "dtype": "string", "tower": "item", "role": "item_id",
         "encoding": {"kind": "vocabulary"}},
        {"name": "genres", "dtype": "string", "tower": "item", "multi_valued": True,
         "encoding": {"kind": "vocabulary"}},
        {"name": "year", "dtype": "int", "tower": "item", "encoding": {"kind": "z_score"}},
    ],
}  # fmt: skip


@pytest.fixture
def make_items():
    """Make items to export, all of them new if nothing else is said."""

    def make(ids, embeddings, columns=None, changed=(), unchanged=(), deleted=()):
        changes = ItemChanges(
            np.array([name not in {*changed, *unchanged} for name in ids], bool),
            np.array([name in changed for name in ids], bool),
            pa.array(deleted, pa.string()),
        )
        catalogue = pa.table({"item_id": pa.array(ids, pa.string()), **(columns or {})})
        return ExportedItems("item_id", catalogue, np.array(embeddings, np.float32), changes)

    return make


class Shop:
    """A configuration, and a serving directory to which a test adds releases."""

    def __init__(self, path):
        self.config, self.serving = path / "config.yaml", path / "serving"
        (path / "schema.yaml").write_text(yaml.safe_dump(SCHEMA))
        content = {
            "run": {"name": "shop", "directory": str(path / "run")},
            "data": {"schema": str(path / "schema.yaml"), "directory": str(path / "no data")},
            "serving": {"directory": str(self.serving)},
        }
        self.config.write_text(yaml.safe_dump(content))

    def release(self, version, catalogue, embeddings, model_id="m"):
        """Publish a release; `catalogue` is a list of (item id, title, genres, year)."""
        embeddings = np.array(embeddings, np.float32)
        ids, titles, genres, years = zip(*catalogue, strict=True)
        table = pa.table(
            {
                "item_id": pa.array(ids),
                "genres": pa.array(genres, pa.list_(pa.string())),
                "year": pa.array(years, pa.int64()),
                "title": pa.array(titles, pa.string()),
            }
        )
        index = self.serving / "index" / str(version)
        index.mkdir(parents=True)
        np.save(index / "embeddings.npy", embeddings)
        pq.write_table(table, index / "catalogue.parquet")
        part = {"model_id": model_id, "part": "index", "dim": embeddings.shape[1], "items": len(ids)}
        (index / "dssm_part.json").write_text(json.dumps(part))
        for tower in ("user_tower", "item_tower"):
            extra = self.serving / tower / str(version) / "assets.extra"
            extra.mkdir(parents=True)
            (extra / "dssm_part.json").write_text(json.dumps({"model_id": model_id, "part": tower}))
        manifest = {
            "version": version,
            "created": f"2026-11-{version:02}T10:00:00+00:00",
            "run_id": f"run-{version}",
            "model_id": model_id,
            "dim": embeddings.shape[1],
            "temperature": 0.1,
            "items": len(ids),
            "schema_sha256": "00",
            "transform_sha256": "11",
            "metrics": {},
            "popularity": {},
            "parts": {name: self._describe(name, version) for name in ("user_tower", "item_tower", "index")},
        }
        folder = self.serving / "releases" / str(version)
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(json.dumps(manifest))

    def _describe(self, part, version):
        folder = self.serving / part / str(version)
        contents = {
            file.relative_to(folder).as_posix(): file.read_bytes()
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }
        return {
            "path": f"{part}/{version}",
            "files": {name: len(content) for name, content in contents.items()},
            "sha256": "00",
            "hashes": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
        }


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)
