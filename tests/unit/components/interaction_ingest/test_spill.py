import pyarrow as pa
import pytest

from components.interaction_ingest.spill import read_spill, write_spill

pytestmark = pytest.mark.unit


def test_batches_come_back_as_they_were(tmp_path):
    whole = pa.record_batch({"id": ["a", None, "ü", "d"], "tags": [["x"], [], None, ["y", "z"]]})
    parts = {7: whole.slice(2, 2), 3: whole.slice(0, 2), 5: whole.slice(4)}
    places = write_spill(tmp_path, parts)
    assert set(places) == {3, 5, 7}
    assert len(list(tmp_path.iterdir())) == 1
    found = read_spill([places[3], places[7], places[5], places[3]])
    assert [batch.to_pydict() for batch in found] == [
        {"id": ["a", None], "tags": [["x"], []]},
        {"id": ["ü", "d"], "tags": [None, ["y", "z"]]},
        {"id": [], "tags": []},
        {"id": ["a", None], "tags": [["x"], []]},
    ]
    assert found[0].schema == whole.schema


def test_nothing_is_written_for_nothing(tmp_path):
    assert write_spill(tmp_path, {}) == {}
    assert list(tmp_path.iterdir()) == []


def test_a_second_attempt_leaves_the_first_ones_files_alone(tmp_path):
    first = write_spill(tmp_path, {0: pa.record_batch({"id": ["a"]})})
    second = write_spill(tmp_path, {0: pa.record_batch({"id": ["a", "b"]})})
    assert [len(batch) for batch in read_spill([first[0], second[0]])] == [1, 2]
