import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.run_report.inputs import RunFacts, RunFolders, read_facts
from schemas.errors import DataError

pytestmark = pytest.mark.unit

CATALOGUE = {
    "item_id": ["a", "b", "c"],
    "vector": [[0.5] * 700] * 3,
    "text": ["x" * 9000] * 3,
    "kind": ["k", "k", "l"],
    "colour": ["red", "blue", "red"],
    "title": ["A", "B", "C"],
}


@pytest.fixture
def folders(tmp_path: Path) -> RunFolders:
    for name in ("evaluation_report", "ingest_report", "anomaly_report", "model"):
        (tmp_path / f"{name}.json").write_text("{}")
    (tmp_path / "dssm_part.json").write_text(json.dumps({"model_id": "m", "part": "index"}))
    np.save(tmp_path / "embeddings.npy", np.eye(3, dtype=np.float32))
    pq.write_table(pa.table(CATALOGUE), tmp_path / "catalogue.parquet")
    return RunFolders(*[tmp_path] * 6)


def read(folders: RunFolders, map_feature: str | None) -> RunFacts:
    return read_facts(
        folders,
        run_id="r",
        item_id="item_id",
        display=("title", "absent", "item_id"),
        map_feature=map_feature,
        settings={},
        parameters={},
    )


@pytest.mark.parametrize(
    ("asked", "columns"),
    [
        (None, ["item_id", "title", "kind"]),
        ("colour", ["item_id", "title", "colour"]),
        ("title", ["item_id", "title"]),
    ],
)
def test_only_what_is_shown_is_read_of_the_catalogue(folders, asked, columns) -> None:
    facts = read(folders, asked)
    assert facts.catalogue.column_names == columns
    assert facts.display == ["title"]
    assert facts.map_feature == (asked or "kind")
    assert isinstance(facts.embeddings, np.memmap)


def test_what_is_not_there_is_refused(folders) -> None:
    with pytest.raises(DataError, match=r"report\.map_feature: .* Received: 'size'"):
        read(folders, "size")
    (folders.ingest / "ingest_report.json").write_text("[]")
    with pytest.raises(DataError, match=r"Expected a JSON object in .*ingest_report\.json. Received: list"):
        read(folders, None)
