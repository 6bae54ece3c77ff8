import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.ann_document import read_document
from components.ann_index.config import AnnConfig
from components.ann_index.logic import AnnInputs, build_ann
from schemas.features import FeatureSpec
from schemas.strict_config import parse

pytestmark = pytest.mark.unit

SPEC = parse(
    FeatureSpec,
    {
        "name": "shop",
        "features": [
            {"name": f"{tower}_id", "dtype": "string", "tower": tower, "role": f"{tower}_id"}
            | {"encoding": {"kind": "vocabulary"}}
            for tower in ("user", "item")
        ],
    },
    source="test",
)


def test_without_users_the_search_is_exact_however_large_the_catalogue(tmp_path):
    index, tower = tmp_path / "index", tmp_path / "user_tower"
    index.mkdir()
    (tower / "assets.extra").mkdir(parents=True)
    for file, part in ((index, "index"), (tower / "assets.extra", "user_tower")):
        (file / "dssm_part.json").write_text(json.dumps({"model_id": "m1", "part": part}))
    np.save(index / "embeddings.npy", np.eye(30, dtype=np.float32))
    pq.write_table(pa.table({"item_id": [str(row) for row in range(30)]}), index / "catalogue.parquet")
    config = AnnConfig(minimum_items=1)
    document = build_ann(AnnInputs(tower, index, sequences=None), tmp_path / "ann", SPEC, config)
    assert (document.kind, document.items, document.model_id) == ("exact", 30, "m1")
    assert document.reason == "there are no users to measure the recall of an index on"
    assert read_document(tmp_path / "ann") == document
