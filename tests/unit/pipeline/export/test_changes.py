import numpy as np
import pyarrow as pa
import pytest

from pipeline.export import changes
from pipeline.export.changes import find_changes, take_all
from schemas.features import FeatureSpec, load_feature_spec

pytestmark = pytest.mark.unit


@pytest.fixture
def spec(shop) -> FeatureSpec:
    return load_feature_spec(str(shop.config.parent / "schema.yaml"))


def test_everything_is_new_to_an_empty_target():
    found = take_all(3)
    assert found.is_new.tolist() == [True] * 3
    assert found.is_changed.tolist() == [False] * 3
    assert found.deleted.to_pylist() == []


def test_what_differs(spec, monkeypatch):
    # So that there is more than one block.
    monkeypatch.setattr(changes, "_BLOCK_ROWS", 2)
    now = pa.table({"item_id": ["d", "a", "n", "c", "b"], "title": ["D", "A", "N", None, "B"]})
    before = pa.table({"title": ["A", "B!", None, "D", "X"], "item_id": ["a", "b", "c", "d", "x"]})
    vectors = np.array([[0, 1], [1, 0], [0.6, 0.8], [0, -1], [-1, 0]], np.float32)
    vectors_before = np.array([[1, 0], [-1, 0], [0, -1], [0.00001, 1], [0, 1]], np.float32)
    found = find_changes(now, vectors, before, vectors_before, spec)
    assert found.is_new.tolist() == [False, False, True, False, False]
    # The embedding of d and the title of b are others; c has no title, before and now.
    assert found.is_changed.tolist() == [True, False, False, False, True]
    assert found.deleted.to_pylist() == ["x"]


@pytest.mark.parametrize("before", [{}, {"year": pa.array(["2010", "2011"])}])
def test_a_column_that_the_earlier_release_lacks_has_other_values(spec, before):
    now = pa.table({"item_id": ["a", "b"], "year": [2010, 2011]})
    vectors = np.eye(2, dtype=np.float32)
    found = find_changes(now, vectors, pa.table({"item_id": ["a", "b"], **before}), vectors, spec)
    assert found.is_changed.tolist() == [True, True]


def test_a_column_that_the_earlier_release_alone_has_is_not_looked_at(spec):
    vectors = np.eye(2, dtype=np.float32)
    now = pa.table({"item_id": ["a", "b"]})
    found = find_changes(now, vectors, now, vectors, spec)
    assert not found.is_new.any()
    assert not found.is_changed.any()
