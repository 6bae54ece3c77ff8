import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.embed.embedder import Embedder
from pipeline.embed.histories import HistoryJoin
from pipeline.embed.table import choose_source, open_table
from schemas.errors import TrainingError

pytestmark = pytest.mark.unit


@pytest.fixture
def users(spec, tmp_path, tower):
    columns = {
        "person": ["1", "2", "3"],
        "age": [20, 30, 40],
        "city": ["a", "ab", "abc"],
        "seen": pa.array([["i"], ["i"], None], pa.list_(pa.string())),
        "seen_seconds": pa.array([[90], [95], None], pa.list_(pa.int64())),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    source = choose_source(spec, "users", "t.parquet", None)
    table = open_table(spec, "users", source, str(tmp_path), tower.inputs, now=0.0)
    rows = pa.table(columns | {"user": columns["person"], "device": ["web"] * 3})
    return table, rows


def test_rows_are_embedded_in_order_and_in_batches_of_one_size(spec, tower, users):
    table, rows = users
    join = HistoryJoin(spec, spec.history, pa.table({"item": ["i"]}), None, True, now=100)
    embedded, counts = Embedder(tower, join, batch_rows=2).embed(rows, table)
    assert embedded.schema.names == ["user", "embedding"]
    assert embedded.schema.field("embedding").type == pa.list_(pa.float32(), 3)
    assert embedded.to_pylist() == [
        {"user": "1", "embedding": [20, 1, 10]},
        {"user": "2", "embedding": [30, 2, 5]},
        {"user": "3", "embedding": [40, 3, -1]},
    ]
    assert counts == {"given": 2, "known": 0, "empty": 1}
    # The last batch repeats its last row.
    assert [called["age"].to_pylist() for called in tower.called_with] == [[20, 30], [40, 40]]
    assert set(tower.called_with[0].column_names) == set(tower.inputs)


def test_an_embedding_that_is_not_finite_is_refused(tower, users, monkeypatch):
    table, rows = users
    monkeypatch.setattr(
        tower, "embed", lambda batch, batch_rows: np.array([[1.0] * 3, [np.nan] * 3] * 2, np.float32)
    )
    with pytest.raises(TrainingError, match="infinity for 1 of 3 users: '2'"):
        Embedder(tower, None, batch_rows=4).embed(rows, table)
