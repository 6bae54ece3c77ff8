import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import ReleaseError
from schemas.skew import (
    ScoresSample,
    TowerSample,
    read_scores_sample,
    read_tower_sample,
    write_scores_sample,
    write_tower_sample,
)

pytestmark = pytest.mark.unit

# An input may have the name of one of the sample's own columns.
INPUTS = pa.table({"id": [1, 2], "history": [["", "ü"], ["a", "b"]], "taste": [[0.5, 1.0], [2.0, -1.0]]})


def test_a_towers_sample_comes_back_as_it_was(tmp_path):
    vectors = np.array([[0.25, 1.0, 0.1], [0.5, -1.0, 0.2]], np.float32)
    write_tower_sample(TowerSample(["x", "ü"], "user", INPUTS, vectors), tmp_path / "new" / "user.parquet")
    sample = read_tower_sample(tmp_path / "new" / "user.parquet")
    assert (sample.ids, sample.id_column) == (["x", "ü"], "user")
    assert sample.inputs == INPUTS
    np.testing.assert_array_equal(sample.embeddings, vectors)
    assert sample.embeddings.dtype == np.float32


def test_inputs_in_several_chunks_are_one_sample(tmp_path):
    halves = pa.concat_tables([INPUTS.slice(0, 1), INPUTS.slice(1)])
    write_tower_sample(TowerSample(["x", "y"], "user", halves, np.ones((2, 1))), tmp_path / "user.parquet")
    assert read_tower_sample(tmp_path / "user.parquet").inputs == INPUTS


def test_an_evaluations_sample_comes_back_as_it_was(tmp_path):
    given = ScoresSample(["x", "y"], INPUTS, [[3, 0], []], [["c", "ä"], []], [[0.5, 0.25], []], [[], ["b"]])
    write_scores_sample(given, tmp_path / "scores.parquet")
    assert read_scores_sample(tmp_path / "scores.parquet") == given


def test_what_is_no_sample_is_named(tmp_path):
    file = tmp_path / "user.parquet"
    with pytest.raises(ReleaseError, match=r"Cannot read the sample .*user\.parquet"):
        read_tower_sample(file)
    file.write_bytes(b"PAR1")
    with pytest.raises(ReleaseError, match=r"Cannot read the sample .*user\.parquet"):
        read_scores_sample(file)
    pq.write_table(pa.table({"id": ["x"]}), file)
    with pytest.raises(ReleaseError, match=r"user\.parquet: .* Received: no embedding, inputs\. Run"):
        read_tower_sample(file)
    pq.write_table(pa.table({"id": ["x"], "inputs": [{"a": 1}], "embedding": [[1.0]]}), file)
    with pytest.raises(ReleaseError, match="expected the name of the id column"):
        read_tower_sample(file)
